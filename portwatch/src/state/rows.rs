//! Rows about a socket.

use std::time::Duration;

use crate::model::{Change, Event, EventKind, Evidence, ProcessId, Socket, Timestamp};

/// `at` + `by`, at most the end of time.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A row about `socket`.
pub(super) fn row(
    at: Timestamp,
    kind: EventKind,
    evidence: Evidence,
    process: Option<ProcessId>,
    socket: &Socket,
) -> Change {
    let seen = &socket.seen;
    let mut event = Event::new(at, kind, evidence);
    event.protocol = Some(seen.endpoint.protocol);
    event.address = Some(seen.endpoint.address);
    event.port = Some(seen.endpoint.port);
    event.netns = seen.endpoint.netns;
    event.socket = Some(seen.key);
    event.phase = Some(seen.phase);
    event.asked = seen.asked;
    event.options = seen.options;
    event.process = process.or_else(|| holder(evidence, socket));
    Change { event, socket: Some(socket.clone()) }
}

/// Whom a look found with `socket`. Who called bind or listen is not known then; of several holders the one that started
/// first is shown, since those that inherited a socket are younger than who opened it.
fn holder(evidence: Evidence, socket: &Socket) -> Option<ProcessId> {
    let looked = matches!(evidence, Evidence::Scan | Evidence::Inferred);
    if looked { socket.creator.or_else(|| oldest(socket)) } else { None }
}

/// The holder that started first.
pub(super) fn oldest(socket: &Socket) -> Option<ProcessId> {
    socket.holders.iter().map(|h| h.process).min_by_key(|p| (p.start_ticks, p.pid))
}

/// A close of `socket` by `by`; the creator is the other party when it was not the closer.
pub(super) fn close_row(at: Timestamp, evidence: Evidence, by: Option<ProcessId>, socket: &Socket) -> Change {
    let mut change = row(at, EventKind::Close, evidence, by, socket);
    if socket.creator != change.event.process
        && let Some(creator) = socket.creator
    {
        change.event.other = Some(creator);
        change.event.other_evidence = Some(socket.evidence);
    }
    change
}
