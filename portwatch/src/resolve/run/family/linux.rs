//! By `/proc`: its descriptors are looked at.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use nix::unistd::{Pid, getpgid};

use crate::{
    model::{Phase, Protocol, SocketSeen},
    resolve::ResolveError,
    source::{
        procfs::Stat,
        scan::{HolderSearch, Roots, Scanner},
    },
};

/// Looks for the sockets of a program and of what it started.
#[derive(Debug)]
pub(in crate::resolve::run) struct Family {
    child: u32,
    scanner: Option<Scanner>,
}

impl Family {
    pub(in crate::resolve::run) const fn new(child: u32) -> Self {
        Self { child, scanner: None }
    }

    /// The sockets that its processes serve over this protocol now.
    pub(in crate::resolve::run) fn sockets(
        &mut self,
        protocol: Protocol,
    ) -> Result<Vec<SocketSeen>, ResolveError> {
        let scanner = match &mut self.scanner {
            Some(scanner) => scanner,
            none => none.insert(Scanner::new(&Roots::default())?),
        };
        let wanted = match protocol {
            Protocol::Tcp => Phase::Listening,
            Protocol::Udp => Phase::Bound,
        };
        let mut sockets: Vec<SocketSeen> = scanner
            .snapshot(HolderSearch::None)?
            .sockets
            .into_iter()
            .map(|s| s.socket)
            .filter(|s| s.endpoint.protocol == protocol && s.phase == wanted)
            .collect();
        if sockets.is_empty() {
            return Ok(sockets);
        }
        let held = held_by(&members(self.child));
        sockets.retain(|s| s.inode.is_some_and(|inode| held.contains(&inode)));
        Ok(sockets)
    }
}

/// The program, what it started, and whoever is of its process group: a program whose parent has ended is no descendant
/// any more.
fn members(child: u32) -> HashSet<u32> {
    let mut parents: HashMap<u32, u32> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // Gone since the directory was read.
        let Ok(bytes) = fs::read(entry.path().join("stat")) else { continue };
        if let Some(stat) = Stat::parse(&bytes) {
            parents.insert(pid, stat.parent_pid);
        }
    }
    let mut family: HashSet<u32> = HashSet::from([child]);
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| family.contains(parent) && !family.contains(pid))
            .map(|(&pid, _)| pid)
            .collect();
        if more.is_empty() {
            break;
        }
        family.extend(more);
    }
    family.extend(parents.keys().copied().filter(|&pid| group(pid) == Some(child)));
    family
}

fn group(pid: u32) -> Option<u32> {
    let group = getpgid(Some(Pid::from_raw(i32::try_from(pid).ok()?))).ok()?;
    u32::try_from(group.as_raw()).ok()
}

/// Inodes of the sockets that these processes have open.
fn held_by(pids: &HashSet<u32>) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    for pid in pids {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        for entry in entries {
            let inode: Option<u64> = fs::read_link(entry.path()).ok().and_then(|target| {
                target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
            });
            inodes.extend(inode);
        }
    }
    inodes
}
