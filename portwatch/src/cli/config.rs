//! `portwatch config`

use super::{backend, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::render;

pub(super) fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (socket, state) = backend::places(&session.settings);
    // A project file that is wrong hides nothing of the rest.
    let here = Here::find().unwrap_or_else(|error| {
        session.warn(&error.to_string());
        Here::default()
    });
    let report = session.settings.report(&socket, &state, &here);
    session.answer(&report, render::config)?;
    Ok(Exit::Yes)
}
