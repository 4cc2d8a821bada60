//! What is around the sockets when somebody asks: connections, and what a bind meets besides.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{ListFilter, Traffic, list},
    Live,
    connected::Connected,
    listing,
};
use crate::model::{
    BindRules, Connection, Connections, Netns, Port, ProcessId, Protocol, Sharing, Socket, TcpState,
};

/// What is around the sockets at the moment of a question.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// The network namespace that connections and settings are of.
    pub netns: Option<Netns>,
    /// Connections on the ports asked about; `None` when nobody could look.
    pub connections: Option<Connections>,
    /// Connections of the processes asked about, with those processes that could be looked into; `None` when nobody looked.
    pub of_processes: Option<Connections>,
    /// What the kernel decides binds by.
    pub rules: BindRules,
    /// The sharing options that sockets have now.
    pub sharing: Sharing,
}

impl Around {
    /// Puts what a closer look found in the place of what it looked at again.
    pub fn name(&mut self, ports: &[Port], closer: Connections) {
        if let Some(known) = &mut self.connections {
            known.rows.retain(|row| !ports.contains(&row.local.port));
            known.rows.extend(closer.rows);
            known.processes.extend(closer.processes);
        }
    }
}

impl Live {
    /// Connections with the facts of their processes.
    pub fn traffic(&mut self, connections: &Connections, keep: impl Fn(&Connection) -> bool) -> Traffic {
        for seen in &connections.processes {
            self.attributor.learn(seen);
        }
        let rows: Vec<_> = connections.rows.iter().filter(|row| keep(row)).cloned().collect();
        let ids: BTreeSet<ProcessId> = rows.iter().flat_map(|r| &r.holders).map(|h| h.process).collect();
        Traffic {
            rows,
            left_out: BTreeMap::new(),
            processes: ids.into_iter().filter_map(|id| self.named(id)).collect(),
        }
    }

    /// Answer of `ls --time-wait`, why others that match may be missing in it, and for how many there is no room.
    pub fn time_wait(
        &mut self,
        connections: &Connections,
        filter: &ListFilter,
    ) -> (Option<Traffic>, Option<String>, u64) {
        let mut traffic = self.traffic(connections, |row| row.state == TcpState::TimeWait);
        let (concealed, left_out) = list::time_wait(&mut traffic, filter);
        (Some(traffic), listing::left_by_nobody(concealed), left_out)
    }

    /// The sockets on these ports, and those of these connections, each by one process that has it and its inode.
    pub fn held(&self, ports: &[Port], connections: Option<&Connections>) -> Vec<(ProcessId, u64)> {
        let sockets = ports.iter().flat_map(|&port| self.table.on_port(port, None));
        let sockets = sockets.map(|socket| (socket.seen.inode, &socket.holders));
        let rows = connections.into_iter().flat_map(|found| &found.rows);
        let all = sockets.chain(rows.map(|row| (row.inode, &row.holders)));
        all.filter_map(|(inode, holders)| Some((holders.first()?.process, inode?))).collect()
    }

    /// Ports that living connections have and no known socket of their namespace: whose these are is the answer, and is worth a walk
    /// over the processes.
    pub fn unexplained(&self, connections: &Connections) -> Vec<Port> {
        let living = connections.rows.iter().filter(|row| row.inode.is_some());
        let ports: BTreeSet<Port> = living.map(|row| row.local.port).collect();
        let there = |s: &&Socket| connections.netns.is_none() || s.seen.endpoint.netns == connections.netns;
        let connected = Connected::of(connections);
        let bare = |port: &Port| {
            let mut there = self.table.on_port(*port, Some(Protocol::Tcp)).filter(there);
            there.all(|socket| connected.has(socket))
        };
        ports.into_iter().filter(bare).collect()
    }
}
