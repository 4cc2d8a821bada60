//! `portwatch release` and `portwatch cleanup`

use std::{
    io::{self, BufRead, IsTerminal},
    time::Duration,
};

use super::{args, exit::Exit, failure::Failure, project::Here, session::Session};
use crate::{
    registry::{Pattern, duration},
    render,
    wire::{
        SCHEMA,
        claims::{Claim, ReleaseRequest, Released},
    },
};

/// A claim that was not used for so long is stale, when nothing else is said.
const STALE: Duration = Duration::from_hours(24);

pub(super) fn run(args: &args::Release, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let mut patterns = Vec::new();
    for text in &args.patterns {
        let pattern: Pattern = text.parse()?;
        // A bare word is a claim of this project before it is a whole project.
        patterns.push(pattern);
    }
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
    Ok(if answer.foreign.is_empty() { Exit::Yes } else { Exit::NotSeen })
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
    let age = args.max_age.as_deref().map(duration).transpose()?.unwrap_or(STALE);
    let project = match (args.project, &args.of) {
        (_, Some(name)) => Some(name.clone()),
        (true, None) => Some(Here::find()?.name.ok_or(Failure::NoProject)?),
        (false, None) => None,
    };
    // A cleanup of one's own project at the start of a runner takes whatever is not running.
    let age = if project.is_some() && args.max_age.is_none() { Duration::ZERO } else { age };
    let found = session.access()?.claims(&["*".to_owned()])?;
    let uid = crate::platform::user::own_uid();
    let stale: Vec<Claim> = found
        .claims
        .into_iter()
        .filter(|claim| project.as_ref().is_none_or(|project| claim.project == *project))
        .filter(|claim| claim.owner == uid || uid == 0)
        .filter(|claim| is_stale(claim, age, found.time))
        .collect();
    let nothing = |dry_run, released| Released {
        schema: SCHEMA,
        time: found.time,
        source: found.source.clone(),
        dry_run,
        released,
        foreign: Vec::new(),
        kept: Vec::new(),
    };
    let answer = if args.dry_run || stale.is_empty() {
        nothing(args.dry_run, stale)
    } else {
        let request = ReleaseRequest {
            patterns: stale.iter().map(|claim| claim.name.clone()).collect(),
            // What came to life since it was looked at is kept.
            only_dead: true,
            reason: Some("cleanup".to_owned()),
        };
        session.access()?.release(&request)?
    };
    session.answer(&answer, render::cleaned)?;
    Ok(Exit::Yes)
}

/// Nothing is on its ports, and it was neither claimed nor live for so long, or its time has passed.
fn is_stale(claim: &Claim, age: Duration, now: jiff::Timestamp) -> bool {
    let dead = matches!(claim.state.as_str(), "ghost" | "idle");
    let last = claim.seen.map_or(claim.renewed, |seen| seen.max(claim.renewed));
    // A ghost's last sign of life is the end of its program.
    let last = claim.ended.as_ref().map_or(last, |event| last.max(event.time));
    let old = last.checked_add(age).is_ok_and(|until| until <= now);
    dead && (old || claim.expired)
}
