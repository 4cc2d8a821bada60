//! From inner answers to the JSON contract: the only place that knows both sides. What the viewer may not see
//! is left out here, on the way out, so that every transport withholds the same.

mod connection;
mod probe;
pub mod resolve;

use std::{net::IpAddr, path::Path, str::FromStr};

use super::{
    Ancestor, Cgroup, Container, Degradation, Event, Exit, FactCoverage, Forward, Gap, Holder, ListQuery,
    LogQuery, LostCounts, Process, Project, Published, SCHEMA, Socket, SourceInfo, Target, Unit,
    UnprovenContainer, View, Worktree,
};
use crate::{
    model::{self, AskedPort, Evidence, Owner, Port, ProcessId, Protocol, SocketKey},
    query::{self, Asked, KnownSocket, ListFilter, Record, Sight, Sort, Space, Viewer},
    registry::Standing,
};

pub use probe::{explained, probe};

/// A question that cannot be asked; the sentence says how it is asked rightly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// A protocol that is none.
    #[error("'{0}' is not a protocol; say tcp or udp")]
    Protocol(String),
    /// A sort key that is none.
    #[error("'{0}' is not a sort key; say port, process, project or since")]
    Sort(String),
    /// An interface by its name, which means one only where it is asked from.
    #[error("'{0}' is not the number of an interface; ip link shows them")]
    Zone(String),
    /// A port that is none.
    #[error(transparent)]
    Port(#[from] model::ParsePortError),
    /// A pid that is none.
    #[error("'{0}' is not a pid; pids are whole numbers from 1")]
    Pid(String),
    /// An event type that is none.
    #[error("'{given}' is not an event type; types are {known}")]
    Kind {
        /// What was given.
        given: String,
        /// Every type.
        known: String,
    },
    /// Connections in TIME_WAIT of many network namespaces.
    #[error(
        "connections in TIME_WAIT are looked at in one network namespace; name that of the container instead (netns)"
    )]
    TimeWait,
    /// A range that ends before it begins.
    #[error("the range {from}-{to} ends before it begins")]
    Range {
        /// First port.
        from: u16,
        /// Last port.
        to: u16,
    },
}

/// What `who` is asked, for the query stage.
pub fn asked(target: &Target) -> Result<Asked, BadQuery> {
    Ok(match target {
        Target::Port { address, zone, port, protocol } => {
            let number = |zone: &String| {
                let digits = zone.bytes().all(|byte| byte.is_ascii_digit());
                let number = zone.parse().ok().filter(|_| digits).and_then(model::Zone::new);
                number.ok_or_else(|| BadQuery::Zone(zone.clone()))
            };
            let zone = zone.as_ref().map(number).transpose()?;
            let address = address.map(|address| model::Local { address, zone });
            Asked::Port { address, port: *port, protocol: *protocol }
        }
        Target::Pid(pid) => Asked::Pid(*pid),
        Target::Claim(name) => Asked::Claim(name.clone()),
    })
}

/// What `ls` is asked, and by whom, for the query stage.
pub fn list_filter(query: &ListQuery, viewer: Viewer) -> Result<ListFilter, BadQuery> {
    let sort = match query.sort.as_deref() {
        None | Some("port") => Sort::Port,
        Some("process") => Sort::Process,
        Some("project") => Sort::Project,
        Some("since") => Sort::Since,
        Some(other) => return Err(BadQuery::Sort(other.to_owned())),
    };
    if query.time_wait && (query.container.is_some() || query.all_namespaces) {
        return Err(BadQuery::TimeWait);
    }
    if let (Some(from), Some(to)) = (query.from, query.to)
        && to < from
    {
        return Err(BadQuery::Range { from, to });
    }
    Ok(ListFilter {
        protocol: query.protocol.as_deref().map(protocol).transpose()?,
        project: query.project.clone(),
        user: query.user.clone(),
        uid: query.user.as_deref().and_then(crate::platform::user::uid_of),
        from: query.from,
        to: query.to,
        sort,
        all: query.all,
        time_wait: query.time_wait,
        container: query.container.clone(),
        space: space(query.netns, query.all_namespaces),
        viewer,
    })
}

/// Which network namespaces a question means.
pub fn space(netns: Option<u32>, all: bool) -> Space {
    match (all, netns) {
        (true, from) => Space::All { from: from.map(model::Netns) },
        (false, Some(inode)) => Space::One(model::Netns(inode)),
        (false, None) => Space::Own,
    }
}

/// Events answered when the asker names no limit.
pub const DEFAULT_LIMIT: u64 = 1000;

/// What `log` is asked, and by whom, for the query stage.
pub fn event_filter(query: &LogQuery, viewer: Viewer) -> Result<model::EventFilter, BadQuery> {
    Ok(model::EventFilter {
        since: query.since,
        until: query.until,
        kinds: parts(query.kinds.as_deref()).map(kind).collect::<Result<_, _>>()?,
        ports: parts(query.port.as_deref()).map(Port::from_str).collect::<Result<_, _>>()?,
        protocol: None,
        pids: parts(query.pid.as_deref()).map(pid).collect::<Result<_, _>>()?,
        after_id: query.after_id,
        before_id: query.before_id,
        bytes: None,
        pattern: query.filter.clone().filter(|p| !p.is_empty()),
        viewer,
        limit: match query.limit {
            None => Some(DEFAULT_LIMIT),
            Some(0) => None,
            some => some,
        },
        order: if query.newest_first { model::Order::NewestFirst } else { model::Order::OldestFirst },
    })
}

fn parts(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn protocol(word: &str) -> Result<Protocol, BadQuery> {
    Protocol::from_word(word).ok_or_else(|| BadQuery::Protocol(word.to_owned()))
}

fn kind(word: &str) -> Result<model::EventKind, BadQuery> {
    model::EventKind::from_word(word).ok_or_else(|| BadQuery::Kind {
        given: word.to_owned(),
        known: model::EventKind::ALL.map(model::EventKind::as_str).join(", "),
    })
}

fn pid(word: &str) -> Result<u32, BadQuery> {
    word.parse().ok().filter(|&pid| pid > 0).ok_or_else(|| BadQuery::Pid(word.to_owned()))
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A process, as far as `viewer` may see it.
pub fn process<'a>(process: &model::Process, view: impl Into<View<'a>>) -> Process {
    let sight = view.into().sight(process);
    let public = sight >= Sight::Public;
    let full = sight >= Sight::Full;
    let command = process.command.as_ref().filter(|_| public);
    Process {
        pid: process.id.pid,
        started: process.started,
        comm: process.comm.clone(),
        command: command.map(|c| c.args.clone()),
        command_truncated: command.is_some_and(|c| c.truncated),
        exe: process.exe.as_deref().filter(|_| full).map(path),
        cwd: process.cwd.as_deref().filter(|_| full).map(path),
        uid: process.uid,
        user: process.user.clone(),
        cgroup: process.cgroup.as_ref().filter(|_| public).map(|c| Cgroup { id: c.id, path: c.path.clone() }),
        unit: process.unit.as_ref().filter(|_| public).map(unit),
        container: process.container.as_ref().filter(|_| public).map(|c| container(c, full)),
        unproven_container: process
            .unproven
            .as_ref()
            .filter(|unproven| {
                public && process.container.as_ref().is_none_or(|c| c.id != unproven.container.id)
            })
            .map(unproven),
        lineage: if public { process.lineage.iter().map(ancestor).collect() } else { Vec::new() },
        project: process.project.as_ref().filter(|_| full).map(project),
        evidence: process.evidence.as_str().to_owned(),
    }
}

/// A process of which only the identity is known.
fn bare(id: ProcessId) -> Process {
    Process {
        pid: id.pid,
        started: None,
        comm: String::new(),
        command: None,
        command_truncated: false,
        exe: None,
        cwd: None,
        uid: None,
        user: None,
        cgroup: None,
        unit: None,
        container: None,
        unproven_container: None,
        lineage: Vec::new(),
        project: None,
        evidence: Evidence::Unknown.as_str().to_owned(),
    }
}

fn unit(unit: &model::Unit) -> Unit {
    Unit { name: unit.name.clone(), slice: unit.slice.clone(), manager: unit.manager }
}

/// Anybody may read an id in a control group; what the engine tells comes from a socket that is closed to most, and
/// is passed on to those who see all of the process.
fn container(container: &model::Container, full: bool) -> Container {
    let compose = container.compose.as_ref().filter(|_| full);
    Container {
        engine: container.engine.map(|e| e.as_str().to_owned()),
        id: container.id.clone(),
        pod: container.pod.clone(),
        name: container.name.clone().filter(|_| full || container.names_itself()),
        image: container.image.clone().filter(|_| full),
        compose_project: compose.map(|c| c.project.clone()),
        compose_service: compose.map(|c| c.service.clone()),
        owner: container.owner,
    }
}

fn unproven(unproven: &model::Unproven) -> UnprovenContainer {
    UnprovenContainer {
        engine: unproven.container.engine.map(|engine| engine.as_str().to_owned()),
        id: unproven.container.id.clone(),
        uid: match unproven.maker {
            model::Maker::User(uid) => Some(uid),
            _ => None,
        },
    }
}

fn ancestor(ancestor: &model::Ancestor) -> Ancestor {
    Ancestor {
        pid: ancestor.pid,
        comm: ancestor.comm.clone(),
        command: ancestor.command.as_ref().map(|c| c.args.clone()),
        command_truncated: ancestor.command.as_ref().is_some_and(|c| c.truncated),
    }
}

fn project(project: &model::Project) -> Project {
    Project {
        name: project.name.clone(),
        root: path(&project.root),
        kind: project.kind.as_str().to_owned(),
        evidence: project.evidence.as_str().to_owned(),
        worktree: project.worktree.as_ref().map(|w| Worktree {
            name: w.name.clone(),
            root: path(&w.root),
            branch: w.branch.clone(),
        }),
    }
}

/// A socket with the processes behind it.
pub fn socket<'a>(known: &KnownSocket, view: impl Into<View<'a>>) -> Socket {
    let view = view.into();
    let inner = &known.socket;
    let seen = &inner.seen;
    let (asked_port, random) = asked_port(seen.asked);
    Socket {
        protocol: seen.endpoint.protocol.as_str().to_owned(),
        address: seen.endpoint.address.to_string(),
        port: seen.endpoint.port.get(),
        netns: seen.endpoint.netns.map(|n| n.0),
        state: seen.phase.as_str().to_owned(),
        asked_port,
        random,
        reuse_addr: seen.options.reuse_addr,
        reuse_port: seen.options.reuse_port,
        v6_only: seen.options.v6_only,
        cookie: cookie(seen.key),
        inode: seen.inode.or(match seen.key {
            SocketKey::Inode { inode, .. } => Some(inode),
            SocketKey::Cookie(_) | SocketKey::Numbered(_) => None,
        }),
        uid: seen.uid,
        user: known.user.clone(),
        since: inner.since,
        listening_since: inner.listening_since,
        creator: inner.creator.map(|id| facts(id, known.process(id), view)),
        holders: inner
            .holders
            .iter()
            .enumerate()
            // The first of each is named in any case.
            .filter(|(number, _)| *number == 0 || view.names())
            .map(|(_, holder)| Holder {
                process: facts(holder.process, known.process(holder.process), view),
                evidence: holder.evidence.as_str().to_owned(),
            })
            .collect(),
        owner: inner.owner.as_str().to_owned(),
        device: match inner.owner {
            Owner::Kernel(Some(tunnel)) => Some(format!("{} {}", tunnel.kind, tunnel.name())),
            _ => None,
        },
        netns_name: known.netns_name.clone(),
        forwards_to: known.forward.as_ref().map(|f| forward(f, view)),
        claim: known.standing.as_ref().and_then(claim_of),
        standing: known.standing.as_ref().map(|s| s.as_str().to_owned()),
        explained_by: known.standing.as_ref().and_then(explained_by),
        evidence: inner.evidence.as_str().to_owned(),
        interface: seen.attached.name(),
        interface_index: seen.attached.index(),
    }
}

fn claim_of(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Claim { name, .. } | Standing::Conflict { name } => Some(name.clone()),
        _ => None,
    }
}

fn explained_by(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Container(name)
        | Standing::Unit(name)
        | Standing::Project(name)
        | Standing::Allowed(name) => Some(name.clone()),
        _ => None,
    }
}

fn forward(forward: &query::Forward, view: View<'_>) -> Forward {
    let (first, full) = (forward.process(), forward.is_open_to(view.viewer));
    Forward {
        forwarder: forward.forwarder.clone(),
        address: forward.address.map(|a| a.to_string()),
        port: forward.port.map(Port::get),
        container: forward.container.as_ref().map(|c| container(c, full)),
        netns: forward.inside.as_ref().and_then(|known| known.socket.seen.endpoint.netns).map(|n| n.0),
        process: first.map(|p| process(p, view)),
        evidence: forward.evidence.as_str().to_owned(),
    }
}

fn published(published: &query::PublishedPort, view: View<'_>) -> Published {
    Published {
        address: published.address.map(|a| a.to_string()),
        port: published.port.get(),
        protocol: published.protocol.as_str().to_owned(),
        to: forward(&published.to, view),
    }
}

fn facts(id: ProcessId, known: Option<&model::Process>, view: View<'_>) -> Process {
    known.map_or_else(|| bare(id), |p| process(p, view))
}

fn asked_port(asked: AskedPort) -> (Option<u16>, Option<bool>) {
    match asked {
        AskedPort::Explicit(port) => (Some(port.get()), Some(false)),
        AskedPort::KernelChosen => (Some(0), Some(true)),
        AskedPort::Unknown => (None, None),
    }
}

fn cookie(key: SocketKey) -> Option<u64> {
    match key {
        SocketKey::Cookie(cookie) => Some(cookie),
        SocketKey::Inode { .. } | SocketKey::Numbered(_) => None,
    }
}

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

#[cfg(unix)]
fn errno_name(errno: i32) -> Option<String> {
    match nix::errno::Errno::from_raw(errno) {
        nix::errno::Errno::UnknownErrno => None,
        known => Some(format!("{known:?}")),
    }
}

/// Winsock's, as far as a bind gives them.
#[cfg(not(unix))]
fn errno_name(errno: i32) -> Option<String> {
    let name = match errno {
        10_013 => "WSAEACCES",
        10_022 => "WSAEINVAL",
        10_047 => "WSAEAFNOSUPPORT",
        10_048 => "WSAEADDRINUSE",
        10_049 => "WSAEADDRNOTAVAIL",
        10_055 => "WSAENOBUFS",
        _ => return None,
    };
    Some(name.to_owned())
}

/// Real-time signals (above 31) have no names of their own.
#[cfg(unix)]
fn signal_name(signal: u8) -> Option<String> {
    nix::sys::signal::Signal::try_from(i32::from(signal)).ok().map(|s| s.as_str().to_owned())
}

#[cfg(not(unix))]
fn signal_name(_: u8) -> Option<String> {
    None
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
    super::WhoTarget {
        asked: target.asked.to_string(),
        port,
        protocol: protocol.map(|p| p.as_str().to_owned()),
        state: target.state.as_str().to_owned(),
        reason: target.reason.clone(),
        sockets: target.sockets.iter().map(|s| socket(s, view)).collect(),
        elsewhere: target.elsewhere.iter().map(|s| socket(s, view)).collect(),
        published: target.published.iter().map(|p| published(p, view)).collect(),
        last: target.last.iter().map(|e| event(e, view)).collect(),
        refused: target.refused.iter().map(|e| event(e, view)).collect(),
        refused_before: target.refused_before,
        traffic: target.traffic.as_ref().map(|t| connection::traffic(t, view)),
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
        free_in_ms: outlook.free_in.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
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
