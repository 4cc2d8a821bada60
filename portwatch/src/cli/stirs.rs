//! What the daemon sees, as a wake-up for commands that wait.

use std::{thread, time::Duration};

use super::{backend, failure::Failure, session::Session, settings::Settings};
use crate::{
    model::{Port, Timestamp},
    resolve::{self, ResolveError, Stir, StirKind, Stirs, Teller},
    wire::{Event, LogQuery},
};

/// Tells what the daemon sees, once it is started.
pub(super) struct Watch {
    settings: Settings,
    query: LogQuery,
    teller: Teller,
}

/// Events on `ports` (none: on all) from the daemon; `None` where none answers.
pub(super) fn open(session: &mut Session<'_>, ports: &[Port]) -> Result<Option<Stirs>, Failure> {
    Ok(prepare(session, ports, None)?.map(|(stirs, watch)| {
        watch.start(Duration::ZERO);
        stirs
    }))
}

/// The same, to be started by whoever has more urgent things to do; with a time in the past nothing since is missed.
pub(super) fn prepare(
    session: &mut Session<'_>,
    ports: &[Port],
    since: Option<Timestamp>,
) -> Result<Option<(Stirs, Watch)>, Failure> {
    if !session.access()?.is_daemon() {
        return Ok(None);
    }
    let io = |error| ResolveError::Io { operation: "make an eventfd".to_owned(), error };
    let (teller, stirs) = resolve::stirs().map_err(io)?;
    let words: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let query = LogQuery {
        port: Some(words.join(",")).filter(|words| !words.is_empty()),
        all: true,
        since,
        ..LogQuery::default()
    };
    Ok(Some((stirs, Watch { settings: session.settings.clone(), query, teller })))
}

impl Watch {
    /// In a thread of its own, which ends with the process, or with the daemon; then the one who waits looks by itself. It leaves
    /// the processors to others for so long first.
    pub(super) fn start(self, leaving: Duration) {
        let Self { settings, query, teller } = self;
        thread::spawn(move || {
            thread::sleep(leaving);
            if let Ok(access) = backend::open_beside(&settings) {
                let backlog = query.since.is_some();
                let _ = access.follow(&query, backlog, None, &mut |event| teller.tell(stir(&event)));
            }
        });
    }
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
