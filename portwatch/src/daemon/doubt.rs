//! A bound socket that a table does not show any more: closed, or a connection by now.

use std::collections::HashSet;

use crate::{
    model::{ConnectionScope, Port, SocketKey},
    source::Source,
};

/// Beyond so many ports all connections are read once, and not those of each port.
const FILTERED_DUMPS: usize = 8;

/// Of bound TCP sockets that a table does not show any more, those that have become connections: the kernel's tables show a bound socket as
/// long as it does nothing (`inet_diag_dump_icsk`, TCPF_BOUND_INACTIVE).
pub(super) fn connected(source: &mut dyn Source, doubted: &[(SocketKey, Port)]) -> HashSet<SocketKey> {
    if doubted.is_empty() {
        return HashSet::new();
    }
    let ports: HashSet<Port> = doubted.iter().map(|&(_, port)| port).collect();
    let scope = if ports.len() > FILTERED_DUMPS {
        ConnectionScope::Sockets
    } else {
        ConnectionScope::Ports { ports: ports.into_iter().collect(), holders: false, interfaces: Vec::new() }
    };
    match source.connections(&scope) {
        Ok(None) => HashSet::new(),
        Ok(Some(found)) => {
            let keys: HashSet<SocketKey> = found.rows.iter().filter_map(|row| row.key).collect();
            doubted.iter().map(|&(key, _)| key).filter(|key| keys.contains(key)).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "connections could not be looked at: bound sockets are left as they were");
            doubted.iter().map(|&(key, _)| key).collect()
        }
    }
}
