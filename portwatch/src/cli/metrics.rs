//! `portwatch metrics`

use super::{exit::Exit, failure::Failure, session::Session};

pub(super) fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let answer = session.access()?.metrics()?;
    // Prometheus reads it: nothing is coloured, cut or wrapped, and foreign text is escaped as the format has it.
    session.answer(&answer, |out, answer, _| out.write_all(answer.text().as_bytes()))?;
    Ok(Exit::Yes)
}
