//! From bytes to facts: the only door through which a record enters user space.
//!
//! [`decode`] is total. It trusts no tag, length or flag, and a record that contradicts itself is refused
//! with the offset of the contradiction. What comes out holds by its types: no port 0 where a socket has
//! a place, no address tail, no half-known process.

mod error;
mod fields;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod properties;

use core::{
    mem::{offset_of, size_of},
    net::IpAddr,
    num::{NonZeroU16, NonZeroU32, NonZeroU64},
};

pub use error::{DecodeError, Problem};
use fields::Fields;

use crate::record::{self, ABI, COMM_LEN, COMMAND_LEN, Header, flag, kind};

/// Kinds of record, as a type: every `match` on it is exhaustive, so a new kind does not compile until the
/// decoder, the encoder and the conversion handle it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// Facts of a process.
    Process = kind::PROCESS,
    /// A bind succeeded.
    Bind = kind::BIND,
    /// A bind was refused.
    Refused = kind::REFUSED,
    /// A socket began to listen.
    Listen = kind::LISTEN,
    /// A socket stopped listening.
    Unlisten = kind::UNLISTEN,
    /// A socket was closed.
    Close = kind::CLOSE,
    /// A process ended.
    Exit = kind::EXIT,
    /// A process has a child.
    Fork = kind::FORK,
    /// A process called exec.
    Exec = kind::EXEC,
    /// A process ended after a signal.
    Killed = kind::KILLED,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Process,
        Self::Bind,
        Self::Refused,
        Self::Listen,
        Self::Unlisten,
        Self::Close,
        Self::Exit,
        Self::Fork,
        Self::Exec,
        Self::Killed,
    ];

    /// The kind with this number; `None` for 0, for holes and for numbers not given out yet.
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            kind::PROCESS => Self::Process,
            kind::BIND => Self::Bind,
            kind::REFUSED => Self::Refused,
            kind::LISTEN => Self::Listen,
            kind::UNLISTEN => Self::Unlisten,
            kind::CLOSE => Self::Close,
            kind::EXIT => Self::Exit,
            kind::FORK => Self::Fork,
            kind::EXEC => Self::Exec,
            kind::KILLED => Self::Killed,
            _ => return None,
        })
    }

    /// The number in the header.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Size of a record of this kind in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Process => size_of::<record::ProcessRecord>(),
            Self::Bind | Self::Refused | Self::Listen => size_of::<record::SocketRecord>(),
            Self::Unlisten | Self::Close => size_of::<record::CloseRecord>(),
            Self::Exit => size_of::<record::ExitRecord>(),
            Self::Fork => size_of::<record::ForkRecord>(),
            Self::Exec => size_of::<record::ExecRecord>(),
            Self::Killed => size_of::<record::KilledRecord>(),
        }
    }

    /// The word used in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Bind => "bind",
            Self::Refused => "refused",
            Self::Listen => "listen",
            Self::Unlisten => "unlisten",
            Self::Close => "close",
            Self::Exit => "exit",
            Self::Fork => "fork",
            Self::Exec => "exec",
            Self::Killed => "killed",
        }
    }
}

// A number given out in `record::kind` must have its variant here, and every variant is in the list.
const _: () = {
    let (mut number, mut known) = (0, 0);
    while number < kind::END {
        if Kind::from_number(number).is_some() {
            known += 1;
        }
        number += 1;
    }
    assert!(known == Kind::ALL.len(), "a record kind has no decoder");
    assert!(Kind::from_number(kind::END - 1).is_some(), "kind::END is not one past the highest kind");
    assert!(Kind::from_number(kind::END).is_none(), "kind::END is not one past the highest kind");
};

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

/// A task's name: up to 15 bytes of its owner's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Comm {
    bytes: [u8; COMM_LEN],
}

impl Comm {
    /// From what the kernel keeps: the bytes before the first NUL. `None` without a NUL.
    ///
    /// What follows the NUL is dropped, not refused: `__set_task_comm` cleared it only from 5.17 on, and a
    /// name can change while it is read.
    pub fn from_kernel(mut bytes: [u8; COMM_LEN]) -> Option<Self> {
        let end = bytes.iter().position(|&b| b == 0)?;
        bytes.iter_mut().skip(end).for_each(|b| *b = 0);
        Some(Self { bytes })
    }

    /// The name.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.split(|&b| b == 0).next().unwrap_or_default()
    }

    /// The name, NUL-padded.
    pub const fn padded(&self) -> &[u8; COMM_LEN] {
        &self.bytes
    }
}

/// The beginning of a command line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Command {
    bytes: [u8; COMMAND_LEN],
    len: u16,
    truncated: bool,
}

impl Command {
    /// The first [`COMMAND_LEN`] bytes of `arguments` (separated by NUL), truncated when there are more.
    pub fn new(arguments: &[u8], truncated: bool) -> Self {
        let mut bytes = [0; COMMAND_LEN];
        let mut len = 0;
        for (slot, &byte) in bytes.iter_mut().zip(arguments) {
            *slot = byte;
            len += 1;
        }
        Self { bytes, len, truncated: truncated || arguments.len() > COMMAND_LEN }
    }

    /// Arguments separated by NUL; empty when the command line was not readable.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The command line is longer than this.
    pub const fn is_truncated(&self) -> bool {
        self.truncated
    }
}

impl core::fmt::Debug for Command {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{}\"{}", self.as_bytes().escape_ascii(), if self.truncated { "…" } else { "" })
    }
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

/// Decodes one record, which must be all of `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let fields = open(bytes)?;
    let boot_ns = fields.u64(offset_of!(Header, boot_ns))?;
    Ok(match fields.kind() {
        Kind::Process => Record::Process(process(&fields, boot_ns)?),
        Kind::Bind => Record::Bind(socket(&fields, boot_ns)?),
        Kind::Listen => Record::Listen(socket(&fields, boot_ns)?),
        Kind::Refused => Record::Refused(refused(&fields, boot_ns)?),
        Kind::Unlisten => Record::Unlisten(close(&fields, boot_ns)?),
        Kind::Close => Record::Close(close(&fields, boot_ns)?),
        Kind::Exit => Record::Exit(exit(&fields, boot_ns)?),
        Kind::Fork => Record::Fork(fork(&fields, boot_ns)?),
        Kind::Exec => {
            Record::Exec(Exec { boot_ns, actor: fields.known_actor(offset_of!(record::ExecRecord, actor))? })
        }
        Kind::Killed => Record::Killed(killed(&fields, boot_ns)?),
    })
}

/// Checks the header and the length. Afterwards every field of the kind's record lies inside.
fn open(bytes: &[u8]) -> Result<Fields<'_>, DecodeError> {
    let header: &[u8; size_of::<Header>()] =
        bytes.first_chunk().ok_or(DecodeError::NoHeader { len: bytes.len() })?;
    let [a0, a1, k0, k1, s0, s1, s2, s3, ..] = *header;
    let abi = u16::from_ne_bytes([a0, a1]);
    if abi != ABI {
        return Err(DecodeError::Abi { found: abi });
    }
    let number = u16::from_ne_bytes([k0, k1]);
    let kind = Kind::from_number(number).ok_or(DecodeError::UnknownKind { found: number })?;
    let size = u32::from_ne_bytes([s0, s1, s2, s3]);
    if usize::try_from(size) != Ok(kind.size()) {
        return Err(DecodeError::WrongSize { kind, found: size });
    }
    if bytes.len() < kind.size() {
        return Err(DecodeError::Truncated { kind, len: bytes.len() });
    }
    if bytes.len() > kind.size() {
        return Err(DecodeError::TrailingBytes { kind, len: bytes.len() });
    }
    Ok(Fields::new(kind, bytes))
}

fn process(fields: &Fields<'_>, boot_ns: u64) -> Result<Process, DecodeError> {
    use record::ProcessRecord as R;
    fields.zero::<1>(offset_of!(R, pad))?;
    let len_at = offset_of!(R, command_len);
    let len = fields.u16(len_at)?;
    let command: [u8; COMMAND_LEN] = fields.bytes(offset_of!(R, command))?;
    let command = command.get(..usize::from(len)).ok_or(fields.bad(len_at, Problem::CommandLength))?;
    let truncated = fields.boolean(offset_of!(R, command_truncated))?;
    Ok(Process {
        boot_ns,
        actor: fields.known_actor(offset_of!(R, actor))?,
        cgroup_id: NonZeroU64::new(fields.u64(offset_of!(R, cgroup_id))?),
        parent_pid: NonZeroU32::new(fields.u32(offset_of!(R, parent_pid))?),
        comm: fields.comm(offset_of!(R, comm))?,
        parent_comm: fields.comm(offset_of!(R, parent_comm))?,
        command: Command::new(command, truncated),
    })
}

/// What the records of binds, listens and refused binds have in common.
struct Common {
    actor: Option<Actor>,
    cookie: u64,
    cgroup_id: Option<NonZeroU64>,
    address: IpAddr,
    netns: Option<NonZeroU32>,
    errno: u32,
    port: u16,
    asked_port: Option<u16>,
    protocol: u8,
    options: Option<Options>,
}

fn common(fields: &Fields<'_>) -> Result<Common, DecodeError> {
    use record::SocketRecord as R;
    let flags_at = offset_of!(R, flags);
    let flags = fields.u16(flags_at)?;
    if flags & !flag::ALL != 0 {
        return Err(fields.bad(flags_at, Problem::UnknownFlags));
    }
    let has = |bit| flags & bit != 0;

    let actor_at = offset_of!(R, actor);
    let actor = fields.actor(actor_at)?;
    match (&actor, has(flag::ACTOR_KNOWN)) {
        (Some(_), true) | (None, false) => {}
        (None, true) => return Err(fields.bad(actor_at, Problem::NoPid)),
        (Some(_), false) => return Err(fields.bad(actor_at, Problem::NotFlagged)),
    }

    let asked_at = offset_of!(R, asked_port);
    let asked = fields.u16(asked_at)?;
    if asked != 0 && !has(flag::ASKED_KNOWN) {
        return Err(fields.bad(asked_at, Problem::NotFlagged));
    }
    let options = Options {
        reuse_addr: has(flag::REUSE_ADDR),
        reuse_port: has(flag::REUSE_PORT),
        v6_only: has(flag::V6_ONLY),
    };
    if options != Options::default() && !has(flag::OPTIONS_KNOWN) {
        return Err(fields.bad(flags_at, Problem::NotFlagged));
    }

    Ok(Common {
        actor,
        cookie: fields.u64(offset_of!(R, cookie))?,
        cgroup_id: NonZeroU64::new(fields.u64(offset_of!(R, cgroup_id))?),
        address: fields.address(offset_of!(R, family), offset_of!(R, address))?,
        netns: NonZeroU32::new(fields.u32(offset_of!(R, netns))?),
        errno: fields.u32(offset_of!(R, errno))?,
        port: fields.u16(offset_of!(R, port))?,
        asked_port: has(flag::ASKED_KNOWN).then_some(asked),
        protocol: fields.u8(offset_of!(R, protocol))?,
        options: has(flag::OPTIONS_KNOWN).then_some(options),
    })
}

fn socket(fields: &Fields<'_>, boot_ns: u64) -> Result<Socket, DecodeError> {
    use record::SocketRecord as R;
    let common = common(fields)?;
    if common.errno != 0 {
        return Err(fields.bad(offset_of!(R, errno), Problem::UnexpectedErrno));
    }
    Ok(Socket {
        boot_ns,
        actor: common.actor,
        cookie: NonZeroU64::new(common.cookie).ok_or(fields.bad(offset_of!(R, cookie), Problem::NoCookie))?,
        cgroup_id: common.cgroup_id,
        address: common.address,
        netns: common.netns,
        port: NonZeroU16::new(common.port).ok_or(fields.bad(offset_of!(R, port), Problem::NoPort))?,
        asked_port: common.asked_port,
        protocol: Protocol::from_number(common.protocol)
            .ok_or(fields.bad(offset_of!(R, protocol), Problem::Protocol))?,
        options: common.options,
    })
}

fn refused(fields: &Fields<'_>, boot_ns: u64) -> Result<Refused, DecodeError> {
    use record::SocketRecord as R;
    /// `MAX_ERRNO` in the kernel's `include/linux/err.h`
    const MAX_ERRNO: u16 = 4095;

    let common = common(fields)?;
    if common.port != 0 && common.asked_port != Some(common.port) {
        return Err(fields.bad(offset_of!(R, port), Problem::UnexpectedPort));
    }
    let errno_at = offset_of!(R, errno);
    let errno = u16::try_from(common.errno).ok().filter(|&e| e <= MAX_ERRNO);
    let errno = errno.ok_or(fields.bad(errno_at, Problem::ErrnoRange))?;
    let protocol = match common.protocol {
        0 => None,
        number => Some(
            Protocol::from_number(number).ok_or(fields.bad(offset_of!(R, protocol), Problem::Protocol))?,
        ),
    };
    Ok(Refused {
        boot_ns,
        actor: common.actor,
        cookie: NonZeroU64::new(common.cookie),
        cgroup_id: common.cgroup_id,
        address: common.address,
        netns: common.netns,
        errno: NonZeroU16::new(errno).ok_or(fields.bad(errno_at, Problem::NoErrno))?,
        asked_port: common.asked_port,
        listen: common.port != 0,
        protocol,
        options: common.options,
    })
}

fn close(fields: &Fields<'_>, boot_ns: u64) -> Result<Close, DecodeError> {
    use record::CloseRecord as R;
    let cookie_at = offset_of!(R, cookie);
    Ok(Close {
        boot_ns,
        actor: fields.actor(offset_of!(R, actor))?,
        cookie: NonZeroU64::new(fields.u64(cookie_at)?).ok_or(fields.bad(cookie_at, Problem::NoCookie))?,
    })
}

fn exit(fields: &Fields<'_>, boot_ns: u64) -> Result<Exit, DecodeError> {
    use record::ExitRecord as R;
    fields.zero::<3>(offset_of!(R, pad))?;
    let code_at = offset_of!(R, exit_code);
    let code = fields.u32(code_at)?;
    let known = fields.boolean(offset_of!(R, exit_code_known))?;
    if code != 0 && !known {
        return Err(fields.bad(code_at, Problem::NotFlagged));
    }
    Ok(Exit { boot_ns, actor: fields.known_actor(offset_of!(R, actor))?, exit_code: known.then_some(code) })
}

fn fork(fields: &Fields<'_>, boot_ns: u64) -> Result<Fork, DecodeError> {
    use record::ForkRecord as R;
    fields.zero::<4>(offset_of!(R, pad))?;
    let pid_at = offset_of!(R, child_pid);
    Ok(Fork {
        boot_ns,
        actor: fields.known_actor(offset_of!(R, actor))?,
        child_pid: NonZeroU32::new(fields.u32(pid_at)?).ok_or(fields.bad(pid_at, Problem::NoPid))?,
        child_start_ns: NonZeroU64::new(fields.u64(offset_of!(R, child_start_ns))?),
    })
}

fn killed(fields: &Fields<'_>, boot_ns: u64) -> Result<Killed, DecodeError> {
    use record::KilledRecord as R;
    /// `_NSIG`
    const LAST_SIGNAL: u8 = 64;

    fields.zero::<1>(offset_of!(R, pad))?;
    let signal_at = offset_of!(R, signal);
    let signal = fields.u8(signal_at)?;
    if !(1..=LAST_SIGNAL).contains(&signal) {
        return Err(fields.bad(signal_at, Problem::Signal));
    }
    let (from_at, sender_at) = (offset_of!(R, from), offset_of!(R, sender));
    let sender = fields.actor(sender_at)?;
    let from = match (fields.u8(from_at)?, sender) {
        (record::from::PROCESS, Some(sender)) => SentFrom::Process(sender),
        (record::from::KERNEL, None) => SentFrom::Kernel,
        (record::from::OUT_OF_MEMORY, None) => SentFrom::OutOfMemory,
        (record::from::PROCESS, None) => return Err(fields.bad(sender_at, Problem::NoPid)),
        (record::from::KERNEL | record::from::OUT_OF_MEMORY, Some(_)) => {
            return Err(fields.bad(sender_at, Problem::NotFlagged));
        }
        _ => return Err(fields.bad(from_at, Problem::Signal)),
    };
    Ok(Killed {
        boot_ns,
        actor: fields.known_actor(offset_of!(R, actor))?,
        exit_code: fields.u32(offset_of!(R, exit_code))?,
        signal,
        from,
        again: fields.boolean(offset_of!(R, again))?,
        sent_ns: fields.u64(offset_of!(R, sent_ns))?,
    })
}
