//! `portwatch find` and `portwatch claims`

use std::path::Path;

use super::{args, exit::Exit, failure::Failure, glob, project::Here, session::Session, worktrees};
use crate::{registry::Pattern, render, wire::claims::Claims};

pub(super) fn run(args: &args::Find, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let patterns = if args.patterns.is_empty() { vec!["*".to_owned()] } else { args.patterns.clone() };
    let answer = session.access()?.claims(&patterns);
    let is_nothing = answer.as_ref().map_or(true, |a| a.claims.is_empty() && a.unclaimed.is_empty());
    if is_nothing && glob::is_of_shell(&args.patterns, Path::new(".")) {
        return Err(Failure::Unquoted("find"));
    }
    let answer = answer?;
    // An answer about a port, not about claims.
    let ports: Option<Vec<u16>> = patterns.iter().map(|text| port(text)).collect();
    match ports {
        Some(ports) if is_nothing => {
            session.answer(&answer, |out, answer, look| render::nothing_on(out, answer, &ports, look))?;
            Ok(Exit::No)
        }
        _ => show(&answer, session),
    }
}

/// The port that `:3100` means.
fn port(text: &str) -> Option<u16> {
    match text.parse() {
        Ok(Pattern::Port(port)) => Some(port.get()),
        _ => None,
    }
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
        let here = Here::find()?;
        let project = args.project.clone().or_else(|| here.name.clone()).ok_or(Failure::NoProject)?;
        let own = here.name.as_ref() == Some(&project);
        let there =
            if own { here.root.as_deref().map(worktrees::of).unwrap_or_default() } else { Vec::new() };
        let answer = worktrees::join(answer, project, there);
        session.answer(&answer, render::worktrees)?;
        let some = answer.worktrees.iter().any(|worktree| !worktree.claims.is_empty());
        return Ok(if some { Exit::Yes } else { Exit::No });
    }
    show(&answer, session)
}

fn show(answer: &Claims, session: &mut Session<'_>) -> Result<Exit, Failure> {
    session.answer(answer, render::claims)?;
    Ok(if answer.claims.is_empty() && answer.unclaimed.is_empty() { Exit::No } else { Exit::Yes })
}
