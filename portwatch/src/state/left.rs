//! What the record of an earlier run leaves open: the first snapshot tells which of it ended meanwhile.

use std::{collections::HashSet, mem::discriminant};

use super::{LiveTable, memory::Scope};
use crate::model::{Change, Event, EventKind, Evidence, LeftOpen, Snapshot, SocketKey, Timestamp};

impl LiveTable {
    /// Expects these sockets to be in the first snapshot; to be called before it.
    pub fn expect(&mut self, left: Vec<LeftOpen>) {
        self.left = left;
    }

    /// Tells the end of those that the first snapshot would have shown and does not. Where two sources give sockets different
    /// identities, or none that lasts, a socket is known to be gone only when nothing at all is at its place.
    pub(super) fn tell_ended(
        &mut self,
        at: Timestamp,
        scope: &Scope,
        snapshot: &Snapshot,
        out: &mut Vec<Change>,
    ) {
        let left = std::mem::take(&mut self.left);
        if left.is_empty() {
            return;
        }
        let seen = || snapshot.sockets.iter().map(|item| &item.socket);
        let keys: HashSet<SocketKey> = seen().map(|socket| socket.key).collect();
        let places: HashSet<_> = seen().map(|socket| socket.endpoint).collect();
        let kind = seen().next().map(|socket| discriminant(&socket.key));
        for LeftOpen { endpoint: place, key, phase, asked, options, by, since } in left {
            let known = key.is_some_and(|key| kind == Some(discriminant(&key)));
            let there =
                if known { key.is_some_and(|key| keys.contains(&key)) } else { places.contains(&place) };
            if there || !scope.shows(&place, phase) {
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
    }
}
