//! `portwatch status`

use super::{exit::Exit, failure::Failure, session::Session};
use crate::render;

pub(super) fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let answer = session.access()?.status()?;
    session.answer(&answer, render::status)?;
    Ok(if answer.running { Exit::Yes } else { Exit::No })
}
