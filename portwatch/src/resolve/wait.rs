//! `wait`: until ports are free, listened on, or answer.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{
    Bindable, Place, ResolveError, Stirs, bindable,
    healthy::{ask, in_words},
};
use crate::{
    health::{self, Check, Health},
    model::{Phase, Port, Protocol, SnapshotSocket},
    source::scan::HolderSearch,
};

/// The first pause between two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest one, where nobody tells what happens.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The longest one, where the daemon tells.
const TOLD_PAUSE: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A server could bind it.
    Free {
        /// Even one that does not set SO_REUSEADDR.
        strict: bool,
    },
    /// Somebody listens (UDP: is bound).
    Listening,
    /// Whoever listens answers.
    Healthy(Check),
}

/// What to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitRequest {
    /// The places; all of them must fulfil the condition at once.
    pub places: Vec<Place>,
    /// The condition.
    pub condition: Condition,
    /// How long at most; `None` is for ever.
    pub timeout: Option<Duration>,
    /// Say who is in the way while waiting, which costs a look at processes.
    pub names: bool,
}

/// How it stands with one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The place.
    pub place: Place,
    /// It is as wanted.
    pub met: bool,
    /// How it stands, in words that end a sentence about the place.
    pub words: String,
    /// From the beginning until it was as wanted, for good.
    pub after: Option<Duration>,
}

/// Waits. `progress` is called after every look that changes something; ends with the standing at the last look, in
/// which something is not met only if the time was up.
pub fn wait(
    request: &WaitRequest,
    stirs: Option<&Stirs>,
    progress: &mut dyn FnMut(&[Standing], Duration),
) -> Result<Vec<Standing>, ResolveError> {
    let mut scanner = super::look()?;
    let begun = Instant::now();
    let deadline = request.timeout.map(|timeout| begun + timeout);
    let mut pause = FIRST_PAUSE;
    let mut before: Vec<Standing> = Vec::new();
    loop {
        let ports: Vec<Port> = request.places.iter().map(|place| place.port).collect();
        let search = if request.names { HolderSearch::First } else { HolderSearch::None };
        let snapshot = scanner.snapshot(&ports, search)?;
        let mut now = Vec::with_capacity(request.places.len());
        for (index, place) in request.places.iter().enumerate() {
            let mine: Vec<&SnapshotSocket> =
                snapshot.sockets.iter().filter(|s| place.meets(&s.socket)).collect();
            let (met, words) =
                look(place, &request.condition, &mine, &|socket| name(socket, &snapshot.processes))?;
            let after = before.get(index).and_then(|b: &Standing| b.after).filter(|_| met);
            let after = after.or_else(|| met.then(|| begun.elapsed()));
            now.push(Standing { place: place.clone(), met, words, after });
        }
        let (done, late) = (now.iter().all(|s| s.met), deadline.is_some_and(|d| Instant::now() >= d));
        progress(&now, begun.elapsed());
        if done || late {
            return Ok(now);
        }
        // The end of a connection, or the health of a server, is no event.
        let told = match request.condition {
            Condition::Free { .. } => {
                let known = |s: &Standing| snapshot.sockets.iter().any(|k| s.place.meets(&k.socket));
                now.iter().all(|s| s.met || known(s))
            }
            Condition::Listening => true,
            Condition::Healthy(_) => false,
        };
        let longest = if told && stirs.is_some() { TOLD_PAUSE } else { LONGEST_PAUSE };
        before = now;
        let left = deadline.map_or(Duration::MAX, |d| d.saturating_duration_since(Instant::now()));
        let happened = if let Some(stirs) = stirs {
            let operation = "wait for events of the daemon".to_owned();
            stirs.wait(pause.min(left)).map_err(|error| ResolveError::Io { operation, error })?
        } else {
            thread::sleep(pause.min(left));
            Vec::new()
        };
        pause = if happened.is_empty() { (pause * 2).min(longest) } else { FIRST_PAUSE };
    }
}

type Namer<'a> = dyn Fn(&SnapshotSocket) -> Option<String> + 'a;

fn look(
    place: &Place,
    condition: &Condition,
    sockets: &[&SnapshotSocket],
    name: &Namer<'_>,
) -> Result<(bool, String), ResolveError> {
    match condition {
        Condition::Free { strict } => free(place, *strict, sockets, name),
        Condition::Listening => Ok(listening(place, sockets).map_or_else(
            || (false, "nobody listens".to_owned()),
            |socket| (true, format!("{} listens", name(socket).unwrap_or_else(|| "somebody".to_owned()))),
        )),
        Condition::Healthy(check) => {
            let Some(socket) = listening(place, sockets) else {
                return Ok((false, "nobody listens".to_owned()));
            };
            if place.protocol == Protocol::Udp {
                return Ok((true, "is bound; UDP has no health to ask for".to_owned()));
            }
            let seen = &socket.socket;
            let v6_only = seen.options.v6_only == Some(true);
            let mut at = health::target(seen.endpoint.address, seen.endpoint.port.get(), v6_only);
            if let (SocketAddr::V6(at), Some(zone)) = (&mut at, place.zone) {
                at.set_scope_id(zone.0.get());
            }
            let report = ask(at, check)?;
            Ok((report.health == Health::Healthy, in_words(&report)))
        }
    }
}

fn free(
    place: &Place,
    strict: bool,
    sockets: &[&SnapshotSocket],
    name: &Namer<'_>,
) -> Result<(bool, String), ResolveError> {
    // A known socket answers the question without a bind, which could be in somebody's way.
    if let Some(socket) = sockets.iter().max_by_key(|s| s.socket.phase) {
        let who = name(socket).unwrap_or_else(|| "a socket".to_owned());
        let does = match (socket.socket.phase, place.protocol) {
            (Phase::Listening, _) => "listens",
            (Phase::Bound, Protocol::Udp) => "is bound",
            (Phase::Bound, Protocol::Tcp) => "is bound and does not listen",
        };
        return Ok((false, format!("{who} {does}")));
    }
    Ok(match bindable(place)? {
        Bindable::Yes => (true, "free".to_owned()),
        Bindable::WithReuse if strict => {
            (false, "connections of an earlier server wait for their end (TIME_WAIT)".to_owned())
        }
        Bindable::WithReuse => (true, "free with SO_REUSEADDR, which most servers set".to_owned()),
        Bindable::InUse => (
            false,
            "a connection uses it as its own port, or one in TIME_WAIT of a server without SO_REUSEADDR has it".to_owned(),
        ),
    })
}

fn listening<'a>(place: &Place, sockets: &[&'a SnapshotSocket]) -> Option<&'a SnapshotSocket> {
    let wanted = match place.protocol {
        Protocol::Tcp => Phase::Listening,
        Protocol::Udp => Phase::Bound,
    };
    sockets.iter().copied().find(|s| s.socket.phase == wanted)
}

/// `node (812)`
fn name(socket: &SnapshotSocket, processes: &[crate::model::ProcessSeen]) -> Option<String> {
    let id = socket.holders.first()?.process;
    let process = processes.iter().find(|p| p.id == id)?;
    Some(format!("{} ({})", process.comm, id.pid))
}
