//! What sources say. Every source speaks in these terms, so sources are interchangeable.

use super::{Endpoint, ExitStatus, Holder, Owner, ProcessId, ProcessSeen, SocketKey, SocketSeen, Timestamp};
use super::{Evidence, Protocol};
use std::{collections::HashSet, net::IpAddr};

/// One thing seen, when, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// When it happened (kernel) or was found (scan).
    pub at: Timestamp,
    /// How it was seen.
    pub evidence: Evidence,
    /// What was seen.
    pub seen: Seen,
}

/// The things a source can see.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// Facts of a process; always before the first event that names it.
    Process(ProcessSeen),
    /// A bind succeeded.
    Bound(Bound),
    /// A bind was refused.
    Refused(BindRefused),
    /// A socket began to listen (with or without a bind before).
    Listening(Listening),
    /// A listening socket stopped listening without being closed (shutdown, MPTCP subflow).
    Unlistened(Unlistened),
    /// A bound or listening socket was closed.
    Closed(Closed),
    /// A process that was named before has a child.
    Forked(Forked),
    /// A process that was named before runs another program now.
    Execed(Execed),
    /// A process ended.
    Exited(Exited),
    /// Records were lost. A `Snapshot` follows.
    Gap {
        /// How many, by kind.
        lost: LossCounts,
        /// When the losing began, as far as known.
        since: Timestamp,
        /// Why.
        reason: GapReason,
    },
    /// Connections were left to TIME_WAIT: a count, never one of them.
    ConnectionsLeft(Box<super::ConnectionsLeft>),
    /// The wall clock was set: what was told before is dated by the old one.
    ClockSet {
        /// By how much it is ahead of where it was; negative when it was set back.
        by: jiff::SignedDuration,
    },
    /// The whole truth at one moment.
    Snapshot(Box<Snapshot>),
}

/// A successful bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The socket.
    pub socket: SocketSeen,
    /// Who called.
    pub by: Option<ProcessId>,
}

/// A refused bind, or a refused listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindRefused {
    /// The socket, where known. Bound to `port` where `listen` is set.
    pub key: Option<SocketKey>,
    /// It was bound, and was refused when it was to listen: another socket that shares the port by SO_REUSEADDR was first.
    pub listen: bool,
    /// Where it wanted to be: everything that is known of the request.
    pub netns: Option<super::Netns>,
    /// Protocol, where known.
    pub protocol: Option<Protocol>,
    /// Asked address.
    pub address: IpAddr,
    /// Asked port; `None` for 0 (any).
    pub port: Option<super::Port>,
    /// errno, positive (98 is EADDRINUSE).
    pub errno: i32,
    /// Who called.
    pub by: Option<ProcessId>,
}

/// A listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The socket, with phase `Listening`. `asked` is `Unknown` unless this event itself told.
    pub socket: SocketSeen,
    /// Who called.
    pub by: Option<ProcessId>,
}

/// An end of listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unlistened {
    /// The socket.
    pub key: SocketKey,
}

/// A close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The socket.
    pub key: SocketKey,
    /// The last closer, who need not be the binder.
    pub by: Option<ProcessId>,
}

/// An exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exited {
    /// Who.
    pub process: ProcessId,
    /// How; `None` when it could only be seen that it is gone.
    pub status: Option<ExitStatus>,
    /// Who sent the signal of `status`, where a process did and its start is known.
    pub sender: Option<ProcessId>,
}

/// A fork. The child has every descriptor of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forked {
    /// Who forked.
    pub parent: ProcessId,
    /// The child.
    pub child: ProcessId,
}

/// An exec: descriptors that are marked so were closed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execed {
    /// Who.
    pub process: ProcessId,
}

/// Lost records, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LossCounts {
    /// Process records.
    pub process: u64,
    /// Bind records.
    pub bind: u64,
    /// Refused-bind records.
    pub refused: u64,
    /// Listen records.
    pub listen: u64,
    /// Close records (of either kind).
    pub close: u64,
    /// Exit records.
    pub exit: u64,
    /// Records that arrived but could not be decoded.
    pub undecodable: u64,
}

impl LossCounts {
    /// The words of [`LossCounts::by_kind`].
    pub const KINDS: [&str; 7] = ["process", "bind", "refused", "listen", "close", "exit", "undecodable"];

    /// One number for each of [`LossCounts::KINDS`].
    pub const fn by_kind(&self) -> [u64; 7] {
        [self.process, self.bind, self.refused, self.listen, self.close, self.exit, self.undecodable]
    }

    /// All of them.
    pub const fn total(&self) -> u64 {
        self.process + self.bind + self.refused + self.listen + self.close + self.exit + self.undecodable
    }
}

/// Why something may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The kernel's buffer was full.
    BufferFull,
    /// Nobody was watching (daemon down, not stopped in order).
    NotRunning,
    /// The machine slept or the observer was stopped.
    Paused,
    /// Another source took over.
    SourceChanged,
    /// The journal could not be written (disk full, locked).
    NotWritten,
}

impl GapReason {
    /// Every value.
    pub const ALL: [Self; 5] =
        [Self::BufferFull, Self::NotRunning, Self::Paused, Self::SourceChanged, Self::NotWritten];

    /// The word used in JSON and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer-full",
            Self::NotRunning => "not-running",
            Self::Paused => "paused",
            Self::SourceChanged => "source-changed",
            Self::NotWritten => "not-written",
        }
    }

    /// The inverse of [`GapReason::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == word)
    }
}

/// The kernel's tables at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Before the first table was read: an event later than this may be missing from `sockets`.
    pub begun: Timestamp,
    /// After the last table was read.
    pub ended: Timestamp,
    /// Namespaces that were read; a socket elsewhere is not judged by this snapshot.
    /// Empty where the platform has no namespaces: then everything is judged.
    pub namespaces: Vec<super::Netns>,
    /// How far it reached beyond our own namespace.
    pub beyond: Beyond,
    /// Protocols that were read completely; a socket of another one is not judged.
    pub protocols: Vec<Protocol>,
    /// Ports that were read; empty means all. A socket on another port is not judged.
    pub ports: Vec<super::Port>,
    /// TCP sockets that are bound but do not listen were read (kernel 6.8+). Without it a bound TCP
    /// socket that is missing is not known to be gone.
    pub bound_included: bool,
    /// They were left out although the kernel would show them: the source hears of each by itself. Nothing at all is said
    /// of those that are missing.
    pub bound_left_out: bool,
    /// Bound TCP sockets that are not among `sockets` and are there: they have become connections. Looked at where a
    /// live table misses some, and so in no recording.
    pub connected: HashSet<SocketKey>,
    /// The sockets: TCP listening, TCP bound, UDP.
    pub sockets: Vec<SnapshotSocket>,
    /// Facts of the processes named by `sockets`.
    pub processes: Vec<ProcessSeen>,
}

/// How far a look reached beyond our own network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Beyond {
    /// It did not look there.
    #[default]
    NotLooked,
    /// Every namespace that has a process or a name was read.
    Seen,
    /// There may be others: processes may not be looked into, or namespaces not entered.
    Hidden,
}

/// A socket in a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSocket {
    /// The socket.
    pub socket: SocketSeen,
    /// Its holders; empty with `owner` saying why.
    pub holders: Vec<Holder>,
    /// Why `holders` is as it is. `Unknown` when this snapshot did not look for holders at all:
    /// then what was known of them before stays.
    pub owner: Owner,
}

impl Observation {
    /// Shorthand for tests and sources.
    pub const fn new(at: Timestamp, evidence: Evidence, seen: Seen) -> Self {
        Self { at, evidence, seen }
    }
}

impl BindRefused {
    /// The endpoint asked for, when protocol and port are known.
    pub fn endpoint(&self) -> Option<Endpoint> {
        Some(Endpoint {
            netns: self.netns,
            protocol: self.protocol?,
            address: self.address,
            port: self.port?,
        })
    }
}

/// Whether an empty answer may be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// Every socket of the asker's network namespace was seen.
    Complete,
    /// Not everything could be seen; the sentence says what and why.
    Partial(String),
    /// Every UDP socket was, and not every TCP socket.
    PartialTcp(String),
}

impl Completeness {
    /// Why nothing seen of this protocol (of any, where none is named) does not mean that nothing is there.
    pub fn missing(&self, protocol: Option<Protocol>) -> Option<&str> {
        match self {
            Self::Complete => None,
            Self::PartialTcp(_) if protocol == Some(Protocol::Udp) => None,
            Self::Partial(why) | Self::PartialTcp(why) => Some(why),
        }
    }
}
