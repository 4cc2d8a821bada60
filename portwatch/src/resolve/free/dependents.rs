//! Who is connected to the place, and what borrows its port.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{Dependent, time_wait};
use crate::{
    attribute::Attributor,
    model::{Connection, ConnectionScope, Port, Process, TcpState},
    resolve::{Place, ResolveError},
    source::scan::Look,
};

/// Beyond so many peers on this machine it is enough to count them.
const NAMED: usize = 64;

/// Connections on the port of a place.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// Who is connected to its listener.
    pub(super) dependents: Vec<Dependent>,
    /// Connections that nobody has any more.
    pub(super) time_wait: Vec<Connection>,
    /// Processes with a connection of their own from this port.
    pub(super) borrowers: Vec<Arc<Process>>,
}

/// Looks. `held` says that a listener is there, whose connections are not borrowed.
pub(super) fn around(
    scanner: &mut dyn Look,
    attributor: &mut Attributor,
    place: &Place,
    held: bool,
) -> Result<Around, ResolveError> {
    let scope = ConnectionScope::Ports {
        ports: vec![place.port],
        netns: None,
        holders: !held,
        interfaces: Vec::new(),
    };
    // Not every system tells of connections.
    let Some(connections) = scanner.connections(&scope)? else { return Ok(Around::default()) };
    let mut around = Around::default();
    let mut served: Vec<&Connection> = Vec::new();
    for row in &connections.rows {
        match row.state {
            TcpState::TimeWait if time_wait::concerns(place, row) => around.time_wait.push(row.clone()),
            TcpState::Established | TcpState::CloseWait if held => served.push(row),
            _ => {}
        }
    }
    if !held {
        for seen in &connections.processes {
            around.borrowers.push(attributor.learn(seen));
        }
    }
    // The other end of a connection on this machine has its place the other way round.
    let mut ports: Vec<Port> = served.iter().filter_map(|row| row.peer_port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.truncate(NAMED);
    let scope = ConnectionScope::Ports { ports, netns: None, holders: true, interfaces: Vec::new() };
    let ends = scanner.connections(&scope)?.unwrap_or_default();
    let mut known: BTreeMap<(Option<u32>, IpAddr), Dependent> = BTreeMap::new();
    for row in served {
        let same = |a: IpAddr, b: IpAddr| a.to_canonical() == b.to_canonical();
        let end = ends.rows.iter().find(|end| {
            Some(end.local.port) == row.peer_port
                && end.peer_port == Some(row.local.port)
                && same(end.local.address, row.peer)
        });
        let holder = end.and_then(|end| end.holders.first()).map(|holder| holder.process);
        let process = holder.and_then(|id| {
            ends.processes.iter().find(|seen| seen.id == id).map(|seen| attributor.learn(seen))
        });
        let address = row.peer.to_canonical();
        let key = (process.as_ref().map(|p| p.id.pid), address);
        known.entry(key).or_insert_with(|| Dependent { process, address, connections: 0 }).connections += 1;
    }
    around.dependents = known.into_values().collect();
    around.dependents.sort_by_key(|d| std::cmp::Reverse(d.connections));
    Ok(around)
}
