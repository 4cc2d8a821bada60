//! One look at the kernel's tables: sockets by sock_diag, their holders by procfs.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
};

mod binding;

use super::{HolderSearch, Tables};
use crate::model::{
    Beyond, Degradation, Evidence, Holder, Netns, Owner, Port, ProcessId, Protocol, Snapshot, SnapshotSocket,
    SocketSeen, Timestamp, Tunnel, described,
};
use crate::source::{
    Refresh, SourceError,
    diag::{Bound, Diag, DiagError},
    netns::{self, Places},
    procfs::{Descriptors, Found, ProcFs, Search, Wanted},
    rules::Rules,
    tunnels,
};

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
    rules: Rules,
    procfs: ProcFs,
    known: HashMap<u64, Vec<Found>>,
    /// Namespaces read by the last look everywhere.
    entered: BTreeSet<Netns>,
    /// Where each namespace but our own was found then.
    places: Places,
    /// Sockets of a namespace that cannot be found any more count as gone. Right where nothing else tells closes; a
    /// socket may outlive what leads to its namespace.
    judge_gone: bool,
    degradations: Vec<Degradation>,
    bound_included: bool,
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
        Ok(Self {
            diag,
            rules: Rules::open(),
            procfs,
            known: HashMap::new(),
            entered: BTreeSet::new(),
            places: Places::new(),
            judge_gone: false,
            degradations: Vec::new(),
            bound_included: true,
        })
    }

    /// From now on a namespace that cannot be found any more has no sockets.
    pub(super) fn judge_gone(&mut self) {
        self.judge_gone = true;
    }

    /// The namespace it reads.
    pub fn netns(&self) -> Option<Netns> {
        self.diag.netns()
    }

    /// TCP sockets that are bound without listening were among those of the latest look.
    pub(super) fn shows_bound(&self) -> bool {
        self.bound_included
    }

    /// What did not work in the latest snapshot.
    pub fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    /// Every socket of every network namespace that may be entered.
    pub fn snapshot_everywhere(&mut self, search: HolderSearch) -> Result<Snapshot, SourceError> {
        self.look_everywhere(&[], search, None)
    }

    /// The sockets on `ports` alone, in every network namespace that may be entered.
    pub fn snapshot_ports_everywhere(
        &mut self,
        ports: &[Port],
        search: HolderSearch,
    ) -> Result<Snapshot, SourceError> {
        if ports.is_empty() {
            return self.snapshot_ports(ports, search);
        }
        self.look_everywhere(ports, search, None)
    }

    /// Every socket of our own network namespace.
    pub fn snapshot(&mut self, search: HolderSearch) -> Result<Snapshot, SourceError> {
        self.look(&[], search, None)
    }

    /// Every socket of every namespace and all holders, with a faster way to descriptors where there is one.
    pub fn snapshot_by(
        &mut self,
        search: HolderSearch,
        table: Option<&mut dyn Descriptors>,
    ) -> Result<Snapshot, SourceError> {
        self.look_everywhere(&[], search, table)
    }

    /// The sockets on `ports` alone.
    pub fn snapshot_ports(&mut self, ports: &[Port], search: HolderSearch) -> Result<Snapshot, SourceError> {
        if ports.is_empty() {
            return Ok(Snapshot { begun: Timestamp::now(), ended: Timestamp::now(), ..Snapshot::default() });
        }
        self.look(ports, search, None)
    }

    /// Looks a part of the truth up again: holders that were known are confirmed, and all processes are
    /// walked only for a socket whose known holders are gone.
    pub fn refresh(&mut self, scope: &Refresh) -> Result<Snapshot, SourceError> {
        self.refresh_by(scope, HolderSearch::First, None)
    }

    /// The same with a faster way to descriptors where there is one.
    pub fn refresh_by(
        &mut self,
        scope: &Refresh,
        search: HolderSearch,
        table: Option<&mut dyn Descriptors>,
    ) -> Result<Snapshot, SourceError> {
        match scope {
            Refresh::Ports(ports) | Refresh::Asked(ports) | Refresh::PortsEverywhere(ports)
                if ports.is_empty() =>
            {
                self.snapshot_ports(ports, search)
            }
            Refresh::Ports(ports) | Refresh::Asked(ports) => self.look(ports, search, table),
            Refresh::PortsEverywhere(ports) => self.look_everywhere(ports, search, table),
            Refresh::All => self.look_everywhere(&[], search, table),
        }
    }

    /// As [`Scanner::refresh_by`] on `ports`, but without TCP sockets that are bound and do not listen. The kernel finds those by a
    /// walk over all its bind buckets, once for each family: milliseconds, where listeners take microseconds
    /// (`inet_diag_dump_icsk`).
    pub fn refresh_listeners(
        &mut self,
        ports: &[Port],
        search: HolderSearch,
        table: Option<&mut dyn Descriptors>,
    ) -> Result<Snapshot, SourceError> {
        if ports.is_empty() {
            return self.snapshot_ports(ports, search);
        }
        let tables = self.tables_with(ports, Bound::LeftOut)?;
        self.with_holders(tables, search, table, |_| true)
    }

    fn look_everywhere(
        &mut self,
        ports: &[Port],
        mode: HolderSearch,
        table: Option<&mut dyn Descriptors>,
    ) -> Result<Snapshot, SourceError> {
        let tables = self.tables_everywhere(ports)?;
        self.with_holders(tables, mode, table, |_| true)
    }

    fn look(
        &mut self,
        ports: &[Port],
        mode: HolderSearch,
        table: Option<&mut dyn Descriptors>,
    ) -> Result<Snapshot, SourceError> {
        let tables = self.tables(ports)?;
        self.with_holders(tables, mode, table, |_| true)
    }

    /// The sockets alone, on `ports` or (none named) all. Cheap: no process is looked at.
    pub(super) fn tables(&mut self, ports: &[Port]) -> Result<Tables, SourceError> {
        self.tables_with(ports, Bound::Included)
    }

    fn tables_with(&mut self, ports: &[Port], bound: Bound) -> Result<Tables, SourceError> {
        self.degradations.clear();
        let mut tables = Tables {
            begun: Timestamp::now(),
            ports: ports.to_vec(),
            namespaces: self.netns().into_iter().collect(),
            ..Tables::default()
        };
        let mut failure = None;
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            match read_table(&mut self.diag, protocol, ports, bound, &mut tables.sockets) {
                Ok(bound_included) => {
                    tables.protocols.push(protocol);
                    if protocol == Protocol::Tcp {
                        tables.bound_included = bound_included;
                    }
                }
                Err(error) => {
                    self.degradations.push(unreadable(protocol, &error));
                    failure = Some(error);
                }
            }
        }
        match bound {
            Bound::Included => self.bound_included = tables.bound_included,
            Bound::LeftOut => tables.bound_left_out = true,
        }
        note_tunnels(self.netns(), &tables.sockets, &mut tables.tunnels);
        binding::name_interfaces(&mut tables.sockets);
        match failure {
            Some(error) if tables.protocols.is_empty() => Err(read_error(error)),
            _ => Ok(tables),
        }
    }

    /// The same of every network namespace that may be entered.
    pub(super) fn tables_everywhere(&mut self, ports: &[Port]) -> Result<Tables, SourceError> {
        let mut tables = self.tables(ports)?;
        let (places, closed) = self.discover()?;
        let (bound_known, protocols) = (self.diag.bound_supported(), tables.protocols.clone());
        let (sockets, namespaces, tunnels) =
            (&mut tables.sockets, &mut tables.namespaces, &mut tables.tunnels);
        let mut unread = None;
        let visited = netns::visit(&places, &mut |netns| {
            let before = sockets.len();
            let looked = Diag::open(Some(netns)).and_then(|diag| {
                let mut diag = diag.with_bound_supported(bound_known);
                protocols.iter().try_for_each(|&protocol| {
                    read_table(&mut diag, protocol, ports, Bound::Included, sockets).map(drop)
                })
            });
            match looked {
                Ok(()) => {
                    namespaces.push(netns);
                    let new = sockets.get_mut(before..).unwrap_or_default();
                    note_tunnels(Some(netns), new, tunnels);
                    binding::name_interfaces(new);
                }
                Err(error) => {
                    // Half a namespace would look like sockets that are gone.
                    sockets.truncate(before);
                    unread.get_or_insert(Degradation {
                        name: "netns-unread",
                        what: format!("sockets of network namespace {netns} are not known: {error}"),
                        remedy: "Try again; report it with this message if it stays".to_owned(),
                    });
                }
            }
        });
        let hidden = closed || unread.is_some() || visited.is_err();
        tables.beyond = if hidden { Beyond::Hidden } else { Beyond::Seen };
        self.degradations.extend(unread);
        if let Err(error) = visited {
            self.degradations.push(Degradation {
                name: "netns-not-entered",
                what: format!("sockets of other network namespaces (containers) are not known: {error}"),
                remedy: "run as root, or give the daemon CAP_SYS_ADMIN".to_owned(),
            });
        }
        let entered: BTreeSet<Netns> = tables.namespaces.iter().copied().collect();
        let before = std::mem::replace(&mut self.entered, entered);
        if self.judge_gone {
            let gone = before.difference(&self.entered).copied();
            tables.namespaces.extend(gone.filter(|netns| !places.contains_key(netns)));
        }
        self.places = places;
        Ok(tables)
    }

    /// Adds the holders of those sockets that are `asked` for, and what these processes are.
    pub(super) fn with_holders(
        &mut self,
        tables: Tables,
        mode: HolderSearch,
        table: Option<&mut dyn Descriptors>,
        asked: impl Fn(&SocketSeen) -> bool,
    ) -> Result<Snapshot, SourceError> {
        let wanted: Vec<Wanted> = tables
            .sockets
            .iter()
            .filter(|socket| asked(socket))
            .filter_map(|socket| Some(Wanted { inode: socket.inode?, uid: socket.uid }))
            .collect();
        let search = self
            .procfs
            .holders(&wanted, &self.known, mode, table)
            .map_err(|error| SourceError::Read { what: self.procfs.path().display().to_string(), error })?;
        let processes = self.facts(&search);
        self.remember(&tables, &search);
        let sockets = tables.sockets.into_iter().map(|socket| {
            let mode = if asked(&socket) { mode } else { HolderSearch::None };
            snapshot_socket(socket, &search, mode, &tables.tunnels)
        });
        Ok(Snapshot {
            begun: tables.begun,
            sockets: sockets.collect(),
            processes,
            namespaces: tables.namespaces,
            beyond: tables.beyond,
            protocols: tables.protocols,
            ports: tables.ports,
            bound_included: tables.bound_included,
            bound_left_out: tables.bound_left_out,
            connected: HashSet::new(),
            ended: Timestamp::now(),
        })
    }

    /// Holders found so far of sockets that still exist, as far as the looks reached.
    pub(super) fn known_holders(&self) -> BTreeSet<ProcessId> {
        self.known.values().flatten().map(|found| found.process).collect()
    }

    /// Inodes of which a known holder has ended.
    pub(super) fn without_living_holder(&mut self) -> HashSet<u64> {
        let dead: HashSet<ProcessId> =
            self.known_holders().into_iter().filter(|&process| !self.lives(process)).collect();
        self.known
            .iter()
            .filter(|(_, found)| found.iter().any(|found| dead.contains(&found.process)))
            .map(|(inode, _)| *inode)
            .collect()
    }

    /// The process is still there.
    pub fn lives(&mut self, process: ProcessId) -> bool {
        self.procfs.identify(process.pid) == Some(process)
    }

    fn facts(&mut self, search: &Search) -> Vec<crate::model::ProcessSeen> {
        let described = |holders: &Vec<Found>| described(holders.iter().map(|f| f.process));
        let holders: BTreeSet<ProcessId> = search.found.values().flat_map(described).collect();
        holders.into_iter().filter_map(|id| self.procfs.process(id)).collect()
    }

    /// Keeps who was found. Sockets that are gone are forgotten by a look at all ports.
    fn remember(&mut self, tables: &Tables, search: &Search) {
        if tables.ports.is_empty() {
            let present: HashSet<u64> = tables.sockets.iter().filter_map(|s| s.inode).collect();
            self.known.retain(|inode, _| present.contains(inode));
        }
        for inode in &search.asked {
            match search.found.get(inode) {
                Some(found) => self.known.insert(*inode, found.clone()),
                None => self.known.remove(inode),
            };
        }
    }
}

/// Appends the sockets of a protocol; says whether those bound without listening are among them.
fn read_table(
    diag: &mut Diag,
    protocol: Protocol,
    ports: &[Port],
    bound: Bound,
    seen: &mut Vec<SocketSeen>,
) -> Result<bool, DiagError> {
    let wanted: BTreeSet<Port> = ports.iter().copied().collect();
    if wanted.is_empty() || wanted.len() > FILTERED_DUMPS {
        let dump = diag.dump(protocol, None, bound)?;
        seen.extend(
            dump.sockets.into_iter().filter(|s| wanted.is_empty() || wanted.contains(&s.endpoint.port)),
        );
        return Ok(dump.bound_included);
    }
    let mut bound_included = true;
    for port in wanted {
        let dump = diag.dump(protocol, Some(port), bound)?;
        bound_included &= dump.bound_included;
        seen.extend(dump.sockets);
    }
    Ok(bound_included)
}

type Tunnels = HashMap<(Option<Netns>, Port), Tunnel>;

/// Notes the devices of the calling thread's namespace that keep some of these sockets.
fn note_tunnels(netns: Option<Netns>, sockets: &[SocketSeen], tunnels: &mut Tunnels) {
    // Most namespaces have no such socket, and need not be asked.
    if sockets.iter().any(may_be_a_tunnels) {
        match tunnels::in_this_namespace() {
            Ok(found) => tunnels.extend(found.into_iter().map(|(port, tunnel)| ((netns, port), tunnel))),
            Err(error) => tracing::debug!(%error, "the devices of a namespace were not read"),
        }
    }
}

/// Tunnels bind the wildcard address, and do so for root.
fn may_be_a_tunnels(socket: &SocketSeen) -> bool {
    socket.endpoint.protocol == Protocol::Udp
        && socket.endpoint.address.is_unspecified()
        && socket.uid.is_none_or(|uid| uid == 0)
}

fn snapshot_socket(
    socket: SocketSeen,
    search: &Search,
    mode: HolderSearch,
    tunnels: &Tunnels,
) -> SnapshotSocket {
    let nobody = |socket, owner| SnapshotSocket { socket, holders: Vec::new(), owner };
    let tunnel = || {
        let place = socket.endpoint;
        tunnels.get(&(place.netns, place.port)).copied().filter(|_| may_be_a_tunnels(&socket))
    };
    let Some(inode) = socket.inode else {
        let tunnel = tunnel();
        return nobody(socket, Owner::Kernel(tunnel));
    };
    if mode == HolderSearch::None {
        return nobody(socket, Owner::Unknown);
    }
    let owner = search.owner(inode);
    // A device that is up has its socket: where nobody is seen to have one on its port, it is this one.
    if owner != Owner::Known
        && let Some(tunnel) = tunnel()
    {
        return nobody(socket, Owner::Kernel(Some(tunnel)));
    }
    let holders = search.found.get(&inode).into_iter().flatten();
    let holders = holders.map(|f| Holder { process: f.process, evidence: Evidence::Scan }).collect();
    SnapshotSocket { socket, holders, owner }
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
