//! `portwatch log`

use super::{args, exit::Exit, failure::Failure, session::Session, time, watch};
use crate::{
    model::{EventKind, Port},
    render,
    wire::LogQuery,
};

/// Events before the live ones when `--follow` is given no beginning.
const TAIL: u64 = 10;

pub(super) fn run(args: &args::Log, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let now = session.now();
    let moment = |text: &Option<String>| text.as_deref().map(|text| time::parse(text, &now)).transpose();
    let (since, until) = (moment(&args.since)?, moment(&args.until)?);
    time::in_order(since, until)?;
    let mut query =
        LogQuery { since, until, newest_first: args.reverse, limit: args.limit, ..filter(&args.filter)? };
    if args.follow {
        if query.limit.is_none() && query.since.is_none() {
            query.limit = Some(TAIL);
        }
        return watch::follow(&query, true, None, session);
    }
    if args.summary {
        let answer = session.access()?.summary(&query)?;
        session.answer(&answer, render::summary)?;
        return Ok(if answer.counts.is_empty() { Exit::No } else { Exit::Yes });
    }
    let answer = session.access()?.log(&query)?;
    session.answer(&answer, render::log)?;
    Ok(if answer.events.is_empty() { Exit::No } else { Exit::Yes })
}

/// The conditions `log` and `watch` share.
pub(super) fn filter(args: &args::EventFilter) -> Result<LogQuery, Failure> {
    let ports = args.port.iter().map(|text| text.trim().parse()).collect::<Result<Vec<Port>, _>>()?;
    let mut types = args.types.clone();
    // Who holds a lock by extending it again and again is to be seen among those who take it.
    if has(&types, EventKind::Lock) && !has(&types, EventKind::Extend) {
        types.push(EventKind::Extend.as_str().to_owned());
    }
    Ok(LogQuery {
        kinds: joined(&types),
        port: joined(&ports),
        pid: joined(&args.pid),
        filter: args.filter.clone(),
        all: args.all,
        ..LogQuery::default()
    })
}

fn has(types: &[String], kind: EventKind) -> bool {
    types.iter().any(|word| word == kind.as_str())
}

fn joined<T: ToString>(items: &[T]) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    Some(items.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}
