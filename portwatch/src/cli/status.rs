//! `portwatch status`

use super::{exit::Exit, failure::Failure, session::Session};
use crate::render;

pub(super) fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let answer = session.access()?.status()?;
    session.answer(&answer, render::status)?;
    Ok(match answer.running {
        _ if answer.hangs.is_some() => Exit::NotSeen,
        true => Exit::Yes,
        false => Exit::No,
    })
}
