//! Claims joined with what is on their ports: states, conflicts, ends; and what explains every other listener.

mod error;
mod office;
mod rogue;
mod standing;

pub use error::OfficeError;
pub use office::{
    AllowedAnswer, Caller, ClaimAnswer, ClaimsAnswer, Office, ReleaseAnswer, RogueAnswer, Wanted, user_name,
};
pub use rogue::{Rogues, rogue_since};
pub use standing::{Known, annotate, standing};

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Asked, KnownSocket, Live, QueryError, Record, TargetAnswer, history};
use crate::{
    journal::{HealthRecord, Reader},
    model::{Compose, EventKind, Evidence, Netns, Phase, Port, Process, Protocol, Timestamp},
    registry::{Claim, DEFAULT_RANGE, Occupant, Pattern, PortRange, State, Tie, may_change, tie},
};

/// Programs that hold a port for a container, as root for everybody; whose it is, their uid does not say.
const FORWARDERS: [&str; 5] = ["docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta"];

/// Of a claim so many sockets are told that are its own, and as many of strangers.
const SHOWN: usize = 500;

/// A claim and what is on its ports.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimView {
    /// The claim.
    pub claim: Claim,
    /// What it is worth.
    pub state: State,
    /// Sockets on its ports.
    pub sockets: Vec<KnownSocket>,
    /// Those of them that are a stranger's, by index, in order.
    pub strangers: Vec<usize>,
    /// How many more there are of either.
    pub left_out: u64,
    /// Of a ghost: how its last program ended.
    pub ended: Option<Record>,
    /// How its program was when somebody asked last.
    pub health: Option<HealthRecord>,
}

/// How a socket belongs to a claim: by any of its holders.
pub fn tie_of(claim: &Claim, known: &KnownSocket) -> Tie {
    let ids = known.socket.holders.iter().map(|h| h.process).chain(known.socket.creator);
    let mut processes = ids.filter_map(|id| known.process(id)).peekable();
    let uid = known.socket.seen.uid;
    // A user's own engine says what that user likes.
    let owner = known.forward.as_ref().and_then(|forward| forward.container.as_ref()?.owner);
    let compose = compose_of(known).filter(|_| owner.is_none_or(|owner| owner == claim.owner));
    let compose = compose.map(|compose| compose.project.as_str());
    if processes.peek().is_none() {
        return tie(claim, &Occupant { uid, ..Occupant::default() });
    }
    let own = processes.any(|process| {
        let occupant = Occupant {
            // A server may be started by root and serve as another user, or the other way round.
            uid: if process.uid == Some(claim.owner) { process.uid } else { uid.or(process.uid) },
            cwd: process.cwd.as_deref(),
            project: process.project.as_ref().map(|p| (p.name.as_str(), p.root.as_path())),
            forwarder: compose.is_some() || forwards_for_all(process),
            compose,
        };
        tie(claim, &occupant) == Tie::Own
    });
    if own { Tie::Own } else { Tie::Stranger }
}

/// Whoever runs a program chooses its name: another's of that name is that user's.
fn forwards_for_all(process: &Process) -> bool {
    process.uid == Some(0) && FORWARDERS.contains(&process.comm.as_str())
}

/// How a program that has no socket any more belongs to a claim: one that listened, and went.
pub fn tie_of_process(claim: &Claim, process: &Process) -> Tie {
    let occupant = Occupant {
        uid: process.uid,
        cwd: process.cwd.as_deref(),
        project: process.project.as_ref().map(|p| (p.name.as_str(), p.root.as_path())),
        forwarder: forwards_for_all(process),
        compose: None,
    };
    tie(claim, &occupant)
}

/// What compose calls the container that a socket leads to.
pub fn compose_of(known: &KnownSocket) -> Option<&Compose> {
    known.forward.as_ref()?.container.as_ref()?.compose.as_ref()
}

/// A TCP socket that was bound less than a second ago and does not listen: mostly somebody tries whether the port is
/// free. What only a scan has seen may be old.
fn is_trial(known: &KnownSocket, now: Timestamp) -> bool {
    let socket = &known.socket;
    let bound = socket.seen.phase == Phase::Bound && socket.seen.endpoint.protocol == Protocol::Tcp;
    bound
        && socket.evidence == Evidence::Kernel
        && now.as_millisecond() - socket.since.as_millisecond() < 1000
}

/// A claim as the live table shows it, without its past.
pub fn view(live: &mut Live, claim: Claim) -> ClaimView {
    let mut sockets = Vec::new();
    for port in &claim.ports {
        sockets.extend(live.here(port.port, Some(port.protocol)));
    }
    let now = Timestamp::now();
    sockets.retain(|socket| !is_trial(socket, now));
    let with_tie = |socket| (tie_of(&claim, &socket), socket);
    let (mut own, mut strange): (Vec<_>, Vec<_>) =
        sockets.into_iter().map(with_tie).partition(|&(tie, _)| tie != Tie::Stranger);
    let complete = claim.ports.iter().all(|port| live.completeness().missing(Some(port.protocol)).is_none());
    let state = State::of(&claim, own.iter().chain(&strange).map(|&(tie, _)| tie), complete);
    let left_out = [own.len(), strange.len()].map(|count| count.saturating_sub(SHOWN) as u64).iter().sum();
    own.truncate(SHOWN);
    strange.truncate(SHOWN);
    let strangers = (own.len()..own.len() + strange.len()).collect();
    let sockets = own.into_iter().chain(strange).map(|(_, socket)| socket).collect();
    ClaimView { claim, state, sockets, strangers, left_out, ended: None, health: None }
}

/// The claims that one of the patterns means, with their pasts where there is a journal to ask.
pub fn views(live: &mut Live, claims: Vec<Claim>, patterns: &[Pattern]) -> Vec<ClaimView> {
    let wanted =
        |claim: &Claim| patterns.iter().any(|p| p.matches(&claim.name, claim.ports.iter().map(|p| p.port)));
    claims.into_iter().filter(wanted).map(|claim| view(live, claim)).collect()
}

/// Adds what the journal tells: how the last programs of ghosts ended in the namespace of claims, and how programs were when
/// asked last.
pub fn add_history(views: &mut [ClaimView], reader: &Reader, own: Option<Netns>) -> Result<(), QueryError> {
    let mut health: HashMap<i64, HealthRecord> = reader.health()?;
    for view in views {
        view.health = health.remove(&view.claim.id);
        if view.state == State::Ghost
            && let Some(port) = view.claim.ports.first()
        {
            let last = history::of_port(reader, port.port, Some(port.protocol), own)?.last;
            view.ended = ended(last, view.claim.created);
        }
    }
    Ok(())
}

/// What was asked, with the names of claims replaced by their ports.
pub fn expand(known: &Known, asked: &[Asked]) -> Vec<Asked> {
    let mut out = Vec::with_capacity(asked.len());
    // Patterns may mean the same claims, over and over.
    let mut meant = HashSet::new();
    for one in asked {
        let mut is_claim = false;
        if let Asked::Claim(text) = one
            && let Ok(pattern) = text.parse::<Pattern>()
        {
            for claim in known.claims() {
                if pattern.matches(&claim.name, claim.ports.iter().map(|p| p.port)) {
                    is_claim |= !claim.ports.is_empty();
                    let ports = claim.ports.iter().map(|p| Asked::Port {
                        address: None,
                        localhost: false,
                        port: p.port,
                        protocol: Some(p.protocol),
                    });
                    out.extend(ports.filter(|port| meant.insert(port.clone())));
                }
            }
        }
        if !is_claim {
            out.push(one.clone());
        }
    }
    out
}

/// Says of each answer what explains its sockets, and which claim is on its port.
pub fn add_claims(live: &mut Live, known: &Known, targets: &mut [TargetAnswer]) {
    // Hundreds of targets may be of one claim.
    let mut made: HashMap<i64, ClaimView> = HashMap::new();
    for target in targets {
        annotate(known, &mut target.sockets, live.own());
        if let Asked::Port { port, protocol, .. } = target.asked {
            let protocols = protocol.map_or(vec![Protocol::Tcp, Protocol::Udp], |p| vec![p]);
            let claim = protocols.into_iter().find_map(|protocol| known.on(protocol, port));
            target.claim = claim.map(|claim| {
                // Its sockets are the target's.
                let bare =
                    || ClaimView { sockets: Vec::new(), strangers: Vec::new(), ..view(live, claim.clone()) };
                made.entry(claim.id).or_insert_with(bare).clone()
            });
        }
    }
}

/// For `:PORT`: sockets on ports that no claim has, with what explains them; and of how many there are more.
pub fn unclaimed(live: &mut Live, known: &Known, patterns: &[Pattern]) -> (Vec<KnownSocket>, u64) {
    let ports: BTreeSet<Port> = patterns.iter().filter_map(Pattern::port).collect();
    let (mut sockets, mut left_out) = (Vec::new(), 0);
    for port in ports {
        let free = |s: &KnownSocket| known.on(s.socket.seen.endpoint.protocol, port).is_none();
        let mut there: Vec<_> = live.here(port, None).into_iter().filter(free).collect();
        left_out += there.len().saturating_sub(SHOWN) as u64;
        there.truncate(SHOWN);
        sockets.extend(there);
    }
    annotate(known, &mut sockets, live.own());
    (sockets, left_out)
}

/// Nothing is claimed as any of these.
pub fn nothing(patterns: &[Pattern]) -> OfficeError {
    let names: Vec<String> = patterns.iter().map(ToString::to_string).collect();
    OfficeError::Nothing {
        what: format!("nothing is claimed as {}", names.join(", ")),
        remedy: "portwatch find shows every claim".to_owned(),
    }
}

/// So many unused claims are named in a refusal.
const NAMED: usize = 5;

/// A refusal for want of ports, with the claims of the range on which nothing runs and the command that gives those of the
/// caller's back.
pub fn exhausted(
    refused: OfficeError,
    views: &[ClaimView],
    range: Option<PortRange>,
    caller: u32,
) -> OfficeError {
    let OfficeError::Refused { what, remedy } = refused else { return refused };
    let range = range.unwrap_or(DEFAULT_RANGE);
    let unused = views.iter().filter(|view| matches!(view.state, State::Ghost | State::Idle));
    let in_range: Vec<_> = unused
        .filter_map(|view| Some((view, view.claim.ports.iter().find(|p| range.contains(p.port))?.port)))
        .collect();
    let named: Vec<String> = in_range
        .iter()
        .take(NAMED)
        .map(|(view, port)| format!("{} ({port}, {})", view.claim.name, view.state.as_str()))
        .collect();
    let what = match in_range.len().saturating_sub(named.len()) {
        _ if named.is_empty() => what,
        0 => format!("{what}; nothing runs on {}", named.join(", ")),
        more => format!("{what}; nothing runs on {} and {more} more", named.join(", ")),
    };
    let mine: Vec<String> = in_range
        .iter()
        .filter(|(view, _)| may_change(view.claim.owner, caller))
        .take(NAMED)
        .map(|(view, _)| view.claim.name.to_string())
        .collect();
    let remedy = match mine.as_slice() {
        [] => remedy,
        mine => format!("portwatch release {} gives ports back; or {remedy}", mine.join(" ")),
    };
    OfficeError::Refused { what, remedy }
}

/// Claims that are live and were not written down as such for a minute, by id.
pub fn needs_touch<'a>(views: impl IntoIterator<Item = &'a ClaimView>, now: Timestamp) -> Vec<i64> {
    let stale = |view: &&ClaimView| {
        view.state == State::Live
            && view.claim.seen.is_none_or(|seen| now.as_second() - seen.as_second() >= 60)
    };
    views.into_iter().filter(stale).map(|view| view.claim.id).collect()
}

/// An exit so long after the socket's close is not what closed it.
const APART: i64 = 5;

/// The end of a port's last holder, out of the newest rows of each kind, newest first: the exit of the process whose
/// socket went, where there is one, for it says how; else the socket's close. A program that closed its socket and lived on had
/// ended there before it died.
fn ended(last: Vec<Record>, since: Timestamp) -> Option<Record> {
    let went = |kind: EventKind| matches!(kind, EventKind::Close | EventKind::Exit | EventKind::Unlisten);
    let rows: Vec<Record> = last.into_iter().filter(|r| went(r.event.kind) && r.event.at >= since).collect();
    let newest = rows.first()?;
    let (process, other) = (newest.event.process, newest.event.other);
    let its_exit = |r: &&Record| {
        r.event.kind == EventKind::Exit
            && r.event.process.is_some()
            && (r.event.process == process || r.event.process == other)
    };
    let Some(exit) = rows.iter().find(its_exit) else { return Some(newest.clone()) };
    let closed = rows.iter().find(|r| {
        r.event.kind != EventKind::Exit && [r.event.process, r.event.other].contains(&exit.event.process)
    });
    let before = |closed: &&Record| exit.event.at.as_second() - closed.event.at.as_second() > APART;
    Some(closed.filter(before).unwrap_or(exit).clone())
}

#[cfg(test)]
mod tests {
    use super::ended;
    use crate::{
        model::{Event, EventKind, Evidence, ProcessId, Timestamp},
        query::Record,
    };

    fn row(second: i64, kind: EventKind, pid: u32) -> Record {
        let mut event = Event::new(Timestamp::from_second(second).unwrap(), kind, Evidence::Kernel);
        event.process = Some(ProcessId { pid, start_ticks: 1 });
        Record { id: None, event, process: None, other: None }
    }

    #[test]
    fn a_program_ended_on_its_port_when_it_died_or_when_it_closed_its_socket_and_lived_on() {
        let told = |rows: Vec<Record>| {
            let row = ended(rows, Timestamp::UNIX_EPOCH).unwrap().event;
            (row.kind, row.at.as_second())
        };
        let (close, exit) = (|at| row(at, EventKind::Close, 7), |at| row(at, EventKind::Exit, 7));
        assert_eq!(told(vec![exit(100), close(100)]), (EventKind::Exit, 100));
        assert_eq!(told(vec![close(100), exit(99)]), (EventKind::Exit, 99));
        assert_eq!(told(vec![exit(3600), close(100)]), (EventKind::Close, 100));
        assert_eq!(
            told(vec![exit(3600), row(100, EventKind::Close, 8)]),
            (EventKind::Exit, 3600),
            "another's"
        );
        assert_eq!(told(vec![close(100)]), (EventKind::Close, 100));
        assert!(ended(vec![close(100)], Timestamp::from_second(101).unwrap()).is_none(), "of before");
    }
}
