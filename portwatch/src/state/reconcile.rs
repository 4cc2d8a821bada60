//! Comparison with a snapshot.

use std::collections::HashSet;

use super::{
    Entry, LiveTable, Telling,
    left::{Known, recall},
    lifecycle::fill,
    memory::Scope,
    rows::{oldest, row},
};
use crate::model::{
    AskedPort, Change, Endpoint, EventKind, Evidence, Holder, Owner, Phase, ProcessId, Protocol, Snapshot,
    SnapshotSocket, Socket, SocketKey, Timestamp,
};

impl LiveTable {
    pub(super) fn reconcile(&mut self, at: Timestamp, snapshot: &Snapshot, out: &mut Vec<Change>) {
        let existing = !std::mem::replace(&mut self.started, true);
        let scope = Scope::of(snapshot);
        let left = self.tell_ended(at, &scope, snapshot, out);
        let mut found = HashSet::with_capacity(snapshot.sockets.len());
        for item in &snapshot.sockets {
            let key = item.socket.key;
            found.insert(key);
            if self.tombstones.holds(key, scope.begun) {
                continue;
            }
            if self.sockets.contains_key(&key) {
                self.confirm(at, &scope, item, out);
            } else {
                self.discover(at, (scope.begun, existing.then_some(&left)), item, out);
            }
        }
        for &key in &snapshot.connected {
            if let Some(entry) = self.sockets.get_mut(&key) {
                entry.settled = entry.settled.max(scope.begun);
            }
        }
        for (key, evidence) in self.missing(&scope, &found) {
            if let Some((socket, quiet)) = self.end(at, evidence, key, None, out) {
                self.tombstones.expect_close(key, at, socket, quiet);
            }
        }
        self.scopes.push(scope);
    }

    /// Bound TCP sockets that the snapshot does not show and would have shown, with their places: they are gone, or have become connections.
    pub fn doubted(&self, snapshot: &Snapshot) -> Vec<(SocketKey, Endpoint)> {
        if !snapshot.bound_included {
            return Vec::new();
        }
        let scope = Scope::of(snapshot);
        let found: HashSet<SocketKey> = snapshot.sockets.iter().map(|item| item.socket.key).collect();
        let bound = |key: &SocketKey| {
            let seen = &self.get(*key)?.seen;
            let is_bound = seen.phase == Phase::Bound && seen.endpoint.protocol == Protocol::Tcp;
            is_bound.then_some((*key, seen.endpoint))
        };
        self.missing(&scope, &found).iter().filter_map(|(key, _)| bound(key)).collect()
    }

    /// Sockets that the snapshot would have shown, and how sure it is that they are gone.
    fn missing(&self, scope: &Scope, found: &HashSet<SocketKey>) -> Vec<(SocketKey, Evidence)> {
        let judged = self.sockets.iter().filter_map(|(&key, entry)| {
            let place = &entry.socket.seen.endpoint;
            if found.contains(&key) || entry.settled >= scope.begun || !scope.covers(place) {
                return None;
            }
            if scope.shows(place, entry.socket.seen.phase) {
                return Some((key, Evidence::Scan));
            }
            // A bound TCP socket where bound ones were not read. One that had listened, or that no process has any
            // more, is in all likelihood closed: MPTCP tells the end of listening and no close.
            let likely = entry.listened || entry.socket.owner == Owner::NoProcess;
            (likely && !scope.bound_left_out).then_some((key, Evidence::Inferred))
        });
        let mut judged: Vec<_> = judged.collect();
        judged.sort_unstable_by_key(|&(key, _)| key);
        judged
    }

    fn discover(
        &mut self,
        at: Timestamp,
        (begun, existing): (Timestamp, Option<&Known>),
        item: &SnapshotSocket,
        out: &mut Vec<Change>,
    ) {
        let (holders, owner) = self.holders(item);
        let mut socket = Socket {
            seen: item.socket.clone(),
            creator: None,
            holders,
            owner,
            since: at,
            listening_since: None,
            evidence: Evidence::Scan,
        };
        if let Some(known) = existing {
            recall(known, &mut socket);
        }
        let listens = socket.seen.phase == Phase::Listening;
        let looked = if item.owner == Owner::Unknown { Timestamp::MIN } else { begun };
        let telling = if existing.is_some() {
            if self.is_noise(&socket.seen) { Telling::Quiet } else { Telling::Told }
        } else if listens {
            out.push(row(at, EventKind::Listen, Evidence::Scan, None, &socket));
            Telling::Told
        } else {
            self.tell_bind(at, &socket, out)
        };
        self.insert(Entry { socket, telling, listened: listens, settled: begun, looked, last: None });
    }

    fn confirm(&mut self, at: Timestamp, scope: &Scope, item: &SnapshotSocket, out: &mut Vec<Change>) {
        let key = item.socket.key;
        let (holders, owner) = self.holders(item);
        let Some(entry) = self.sockets.get_mut(&key) else { return };
        fill(&mut entry.socket.seen, &item.socket);
        // An event after the begin of the snapshot knows better.
        let newer = entry.settled >= scope.begun;
        let was = entry.socket.seen.phase;
        let moved = !newer && entry.socket.seen.endpoint != item.socket.endpoint;
        if moved || item.owner != Owner::Unknown {
            self.update(key, |entry| {
                let socket = &mut entry.socket;
                if moved {
                    socket.seen.endpoint = item.socket.endpoint;
                }
                if item.owner == Owner::Unknown {
                    return;
                }
                entry.looked = entry.looked.max(scope.begun);
                let socket = &mut entry.socket;
                if newer {
                    // Seen with it is better than a child of one that had it.
                    let seen: HashSet<ProcessId> = holders.iter().map(|h| h.process).collect();
                    let inherited = |h: &Holder| h.evidence == Evidence::Inherited;
                    socket.holders.retain(|h| !(inherited(h) && seen.contains(&h.process)));
                    let known: HashSet<ProcessId> = socket.holders.iter().map(|h| h.process).collect();
                    socket.holders.extend(holders.into_iter().filter(|h| !known.contains(&h.process)));
                    if !socket.holders.is_empty() {
                        socket.owner = Owner::Known;
                    }
                } else {
                    // A process that ends during a look leaves its socket a moment later than its descriptors.
                    if holders.is_empty() {
                        entry.last = oldest(socket).or(entry.last);
                    }
                    socket.holders = holders;
                    socket.owner = owner;
                }
            });
        }
        if newer {
            return;
        }
        let Some(entry) = self.sockets.get_mut(&key) else { return };
        entry.settled = scope.begun;
        if entry.socket.seen.asked == AskedPort::Unknown {
            entry.socket.seen.asked = item.socket.asked;
        }
        let is = item.socket.phase;
        if was == is || item.socket.endpoint.protocol == Protocol::Udp {
            return;
        }
        self.announce(key, out);
        self.set_phase(key, is, None);
        let kind = if is == Phase::Listening { EventKind::Listen } else { EventKind::Unlisten };
        if let Some(socket) = self.get(key) {
            out.push(row(at, kind, Evidence::Scan, None, socket));
        }
    }

    /// The holders a snapshot names, without those whose end was told before the snapshot came.
    fn holders(&self, item: &SnapshotSocket) -> (Vec<Holder>, Owner) {
        let holders: Vec<_> =
            item.holders.iter().filter(|h| !self.processes.has_exited(h.process)).copied().collect();
        let emptied = holders.is_empty() && item.owner == Owner::Known;
        (holders, if emptied { Owner::NoProcess } else { item.owner })
    }
}
