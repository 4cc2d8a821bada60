//! What a polled source looks with: the kernel's tables, or a tool that prints them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use crate::{
    model::{
        Beyond, BindRules, Completeness, ConnectionScope, Connections, Coverage, Degradation, Local, Netns,
        Port, ProcessId, Protocol, Snapshot, SocketSeen, Timestamp, Tunnel,
    },
    source::{Refresh, SourceError, SourceKind},
};

/// How far to look for holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderSearch {
    /// Not at all.
    None,
    /// Until each socket has a holder, and then only its relatives: parent, children, brothers, since
    /// descriptors are inherited. A holder by other ways (SCM_RIGHTS) can be missed.
    First,
    /// Every process of the machine.
    All,
}

/// The socket tables, without holders.
#[derive(Debug, Default)]
pub struct Tables {
    /// Before the first was read.
    pub begun: Timestamp,
    /// Those read completely.
    pub protocols: Vec<Protocol>,
    /// Ports looked at; none means all.
    pub ports: Vec<Port>,
    /// Bound TCP sockets are among `sockets`.
    pub bound_included: bool,
    /// As in the snapshot.
    pub bound_left_out: bool,
    /// Namespaces read completely, or gone. Empty where the one that is read is known anyway.
    pub namespaces: Vec<Netns>,
    /// As in the snapshot.
    pub beyond: Beyond,
    /// Devices that keep UDP sockets, by namespace and port.
    pub tunnels: HashMap<(Option<Netns>, Port), Tunnel>,
    /// The sockets.
    pub sockets: Vec<SocketSeen>,
}

/// How often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// While things change.
    pub fastest: Duration,
    /// When nothing has changed for a while.
    pub slowest: Duration,
    /// Between two looks lies at least so many times the duration of one: what looking costs stays bounded.
    pub rest: u32,
}

/// Takes snapshots. Remembers who held what, so that the next look need only confirm it.
pub trait Look: std::fmt::Debug + Send {
    /// Which source it makes.
    fn kind(&self) -> SourceKind;

    /// The namespace it reads; `None` where the platform has none.
    fn netns(&self) -> Option<Netns>;

    /// How often to look.
    fn pace(&self) -> Pace;

    /// What serves each fact.
    fn coverage(&self) -> Vec<Coverage>;

    /// What did not work in the latest look.
    fn degradations(&self) -> &[Degradation];

    /// Whether a port on which the latest look showed nothing is free.
    fn completeness(&self) -> Completeness;

    /// The sockets alone, on `ports` or (none named) all. As cheap as it can be had.
    fn tables(&mut self, ports: &[Port]) -> Result<Tables, SourceError>;

    /// The same of every network namespace that may be entered, where that can be done.
    fn tables_everywhere(&mut self, ports: &[Port]) -> Result<Tables, SourceError> {
        self.tables(ports)
    }

    /// From now on a namespace that cannot be found any more has no sockets.
    fn judge_gone(&mut self) {}

    /// Adds the holders of those sockets that are `asked` for, and what these processes are.
    fn with_holders(
        &mut self,
        tables: Tables,
        mode: HolderSearch,
        asked: &dyn Fn(&SocketSeen) -> bool,
    ) -> Result<Snapshot, SourceError>;

    /// TCP connections; `None` where they are not told, and of a network namespace that cannot be entered.
    fn connections(&mut self, _scope: &ConnectionScope) -> Result<Option<Connections>, SourceError> {
        Ok(None)
    }

    /// What decides a bind besides sockets, in the network namespace `netns` or (`None`) the own one.
    fn bind_rules(&mut self, _addresses: &[Local], _netns: Option<Netns>) -> BindRules {
        BindRules::default()
    }

    /// Holders found so far of sockets that still exist, as far as the looks reached.
    fn known_holders(&self) -> BTreeSet<ProcessId>;

    /// Inodes of sockets of which a known holder has ended. None where each look names every holder anyway.
    fn without_living_holder(&mut self) -> HashSet<u64>;

    /// The process is still there.
    fn lives(&mut self, process: ProcessId) -> bool;

    /// The sockets on `ports`, or (none named) all, with their holders.
    fn snapshot(&mut self, ports: &[Port], mode: HolderSearch) -> Result<Snapshot, SourceError> {
        let tables = self.tables(ports)?;
        self.with_holders(tables, mode, &|_| true)
    }

    /// The same in every network namespace that may be entered.
    fn snapshot_everywhere(&mut self, ports: &[Port], mode: HolderSearch) -> Result<Snapshot, SourceError> {
        let tables = self.tables_everywhere(ports)?;
        self.with_holders(tables, mode, &|_| true)
    }

    /// Looks a part of the truth up again.
    fn refresh(&mut self, scope: &Refresh) -> Result<Snapshot, SourceError> {
        match scope {
            Refresh::Ports(ports) | Refresh::Asked(ports) | Refresh::PortsEverywhere(ports)
                if ports.is_empty() =>
            {
                Ok(Snapshot { begun: Timestamp::now(), ended: Timestamp::now(), ..Snapshot::default() })
            }
            Refresh::Ports(ports) | Refresh::Asked(ports) => self.snapshot(ports, HolderSearch::First),
            Refresh::PortsEverywhere(ports) => self.snapshot_everywhere(ports, HolderSearch::First),
            Refresh::All => self.snapshot_everywhere(&[], HolderSearch::First),
        }
    }
}
