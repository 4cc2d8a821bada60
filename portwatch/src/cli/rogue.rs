//! `portwatch rogue`

use super::{args, exit::Exit, failure::Failure, ls, session::Session, time, watch};
use crate::{
    render,
    wire::{
        LogQuery,
        claims::{AllowRequest, RogueQuery},
    },
};

pub(super) fn run(args: &args::Rogue, session: &mut Session<'_>) -> Result<Exit, Failure> {
    match &args.command {
        Some(args::RogueCommand::Allow { rules }) => change(rules, true, session),
        Some(args::RogueCommand::Disallow { rules }) => change(rules, false, session),
        Some(args::RogueCommand::Allowed) => {
            let answer = session.access()?.allowed()?;
            session.answer(&answer, render::allowed)?;
            Ok(if answer.rules.is_empty() { Exit::No } else { Exit::Yes })
        }
        None if args.watch => {
            let query = LogQuery { kinds: Some("rogue".to_owned()), ..LogQuery::default() };
            watch::follow(&query, false, None, session)
        }
        None => show(args, session),
    }
}

fn show(args: &args::Rogue, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let now = session.now();
    let (from, to) = match &args.port {
        Some(text) => ls::range(text).map(|(from, to)| (Some(from), Some(to)))?,
        None => (None, None),
    };
    let since = args.since.as_deref().map(|text| time::parse(text, &now)).transpose()?;
    let query = RogueQuery { since, user: args.user.clone(), from, to };
    let answer = session.access()?.rogue(&query)?;
    session.answer(&answer, render::rogue)?;
    Ok(match (answer.sockets.is_empty() && answer.gone.is_empty(), answer.unknown) {
        (false, _) => Exit::Yes,
        (true, 0) => Exit::No,
        // There may be some among those that could not be seen.
        (true, _) => Exit::NotSeen,
    })
}

fn change(rules: &[String], allow: bool, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let mut last = None;
    let mut changed = false;
    for rule in rules {
        let answer = session.access()?.allow(&AllowRequest { rule: rule.clone(), allow })?;
        changed |= answer.changed;
        last = Some(answer);
    }
    let Some(mut answer) = last else { return Ok(Exit::No) };
    answer.changed = changed;
    session.answer(&answer, render::allowed)?;
    // What was so already is done; what is not there cannot be taken away.
    Ok(if changed || allow { Exit::Yes } else { Exit::No })
}
