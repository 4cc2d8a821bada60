//! Events on their way out.

use std::net::IpAddr;

use super::{
    super::{Event, Exit, Gap, LostCounts, View},
    names::{errno_name, signal_name},
    process::facts,
    socket::{asked_port, cookie},
};
use crate::{
    model::{self, Port},
    query::Record,
};

/// An event of the journal or of the live stream.
pub fn event<'a>(record: &Record, view: impl Into<View<'a>>) -> Event {
    let view = view.into();
    let inner = &record.event;
    let (asked_port, random) = asked_port(inner.asked);
    Event {
        id: record.id,
        time: inner.at,
        kind: inner.kind.as_str().to_owned(),
        evidence: inner.evidence.as_str().to_owned(),
        protocol: inner.protocol.map(|p| p.as_str().to_owned()),
        address: inner.address.as_ref().map(IpAddr::to_string),
        port: inner.port.map(Port::get),
        netns: inner.netns.map(|n| n.0),
        cookie: inner.socket.and_then(cookie),
        state: inner.phase.map(|p| p.as_str().to_owned()),
        asked_port,
        random,
        process: inner.process.map(|id| facts(id, record.process.as_deref(), view)),
        other: inner.other.map(|id| facts(id, record.other.as_deref(), view)),
        claim: inner.claim.clone(),
        subject: inner.subject.clone(),
        errno: inner.errno,
        errno_name: inner.errno.and_then(errno_name),
        exit: inner.exit.map(exit),
        gap: inner.gap.map(|reason| Gap {
            reason: reason.as_str().to_owned(),
            since: inner.since,
            lost: inner.lost.map(lost),
        }),
        since: inner.since,
        count: inner.count,
        message: inner.message.clone(),
    }
}

fn lost(counts: model::LossCounts) -> LostCounts {
    LostCounts {
        total: counts.total(),
        process: counts.process,
        bind: counts.bind,
        refused: counts.refused,
        listen: counts.listen,
        close: counts.close,
        exit: counts.exit,
        undecodable: counts.undecodable,
    }
}

fn exit(status: model::ExitStatus) -> Exit {
    Exit {
        code: status.code,
        signal: status.signal,
        signal_name: status.signal.and_then(signal_name),
        core_dumped: status.core_dumped,
        sent_signal: status.sent.map(|s| s.signal),
        sent_signal_name: status.sent.and_then(|s| signal_name(s.signal)),
        sent_by: status.sent.map(|s| s.by.as_str().to_owned()),
        sent_again: status.sent.is_some_and(|s| s.again),
    }
}
