//! What the daemon sees, as a wake-up for commands that wait.

use std::thread;

use super::{backend, failure::Failure, session::Session};
use crate::{
    model::{Port, Timestamp},
    resolve::{self, ResolveError, Stir, StirKind, Stirs},
    wire::{Event, LogQuery},
};

/// Events on `ports` (none: on all) from the daemon, those since a time in the past too; `None` where none answers.
pub(super) fn open(
    session: &mut Session<'_>,
    ports: &[Port],
    since: Option<Timestamp>,
) -> Result<Option<Stirs>, Failure> {
    if !session.access()?.is_daemon() {
        return Ok(None);
    }
    let io = |error| ResolveError::Io { operation: "make an eventfd".to_owned(), error };
    let (teller, stirs) = resolve::stirs().map_err(io)?;
    let settings = session.settings.clone();
    let words: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let query = LogQuery {
        port: Some(words.join(",")).filter(|words| !words.is_empty()),
        all: true,
        since,
        ..LogQuery::default()
    };
    // Ends with the process, or with the daemon; then the one who waits looks by itself.
    thread::spawn(move || {
        if let Ok(access) = backend::open(&settings) {
            let _ = access.follow(&query, since.is_some(), &mut |event| teller.tell(stir(&event)));
        }
    });
    Ok(Some(stirs))
}

pub(super) fn stir(event: &Event) -> Stir {
    let process = event.process.as_ref();
    let pids = process.map(|p| std::iter::once(p.pid).chain(p.lineage.iter().map(|a| a.pid)).collect());
    Stir {
        at: event.time,
        kind: match (event.kind.as_str(), event.errno) {
            ("refused", Some(errno)) => StirKind::Refused(errno),
            ("listen", _) => StirKind::Listen,
            _ => StirKind::Other,
        },
        port: event.port.and_then(Port::new),
        pids: pids.unwrap_or_default(),
        other: event.other.as_ref().map(|p| format!("{} ({})", p.comm, p.pid)),
    }
}
