//! TCP connections, as far as they matter for a port: who has one, or left one behind.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Duration,
};

use super::{Endpoint, Holder, Netns, Owner, Port, ProcessId, ProcessSeen, SocketKey, SocketOptions, Zone};

/// How far a connection has come. Every one of these keeps its local port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// Open.
    Established,
    /// Asked for, not answered.
    SynSent,
    /// Closed here, not acknowledged.
    FinWait1,
    /// Closed here, open there.
    FinWait2,
    /// Closed on both sides, waiting for stray packets; no process has it any more.
    TimeWait,
    /// Closed there, open here.
    CloseWait,
    /// Closed there and then here, not acknowledged.
    LastAck,
    /// Closed on both sides at once.
    Closing,
}

impl TcpState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Established,
        Self::SynSent,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::CloseWait,
        Self::LastAck,
        Self::Closing,
    ];

    /// The word used in JSON, as `ss` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn-sent",
            Self::FinWait1 => "fin-wait-1",
            Self::FinWait2 => "fin-wait-2",
            Self::TimeWait => "time-wait",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::Closing => "closing",
        }
    }
}

/// Which interface a socket is bound to, by SO_BINDTODEVICE or by the zone of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Interface {
    /// Not looked at.
    #[default]
    Unknown,
    /// None: it takes what comes by any.
    Any,
    /// This one.
    One(Zone),
}

impl Interface {
    /// As the kernel numbers them (`sk_bound_dev_if`).
    pub fn of(number: u32) -> Self {
        Zone::new(number).map_or(Self::Any, Self::One)
    }
}

/// Interfaces of sockets, as the kernel's tables had them at the moment of a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interfaces(HashMap<SocketKey, Interface>);

impl Interfaces {
    /// Adds one that was found.
    pub fn add(&mut self, key: SocketKey, interface: Interface) {
        self.0.insert(key, interface);
    }

    /// That of a socket; not known of one that was not there.
    pub fn of(&self, key: SocketKey) -> Interface {
        self.0.get(&key).copied().unwrap_or_default()
    }

    /// Adds what was found later.
    pub fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }
}

/// A TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Local end.
    pub local: Endpoint,
    /// The other end's address.
    pub peer: IpAddr,
    /// The other end's port.
    pub peer_port: Option<Port>,
    /// How far it has come.
    pub state: TcpState,
    /// In TIME_WAIT: how long it will stay there at most.
    pub expires: Option<Duration>,
    /// The kernel keeps but a remnant of it, which is nobody's: always in TIME_WAIT, mostly in FIN_WAIT2 once its
    /// process has closed it.
    pub is_remnant: bool,
    /// Its socket; `None` of a remnant.
    pub key: Option<SocketKey>,
    /// Inode; `None` when no process has it any more.
    pub inode: Option<u64>,
    /// Uid of its socket; the kernel forgets it in TIME_WAIT.
    pub uid: Option<u32>,
    /// Sharing options of its socket, which stay in force to the end.
    pub options: SocketOptions,
    /// Who has it; where nobody has, who left it behind.
    pub holders: Vec<Holder>,
    /// Why `holders` is as it is.
    pub owner: Owner,
    /// The interface that it is bound to.
    pub interface: Interface,
}

impl Connection {
    /// So many are listed in one answer; a busy server has many thousands.
    pub const LISTED: usize = 100;

    /// Those that are listed first: the living, which are who has the port, then those that stay longest.
    pub fn order(&self) -> impl Ord + use<> {
        (self.inode.is_none(), Reverse(self.expires), self.peer, self.peer_port)
    }
}

/// The connections of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfProcess {
    /// The process.
    pub process: ProcessId,
    /// Those that are listed, with this process and no other holder: forked children share thousands.
    pub rows: Vec<Connection>,
    /// How many more there are in each state.
    pub left_out: BTreeMap<TcpState, usize>,
}

/// What a look at connections found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connections {
    /// The namespace looked at.
    pub netns: Option<Netns>,
    /// The connections; of processes they are in `of_processes` instead.
    pub rows: Vec<Connection>,
    /// Each process that was asked about and could be looked into, also one that has none.
    pub of_processes: Vec<OfProcess>,
    /// Facts of the processes named by them.
    pub processes: Vec<ProcessSeen>,
    /// Interfaces of the sockets on these ports, where they were asked for and are told.
    pub interfaces: Interfaces,
}

/// Which connections are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionScope {
    /// Those with one of these local ports.
    Ports {
        /// The ports.
        ports: Vec<Port>,
        /// In this network namespace; `None` is the observer's own.
        netns: Option<Netns>,
        /// Whose they are too, which may take a walk over all processes.
        holders: bool,
        /// The interfaces of the sockets on these of them too.
        interfaces: Vec<Port>,
    },
    /// All in TIME_WAIT.
    TimeWait {
        /// In this network namespace; `None` is the observer's own.
        netns: Option<Netns>,
    },
    /// Those that these processes have, in the network namespaces in which they are.
    Processes {
        /// Their pids.
        pids: Vec<u32>,
    },
}

impl ConnectionScope {
    /// The network namespace that is meant; `None` is the observer's own.
    pub const fn netns(&self) -> Option<Netns> {
        match self {
            Self::Ports { netns, .. } | Self::TimeWait { netns } => *netns,
            Self::Processes { .. } => None,
        }
    }
}

/// Connections that one process left behind on one port, counted where they were closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionsLeft {
    /// Namespace, where known.
    pub netns: Option<Netns>,
    /// The port listened on; `None` for outgoing connections, whose ports are borrowed.
    pub port: Option<Port>,
    /// Who; `None` when nobody can be named.
    pub process: Option<ProcessSeen>,
    /// How many since `since`.
    pub count: u64,
    /// Beginning of the count.
    pub since: super::Timestamp,
}
