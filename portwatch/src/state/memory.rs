//! What is remembered of the past, bounded: closed sockets, processes that had sockets, exits, snapshot scopes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
};

use jiff::SignedDuration;

use super::clock::shifted;
use super::policy::{
    MAX_EXITS, MAX_RECENT, MAX_REMEMBERED, MAX_SCOPES, MAX_TOMBSTONES, RECENT_AGE, TOMBSTONE_AGE,
};
use crate::model::{
    Endpoint, Netns, Phase, Port, ProcessId, Protocol, Snapshot, Socket, SocketKey, Timestamp,
};

/// A closed socket.
#[derive(Debug)]
struct Tombstone {
    /// When it was closed, or found gone.
    closed: Timestamp,
    /// The kernel has not told of this close yet, and may still do so.
    due: Option<Ghost>,
}

/// A socket that is gone and whose close was not told.
#[derive(Debug)]
pub(super) struct Ghost {
    /// Its bind was counted as noise.
    pub(super) quiet: bool,
    /// The socket as it was; `None` when there were too many.
    pub(super) socket: Option<Box<Socket>>,
}

/// Recently closed sockets.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    by_key: HashMap<SocketKey, Tombstone>,
    order: VecDeque<(SocketKey, Timestamp)>,
    remembered: usize,
}

impl Tombstones {
    /// A socket whose close was told.
    pub(super) fn bury(&mut self, key: SocketKey, closed: Timestamp) {
        self.insert(key, closed, None);
    }

    /// A socket that is gone, of which the kernel may still tell. A key that is known is not buried twice: an event
    /// that comes after the close adds nothing.
    pub(super) fn expect_close(&mut self, key: SocketKey, at: Timestamp, socket: Socket, quiet: bool) {
        match self.by_key.get_mut(&key) {
            Some(Tombstone { due: Some(ghost), .. }) => {
                ghost.quiet &= quiet;
                if let Some(known) = ghost.socket.as_deref_mut() {
                    known.creator = known.creator.or(socket.creator);
                    known.seen.phase = known.seen.phase.max(socket.seen.phase);
                }
            }
            Some(_) => {}
            None => {
                let socket = (self.remembered < MAX_REMEMBERED).then(|| Box::new(socket));
                self.insert(key, at, Some(Ghost { quiet, socket }));
            }
        }
    }

    fn insert(&mut self, key: SocketKey, closed: Timestamp, due: Option<Ghost>) {
        while let Some(&(old, at)) = self.order.front() {
            let aged = at < closed && closed.duration_since(at).unsigned_abs() > TOMBSTONE_AGE;
            if !aged && self.order.len() < MAX_TOMBSTONES {
                break;
            }
            self.order.pop_front();
            if self.by_key.get(&old).is_some_and(|t| t.closed == at) {
                let gone = self.by_key.remove(&old);
                self.forget(gone.and_then(|t| t.due).as_ref());
            }
        }
        self.remembered += usize::from(due.as_ref().is_some_and(|ghost| ghost.socket.is_some()));
        let old = self.by_key.insert(key, Tombstone { closed, due });
        self.forget(old.and_then(|t| t.due).as_ref());
        self.order.push_back((key, closed));
    }

    fn forget(&mut self, ghost: Option<&Ghost>) {
        self.remembered -= usize::from(ghost.is_some_and(|ghost| ghost.socket.is_some()));
    }

    /// The clock by which all this was dated was set.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        for tombstone in self.by_key.values_mut() {
            tombstone.closed = shifted(tombstone.closed, by);
        }
        for (_, at) in &mut self.order {
            *at = shifted(*at, by);
        }
    }

    /// Whether the socket with this key at `at` is a closed one. Cookies never repeat until reboot; an inode may be
    /// another socket after the close.
    pub(super) fn holds(&self, key: SocketKey, at: Timestamp) -> bool {
        self.by_key.get(&key).is_some_and(|t| matches!(key, SocketKey::Cookie(_)) || at <= t.closed)
    }

    /// A socket whose close was not told yet.
    pub(super) fn remembered(&self, key: SocketKey) -> Option<&Socket> {
        self.by_key.get(&key)?.due.as_ref()?.socket.as_deref()
    }

    /// The close is told now: what was kept for it.
    pub(super) fn settle(&mut self, key: SocketKey) -> Option<Ghost> {
        let ghost = self.by_key.get_mut(&key)?.due.take();
        self.forget(ghost.as_ref());
        ghost
    }
}

/// A set that forgets its oldest members.
#[derive(Debug)]
struct Ring<T> {
    set: HashSet<T>,
    order: VecDeque<T>,
    limit: usize,
}

impl<T: Copy + Eq + Hash> Ring<T> {
    fn new(limit: usize) -> Self {
        Self { set: HashSet::new(), order: VecDeque::new(), limit }
    }

    fn insert(&mut self, value: T) -> bool {
        if !self.set.insert(value) {
            return false;
        }
        if self.order.len() >= self.limit
            && let Some(old) = self.order.pop_front()
        {
            self.set.remove(&old);
        }
        self.order.push_back(value);
        true
    }
}

/// Processes of which an exit is worth a row, and those that ended.
#[derive(Debug)]
pub(super) struct Processes {
    recent: lru::LruCache<ProcessId, (Timestamp, SocketKey, Endpoint)>,
    exited: Ring<ProcessId>,
}

impl Default for Processes {
    fn default() -> Self {
        let limit = std::num::NonZeroUsize::new(MAX_RECENT).unwrap_or(std::num::NonZeroUsize::MIN);
        Self { recent: lru::LruCache::new(limit), exited: Ring::new(MAX_EXITS) }
    }
}

impl Processes {
    /// `process` had a socket worth telling of until `at`.
    pub(super) fn had_socket(&mut self, process: ProcessId, at: Timestamp, socket: &Socket) {
        self.recent.put(process, (at, socket.seen.key, socket.seen.endpoint));
    }

    /// The last such socket that `process` had within the last minutes.
    pub(super) fn had_recently(
        &mut self,
        process: ProcessId,
        now: Timestamp,
    ) -> Option<(SocketKey, Endpoint)> {
        self.recent
            .pop(&process)
            .filter(|&(at, ..)| now <= at || now.duration_since(at).unsigned_abs() <= RECENT_AGE)
            .map(|(_, key, place)| (key, place))
    }

    /// As [`Tombstones::shift`].
    pub(super) fn shift(&mut self, by: SignedDuration) {
        for (_, (at, ..)) in &mut self.recent {
            *at = shifted(*at, by);
        }
    }

    /// Notes an exit; `false` when it was known.
    pub(super) fn exit(&mut self, process: ProcessId) -> bool {
        self.exited.insert(process)
    }

    pub(super) fn has_exited(&self, process: ProcessId) -> bool {
        self.exited.set.contains(&process)
    }
}

/// What a snapshot looked at.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) begun: Timestamp,
    namespaces: Vec<Netns>,
    protocols: Vec<Protocol>,
    ports: Vec<Port>,
    pub(super) bound_included: bool,
    pub(super) bound_left_out: bool,
}

impl Scope {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            begun: snapshot.begun,
            namespaces: snapshot.namespaces.clone(),
            protocols: snapshot.protocols.clone(),
            ports: snapshot.ports.clone(),
            bound_included: snapshot.bound_included,
            bound_left_out: snapshot.bound_left_out,
        }
    }

    /// Whether it would have found a socket there, if not every phase of it.
    pub(super) fn covers(&self, place: &Endpoint) -> bool {
        self.protocols.contains(&place.protocol)
            && (self.ports.is_empty() || self.ports.contains(&place.port))
            && (self.namespaces.is_empty() || place.netns.is_some_and(|n| self.namespaces.contains(&n)))
    }

    /// Whether it would have found a socket there in this phase.
    pub(super) fn shows(&self, place: &Endpoint, phase: Phase) -> bool {
        let visible = self.bound_included || phase == Phase::Listening || place.protocol == Protocol::Udp;
        visible && self.covers(place)
    }
}

/// Scopes of the latest snapshots.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    latest: VecDeque<Scope>,
    newest: Option<Timestamp>,
}

impl Scopes {
    pub(super) fn push(&mut self, scope: Scope) {
        self.newest = self.newest.max(Some(scope.begun));
        // A look at everything says more than any older look at a part.
        if scope.ports.is_empty() {
            self.latest.retain(|old| old.ports.is_empty());
        }
        if self.latest.len() >= MAX_SCOPES {
            let part = self.latest.iter().position(|s| !s.ports.is_empty()).unwrap_or(0);
            self.latest.remove(part);
        }
        self.latest.push_back(scope);
    }

    /// As [`Tombstones::shift`].
    pub(super) fn shift(&mut self, by: SignedDuration) {
        for scope in &mut self.latest {
            scope.begun = shifted(scope.begun, by);
        }
        self.newest = self.newest.map(|at| shifted(at, by));
    }

    /// A snapshot begun after `at` would have shown a socket there, had it still existed.
    pub(super) fn looked_after(&self, at: Timestamp, place: &Endpoint, phase: Phase) -> bool {
        self.newest.is_some_and(|newest| at < newest)
            && self.latest.iter().any(|scope| at < scope.begun && scope.shows(place, phase))
    }
}
