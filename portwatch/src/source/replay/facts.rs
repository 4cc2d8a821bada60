//! What a recording keeps as JSON: gaps, snapshots and coverage. These types are the file format; the model's
//! own may change without breaking a recording.

use std::{collections::HashSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::model::{
    AskedPort, Beyond, CommandLine, Coverage, Endpoint, Evidence, Fact, GapReason, Holder, LossCounts, Netns,
    Observation, Owner, Phase, Port, ProcessId, ProcessSeen, Protocol, Seen, Snapshot, SnapshotSocket,
    SocketKey, SocketOptions, SocketSeen, Timestamp,
};

/// An enum of the format and the model's, both ways and exhaustively.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident = $model:ident { $($variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum $name { $($variant),+ }

        impl From<$model> for $name {
            fn from(value: $model) -> Self {
                match value { $($model::$variant => Self::$variant),+ }
            }
        }

        impl From<$name> for $model {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

words!(EvidenceWord = Evidence { Kernel, Scan, Inherited, Inferred, Ambiguous, Unknown });
words!(ProtocolWord = Protocol { Tcp, Udp });
words!(PhaseWord = Phase { Bound, Listening });
/// As [`Owner`]; of a tunnel device its name is not kept.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OwnerWord {
    Known,
    Kernel,
    NotPermitted,
    NoProcess,
    Unknown,
}

impl From<Owner> for OwnerWord {
    fn from(value: Owner) -> Self {
        match value {
            Owner::Known => Self::Known,
            Owner::Kernel(_) => Self::Kernel,
            Owner::NotPermitted => Self::NotPermitted,
            Owner::NoProcess => Self::NoProcess,
            Owner::Unknown => Self::Unknown,
        }
    }
}

impl From<OwnerWord> for Owner {
    fn from(value: OwnerWord) -> Self {
        match value {
            OwnerWord::Known => Self::Known,
            OwnerWord::Kernel => Self::Kernel(None),
            OwnerWord::NotPermitted => Self::NotPermitted,
            OwnerWord::NoProcess => Self::NoProcess,
            OwnerWord::Unknown => Self::Unknown,
        }
    }
}

words!(ReasonWord = GapReason { BufferFull, NotRunning, Paused, SourceChanged, NotWritten });
words!(
    FactWord = Fact {
        Bind,
        Refused,
        Listen,
        Close,
        UdpAutoBind,
        Exit,
        SignalSender,
        OutOfMemory,
        ProcessFacts,
        AskedPort,
        Holders,
        Existing,
        TimeWait
    }
);

#[derive(Serialize, Deserialize)]
pub(super) struct Coverages(Vec<Covered>);

#[derive(Serialize, Deserialize)]
struct Covered {
    fact: FactWord,
    hook: Option<String>,
}

impl From<&[Coverage]> for Coverages {
    fn from(coverage: &[Coverage]) -> Self {
        Self(coverage.iter().map(|c| Covered { fact: c.fact.into(), hook: c.hook.clone() }).collect())
    }
}

impl From<Coverages> for Vec<Coverage> {
    fn from(coverages: Coverages) -> Self {
        coverages.0.into_iter().map(|c| Coverage { fact: c.fact.into(), hook: c.hook }).collect()
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Gap {
    at: Timestamp,
    evidence: EvidenceWord,
    since: Timestamp,
    reason: ReasonWord,
    process: u64,
    bind: u64,
    refused: u64,
    listen: u64,
    close: u64,
    exit: u64,
    undecodable: u64,
}

impl Gap {
    pub(super) fn new(
        observation: &Observation,
        lost: LossCounts,
        since: Timestamp,
        reason: GapReason,
    ) -> Self {
        let LossCounts { process, bind, refused, listen, close, exit, undecodable } = lost;
        let Observation { at, evidence, .. } = *observation;
        let (evidence, reason) = (evidence.into(), reason.into());
        Self { at, evidence, since, reason, process, bind, refused, listen, close, exit, undecodable }
    }

    pub(super) fn lost(&self) -> LossCounts {
        let Self { process, bind, refused, listen, close, exit, undecodable, .. } = *self;
        LossCounts { process, bind, refused, listen, close, exit, undecodable }
    }

    pub(super) fn observation(&self) -> Observation {
        let gap = Seen::Gap { lost: self.lost(), since: self.since, reason: self.reason.into() };
        Observation::new(self.at, self.evidence.into(), gap)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Shot {
    at: Timestamp,
    evidence: EvidenceWord,
    begun: Timestamp,
    ended: Timestamp,
    namespaces: Vec<u32>,
    protocols: Vec<ProtocolWord>,
    ports: Vec<PortNumber>,
    bound_included: bool,
    #[serde(default)]
    bound_left_out: bool,
    sockets: Vec<Held>,
    processes: Vec<ProcessFacts>,
}

/// 1 to 65535; another number does not parse.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
struct PortNumber(Port);

impl From<PortNumber> for u16 {
    fn from(port: PortNumber) -> Self {
        port.0.get()
    }
}

impl TryFrom<u16> for PortNumber {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        Port::new(number).map(Self).ok_or("0 is not a port")
    }
}

#[derive(Serialize, Deserialize)]
struct Held {
    key: Key,
    inode: Option<u64>,
    netns: Option<u32>,
    protocol: ProtocolWord,
    address: IpAddr,
    port: PortNumber,
    phase: PhaseWord,
    asked: Asked,
    reuse_addr: Option<bool>,
    reuse_port: Option<bool>,
    v6_only: Option<bool>,
    uid: Option<u32>,
    cgroup_id: Option<u64>,
    owner: OwnerWord,
    holders: Vec<HolderFacts>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Key {
    Cookie(u64),
    Inode { netns: Option<u32>, inode: u64 },
    Numbered(u64),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Asked {
    Explicit(PortNumber),
    KernelChosen,
    Unknown,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Id {
    pid: u32,
    start_ticks: u64,
}

#[derive(Serialize, Deserialize)]
struct HolderFacts {
    process: Id,
    evidence: EvidenceWord,
}

#[derive(Serialize, Deserialize)]
struct ProcessFacts {
    id: Id,
    parent_pid: u32,
    parent_comm: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    comm: String,
    command: Option<Command>,
    cgroup_id: Option<u64>,
    evidence: EvidenceWord,
}

#[derive(Serialize, Deserialize)]
struct Command {
    args: Vec<String>,
    truncated: bool,
}

impl Shot {
    pub(super) fn new(observation: &Observation, snapshot: &Snapshot) -> Self {
        Self {
            at: observation.at,
            evidence: observation.evidence.into(),
            begun: snapshot.begun,
            ended: snapshot.ended,
            namespaces: snapshot.namespaces.iter().map(|n| n.0).collect(),
            protocols: snapshot.protocols.iter().map(|&p| p.into()).collect(),
            ports: snapshot.ports.iter().map(|&p| PortNumber(p)).collect(),
            bound_included: snapshot.bound_included,
            bound_left_out: snapshot.bound_left_out,
            sockets: snapshot.sockets.iter().map(Held::from).collect(),
            processes: snapshot.processes.iter().map(ProcessFacts::from).collect(),
        }
    }

    pub(super) fn observation(self) -> Observation {
        let snapshot = Snapshot {
            begun: self.begun,
            ended: self.ended,
            namespaces: self.namespaces.into_iter().map(Netns).collect(),
            // Of what was hidden then nobody is told now: a recording has no present.
            beyond: Beyond::NotLooked,
            protocols: self.protocols.into_iter().map(Into::into).collect(),
            ports: self.ports.into_iter().map(|p| p.0).collect(),
            bound_included: self.bound_included,
            bound_left_out: self.bound_left_out,
            connected: HashSet::new(),
            sockets: self.sockets.into_iter().map(Into::into).collect(),
            processes: self.processes.into_iter().map(Into::into).collect(),
        };
        Observation::new(self.at, self.evidence.into(), Seen::Snapshot(Box::new(snapshot)))
    }
}

impl From<&SnapshotSocket> for Held {
    fn from(value: &SnapshotSocket) -> Self {
        let SocketSeen { key, inode, endpoint, phase, asked, options, uid, cgroup_id, attached: _ } =
            value.socket;
        let Endpoint { netns, protocol, address, port } = endpoint;
        let SocketOptions { reuse_addr, reuse_port, v6_only } = options;
        let holder = |h: &Holder| HolderFacts { process: h.process.into(), evidence: h.evidence.into() };
        Self {
            key: match key {
                SocketKey::Cookie(cookie) => Key::Cookie(cookie),
                SocketKey::Inode { netns, inode } => Key::Inode { netns: netns.map(|n| n.0), inode },
                SocketKey::Numbered(number) => Key::Numbered(number),
            },
            inode,
            netns: netns.map(|n| n.0),
            protocol: protocol.into(),
            address,
            port: PortNumber(port),
            phase: phase.into(),
            asked: match asked {
                AskedPort::Explicit(port) => Asked::Explicit(PortNumber(port)),
                AskedPort::KernelChosen => Asked::KernelChosen,
                AskedPort::Unknown => Asked::Unknown,
            },
            reuse_addr,
            reuse_port,
            v6_only,
            uid,
            cgroup_id,
            owner: value.owner.into(),
            holders: value.holders.iter().map(holder).collect(),
        }
    }
}

impl From<Held> for SnapshotSocket {
    fn from(value: Held) -> Self {
        let Held { inode, address, reuse_addr, reuse_port, v6_only, uid, cgroup_id, .. } = value;
        let holder = |h: HolderFacts| Holder { process: h.process.into(), evidence: h.evidence.into() };
        Self {
            socket: SocketSeen {
                key: match value.key {
                    Key::Cookie(cookie) => SocketKey::Cookie(cookie),
                    Key::Inode { netns, inode } => SocketKey::Inode { netns: netns.map(Netns), inode },
                    Key::Numbered(number) => SocketKey::Numbered(number),
                },
                inode,
                endpoint: Endpoint {
                    netns: value.netns.map(Netns),
                    protocol: value.protocol.into(),
                    address,
                    port: value.port.0,
                },
                phase: value.phase.into(),
                asked: match value.asked {
                    Asked::Explicit(port) => AskedPort::Explicit(port.0),
                    Asked::KernelChosen => AskedPort::KernelChosen,
                    Asked::Unknown => AskedPort::Unknown,
                },
                options: SocketOptions { reuse_addr, reuse_port, v6_only },
                uid,
                cgroup_id,
                attached: crate::model::Attached::Unknown,
            },
            holders: value.holders.into_iter().map(holder).collect(),
            owner: value.owner.into(),
        }
    }
}

impl From<ProcessId> for Id {
    fn from(ProcessId { pid, start_ticks }: ProcessId) -> Self {
        Self { pid, start_ticks }
    }
}

impl From<Id> for ProcessId {
    fn from(Id { pid, start_ticks }: Id) -> Self {
        Self { pid, start_ticks }
    }
}

impl From<&ProcessSeen> for ProcessFacts {
    fn from(value: &ProcessSeen) -> Self {
        let command = |c: CommandLine| Command { args: c.args, truncated: c.truncated };
        let ProcessSeen { id, parent_pid, parent_comm, uid, gid, comm, command: line, cgroup_id, evidence } =
            value.clone();
        let (id, command, evidence) = (id.into(), line.map(command), evidence.into());
        Self { id, parent_pid, parent_comm, uid, gid, comm, command, cgroup_id, evidence }
    }
}

impl From<ProcessFacts> for ProcessSeen {
    fn from(value: ProcessFacts) -> Self {
        let line = |c: Command| CommandLine { args: c.args, truncated: c.truncated };
        let ProcessFacts { id, parent_pid, parent_comm, uid, gid, comm, command, cgroup_id, evidence } =
            value;
        let (id, command, evidence) = (id.into(), command.map(line), evidence.into());
        Self { id, parent_pid, parent_comm, uid, gid, comm, command, cgroup_id, evidence }
    }
}
