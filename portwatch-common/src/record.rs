//! Records as they lie in the ring buffer: fixed-width integers and byte arrays, explicit padding, native
//! byte order (both sides run on one machine), no `bool`, no `Option`, no enum.
//!
//! A record begins with a [`Header`]. Process facts are heavy and travel once per process and `exec` in a
//! [`ProcessRecord`]; the records of events name the process by its [`Actor`] only. That keeps a
//! bind + listen + close at 88 + 88 + 48 bytes.

use core::mem::{align_of, offset_of, size_of};

/// Version of this contract. Any change of layout or meaning raises it.
pub const ABI: u16 = 1;

/// Kinds of record. Numbers are never reused.
///
/// 0 is never written (zeroed memory is not a record). 8 to 15 are kept for connections and TIME_WAIT,
/// 16 to 23 for who has a descriptor, 24 to 31 for ends of processes, 32 and above are free.
pub mod kind {
    /// [`super::ProcessRecord`]
    pub const PROCESS: u16 = 1;
    /// [`super::SocketRecord`]: a bind succeeded.
    pub const BIND: u16 = 2;
    /// [`super::SocketRecord`]: a bind was refused; `errno` says why, `port` is 0.
    pub const REFUSED: u16 = 3;
    /// [`super::SocketRecord`]: a socket began to listen.
    pub const LISTEN: u16 = 4;
    /// [`super::CloseRecord`]: a socket stopped listening and was not closed.
    pub const UNLISTEN: u16 = 5;
    /// [`super::CloseRecord`]: a bound or listening socket was closed.
    pub const CLOSE: u16 = 6;
    /// [`super::ExitRecord`]: a process that was named in a record ended.
    pub const EXIT: u16 = 7;
    /// [`super::ForkRecord`]: a process that was named in a record made a child, which has its descriptors.
    pub const FORK: u16 = 16;
    /// [`super::ExecRecord`]: such a process called exec; some of its descriptors are closed now.
    pub const EXEC: u16 = 17;
    /// [`super::KilledRecord`]: a process that was named in a record ended after a signal. Takes the place of
    /// [`EXIT`].
    pub const KILLED: u16 = 24;
    /// One past the highest kind in use; the size of tables indexed by kind.
    pub const END: u16 = 25;
}

/// Bits of [`SocketRecord::flags`].
pub mod flag {
    /// `asked_port` is meaningful.
    pub const ASKED_KNOWN: u16 = 1 << 0;
    /// `REUSE_ADDR`, `REUSE_PORT` and `V6_ONLY` are meaningful.
    pub const OPTIONS_KNOWN: u16 = 1 << 1;
    /// SO_REUSEADDR is set.
    pub const REUSE_ADDR: u16 = 1 << 2;
    /// SO_REUSEPORT is set.
    pub const REUSE_PORT: u16 = 1 << 3;
    /// IPV6_V6ONLY is set.
    pub const V6_ONLY: u16 = 1 << 4;
    /// `actor` is the process that called. Not set where the context was not the caller's (softirq).
    pub const ACTOR_KNOWN: u16 = 1 << 5;
    /// Every defined bit.
    pub const ALL: u16 = (1 << 6) - 1;
}

/// Where a signal came from: [`KilledRecord::from`].
pub mod from {
    /// A process sent it: [`super::KilledRecord::sender`].
    pub const PROCESS: u8 = 1;
    /// The kernel sent it: a fault, a terminal, a timer, a closed pipe.
    pub const KERNEL: u8 = 2;
    /// The kernel sent it because memory was short.
    pub const OUT_OF_MEMORY: u8 = 3;
}

/// `AF_INET`, the same on every Linux.
pub const AF_INET: u8 = 2;
/// `AF_INET6`, the same on every Linux.
pub const AF_INET6: u8 = 10;
/// `IPPROTO_TCP`
pub const IPPROTO_TCP: u8 = 6;
/// `IPPROTO_UDP`
pub const IPPROTO_UDP: u8 = 17;
/// `IPPROTO_UDPLITE`
pub const IPPROTO_UDPLITE: u8 = 136;
/// `IPPROTO_MPTCP` (262) does not fit a byte; the kernel's `sk_protocol` is 16 bits wide. It is written as this.
pub const IPPROTO_MPTCP_SHORT: u8 = 255;

/// `TASK_COMM_LEN`
pub const COMM_LEN: usize = 16;
/// How much of a command line a record carries.
pub const COMMAND_LEN: usize = 256;

/// First bytes of every record.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// [`ABI`]
    pub abi: u16,
    /// One of [`kind`].
    pub kind: u16,
    /// Size of the whole record in bytes.
    pub size: u32,
    /// `bpf_ktime_get_boot_ns` at the event.
    pub boot_ns: u64,
}

/// The process in whose context an event happened. All zero when unknown.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// Thread-group id in the initial pid namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Real user id, initial user namespace.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// `task_struct.start_boottime` of the thread-group leader, ns since boot; 0 when not readable.
    pub start_ns: u64,
}

/// A process, sent before the first event that names it, and again after it has exec'd.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessRecord {
    /// `kind` is [`kind::PROCESS`].
    pub header: Header,
    /// The process.
    pub actor: Actor,
    /// cgroup v2 id; 0 when not readable.
    pub cgroup_id: u64,
    /// Parent's thread-group id; 0 when not readable.
    pub parent_pid: u32,
    /// How many bytes of `command` are valid.
    pub command_len: u16,
    /// 1 when the command line is longer than `command`.
    pub command_truncated: u8,
    /// Zero.
    pub pad: u8,
    /// Leader's comm, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// Parent's comm, NUL-padded; all zero when not readable.
    pub parent_comm: [u8; COMM_LEN],
    /// First bytes of the argument area: arguments separated by NUL.
    pub command: [u8; COMMAND_LEN],
}

/// A bind, a refused bind or a listen.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketRecord {
    /// `kind` is [`kind::BIND`], [`kind::REFUSED`] or [`kind::LISTEN`].
    pub header: Header,
    /// Who called, where `flags` has [`flag::ACTOR_KNOWN`].
    pub actor: Actor,
    /// Socket cookie; 0 when not readable (possible for a refused bind only).
    pub cookie: u64,
    /// cgroup v2 id of the caller; 0 when not readable.
    pub cgroup_id: u64,
    /// Local address, network byte order; IPv4 in the first four bytes, the rest zero. For a refused bind
    /// the address asked for.
    pub address: [u8; 16],
    /// Network namespace inode; 0 when not readable.
    pub netns: u32,
    /// errno, positive; 0 unless the kind is [`kind::REFUSED`].
    pub errno: u32,
    /// Local port, host byte order; in a refused bind 0, and in a refused listen the port that the socket has.
    pub port: u16,
    /// Port asked for, host byte order, where `flags` has [`flag::ASKED_KNOWN`].
    pub asked_port: u16,
    /// [`AF_INET`] or [`AF_INET6`].
    pub family: u8,
    /// `IPPROTO_*`; 0 when not readable (possible for a refused bind only).
    pub protocol: u8,
    /// Bits of [`flag`].
    pub flags: u16,
}

/// The end of a socket, or of its listening.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseRecord {
    /// `kind` is [`kind::CLOSE`] or [`kind::UNLISTEN`].
    pub header: Header,
    /// The last closer; all zero when the context was not a process's.
    pub actor: Actor,
    /// Socket cookie.
    pub cookie: u64,
}

/// The end of a process.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitRecord {
    /// `kind` is [`kind::EXIT`].
    pub header: Header,
    /// The process that ended.
    pub actor: Actor,
    /// `task_struct.exit_code` (wait(2)'s layout), or the group's where it was killed as a group.
    pub exit_code: u32,
    /// 1 when `exit_code` is meaningful.
    pub exit_code_known: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// A process has a child.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForkRecord {
    /// `kind` is [`kind::FORK`].
    pub header: Header,
    /// The parent.
    pub actor: Actor,
    /// `start_boottime` of the child, ns since boot; 0 when not readable.
    pub child_start_ns: u64,
    /// The child's thread-group id in the initial pid namespace.
    pub child_pid: u32,
    /// Zero.
    pub pad: u32,
}

/// A process runs another program now.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecRecord {
    /// `kind` is [`kind::EXEC`].
    pub header: Header,
    /// The process.
    pub actor: Actor,
}

/// The end of a process, and the signal that came before it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KilledRecord {
    /// `kind` is [`kind::KILLED`].
    pub header: Header,
    /// The process that ended.
    pub actor: Actor,
    /// As in [`ExitRecord`]; always meaningful.
    pub exit_code: u32,
    /// The signal: the one that ended the process, or the last one that asks a process to end.
    pub signal: u8,
    /// One of [`from`].
    pub from: u8,
    /// 1 when the process sent the signal to itself again after it had got it from there, 0 otherwise.
    pub again: u8,
    /// Zero.
    pub pad: u8,
    /// When the signal was sent, ns since boot; the first time, where it was sent again.
    pub sent_ns: u64,
    /// Who sent it, where `from` is [`from::PROCESS`]; all zero otherwise.
    pub sender: Actor,
}

/// A descriptor of a socket, as the iterator over all descriptors writes it. No record: it comes through a file of its
/// own, many in a row, without a header.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketDescriptor {
    /// The socket's inode.
    pub inode: u64,
    /// Start of the process, ns since boot; 0 when not readable.
    pub start_ns: u64,
    /// Thread-group id in the initial pid namespace.
    pub pid: u32,
    /// The descriptor.
    pub fd: u32,
}

/// The options of a socket as they are, by a descriptor of it. No record either: the iterator over the descriptors of one
/// process writes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketSharing {
    /// The socket's inode.
    pub inode: u64,
    /// Thread-group id in the initial pid namespace.
    pub pid: u32,
    /// Bits of [`flag`]: the options, and [`flag::OPTIONS_KNOWN`].
    pub flags: u16,
    /// Zero.
    pub pad: u16,
}

/// Asserts size, alignment and the offset of each field.
macro_rules! layout {
    ($type:ty, $size:expr, { $($field:ident: $offset:expr),+ $(,)? }) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(align_of::<$type>() == 8);
            $(assert!(offset_of!($type, $field) == $offset);)+
        };
    };
}

layout!(Header, 16, { abi: 0, kind: 2, size: 4, boot_ns: 8 });
layout!(Actor, 24, { pid: 0, tid: 4, uid: 8, gid: 12, start_ns: 16 });
layout!(ProcessRecord, 344, {
    header: 0, actor: 16, cgroup_id: 40, parent_pid: 48, command_len: 52, command_truncated: 54, pad: 55,
    comm: 56, parent_comm: 72, command: 88,
});
layout!(SocketRecord, 88, {
    header: 0, actor: 16, cookie: 40, cgroup_id: 48, address: 56, netns: 72, errno: 76, port: 80,
    asked_port: 82, family: 84, protocol: 85, flags: 86,
});
layout!(CloseRecord, 48, { header: 0, actor: 16, cookie: 40 });
layout!(ExitRecord, 48, { header: 0, actor: 16, exit_code: 40, exit_code_known: 44, pad: 45 });
layout!(SocketDescriptor, 24, { inode: 0, start_ns: 8, pid: 16, fd: 20 });
layout!(SocketSharing, 16, { inode: 0, pid: 8, flags: 12, pad: 14 });
layout!(ForkRecord, 56, { header: 0, actor: 16, child_start_ns: 40, child_pid: 48, pad: 52 });
layout!(ExecRecord, 40, { header: 0, actor: 16 });
layout!(KilledRecord, 80, {
    header: 0, actor: 16, exit_code: 40, signal: 44, from: 45, again: 46, pad: 47, sent_ns: 48, sender: 56,
});
