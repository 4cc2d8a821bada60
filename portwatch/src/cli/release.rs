//! `portwatch release` and `portwatch cleanup`

use std::{
    io::{self, BufRead, IsTerminal},
    path::Path,
};

use super::{args, exit::Exit, failure::Failure, glob, project::Here, session::Session};
use crate::{
    registry::{Pattern, duration},
    render,
    wire::claims::{CleanupRequest, ReleaseRequest},
};

pub(super) fn run(args: &args::Release, session: &mut Session<'_>) -> Result<Exit, Failure> {
    // Directories are often named like the projects in them.
    if !args.yes && glob::is_of_shell(&args.patterns, Path::new(".")) {
        return Err(Failure::Unquoted("release"));
    }
    let patterns = args.patterns.iter().map(|text| text.parse()).collect::<Result<Vec<Pattern>, _>>()?;
    if patterns.iter().any(Pattern::is_all) && !args.yes && !confirmed(session)? {
        return Ok(Exit::No);
    }
    let request = ReleaseRequest {
        patterns: patterns.iter().map(ToString::to_string).collect(),
        only_dead: false,
        reason: None,
    };
    let answer = session.access()?.release(&request)?;
    session.answer(&answer, render::released)?;
    // A pattern means what is one's own; a name or a port means that claim, whosever it is.
    let is_named = |name: &String| {
        patterns.iter().any(|pattern| match pattern {
            Pattern::Port(_) => true,
            Pattern::Name { .. } => pattern.to_string() == *name,
        })
    };
    Ok(if answer.foreign.iter().any(is_named) { Exit::NotSeen } else { Exit::Yes })
}

/// Everything is a lot: ask where somebody can answer, refuse where nobody can.
fn confirmed(session: &mut Session<'_>) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || session.settings.json.value {
        return Err(Failure::NeedsYes);
    }
    let count = session.access()?.claims(&["*".to_owned()])?.claims.len();
    if count == 0 {
        return Ok(true);
    }
    write!(session.out, "Release all {count} claims? [y/N] ")?;
    session.out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if !yes {
        writeln!(session.out, "Nothing was released.")?;
    }
    Ok(yes)
}

pub(super) fn cleanup(args: &args::Cleanup, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let age = args.max_age.as_deref().map(duration).transpose()?;
    let project = match (args.project, &args.of) {
        (_, Some(name)) => Some(name.clone()),
        (true, None) => Some(Here::find()?.name.ok_or(Failure::NoProject)?),
        (false, None) => None,
    };
    let answer = session.access()?.cleanup(&CleanupRequest {
        max_age_ms: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        project,
        dry_run: args.dry_run,
    })?;
    session.answer(&answer, render::cleaned)?;
    Ok(Exit::Yes)
}
