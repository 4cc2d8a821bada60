//! Bind, listen, unlisten, close and exit, as they are told one by one.

use std::cmp::Reverse;

use super::{
    Entry, LiveTable, Telling,
    rows::{close_row, later, row},
};
use crate::model::{
    AskedPort, Bound, Change, Closed, Event, EventKind, Evidence, Exited, Forked, Holder, Listening, Owner,
    Phase, ProcessId, Protocol, Socket, SocketKey, SocketSeen, Timestamp,
};

impl LiveTable {
    pub(super) fn bound(&mut self, at: Timestamp, evidence: Evidence, bound: Bound, out: &mut Vec<Change>) {
        let Bound { socket: seen, by } = bound;
        let key = seen.key;
        if self.is_gone(at, &seen) {
            let socket = self.fresh(at, evidence, seen, by);
            let quiet = self.is_noise(&socket.seen);
            if quiet {
                self.count_noise(at, evidence, by, socket.seen.endpoint.protocol, out);
            } else {
                out.push(row(at, EventKind::Bind, evidence, by, &socket));
            }
            self.tombstones.expect_close(key, at, socket, quiet);
            return;
        }
        let Some(known) = self.sockets.get(&key) else {
            let socket = self.fresh(at, evidence, seen, by);
            let telling = self.tell_bind(at, &socket, out);
            self.insert(Entry {
                socket,
                telling,
                listened: false,
                settled: at,
                looked: Timestamp::MIN,
                last: None,
            });
            return;
        };
        // Known from a scan that came first, or bound anew after it was unbound (connect to AF_UNSPEC).
        let late = at < known.settled;
        let listens = known.socket.seen.phase == Phase::Listening;
        let pending_by_kernel =
            matches!(known.telling, Telling::Pending(_)) && known.socket.evidence == Evidence::Kernel;
        if pending_by_kernel {
            self.announce(key, out);
        }
        let holder = self.holder(evidence, by);
        self.update(key, |entry| {
            let socket = &mut entry.socket;
            if !late {
                socket.seen.endpoint = seen.endpoint;
                entry.settled = at;
            }
            if seen.asked != AskedPort::Unknown {
                socket.seen.asked = seen.asked;
            }
            fill(&mut socket.seen, &seen);
            socket.since = at;
            socket.evidence = evidence;
            socket.creator = by.or(socket.creator);
            add_holder(socket, holder, late);
            // The row below is about the moment of the bind.
            entry.telling = Telling::Told;
        });
        let Some(socket) = self.get(key).cloned() else { return };
        let telling = if listens {
            let mut then = socket;
            then.seen.phase = Phase::Bound;
            out.push(row(at, EventKind::Bind, evidence, by, &then));
            Telling::Told
        } else {
            self.tell_bind(at, &socket, out)
        };
        self.update(key, |entry| entry.telling = telling);
    }

    pub(super) fn listening_began(
        &mut self,
        at: Timestamp,
        evidence: Evidence,
        listening: Listening,
        out: &mut Vec<Change>,
    ) {
        let Listening { socket: seen, by } = listening;
        let key = seen.key;
        if self.is_gone(at, &seen) {
            let mut socket = self.fresh(at, evidence, seen, by);
            socket.listening_since = Some(at);
            out.push(row(at, EventKind::Listen, evidence, by, &socket));
            self.tombstones.expect_close(key, at, socket, false);
            return;
        }
        let Some(known) = self.sockets.get(&key) else {
            let mut socket = self.fresh(at, evidence, seen, by);
            socket.listening_since = Some(at);
            out.push(row(at, EventKind::Listen, evidence, by, &socket));
            self.insert(Entry {
                socket,
                telling: Telling::Told,
                listened: true,
                settled: at,
                looked: Timestamp::MIN,
                last: None,
            });
            return;
        };
        let late = at < known.settled;
        let moved = !late && known.socket.seen.endpoint != seen.endpoint;
        let stranger = known.socket.creator.is_none()
            || by.is_some_and(|by| known.socket.holders.iter().all(|h| h.process != by));
        self.announce(key, out);
        if moved || stranger {
            let holder = self.holder(evidence, by);
            self.update(key, |entry| {
                if moved {
                    entry.socket.seen.endpoint = seen.endpoint;
                }
                entry.socket.creator = entry.socket.creator.or(by);
                add_holder(&mut entry.socket, holder, late);
            });
        }
        if late {
            if let Some(entry) = self.sockets.get_mut(&key)
                && entry.socket.seen.phase == Phase::Listening
            {
                entry.socket.listening_since = Some(at);
            }
        } else {
            self.set_phase(key, Phase::Listening, Some(at));
        }
        let Some(entry) = self.sockets.get_mut(&key) else { return };
        entry.settled = entry.settled.max(at);
        entry.socket.evidence = entry.socket.evidence.min(evidence);
        fill(&mut entry.socket.seen, &seen);
        let mut change = row(at, EventKind::Listen, evidence, by, &entry.socket);
        change.event.phase = Some(Phase::Listening);
        out.push(change);
    }

    pub(super) fn unlistened(
        &mut self,
        at: Timestamp,
        evidence: Evidence,
        key: SocketKey,
        out: &mut Vec<Change>,
    ) {
        self.announce(key, out);
        let Some(entry) = self.sockets.get_mut(&key) else {
            if let Some(socket) = self.tombstones.remembered(key) {
                out.push(row(at, EventKind::Unlisten, evidence, None, socket));
            } else {
                self.unknown(at, EventKind::Unlisten, evidence, key, None, out);
            }
            return;
        };
        entry.listened = true;
        if at >= entry.settled {
            entry.settled = at;
            self.set_phase(key, Phase::Bound, None);
        }
        if let Some(socket) = self.get(key) {
            out.push(row(at, EventKind::Unlisten, evidence, None, socket));
        }
    }

    pub(super) fn closed(
        &mut self,
        at: Timestamp,
        evidence: Evidence,
        closed: Closed,
        out: &mut Vec<Change>,
    ) {
        let Closed { key, by } = closed;
        if self.sockets.contains_key(&key) {
            self.end(at, evidence, key, by, out);
            self.tombstones.bury(key, at);
            return;
        }
        match self.tombstones.settle(key) {
            Some(ghost) if ghost.quiet => self.tally.noise_closes += 1,
            Some(ghost) => {
                if let Some(socket) = ghost.socket {
                    out.push(close_row(at, evidence, by, &socket));
                } else {
                    out.push(placeless(at, EventKind::Close, evidence, key, by));
                }
            }
            None => {
                self.unknown(at, EventKind::Close, evidence, key, by, out);
                self.tombstones.bury(key, at);
            }
        }
    }

    /// The end of a socket of which nothing else was told: its bind was among the records lost. Without a loss it
    /// was never worth telling.
    fn unknown(
        &mut self,
        at: Timestamp,
        kind: EventKind,
        evidence: Evidence,
        key: SocketKey,
        by: Option<ProcessId>,
        out: &mut Vec<Change>,
    ) {
        if self.lossy_until.is_some() {
            out.push(placeless(at, kind, evidence, key, by));
        } else {
            self.tally.unknown += 1;
        }
    }

    /// Takes a socket out of the table and tells its close, or counts its bind as noise. What is left of it, and
    /// whether it was noise.
    pub(super) fn end(
        &mut self,
        at: Timestamp,
        evidence: Evidence,
        key: SocketKey,
        by: Option<ProcessId>,
        out: &mut Vec<Change>,
    ) -> Option<(Socket, bool)> {
        if let Some(Entry { telling: Telling::Pending(due), socket, .. }) =
            self.sockets.get(&key).map(Box::as_ref)
            && (self.policy.keep_noise || *due <= at || self.maybe_listened(socket.since))
        {
            self.announce(key, out);
        }
        let Entry { socket, telling, last, .. } = *self.remove(key)?;
        if let Telling::Pending(_) = telling {
            self.count_noise(
                socket.since,
                socket.evidence,
                socket.creator,
                socket.seen.endpoint.protocol,
                out,
            );
        }
        let quiet = telling != Telling::Told;
        if quiet {
            self.tally.noise_closes += u64::from(evidence == Evidence::Kernel);
        } else {
            // Who looks sees a process gone, and then its socket. A kernel program names who closed.
            let by = by.or(last.filter(|_| evidence != Evidence::Kernel && socket.holders.is_empty()));
            out.push(close_row(at, evidence, by, &socket));
            for process in socket.creator.into_iter().chain(socket.holders.iter().map(|h| h.process)) {
                self.processes.had_socket(process, at, &socket);
            }
        }
        Some((socket, quiet))
    }

    pub(super) fn exited(
        &mut self,
        at: Timestamp,
        evidence: Evidence,
        exited: Exited,
        out: &mut Vec<Change>,
    ) {
        let Exited { process, status, sender } = exited;
        if !self.processes.exit(process) {
            return;
        }
        let keys: Vec<_> = self.index.of_process(process).collect();
        // A child that never did more than inherit is not worth a row: servers fork for each connection.
        let told = keys
            .iter()
            .filter_map(|key| self.sockets.get(key))
            .filter(|e| e.telling != Telling::Quiet && acted(&e.socket, process))
            .map(|e| &e.socket.seen);
        // Of several the one on the lowest port that listens.
        let has = told.min_by_key(|seen| (Reverse(seen.phase), seen.endpoint.port));
        let has = has.map(|seen| (seen.key, seen.endpoint));
        if let Some((key, place)) = has.or(self.processes.had_recently(process, at)) {
            let mut event = Event::new(at, EventKind::Exit, evidence);
            event.protocol = Some(place.protocol);
            event.address = Some(place.address);
            event.port = Some(place.port);
            event.netns = place.netns;
            event.socket = Some(key);
            event.process = Some(process);
            event.exit = status;
            event.other = sender;
            event.other_evidence = sender.map(|_| evidence);
            out.push(Change { event, socket: None });
        }
        for key in keys {
            let Some(entry) = self.sockets.get_mut(&key) else { continue };
            let socket = &mut entry.socket;
            // Not by `update`, which takes all holders out of the index and puts them back: there may be thousands.
            if let Some(at) = place_of(&socket.holders, process) {
                socket.holders.remove(at);
            }
            if socket.creator != Some(process) {
                self.index.leave(process, key);
            }
            // The exit is told before the closes that follow from it; a socket in flight outlives it.
            if socket.holders.is_empty() && socket.owner == Owner::Known {
                socket.owner = Owner::NoProcess;
                entry.last = Some(process);
            }
        }
    }

    /// Whether a listen of a socket bound at `since` may be among the records lost. Then nobody can say that it
    /// closed without listening.
    fn maybe_listened(&self, since: Timestamp) -> bool {
        self.lossy_until.is_some_and(|until| since <= until)
    }

    /// A child has its parent's descriptors, until it closes them or calls exec.
    pub(super) fn forked(&mut self, at: Timestamp, forked: Forked) {
        let Forked { parent, child } = forked;
        if self.processes.has_exited(child) {
            return;
        }
        let keys: Vec<_> = self.index.of_process(parent).collect();
        for key in keys {
            // Whoever is in the index has the socket, but for who made it and gave it away.
            let known = self.index.knows(child, key);
            let Some(entry) = self.sockets.get_mut(&key) else { continue };
            let socket = &mut entry.socket;
            let has = |process| socket.holders.iter().any(|h| h.process == process);
            let holds = socket.creator != Some(parent) || has(parent);
            let known = known && (socket.creator != Some(child) || has(child));
            // What a later look found stands.
            if holds && !known && at >= entry.looked {
                socket.holders.push(Holder { process: child, evidence: Evidence::Inherited });
                self.index.join(child, key);
            }
        }
    }

    /// Whether the socket of an event is known to be closed already.
    fn is_gone(&mut self, at: Timestamp, seen: &SocketSeen) -> bool {
        self.tombstones.holds(seen.key, at)
            || (!self.sockets.contains_key(&seen.key)
                && self.scopes.looked_after(at, &seen.endpoint, seen.phase))
    }

    fn fresh(&self, at: Timestamp, evidence: Evidence, seen: SocketSeen, by: Option<ProcessId>) -> Socket {
        let holders: Vec<_> = self.holder(evidence, by).into_iter().collect();
        let owner = match (by, holders.is_empty()) {
            (None, _) => Owner::Unknown,
            (Some(_), true) => Owner::NoProcess,
            (Some(_), false) => Owner::Known,
        };
        Socket { seen, creator: by, holders, owner, since: at, listening_since: None, evidence }
    }

    fn holder(&self, evidence: Evidence, by: Option<ProcessId>) -> Option<Holder> {
        by.filter(|&process| !self.processes.has_exited(process)).map(|process| Holder { process, evidence })
    }

    /// Decides what becomes of a bind.
    pub(super) fn tell_bind(&mut self, at: Timestamp, socket: &Socket, out: &mut Vec<Change>) -> Telling {
        if self.is_noise(&socket.seen) {
            self.count_noise(at, socket.evidence, socket.creator, socket.seen.endpoint.protocol, out);
            return Telling::Quiet;
        }
        if socket.seen.endpoint.protocol == Protocol::Tcp {
            return Telling::Pending(later(at, self.policy.grace));
        }
        out.push(row(at, EventKind::Bind, socket.evidence, socket.creator, socket));
        Telling::Told
    }
}

/// A row about a socket of which only the key is known.
fn placeless(
    at: Timestamp,
    kind: EventKind,
    evidence: Evidence,
    key: SocketKey,
    by: Option<ProcessId>,
) -> Change {
    let mut event = Event::new(at, kind, evidence);
    event.socket = Some(key);
    event.process = by;
    Change { event, socket: None }
}

/// Where a holder is. A look has them by pid, and children come after; of those the youngest mostly end first.
fn place_of(holders: &[Holder], process: ProcessId) -> Option<usize> {
    let in_order = holders.binary_search_by_key(&process, |holder| holder.process).ok();
    in_order.or_else(|| holders.iter().rposition(|holder| holder.process == process))
}

/// Whether a process made the socket, or was seen to hold it.
fn acted(socket: &Socket, process: ProcessId) -> bool {
    socket.creator == Some(process)
        // Of thousands that end at once, each is looked for among the thousands.
        || place_of(&socket.holders, process)
            .and_then(|at| socket.holders.get(at))
            .is_some_and(|holder| holder.evidence != Evidence::Inherited)
}

/// Takes over what was not known.
pub(super) fn fill(known: &mut SocketSeen, seen: &SocketSeen) {
    known.inode = known.inode.or(seen.inode);
    known.uid = known.uid.or(seen.uid);
    known.cgroup_id = known.cgroup_id.or(seen.cgroup_id);
    known.attached.renew(seen.attached);
    let (options, new) = (&mut known.options, seen.options);
    options.reuse_addr = new.reuse_addr.or(options.reuse_addr);
    options.reuse_port = new.reuse_port.or(options.reuse_port);
    options.v6_only = new.v6_only.or(options.v6_only);
}

/// The caller of bind or listen has the socket open; if it is told late, only a later scan can say whether still.
fn add_holder(socket: &mut Socket, holder: Option<Holder>, late: bool) {
    let Some(holder) = holder else { return };
    if late && socket.owner != Owner::Unknown {
        return;
    }
    if socket.holders.iter().all(|h| h.process != holder.process) {
        socket.holders.push(holder);
    }
    socket.owner = Owner::Known;
}
