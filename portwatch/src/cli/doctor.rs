//! `portwatch doctor`

use super::{exit::Exit, failure::Failure, session::Session};
use crate::render;

pub(super) fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let answer = session.access()?.doctor()?;
    session.answer(&answer, render::doctor)?;
    let failed = answer.checks.iter().any(|check| !matches!(check.result.as_str(), "ok" | "degraded"));
    Ok(if failed { Exit::No } else { Exit::Yes })
}
