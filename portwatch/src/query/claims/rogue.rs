//! Listeners that nothing explains: those that are there, and those that were.

use std::collections::HashSet;

use super::{
    Known,
    standing::{annotate, of_process},
};
use crate::{
    journal::Reader,
    model::{EventFilter, EventKind, Netns, Order, Owner, Phase, Protocol, SocketKey, Timestamp},
    query::{self, KnownSocket, ListFilter, QueryError, Record},
    registry::Standing,
};

/// Looks at sockets one by one.
#[derive(Debug)]
pub struct Rogues<'a> {
    known: &'a Known,
    own: Option<Netns>,
    /// All that serve.
    living: HashSet<SocketKey>,
    /// Of how many listeners it is not known.
    pub unknown: u64,
}

impl<'a> Rogues<'a> {
    /// By what is claimed and allowed; `own` is the namespace that claims are of.
    pub fn new(known: &'a Known, own: Option<Netns>) -> Self {
        Self { known, own, living: HashSet::new(), unknown: 0 }
    }

    /// Whether it is rogue; what explains it is noted in it. A TCP socket that does not listen serves nobody; UDP has no other state.
    pub fn is_rogue(&mut self, socket: &mut KnownSocket) -> bool {
        annotate(self.known, std::slice::from_mut(socket), self.own);
        let seen = &socket.socket.seen;
        if seen.phase != Phase::Listening && seen.endpoint.protocol != Protocol::Udp {
            return false;
        }
        self.living.insert(seen.key);
        self.unknown += u64::from(socket.standing == Some(Standing::Unknown));
        socket.standing == Some(Standing::Rogue)
    }
}

/// Listens read from the journal at once.
const PAGE: usize = 5000;
/// More rogue listens of the past are not told of: the newest are.
const MOST: usize = 10_000;

/// Rogue listens since a moment whose sockets are not among the living, newest first; and whether there are more.
pub fn rogue_since(
    reader: &Reader,
    rogues: &Rogues<'_>,
    filter: &ListFilter,
    since: Timestamp,
) -> Result<(Vec<Record>, bool), QueryError> {
    let mut listens = EventFilter {
        since: Some(since),
        kinds: vec![EventKind::Listen],
        order: Order::NewestFirst,
        limit: u64::try_from(PAGE).ok(),
        ..EventFilter::default()
    };
    let mut gone = Vec::new();
    let mut edge = HashSet::new();
    loop {
        let (events, _) = query::log(reader, &listens)?;
        let full = events.len() >= PAGE;
        let oldest = events.last().map(|record| record.event.at);
        let fresh: Vec<Record> = events.into_iter().filter(|record| !edge.contains(&record.id)).collect();
        let more = !fresh.is_empty();
        edge = fresh.iter().filter(|r| Some(r.event.at) == oldest).map(|r| r.id).collect();
        gone.extend(rogue_gone(rogues, fresh, filter));
        let cut = gone.len() > MOST || (full && gone.len() == MOST);
        gone.truncate(MOST);
        if !full || cut {
            return Ok((gone, cut));
        }
        // Rows of one moment may lie on both sides of a page's edge: that moment is read again.
        listens.until = oldest.and_then(|at| {
            if more { at.checked_add(std::time::Duration::from_nanos(1)).ok() } else { Some(at) }
        });
    }
}

/// Of the listens in the journal, newest first, those that nothing explains and whose sockets are not among the living.
fn rogue_gone(rogues: &Rogues<'_>, events: Vec<Record>, filter: &ListFilter) -> Vec<Record> {
    let Rogues { known, living, .. } = rogues;
    let uid = filter.user.as_ref().and_then(|user| user.parse::<u32>().ok());
    events
        .into_iter()
        .filter(|record| record.event.socket.is_none_or(|key| !living.contains(&key)))
        .filter(|record| {
            let port = record.event.port.map_or(0, crate::model::Port::get);
            filter.from.is_none_or(|from| port >= from) && filter.to.is_none_or(|to| port <= to)
        })
        .filter(|record| {
            filter.user.as_ref().is_none_or(|user| {
                record
                    .process
                    .as_ref()
                    .is_some_and(|p| p.user.as_ref() == Some(user) || (uid.is_some() && p.uid == uid))
            })
        })
        .filter(|record| {
            let process = record.process.as_deref();
            // One that holds a claim now was rogue then, perhaps; a claim explains its port.
            let claimed = record
                .event
                .protocol
                .zip(record.event.port)
                .is_some_and(|(protocol, port)| known.on(protocol, port).is_some());
            !claimed && of_process(known, process, record.event.port, (None, Owner::Known)) == Standing::Rogue
        })
        .collect()
}
