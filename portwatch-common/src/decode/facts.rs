//! What a record says, in types that hold what the decoder has checked.

use core::{
    net::IpAddr,
    num::{NonZeroU16, NonZeroU32, NonZeroU64},
};

use super::{Comm, Command, Kind};
use crate::record;

/// A decoded record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "no allocator here; a record is converted at once and not kept in numbers"
)]
pub enum Record {
    /// Facts of a process.
    Process(Process),
    /// A bind succeeded.
    Bind(Socket),
    /// A bind was refused.
    Refused(Refused),
    /// A socket began to listen.
    Listen(Socket),
    /// A socket stopped listening and was not closed.
    Unlisten(Close),
    /// A bound or listening socket was closed.
    Close(Close),
    /// A process ended.
    Exit(Exit),
    /// A process has a child.
    Fork(Fork),
    /// A process called exec.
    Exec(Exec),
    /// A process ended after a signal.
    Killed(Killed),
}

impl Record {
    /// Which kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Process(_) => Kind::Process,
            Self::Bind(_) => Kind::Bind,
            Self::Refused(_) => Kind::Refused,
            Self::Listen(_) => Kind::Listen,
            Self::Unlisten(_) => Kind::Unlisten,
            Self::Close(_) => Kind::Close,
            Self::Exit(_) => Kind::Exit,
            Self::Fork(_) => Kind::Fork,
            Self::Exec(_) => Kind::Exec,
            Self::Killed(_) => Kind::Killed,
        }
    }

    /// When it happened, in ns since boot, suspended time included.
    pub const fn boot_ns(&self) -> u64 {
        match self {
            Self::Process(r) => r.boot_ns,
            Self::Bind(r) | Self::Listen(r) => r.boot_ns,
            Self::Refused(r) => r.boot_ns,
            Self::Unlisten(r) | Self::Close(r) => r.boot_ns,
            Self::Exit(r) => r.boot_ns,
            Self::Fork(r) => r.boot_ns,
            Self::Exec(r) => r.boot_ns,
            Self::Killed(r) => r.boot_ns,
        }
    }
}

/// A process as an event names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// Thread-group id in the initial pid namespace.
    pub pid: NonZeroU32,
    /// Thread id.
    pub tid: u32,
    /// Real user id, initial user namespace.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Start of the thread-group leader, ns since boot; `None` when not readable.
    pub start_ns: Option<NonZeroU64>,
}

/// Facts of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// When, ns since boot.
    pub boot_ns: u64,
    /// The process.
    pub actor: Actor,
    /// cgroup v2 id, where readable.
    pub cgroup_id: Option<NonZeroU64>,
    /// Parent's thread-group id, where readable.
    pub parent_pid: Option<NonZeroU32>,
    /// Leader's comm.
    pub comm: Comm,
    /// Parent's comm; empty when not readable.
    pub parent_comm: Comm,
    /// Command line; empty when not readable.
    pub command: Command,
}

/// Transport protocol, as the socket was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// TCP
    Tcp = record::IPPROTO_TCP,
    /// UDP
    Udp = record::IPPROTO_UDP,
    /// UDP-Lite
    UdpLite = record::IPPROTO_UDPLITE,
    /// Multipath TCP
    Mptcp = record::IPPROTO_MPTCP_SHORT,
}

impl Protocol {
    /// `None` for a protocol whose sockets have no ports portwatch knows of.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            record::IPPROTO_TCP => Self::Tcp,
            record::IPPROTO_UDP => Self::Udp,
            record::IPPROTO_UDPLITE => Self::UdpLite,
            record::IPPROTO_MPTCP_SHORT => Self::Mptcp,
            _ => return None,
        })
    }
}

/// Options that decide who may share a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// SO_REUSEADDR
    pub reuse_addr: bool,
    /// SO_REUSEPORT
    pub reuse_port: bool,
    /// IPV6_V6ONLY
    pub v6_only: bool,
}

/// A socket that was bound or began to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// When, ns since boot.
    pub boot_ns: u64,
    /// Who called; `None` where the context was not the caller's.
    pub actor: Option<Actor>,
    /// Socket cookie.
    pub cookie: NonZeroU64,
    /// cgroup v2 id of the caller, where readable.
    pub cgroup_id: Option<NonZeroU64>,
    /// Local address. An IPv4-mapped IPv6 address stays IPv6: the socket is an IPv6 one.
    pub address: IpAddr,
    /// Network namespace inode, where readable.
    pub netns: Option<NonZeroU32>,
    /// Local port.
    pub port: NonZeroU16,
    /// Port asked for, where known; 0 is "any".
    pub asked_port: Option<u16>,
    /// Protocol.
    pub protocol: Protocol,
    /// Options, where known.
    pub options: Option<Options>,
}

/// A bind that was refused, or a listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When, ns since boot.
    pub boot_ns: u64,
    /// Who called; `None` where the context was not the caller's.
    pub actor: Option<Actor>,
    /// Socket cookie, where readable.
    pub cookie: Option<NonZeroU64>,
    /// cgroup v2 id of the caller, where readable.
    pub cgroup_id: Option<NonZeroU64>,
    /// The address asked for.
    pub address: IpAddr,
    /// Network namespace inode, where readable.
    pub netns: Option<NonZeroU32>,
    /// errno, 1 to 4095.
    pub errno: NonZeroU16,
    /// Port asked for, where known; 0 is "any".
    pub asked_port: Option<u16>,
    /// It was bound to that port already, and was to listen.
    pub listen: bool,
    /// Protocol, where readable.
    pub protocol: Option<Protocol>,
    /// Options, where known.
    pub options: Option<Options>,
}

/// The end of a socket, or of its listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// When, ns since boot.
    pub boot_ns: u64,
    /// The last closer; `None` where the context was not a process's.
    pub actor: Option<Actor>,
    /// Socket cookie.
    pub cookie: NonZeroU64,
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// When, ns since boot.
    pub boot_ns: u64,
    /// The process that ended.
    pub actor: Actor,
    /// wait(2)'s status word, where readable.
    pub exit_code: Option<u32>,
}

/// A process has a child, with the same descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// When, ns since boot.
    pub boot_ns: u64,
    /// The parent.
    pub actor: Actor,
    /// The child's thread-group id in the initial pid namespace.
    pub child_pid: NonZeroU32,
    /// Start of the child, ns since boot; `None` when not readable.
    pub child_start_ns: Option<NonZeroU64>,
}

/// A process called exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exec {
    /// When, ns since boot.
    pub boot_ns: u64,
    /// The process.
    pub actor: Actor,
}

/// Where a signal came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentFrom {
    /// A process sent it.
    Process(Actor),
    /// The kernel sent it.
    Kernel,
    /// The kernel sent it because memory was short.
    OutOfMemory,
}

/// The end of a process, and the signal that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed {
    /// When it ended, ns since boot.
    pub boot_ns: u64,
    /// The process that ended.
    pub actor: Actor,
    /// wait(2)'s status word.
    pub exit_code: u32,
    /// The signal, 1 to 64.
    pub signal: u8,
    /// Where it came from.
    pub from: SentFrom,
    /// The process sent it to itself again after it had got it from there.
    pub again: bool,
    /// When it was sent, ns since boot; the first time, where it was sent again.
    pub sent_ns: u64,
}
