//! `portwatch find` and `portwatch claims`

use super::{args, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::{render, wire::claims::Claims};

pub(super) fn run(args: &args::Find, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let patterns = if args.patterns.is_empty() { vec!["*".to_owned()] } else { args.patterns.clone() };
    let answer = session.access()?.claims(&patterns)?;
    show(&answer, session)
}

/// `portwatch claims [--worktree]`
pub(super) fn claims(args: &args::Claims, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let mut answer = session.access()?.claims(&["*".to_owned()])?;
    if args.worktree || args.project.is_some() {
        let here = Here::find()?;
        let project = match (&args.project, &here.name) {
            (Some(project), _) => project.clone(),
            (None, Some(name)) => name.clone(),
            (None, None) => return Err(Failure::NoProject),
        };
        answer.claims.retain(|claim| claim.project == project);
    }
    if args.mine {
        let uid = crate::platform::user::own_uid();
        answer.claims.retain(|claim| claim.owner == uid);
    }
    if args.worktree {
        session.answer(&answer, render::worktrees)?;
        return Ok(if answer.claims.is_empty() { Exit::No } else { Exit::Yes });
    }
    show(&answer, session)
}

fn show(answer: &Claims, session: &mut Session<'_>) -> Result<Exit, Failure> {
    session.answer(answer, render::claims)?;
    Ok(if answer.claims.is_empty() && answer.unclaimed.is_empty() { Exit::No } else { Exit::Yes })
}
