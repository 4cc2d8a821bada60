//! One look at the kernel's tables: sockets by sock_diag, their holders by procfs.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
};

use super::super::{
    SourceError,
    diag::{Diag, DiagError},
    procfs::{Found, HolderSearch, ProcFs, Search, Wanted},
};
use crate::model::{
    Degradation, Evidence, Holder, Netns, Owner, Port, ProcessId, Protocol, Snapshot, SnapshotSocket,
    SocketSeen, Timestamp,
};
use crate::source::Refresh;

/// Beyond so many ports it is cheaper to read the whole table once than a filtered one for each.
const FILTERED_DUMPS: usize = 8;

/// Where the trees are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// procfs.
    pub proc: PathBuf,
}

impl Default for Roots {
    /// The machine's own.
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc") }
    }
}

/// Takes snapshots of the network namespace in which it was made. Remembers who held what, so that the next
/// look need only confirm it.
#[derive(Debug)]
pub struct Scanner {
    diag: Diag,
    procfs: ProcFs,
    known: HashMap<u64, Vec<Found>>,
    degradations: Vec<Degradation>,
}

impl Scanner {
    /// Opens its handles, in the network namespace of the calling thread.
    pub fn new(roots: &Roots) -> Result<Self, SourceError> {
        let procfs = ProcFs::open(&roots.proc)
            .map_err(|error| SourceError::Read { what: roots.proc.display().to_string(), error })?;
        let netns = procfs.own_netns().map_err(|error| SourceError::Read {
            what: roots.proc.join("thread-self/ns/net").display().to_string(),
            error,
        })?;
        let diag = Diag::open(Some(Netns(netns))).map_err(read_error)?;
        Ok(Self { diag, procfs, known: HashMap::new(), degradations: Vec::new() })
    }

    /// The namespace it reads.
    pub fn netns(&self) -> Option<Netns> {
        self.diag.netns()
    }

    /// What did not work in the latest snapshot.
    pub fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    /// Every socket.
    pub fn snapshot(&mut self, search: HolderSearch) -> Result<Snapshot, SourceError> {
        self.look(&[], search)
    }

    /// The sockets on `ports` alone.
    pub fn snapshot_ports(&mut self, ports: &[Port], search: HolderSearch) -> Result<Snapshot, SourceError> {
        if ports.is_empty() {
            return Ok(Snapshot { begun: Timestamp::now(), ended: Timestamp::now(), ..Snapshot::default() });
        }
        self.look(ports, search)
    }

    /// Looks a part of the truth up again: holders that were known are confirmed, and all processes are
    /// walked only for a socket whose known holders are gone.
    pub fn refresh(&mut self, scope: &Refresh) -> Result<Snapshot, SourceError> {
        match scope {
            Refresh::Ports(ports) => self.snapshot_ports(ports, HolderSearch::First),
            Refresh::All => self.snapshot(HolderSearch::First),
        }
    }

    fn look(&mut self, ports: &[Port], mode: HolderSearch) -> Result<Snapshot, SourceError> {
        self.degradations.clear();
        let mut snapshot = Snapshot {
            begun: Timestamp::now(),
            namespaces: self.netns().into_iter().collect(),
            ports: ports.to_vec(),
            ..Snapshot::default()
        };
        let mut seen = Vec::new();
        let mut failure = None;
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            match self.read_table(protocol, ports, &mut seen) {
                Ok(bound_included) => {
                    snapshot.protocols.push(protocol);
                    if protocol == Protocol::Tcp {
                        snapshot.bound_included = bound_included;
                    }
                }
                Err(error) => {
                    self.degradations.push(unreadable(protocol, &error));
                    failure = Some(error);
                }
            }
        }
        if let (true, Some(error)) = (snapshot.protocols.is_empty(), failure) {
            return Err(read_error(error));
        }
        let search = self.search(&seen, mode)?;
        snapshot.processes = self.facts(&search);
        snapshot.sockets = seen.into_iter().map(|socket| with_holders(socket, &search, mode)).collect();
        self.remember(&search, mode, ports.is_empty());
        snapshot.ended = Timestamp::now();
        Ok(snapshot)
    }

    /// Appends the sockets of a protocol; says whether those bound without listening are among them.
    fn read_table(
        &mut self,
        protocol: Protocol,
        ports: &[Port],
        seen: &mut Vec<SocketSeen>,
    ) -> Result<bool, DiagError> {
        if ports.is_empty() || ports.len() > FILTERED_DUMPS {
            let dump = self.diag.dump(protocol, None)?;
            seen.extend(
                dump.sockets.into_iter().filter(|s| ports.is_empty() || ports.contains(&s.endpoint.port)),
            );
            return Ok(dump.bound_included);
        }
        let mut bound_included = true;
        for &port in ports {
            let dump = self.diag.dump(protocol, Some(port))?;
            bound_included &= dump.bound_included;
            seen.extend(dump.sockets);
        }
        Ok(bound_included)
    }

    fn search(&mut self, seen: &[SocketSeen], mode: HolderSearch) -> Result<Search, SourceError> {
        let wanted: Vec<Wanted> =
            seen.iter().filter_map(|s| Some(Wanted { inode: s.inode?, uid: s.uid })).collect();
        self.procfs
            .holders(&wanted, &self.known, mode)
            .map_err(|error| SourceError::Read { what: self.procfs.path().display().to_string(), error })
    }

    fn facts(&mut self, search: &Search) -> Vec<crate::model::ProcessSeen> {
        let holders: BTreeSet<ProcessId> = search.found.values().flatten().map(|f| f.process).collect();
        holders.into_iter().filter_map(|id| self.procfs.process(id)).collect()
    }

    /// Keeps who was found. Sockets that are gone are forgotten only by a look at everything.
    fn remember(&mut self, search: &Search, mode: HolderSearch, everything: bool) {
        if mode == HolderSearch::None {
            return;
        }
        if everything {
            self.known.clear();
        }
        for (inode, found) in &search.found {
            self.known.insert(*inode, found.clone());
        }
    }
}

fn with_holders(socket: SocketSeen, search: &Search, mode: HolderSearch) -> SnapshotSocket {
    let Some(inode) = socket.inode else {
        return SnapshotSocket { socket, holders: Vec::new(), owner: Owner::Kernel };
    };
    if mode == HolderSearch::None {
        return SnapshotSocket { socket, holders: Vec::new(), owner: Owner::Unknown };
    }
    let holders = search.found.get(&inode).into_iter().flatten();
    let holders = holders.map(|f| Holder { process: f.process, evidence: Evidence::Scan }).collect();
    SnapshotSocket { socket, holders, owner: search.owner(inode) }
}

fn read_error(error: DiagError) -> SourceError {
    SourceError::Read { what: format!("sock_diag, {}", error.table), error: error.error }
}

/// A protocol whose table could not be read: its sockets are unknown, not absent.
fn unreadable(protocol: Protocol, error: &DiagError) -> Degradation {
    let module = match protocol {
        Protocol::Tcp => "tcp_diag",
        Protocol::Udp => "udp_diag",
    };
    let (name, remedy) = match error.error.raw_os_error() {
        Some(nix::libc::ENOENT) => {
            ("no-sock-diag-module", format!("Load the kernel module {module}: modprobe {module}"))
        }
        Some(nix::libc::EPERM | nix::libc::EACCES) => (
            "no-sock-diag-permission",
            "Allow sock_diag netlink sockets for portwatch (seccomp profile, SELinux or AppArmor)".to_owned(),
        ),
        _ => ("sock-diag-failed", "Try again; report it with this message if it stays".to_owned()),
    };
    Degradation { name, what: format!("{protocol} sockets are not known: {error}"), remedy }
}
