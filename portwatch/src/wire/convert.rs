//! From inner answers to the JSON contract: the only place that knows both sides. What the viewer may not see
//! is left out here, on the way out, so that every transport withholds the same.

mod connection;
mod event;
mod names;
mod probe;
mod process;
mod request;
pub mod resolve;
mod socket;

use std::path::Path;

use super::{Degradation, FactCoverage, SCHEMA, SourceInfo, View};
use crate::{
    model::{self, Protocol},
    query::{self, Asked, Holding, Sight},
};
use names::errno_name;
use socket::published;

pub use event::event;
pub use probe::{explained, probe};
pub use process::process;
pub use request::{BadQuery, DEFAULT_LIMIT, asked, event_filter, list_filter, space};
pub use socket::socket;

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Where an answer came from.
pub fn source(about: &query::About) -> SourceInfo {
    SourceInfo {
        source: about.source.as_str().to_owned(),
        daemon: about.daemon,
        note: about.note.clone(),
        degradations: degradations(&about.degradations),
    }
}

/// What does not work.
pub fn degradations(inner: &[model::Degradation]) -> Vec<Degradation> {
    inner
        .iter()
        .map(|d| Degradation { name: d.name.to_owned(), what: d.what.clone(), remedy: d.remedy.clone() })
        .collect()
}

/// Which hook serves each fact.
pub fn coverage(inner: &[model::Coverage]) -> Vec<FactCoverage> {
    inner.iter().map(|c| FactCoverage { fact: c.fact.as_str().to_owned(), hook: c.hook.clone() }).collect()
}

/// Answer of `who`.
pub fn who<'a>(answer: &query::WhoAnswer, view: impl Into<View<'a>>) -> super::Who {
    let view = view.into();
    let mut who = super::Who {
        schema: SCHEMA,
        time: answer.time,
        source: source(&answer.about),
        netns: answer.netns.map(|n| n.0),
        targets: answer.targets.iter().map(|t| who_target(t, view)).collect(),
    };
    view.say(&mut who.source);
    who
}

fn who_target(target: &query::TargetAnswer, view: View<'_>) -> super::WhoTarget {
    let (port, protocol) = match target.asked {
        Asked::Port { port, protocol, .. } => (Some(port.get()), protocol),
        Asked::Pid(_) | Asked::Claim(_) => (None, None),
    };
    // Which connections a process has is what `/proc` shows of it to its user and to root. That it has none is told to nobody else
    // either, and of a process that nothing is known of no more than of another's.
    let shown = |traffic: &&std::sync::Arc<query::Traffic>| {
        let own = traffic.processes.first().is_some_and(|process| view.viewer.sight(process) >= Sight::Full);
        port.is_some() || !view.viewer.is_restricted() || own
    };
    let traffic = target.traffic.as_ref().filter(shown);
    let withheld = traffic.is_none() && target.traffic.is_some() && target.sockets.is_empty();
    let (state, reason) = if withheld {
        let why = "what connections a process of another user has is told to that user and to root";
        (Holding::Unknown, Some(why.to_owned()))
    } else {
        (target.state, target.reason.clone())
    };
    super::WhoTarget {
        asked: target.asked.to_string(),
        port,
        protocol: protocol.map(|p| p.as_str().to_owned()),
        state: state.as_str().to_owned(),
        reason,
        sockets: target.sockets.iter().map(|s| socket(s, view)).collect(),
        other_addresses: target.other_addresses.iter().map(|s| socket(s, view)).collect(),
        elsewhere: target.elsewhere.iter().map(|s| socket(s, view)).collect(),
        published: target.published.iter().map(|p| published(p, view)).collect(),
        last: target.last.iter().map(|e| event(e, view)).collect(),
        refused: target.refused.iter().map(|e| event(e, view)).collect(),
        refused_before: target.refused_before,
        traffic: traffic.map(|t| connection::traffic(t, &target.asked, view)),
        claim: target.claim.as_ref().map(super::claims::convert::brief),
        verdict: target.verdict.as_ref().map(verdict),
    }
}

fn verdict(outlook: &query::Outlook) -> super::Verdict {
    super::Verdict {
        netns: outlook.netns.map(|netns| netns.0),
        bindable: outlook.bindable,
        with_reuse_addr: outlook.with_reuse_addr,
        cause: outlook.cause.map(str::to_owned),
        errno: outlook.errno,
        errno_name: outlook.errno.and_then(errno_name),
        free_in_ms: outlook.free_in.map(connection::milliseconds),
        sentence: outlook.sentence.clone(),
    }
}

/// Answer of `ls`.
pub fn list<'a>(answer: &query::ListAnswer, view: impl Into<View<'a>>) -> super::List {
    let view = view.into();
    let mut list = super::List {
        schema: SCHEMA,
        time: answer.time,
        source: source(&answer.about),
        sockets: answer.sockets.iter().map(|s| socket(s, view)).collect(),
        hidden: answer.hidden,
        netns: answer.netns.map(|n| n.0),
        elsewhere: answer.elsewhere,
        missing: answer.missing.clone(),
        time_wait: answer.time_wait.as_ref().map(connection::connections),
    };
    view.say(&mut list.source);
    list
}

/// Answer of `log`.
pub fn log<'a>(answer: &query::LogAnswer, view: impl Into<View<'a>>) -> super::Log {
    let view = view.into();
    super::Log {
        schema: SCHEMA,
        source: source(&answer.about),
        events: answer.events.iter().map(|e| event(e, view)).collect(),
        truncated: answer.truncated,
    }
}

/// Answer of `log --summary`.
pub fn summary(answer: &query::SummaryAnswer) -> super::LogSummary {
    let inner = &answer.summary;
    super::LogSummary {
        schema: SCHEMA,
        source: source(&answer.about),
        since: inner.since,
        until: inner.until,
        counts: inner
            .counts
            .iter()
            .map(|&(kind, count)| super::TypeCount { kind: kind.as_str().to_owned(), count })
            .collect(),
        most_active: inner
            .most_active
            .iter()
            .map(|a| super::ProcessCount { comm: a.comm.clone(), project: a.project.clone(), count: a.count })
            .collect(),
        longest_held: inner
            .longest_held
            .iter()
            .map(|h| super::PortCount {
                port: h.port.get(),
                protocol: h.protocol.as_str().to_owned(),
                comm: h.comm.clone(),
                count: h.seconds,
            })
            .collect(),
        refused: inner
            .refused
            .iter()
            .map(|r| super::PortCount {
                port: r.port.get(),
                protocol: r.protocol.unwrap_or(Protocol::Tcp).as_str().to_owned(),
                comm: None,
                count: r.count,
            })
            .collect(),
        random_listens: inner.random_listens,
        rogue: None,
        lost: inner.lost,
    }
}

/// Answer of `status`.
pub fn status(answer: &query::StatusAnswer) -> super::Status {
    super::Status {
        schema: SCHEMA,
        running: true,
        hangs: None,
        pid: Some(answer.pid),
        started: Some(answer.started),
        version: Some(super::Version::of_this_build()),
        socket: answer.socket.as_deref().map(path),
        database: answer.database.as_deref().map(path),
        database_bytes: answer.journal.as_ref().map(|j| j.bytes),
        events: answer.journal.as_ref().map(|j| j.events),
        journal_error: answer.journal.as_ref().and_then(|j| j.error.clone()),
        source: source(&answer.about),
        coverage: coverage(&answer.about.coverage),
        listening: Some(answer.listening),
        bound: Some(answer.bound),
        claims: answer.claims.as_deref().map(super::claims::convert::counts),
        coordination: answer.coordination.map(Into::into),
        received: Some(answer.counters.received),
        lost: Some(answer.counters.lost),
        memory_bytes: answer.memory_bytes,
    }
}

/// Answer of `doctor`.
pub fn doctor(answer: &query::DoctorAnswer) -> super::Doctor {
    super::Doctor {
        schema: SCHEMA,
        checks: answer
            .checks
            .iter()
            .map(|c| super::DoctorCheck {
                name: c.name.to_owned(),
                result: c.result.as_str().to_owned(),
                found: c.found.clone(),
                remedy: c.remedy.clone(),
            })
            .collect(),
        coverage: coverage(&answer.coverage),
        degradations: degradations(&answer.degradations),
    }
}
