//! What the record of an earlier run leaves open: the first snapshot tells which of it ended meanwhile.

use std::{
    collections::{HashMap, HashSet},
    mem::discriminant,
};

use super::{LiveTable, memory::Scope};
use crate::model::{
    AskedPort, Change, Event, EventKind, Evidence, LeftOpen, Phase, Snapshot, Socket, SocketKey, Timestamp,
};

/// What an earlier run left open, by identity.
pub(super) type Known = HashMap<SocketKey, LeftOpen>;

/// Tells of a socket of the first snapshot what the record knows, where it is the same socket. A cookie is never given twice in a boot. An inode
/// can be, in four thousand million sockets: it must be at the same place, and its process the one that made it.
pub(super) fn recall(known: &Known, socket: &mut Socket) {
    let key = socket.seen.key;
    let Some(left) = known.get(&key) else { return };
    let (is, was) = (&socket.seen.endpoint, &left.endpoint);
    let has_it = |by| socket.holders.iter().any(|holder| Some(holder.process) == by);
    let by = left.by.map(|(process, _)| process).filter(|&by| has_it(Some(by)));
    let same = match key {
        SocketKey::Cookie(_) => (is.netns, is.protocol, is.port) == (was.netns, was.protocol, was.port),
        SocketKey::Inode { .. } => is == was && by.is_some(),
        SocketKey::Numbered(_) => false,
    };
    // What began to listen meanwhile has not listened since then; and a clock that was set back makes no age.
    let began_later = socket.seen.phase == Phase::Listening && left.phase == Phase::Bound;
    let Some(began) = left.began.filter(|began| same && !began_later && began.since <= socket.since) else {
        return;
    };
    socket.since = began.since;
    socket.listening_since = began.listening_since.filter(|_| socket.seen.phase == Phase::Listening);
    socket.evidence = began.evidence;
    socket.creator = by;
    if socket.seen.asked == AskedPort::Unknown {
        socket.seen.asked = left.asked;
    }
}

impl LiveTable {
    /// Expects these sockets to be in the first snapshot; to be called before it.
    pub fn expect(&mut self, left: Vec<LeftOpen>) {
        self.left = left;
    }

    /// Tells the end of those that the first snapshot would have shown and does not, and gives those that it shows. Where two sources give sockets different
    /// identities, or none that lasts, a socket is known to be gone only when nothing at all is at its place.
    pub(super) fn tell_ended(
        &mut self,
        at: Timestamp,
        scope: &Scope,
        snapshot: &Snapshot,
        out: &mut Vec<Change>,
    ) -> Known {
        let left = std::mem::take(&mut self.left);
        if left.is_empty() {
            return Known::new();
        }
        let seen = || snapshot.sockets.iter().map(|item| &item.socket);
        let keys: HashSet<SocketKey> = seen().map(|socket| socket.key).collect();
        let places: HashSet<_> = seen().map(|socket| socket.endpoint).collect();
        let kind = seen().next().map(|socket| discriminant(&socket.key));
        let mut there_still = Known::new();
        for left in left {
            let LeftOpen { endpoint: place, key, phase, asked, options, by, since, began: _ } = left;
            let known = key.is_some_and(|key| kind == Some(discriminant(&key)));
            let there =
                if known { key.is_some_and(|key| keys.contains(&key)) } else { places.contains(&place) };
            if there || !scope.shows(&place, phase) {
                there_still.extend(key.filter(|_| there).map(|key| (key, left)));
                continue;
            }
            let mut event = Event::new(at, EventKind::Close, Evidence::Scan);
            event.protocol = Some(place.protocol);
            event.address = Some(place.address);
            event.port = Some(place.port);
            event.netns = place.netns;
            event.socket = key;
            event.phase = Some(phase);
            event.asked = asked;
            event.options = options;
            (event.other, event.other_evidence) = by.unzip();
            event.since = Some(since);
            event.message = Some("while no daemon was running".to_owned());
            out.push(Change { event, socket: None });
        }
        there_still
    }
}
