//! `portwatch config`

use super::{backend, exit::Exit, failure::Failure, session::Session};
use crate::render;

pub(super) fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (socket, state) = backend::places(&session.settings);
    let report = session.settings.report(&socket, &state);
    session.answer(&report, render::config)?;
    Ok(Exit::Yes)
}
