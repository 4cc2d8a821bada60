//! The live table: which sockets are bound or listening now, who made them and who holds them.
//!
//! Pure: observations go in, changes come out. Sockets are kept by cookie (by inode and namespace where a source
//! has no cookie). Three rules make it right again after any loss, whatever the order in which a snapshot and the
//! events around it arrive:
//!
//! - a snapshot says nothing about what happened after it was begun;
//! - an event older than the snapshot that settled its socket makes a row and changes nothing else;
//! - a closed socket leaves a tombstone, so that an older snapshot cannot revive it.
//!
//! The account: a bind, listen or close told by the kernel makes exactly one row with evidence `Kernel`, or one
//! unit of a noise summary, or one unit of [`Tally`]. Rows with evidence `Scan` come on top.
//!
//! Never: touch a clock, a file or a socket.

mod clock;
mod conflict;
mod index;
mod left;
mod lifecycle;
mod memory;
mod noise;
mod policy;
mod reconcile;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

pub use policy::{
    GRACE, MAX_EXITS, MAX_NOISE, MAX_RECENT, MAX_REMEMBERED, MAX_SCOPES, MAX_TOMBSTONES, NOISE_WINDOW,
    Policy, RECENT_AGE, TOMBSTONE_AGE,
};

use crate::model::{
    AskedPort, Attached, Change, ConnectionsLeft, Event, EventKind, Evidence, LeftOpen, Observation, Phase,
    Port, ProcessId, Protocol, Seen, Socket, SocketKey, SocketSeen, Timestamp,
};
use index::Index;
use memory::{Processes, Scopes, Tombstones};
use noise::Noise;
use rows::row;

/// What became of a socket's bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// Not told yet; told at listen, or at this time.
    Pending(Timestamp),
    /// Counted as noise.
    Quiet,
    /// Told, or there before the recording began.
    Told,
}

#[derive(Debug)]
struct Entry {
    socket: Socket,
    telling: Telling,
    /// It listened once.
    listened: bool,
    /// What is older than this changes nothing here: time of the latest kernel event or, if later, begin of the
    /// latest snapshot that showed it.
    settled: Timestamp,
    /// Begin of the latest snapshot that looked for its holders.
    looked: Timestamp,
    /// The holder that ended last, when none was left.
    last: Option<ProcessId>,
}

/// What the kernel told that is in no row, for the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Binds counted as noise.
    pub noise_binds: u64,
    /// Closes of sockets whose bind was counted as noise.
    pub noise_closes: u64,
    /// Closes and ends of listening of sockets that were never in the table, as long as nothing was lost. Once
    /// something was, each makes a row without a place.
    pub unknown: u64,
}

/// The live table.
#[derive(Debug, Default)]
pub struct LiveTable {
    policy: Policy,
    /// Boxed: the table keeps room for up to twice as many, and a pointer is all that an empty place takes.
    sockets: HashMap<SocketKey, Box<Entry>>,
    index: Index,
    pending: BTreeSet<(Timestamp, SocketKey)>,
    tombstones: Tombstones,
    processes: Processes,
    scopes: Scopes,
    noise: Noise,
    tally: Tally,
    listening: usize,
    /// The first snapshot was seen; its sockets were there before the recording.
    started: bool,
    /// What the record of an earlier run leaves open, until the first snapshot.
    left: Vec<LeftOpen>,
    /// Records were lost up to here: of a socket bound before, a listen may be missing.
    lossy_until: Option<Timestamp>,
}

impl LiveTable {
    /// An empty table.
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Takes in one observation and appends what changed, oldest first.
    ///
    /// The sockets of the first snapshot were there before: they enter the table without a row, with the time of
    /// the snapshot as `since`.
    pub fn apply(&mut self, observation: Observation, out: &mut Vec<Change>) {
        let Observation { at, evidence, seen } = observation;
        match seen {
            // What an exec closed, the source looks for; until then the sockets stay with their holders.
            Seen::Process(_) | Seen::Execed(_) => {}
            Seen::Bound(bound) => self.bound(at, evidence, bound, out),
            Seen::Listening(listening) => self.listening_began(at, evidence, listening, out),
            Seen::Unlistened(unlistened) => self.unlistened(at, evidence, unlistened.key, out),
            Seen::Closed(closed) => self.closed(at, evidence, closed, out),
            Seen::Forked(forked) => self.forked(at, forked),
            Seen::Exited(exited) => self.exited(at, evidence, exited, out),
            Seen::Refused(refused) => {
                // The bind is told before the listen that was refused.
                if let Some(key) = refused.key.filter(|_| refused.listen) {
                    self.announce(key, out);
                }
                let mut event = Event::new(at, EventKind::Refused, evidence);
                event.protocol = refused.protocol;
                event.address = Some(refused.address);
                event.port = refused.port;
                event.netns = refused.netns;
                event.socket = refused.key.filter(|_| refused.listen);
                event.phase = refused.listen.then_some(Phase::Listening);
                event.asked = refused.port.map_or(AskedPort::KernelChosen, AskedPort::Explicit);
                event.process = refused.by;
                event.errno = Some(refused.errno);
                if let Some((other, evidence)) = conflict::party_in_the_way(self, &refused) {
                    event.other = Some(other);
                    event.other_evidence = Some(evidence);
                }
                out.push(Change { event, socket: None });
            }
            Seen::Gap { lost, since, reason } => {
                self.lossy_until = self.lossy_until.max(Some(at));
                let mut event = Event::new(at, EventKind::Gap, evidence);
                event.lost = Some(lost);
                event.since = Some(since);
                event.gap = Some(reason);
                out.push(Change { event, socket: None });
            }
            Seen::ConnectionsLeft(left) => out.push(connections_left(at, evidence, &left)),
            Seen::ClockSet { by } => self.clock_set(at, evidence, by, out),
            Seen::Snapshot(snapshot) => self.reconcile(at, &snapshot, out),
        }
    }

    /// Lets time pass: tells binds that outlived their grace and summaries that are due.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Change>) {
        while let Some(&(due, key)) = self.pending.first()
            && due <= now
        {
            self.pending.pop_first();
            self.announce(key, out);
        }
        self.noise.tick(now, out);
    }

    /// When [`LiveTable::tick`] has something to do next; `None` while nothing waits.
    pub fn next_tick(&self) -> Option<Timestamp> {
        let pending = self.pending.first().map(|&(due, _)| due);
        pending.into_iter().chain(self.noise.due()).min()
    }

    /// Tells the summaries that are not due yet, for an orderly stop.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<Change>) {
        self.noise.flush_all(now, out);
    }

    /// Every socket, by port.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.index.in_order().filter_map(|key| self.get(key))
    }

    /// One socket.
    pub fn get(&self, key: SocketKey) -> Option<&Socket> {
        self.sockets.get(&key).map(|entry| &entry.socket)
    }

    /// A look has shown the interface that a socket is bound to.
    pub fn attach(&mut self, key: SocketKey, attached: Attached) {
        if let Some(entry) = self.sockets.get_mut(&key) {
            entry.socket.seen.attached.renew(attached);
        }
    }

    /// Sockets on a port, in every namespace.
    pub fn on_port(&self, port: Port, protocol: Option<Protocol>) -> impl Iterator<Item = &Socket> {
        self.index
            .on_port(port)
            .filter(move |(found, ..)| protocol.is_none_or(|wanted| wanted == *found))
            .filter_map(|(_, _, key)| self.get(key))
    }

    /// Sockets that a process with this pid created or holds. A reused pid gives those of each process that had it;
    /// compare `ProcessId`s to tell them apart.
    pub fn of_process(&self, pid: u32) -> impl Iterator<Item = &Socket> {
        let mut last = None;
        let mut keys: Vec<_> = self.index.of_pid(pid).map(|(_, key)| key).collect();
        keys.sort_unstable();
        keys.into_iter().filter(move |&key| last.replace(key) != Some(key)).filter_map(|key| self.get(key))
    }

    /// Every process that created or holds a socket in the table.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> {
        self.index.processes()
    }

    /// How many sockets listen.
    pub const fn listening(&self) -> usize {
        self.listening
    }

    /// How many sockets are bound and do not listen.
    pub fn bound_only(&self) -> usize {
        self.sockets.len() - self.listening
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// No socket at all.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// What was told by the kernel and is in no row.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// A bind that is noise by what was asked for, whatever comes of it.
    fn is_noise(&self, seen: &SocketSeen) -> bool {
        !self.policy.keep_noise
            && seen.endpoint.protocol == Protocol::Udp
            && match seen.asked {
                AskedPort::Explicit(_) => false,
                AskedPort::KernelChosen => true,
                AskedPort::Unknown => self.policy.ephemeral.contains(&seen.endpoint.port.get()),
            }
    }

    fn count_noise(
        &mut self,
        at: Timestamp,
        evidence: Evidence,
        by: Option<ProcessId>,
        protocol: Protocol,
        out: &mut Vec<Change>,
    ) {
        self.tally.noise_binds += u64::from(evidence == Evidence::Kernel);
        self.noise.count(at, (by, protocol, evidence), out);
    }

    /// Tells the bind of a socket if it is pending.
    fn announce(&mut self, key: SocketKey, out: &mut Vec<Change>) {
        let Some(entry) = self.sockets.get_mut(&key) else { return };
        if let Telling::Pending(due) = entry.telling {
            self.pending.remove(&(due, key));
            entry.telling = Telling::Told;
            let socket = &entry.socket;
            out.push(row(socket.since, EventKind::Bind, socket.evidence, socket.creator, socket));
        }
    }

    fn insert(&mut self, entry: Entry) {
        self.put(Box::new(entry));
    }

    fn put(&mut self, entry: Box<Entry>) {
        let key = entry.socket.seen.key;
        self.index.add(&entry.socket);
        if let Telling::Pending(due) = entry.telling {
            self.pending.insert((due, key));
        }
        self.listening += usize::from(entry.socket.seen.phase == Phase::Listening);
        self.sockets.insert(key, entry);
    }

    fn remove(&mut self, key: SocketKey) -> Option<Box<Entry>> {
        let entry = self.sockets.remove(&key)?;
        self.index.remove(&entry.socket);
        if let Telling::Pending(due) = entry.telling {
            self.pending.remove(&(due, key));
        }
        self.listening -= usize::from(entry.socket.seen.phase == Phase::Listening);
        Some(entry)
    }

    /// Changes an entry and keeps indexes and counts in step.
    fn update(&mut self, key: SocketKey, change: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = self.remove(key) {
            change(&mut entry);
            self.put(entry);
        }
    }

    /// Changes the phase of an entry.
    fn set_phase(&mut self, key: SocketKey, phase: Phase, listening_since: Option<Timestamp>) {
        if let Some(entry) = self.sockets.get_mut(&key) {
            let was = std::mem::replace(&mut entry.socket.seen.phase, phase);
            entry.socket.listening_since = listening_since;
            entry.listened |= phase == Phase::Listening;
            self.listening += usize::from(phase == Phase::Listening);
            self.listening -= usize::from(was == Phase::Listening);
        }
    }
}

/// The summary of one owner's connections on one port.
fn connections_left(at: Timestamp, evidence: Evidence, left: &ConnectionsLeft) -> Change {
    let mut event = Event::new(at, EventKind::Timewait, evidence);
    event.protocol = Some(Protocol::Tcp);
    event.port = left.port;
    event.netns = left.netns;
    event.process = left.process.as_ref().map(|process| process.id);
    event.since = Some(left.since);
    event.count = left.count;
    Change { event, socket: None }
}
