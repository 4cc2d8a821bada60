//! `portwatch drift`: the registry against reality, both ways.

use super::{args, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::render;

pub(super) fn run(args: &args::Drift, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let project = match (&args.of, args.project) {
        (Some(name), _) => Some(name.clone()),
        (None, true) => Some(Here::find()?.name.ok_or(Failure::NoProject)?),
        (None, false) => None,
    };
    let answer = session.access()?.drift(project.as_deref())?;
    session.answer(&answer, render::drift)?;
    Ok(if answer.claims.is_empty() && answer.unclaimed.is_empty() { Exit::Yes } else { Exit::No })
}
