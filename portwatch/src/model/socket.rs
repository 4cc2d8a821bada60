//! What: sockets, as a source reports them and as the live table keeps them.

use std::{collections::HashMap, fmt};

use super::{Endpoint, Evidence, Netns, Port, ProcessId, Timestamp, Zone};

/// The identity of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketKey {
    /// The kernel's socket cookie: unique until reboot, the same in BPF and sock_diag.
    Cookie(u64),
    /// For sources that have no cookie: inode and namespace. Inodes are reused.
    Inode {
        /// Namespace, where known.
        netns: Option<Netns>,
        /// Socket inode.
        inode: u64,
    },
    /// For sources that have neither: a number of the source's own, which means something while it runs.
    Numbered(u64),
}

/// How far a socket has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Bound, not listening: for UDP the working state, for TCP a silent blocker.
    Bound,
    /// Listening (TCP only).
    Listening,
}

impl Phase {
    /// The word used in JSON and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Listening => "listening",
        }
    }
}

/// Which port the program asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AskedPort {
    /// It named the port.
    Explicit(Port),
    /// It asked for any port (bind to 0, listen without bind): a "random" port.
    KernelChosen,
    /// Nobody saw the request.
    Unknown,
}

/// Socket options that decide who may share a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SocketOptions {
    /// SO_REUSEADDR, where known.
    pub reuse_addr: Option<bool>,
    /// SO_REUSEPORT, where known.
    pub reuse_port: Option<bool>,
    /// IPV6_V6ONLY, where known; a wildcard v6 socket without it takes IPv4 too.
    pub v6_only: Option<bool>,
}

/// The sharing options of sockets at the moment of a question: a program may set them whenever it likes, and no hook tells of it.
/// (IPV6_V6ONLY cannot be changed on a socket that has a port.)
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Nobody looked.
    #[default]
    Unseen,
    /// As at the bind. For sources that have nothing to look into, or know no options at all.
    AsBound,
    /// As they were read, by inode. Those of other sockets are not known.
    Read(HashMap<u64, SocketOptions>),
}

impl Sharing {
    /// Of a socket of a program, by what was told of its bind.
    pub fn of(&self, inode: Option<u64>, bound: SocketOptions) -> SocketOptions {
        let read = match self {
            Self::AsBound => return bound,
            Self::Unseen => None,
            Self::Read(found) => inode.and_then(|inode| found.get(&inode)),
        };
        let (reuse_addr, reuse_port) = read.map_or((None, None), |now| (now.reuse_addr, now.reuse_port));
        SocketOptions { reuse_addr, reuse_port, v6_only: bound.v6_only }
    }

    /// What is newest of what is known of a socket: as read, else by what was told of its bind.
    pub fn newest(&self, inode: Option<u64>, bound: SocketOptions) -> SocketOptions {
        match (self, inode) {
            (Self::Read(found), Some(inode)) if found.contains_key(&inode) => self.of(Some(inode), bound),
            _ => bound,
        }
    }

    /// Adds what was read later.
    pub fn add(&mut self, later: Self) {
        match (self, later) {
            (Self::Read(known), Self::Read(later)) => known.extend(later),
            (known, later) => *known = later,
        }
    }
}

/// A socket as one look at the kernel's tables or one event shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSeen {
    /// Identity.
    pub key: SocketKey,
    /// Inode, where known (0 never occurs here).
    pub inode: Option<u64>,
    /// Where.
    pub endpoint: Endpoint,
    /// How far.
    pub phase: Phase,
    /// Port asked for.
    pub asked: AskedPort,
    /// Sharing options.
    pub options: SocketOptions,
    /// The socket's owner uid (`sk_uid`), readable by any user.
    pub uid: Option<u32>,
    /// cgroup v2 id of the creator, where known.
    pub cgroup_id: Option<u64>,
    /// The interface that it is bound to.
    pub attached: Attached,
}

/// The interface that a socket is bound to (`sk_bound_dev_if`), by SO_BINDTODEVICE or by the zone of its address, when it was last looked at:
/// it can be changed, and no hook tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Attached {
    /// Not looked at.
    #[default]
    Unknown,
    /// To none.
    Nothing,
    /// To this one.
    To {
        /// Its number.
        zone: Zone,
        /// What it is called in its network namespace.
        name: Option<DeviceName>,
    },
}

impl Attached {
    /// As the kernel numbers interfaces.
    pub fn of(number: u32) -> Self {
        Zone::new(number).map_or(Self::Nothing, |zone| Self::To { zone, name: None })
    }

    /// The number, 0 for none.
    pub fn index(self) -> Option<u32> {
        match self {
            Self::Unknown => None,
            Self::Nothing => Some(0),
            Self::To { zone, .. } => Some(zone.0.get()),
        }
    }

    /// What the interface is called; its number where that is not known.
    pub fn name(self) -> Option<String> {
        match self {
            Self::Unknown | Self::Nothing => None,
            Self::To { zone, name } => Some(name.map_or_else(|| zone.to_string(), |name| name.to_string())),
        }
    }

    /// Takes over what was found later.
    pub fn renew(&mut self, later: Self) {
        if later != Self::Unknown {
            *self = later;
        }
    }
}

/// The name of a network device, which whoever made it has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceName([u8; Self::LENGTH]);

impl DeviceName {
    /// `IFNAMSIZ`.
    const LENGTH: usize = 16;

    /// What is longer than a device's name can be is cut off.
    pub fn new(name: &[u8]) -> Self {
        let mut own = [0; Self::LENGTH];
        for (to, from) in own.iter_mut().zip(name.iter().take_while(|&&byte| byte != 0)) {
            *to = *from;
        }
        Self(own)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: Vec<u8> = self.0.iter().copied().take_while(|&byte| byte != 0).collect();
        f.write_str(&String::from_utf8_lossy(&name))
    }
}

/// Of so many holders of one socket it is found out what they are; of more only which: a thousand workers of one server
/// are alike.
const DESCRIBED: usize = 256;

/// Those of a socket's holders of whom it is found out what they are: where there are too many the oldest, with whom the server is
/// that started the others. Pids tell nothing of age, they begin anew.
pub fn described(holders: impl Iterator<Item = ProcessId>) -> Vec<ProcessId> {
    let mut all: Vec<ProcessId> = holders.collect();
    if all.len() > DESCRIBED {
        let (oldest, ..) = all.select_nth_unstable_by_key(DESCRIBED, |id| (id.start_ticks, id.pid));
        let mut oldest = oldest.to_vec();
        oldest.sort_unstable_by_key(|id| (id.start_ticks, id.pid));
        return oldest;
    }
    all
}

/// A process that has the socket open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Who.
    pub process: ProcessId,
    /// How that is known.
    pub evidence: Evidence,
}

/// A network device that keeps a UDP socket of the kernel's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// What the kernel calls such devices: `vxlan`.
    pub kind: &'static str,
    name: DeviceName,
}

impl Tunnel {
    /// A device by its name, of which what is longer than a device's name can be is cut off.
    pub fn new(kind: &'static str, name: &[u8]) -> Self {
        Self { kind, name: DeviceName::new(name) }
    }

    /// Its name, which whoever made the device has chosen.
    pub fn name(&self) -> String {
        self.name.to_string()
    }
}

/// Why there is, or is not, a process behind a socket. These differ for the reader at 2 am.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// At least one holder is known.
    Known,
    /// The kernel's own: the socket has no inode, or it is that of a tunnel device. (Sockets of NFS and WireGuard
    /// cannot be told from sockets in flight and are `NoProcess`.)
    Kernel(Option<Tunnel>),
    /// A process has it, but this observer may not look into that process.
    NotPermitted,
    /// Alive, but no process has a descriptor: it is in flight (SCM_RIGHTS, io_uring fixed file), held by the
    /// kernel (NFS, WireGuard), or its holder was not found.
    NoProcess,
    /// Not looked for yet, or the look was cut short.
    Unknown,
}

impl Owner {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Kernel(_) => "kernel",
            Self::NotPermitted => "not-permitted",
            Self::NoProcess => "no-process",
            Self::Unknown => "unknown",
        }
    }
}

/// A socket of which the record of an earlier run tells that it came, and not that it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOpen {
    /// Where.
    pub endpoint: Endpoint,
    /// Identity, where the source had one that outlasts a run.
    pub key: Option<SocketKey>,
    /// How far it was.
    pub phase: Phase,
    /// Port asked for.
    pub asked: AskedPort,
    /// Sharing options.
    pub options: SocketOptions,
    /// Who bound it or began to listen, and how that is known.
    pub by: Option<(ProcessId, Evidence)>,
    /// The last moment at which it is known to have been there.
    pub since: Timestamp,
    /// Since when it is there; `None` where the times of the record cannot be those of this boot, or are by another clock.
    pub began: Option<Began>,
}

/// Since when a socket has been there, as the record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Began {
    /// When it was bound, or first seen when evidence is `Scan`.
    pub since: Timestamp,
    /// When it began to listen, if that was seen.
    pub listening_since: Option<Timestamp>,
    /// How that is known.
    pub evidence: Evidence,
}

/// A socket in the live table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Latest facts.
    pub seen: SocketSeen,
    /// Who bound it; `None` when nobody saw it.
    pub creator: Option<ProcessId>,
    /// Who holds it now.
    pub holders: Vec<Holder>,
    /// Why `holders` is as it is.
    pub owner: Owner,
    /// When it was bound, or first seen when evidence is `Scan`.
    pub since: Timestamp,
    /// When it began to listen, if seen.
    pub listening_since: Option<Timestamp>,
    /// How its existence is known.
    pub evidence: Evidence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_thousands_of_holders_the_oldest_are_described_whatever_their_pids_are() {
        let worker = |pid| ProcessId { pid, start_ticks: 100 + u64::from(pid) };
        let server = ProcessId { pid: 32_000, start_ticks: 100 };
        let holders = || (300..9000).map(worker).chain([server]);
        let oldest = described(holders());
        assert_eq!(oldest.len(), DESCRIBED);
        assert_eq!(oldest[..2], [server, worker(300)]);
        // Few are left as they are.
        assert_eq!(described([worker(7), server].into_iter()), [worker(7), server]);
    }
}
