//! Who was in the way of a refused bind.

use super::LiveTable;
use crate::model::{BindRefused, Evidence, Phase, ProcessId, Protocol, Socket, Timestamp, addresses_overlap};

/// The process behind the sockets that overlap the request, listeners first. Several processes are ambiguous, and
/// the one that was there first is named. `None` when nothing known overlaps.
pub(super) fn party_in_the_way(table: &LiveTable, refused: &BindRefused) -> Option<(ProcessId, Evidence)> {
    // Asked for any port: nobody in particular was in the way.
    let port = refused.port?;
    let own = refused.key.and_then(|key| table.get(key));
    // The request's IPV6_V6ONLY is mostly not known; as the kernel's default, it is taken to be off.
    let own_v6_only = own.and_then(|socket| socket.seen.options.v6_only);
    let overlapping = || {
        table.on_port(port, refused.protocol).filter(|socket| {
            let place = &socket.seen.endpoint;
            place.netns == refused.netns
                && Some(socket.seen.key) != refused.key
                && addresses_overlap(
                    (place.address, socket.seen.options.v6_only),
                    (refused.address, own_v6_only),
                )
        })
    };
    let listening = overlapping().any(|s| s.seen.phase == Phase::Listening);
    let mut best: Option<(Timestamp, ProcessId, Evidence)> = None;
    let mut several = false;
    for socket in overlapping().filter(|s| {
        !listening || s.seen.phase == Phase::Listening || s.seen.endpoint.protocol == Protocol::Udp
    }) {
        let Some((process, evidence)) = principal(socket) else { continue };
        match &best {
            Some((_, known, _)) if *known == process => {}
            Some((since, ..)) => {
                several = true;
                if socket.since < *since {
                    best = Some((socket.since, process, evidence));
                }
            }
            None => best = Some((socket.since, process, evidence)),
        }
        several |= evidence == Evidence::Ambiguous;
    }
    best.map(|(_, process, evidence)| (process, if several { Evidence::Ambiguous } else { evidence }))
}

/// The one process that stands for a socket: its creator while it holds it or nobody is known to, else its holder.
fn principal(socket: &Socket) -> Option<(ProcessId, Evidence)> {
    let held_by_creator = socket.holders.iter().find(|h| Some(h.process) == socket.creator);
    match (held_by_creator, socket.holders.as_slice()) {
        (Some(holder), _) | (None, [holder]) => Some((holder.process, holder.evidence)),
        (None, [holder, ..]) => Some((holder.process, Evidence::Ambiguous)),
        (None, []) => socket.creator.map(|process| (process, Evidence::Inferred)),
    }
}
