//! A bound socket that a table does not show any more: closed, or a connection by now.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::{
    model::{ConnectionScope, Endpoint, Netns, Port, SocketKey},
    source::Source,
};

/// Of bound TCP sockets that a table does not show any more, those that have become connections: the kernel's tables show a bound socket as
/// long as it does nothing (`inet_diag_dump_icsk`, TCPF_BOUND_INACTIVE).
pub(super) fn connected(source: &mut dyn Source, doubted: &[(SocketKey, Endpoint)]) -> HashSet<SocketKey> {
    let mut spaces: BTreeMap<Option<Netns>, BTreeMap<SocketKey, Port>> = BTreeMap::new();
    for (key, place) in doubted {
        spaces.entry(place.netns).or_default().insert(*key, place.port);
    }
    spaces.into_iter().flat_map(|(netns, sockets)| within(source, netns, &sockets)).collect()
}

fn within(
    source: &mut dyn Source,
    netns: Option<Netns>,
    sockets: &BTreeMap<SocketKey, Port>,
) -> Vec<SocketKey> {
    let ports: BTreeSet<Port> = sockets.values().copied().collect();
    let ports = ports.into_iter().collect();
    let scope = ConnectionScope::Ports { ports, netns, holders: false, interfaces: Vec::new() };
    match source.connections(&scope) {
        Ok(None) => Vec::new(),
        Ok(Some(found)) => {
            let keys = found.rows.iter().filter_map(|row| row.key);
            keys.filter(|key| sockets.contains_key(key)).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "connections could not be looked at: bound sockets are left as they were");
            sockets.keys().copied().collect()
        }
    }
}
