//! Bound sockets that have become connections.

use std::collections::HashSet;

use crate::model::{Connections, Phase, Protocol, Socket, SocketKey};

/// Sockets that have connections.
#[derive(Debug, Default)]
pub(super) struct Connected(HashSet<SocketKey>);

impl Connected {
    /// Those of these.
    pub(super) fn of(connections: &Connections) -> Self {
        Self(connections.rows.iter().filter_map(|row| row.key).collect())
    }

    /// Whether a bound socket is one of them. It has the connection's place: its address is the one by which its peer is reached, and no longer
    /// the one that was bound (`inet_bhash2_update_saddr`). So its connection tells what it is in the way of.
    pub(super) fn has(&self, socket: &Socket) -> bool {
        let is_bound = socket.seen.phase == Phase::Bound && socket.seen.endpoint.protocol == Protocol::Tcp;
        is_bound && self.0.contains(&socket.seen.key)
    }
}
