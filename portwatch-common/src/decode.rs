//! From bytes to facts: the only door through which a record enters user space.
//!
//! [`decode`] is total. It trusts no tag, length or flag, and a record that contradicts itself is refused
//! with the offset of the contradiction. What comes out holds by its types: no port 0 where a socket has
//! a place, no address tail, no half-known process.

mod error;
mod facts;
mod fields;
mod kind;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod properties;
mod text;

use core::{
    mem::{offset_of, size_of},
    net::IpAddr,
    num::{NonZeroU16, NonZeroU32, NonZeroU64},
};

pub use error::{DecodeError, Problem};
pub use facts::{
    Actor, Close, Exec, Exit, Fork, Killed, Options, Process, Protocol, Record, Refused, SentFrom, Socket,
};
use fields::Fields;
pub use kind::Kind;
pub use text::{Comm, Command};

use crate::record::{self, ABI, COMMAND_LEN, Header, flag};

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
