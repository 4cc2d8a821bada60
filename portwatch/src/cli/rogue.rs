//! `portwatch rogue`

use super::{args, exit::Exit, failure::Failure, ls, session::Session, time, watch};
use crate::{
    render,
    wire::{
        Event, LogQuery,
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
            let ports = args.port.as_deref().map(ls::range).transpose()?;
            let (from, to) = ports.unwrap_or((0, u16::MAX));
            let is_wanted = |event: &Event| {
                let process = event.process.as_ref();
                let user = |user: &String| {
                    process.is_some_and(|p| {
                        p.user.as_ref() == Some(user) || p.uid.is_some_and(|uid| uid.to_string() == *user)
                    })
                };
                // What has no port is about the record itself: events that were missed.
                event
                    .port
                    .is_none_or(|port| (from..=to).contains(&port) && args.user.as_ref().is_none_or(user))
            };
            watch::follow_some(&query, false, None, &is_wanted, session)
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
    let mut absent = Vec::new();
    for rule in rules {
        let answer = session.access()?.allow(&AllowRequest { rule: rule.clone(), allow })?;
        changed |= answer.changed;
        if !answer.changed && !allow {
            absent.push(rule.as_str());
        }
        last = Some(answer);
    }
    let Some(mut answer) = last else { return Ok(Exit::No) };
    answer.changed = changed;
    session.answer(&answer, |out, answer, look| render::changed_rules(out, answer, &absent, look))?;
    // What was so already is done; what is not there cannot be taken away.
    Ok(if absent.is_empty() { Exit::Yes } else { Exit::No })
}
