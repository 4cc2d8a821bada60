//! What a bind meets besides sockets, in our own network namespace or in another one: connections, settings and addresses.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
    time::{Duration, Instant},
};

use super::{Scanner, read_error};
use crate::{
    model::{
        Attached, BindRules, Connection, ConnectionScope, Connections, DeviceName, Evidence, Holder,
        Interfaces, Local, Netns, OfProcess, Owner, ProcessId, ProcessSeen, Protocol, SocketKey, SocketSeen,
        TcpState,
    },
    source::{
        SourceError,
        diag::{Bound, Diag, DiagError},
        netns::{self, Places},
        procfs::{Descriptors, Wanted},
        rules::{self, Rules},
        scan::HolderSearch,
    },
};

/// A look at the connections of processes takes no longer: it reads a link for each of their descriptors, in the thread that hears the kernel, and
/// anybody may ask about hundreds of processes with half a million each.
const WITHIN: Duration = Duration::from_millis(250);

impl Scanner {
    /// TCP connections; `None` of a network namespace that cannot be entered. Nobody here knows who left those in TIME_WAIT.
    pub fn connections(&mut self, scope: &ConnectionScope) -> Result<Option<Connections>, SourceError> {
        self.connections_by(scope, None)
    }

    /// The same with a faster way to descriptors where there is one.
    pub fn connections_by(
        &mut self,
        scope: &ConnectionScope,
        table: Option<&mut dyn Descriptors>,
    ) -> Result<Option<Connections>, SourceError> {
        if let ConnectionScope::Processes { pids } = scope {
            return self.of_processes(scope, pids, Instant::now() + WITHIN).map(Some);
        }
        let netns = self.beyond(scope.netns());
        let Some((mut rows, interfaces)) = self.read_in(netns, scope)? else { return Ok(None) };
        let processes = match scope {
            ConnectionScope::Ports { holders: true, .. } => self.hold(&mut rows, table)?,
            _ => Vec::new(),
        };
        let netns = netns.or(self.netns());
        Ok(Some(Connections { netns, rows, of_processes: Vec::new(), processes, interfaces }))
    }

    /// The connections of a namespace, without holders, and the interfaces of sockets; `None` where it cannot be entered.
    fn read_in(
        &mut self,
        netns: Option<Netns>,
        scope: &ConnectionScope,
    ) -> Result<Option<(Vec<Connection>, Interfaces)>, SourceError> {
        let read = match netns {
            None => Some(read(&mut self.diag, scope)),
            Some(netns) => {
                let bound = self.diag.bound_supported();
                self.within(netns, || {
                    Diag::open(Some(netns))
                        .and_then(|diag| read(&mut diag.with_bound_supported(bound), scope))
                })?
            }
        };
        read.transpose().map_err(read_error)
    }

    /// The connections that processes have: by one walk over the table of each network namespace, for all of them. Those of a process that could be looked into
    /// are told, also when there are none. A process that is not reached by `until` counts as one that could not.
    pub(in crate::source::scan) fn of_processes(
        &mut self,
        scope: &ConnectionScope,
        pids: &[u32],
        until: Instant,
    ) -> Result<Connections, SourceError> {
        let mut spaces: BTreeMap<Netns, Vec<(ProcessId, HashSet<u64>)>> = BTreeMap::new();
        for &pid in &pids.iter().copied().collect::<BTreeSet<u32>>() {
            if Instant::now() >= until {
                break;
            }
            if let Some((process, netns, inodes)) = self.procfs.sockets_of(pid, until) {
                spaces.entry(netns).or_default().push((process, inodes));
            }
        }
        let mut all = Connections { netns: self.netns(), ..Connections::default() };
        // Of two namespaces the second is another walk; the first is told even where its processes took all the time.
        for (index, (netns, processes)) in spaces.into_iter().enumerate() {
            if index > 0 && Instant::now() >= until {
                break;
            }
            let Some((rows, _)) = self.read_in(self.beyond(Some(netns)), scope)? else { continue };
            all.processes.extend(processes.iter().filter_map(|(process, _)| self.procfs.process(*process)));
            all.of_processes.extend(of_each(rows, processes));
        }
        Ok(all)
    }

    /// What decides a bind besides sockets, in the network namespace `netns` or (`None`) our own. Of one that cannot be entered
    /// nothing is known.
    pub fn bind_rules(&mut self, addresses: &[Local], netns: Option<Netns>) -> BindRules {
        let Some(netns) = self.beyond(netns) else { return self.rules.read(self.procfs.path(), addresses) };
        let proc = self.procfs.path().to_owned();
        self.within(netns, || Rules::open().read(&proc, addresses)).ok().flatten().unwrap_or_default()
    }

    /// The interfaces that sockets of our own network namespace are bound to.
    pub fn attached(&mut self) -> Result<Vec<(SocketKey, Attached)>, SourceError> {
        let mut all = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let mut found = self.diag.dump(protocol, None, Bound::Included).map_err(read_error)?.sockets;
            name_interfaces(&mut found);
            all.extend(found.into_iter().map(|seen| (seen.key, seen.attached)));
        }
        Ok(all)
    }

    /// Every namespace but our own that can be found, and whether there are processes whose namespaces are not known.
    pub(super) fn discover(&self) -> Result<(Places, bool), SourceError> {
        let kept: Vec<&Path> = netns::KEPT.iter().map(Path::new).collect();
        netns::discover(&self.procfs, &kept, self.netns())
            .map_err(|error| SourceError::Read { what: self.procfs.path().display().to_string(), error })
    }

    fn beyond(&self, netns: Option<Netns>) -> Option<Netns> {
        netns.filter(|_| netns != self.netns())
    }

    /// Calls `read` inside a namespace; `None` when it is not there or may not be entered.
    fn within<T: Send>(
        &mut self,
        netns: Netns,
        mut read: impl FnMut() -> T + Send,
    ) -> Result<Option<T>, SourceError> {
        // Where the last look found it, it may be no more: the process has ended, or gone elsewhere.
        for anew in [false, true] {
            if anew {
                self.places = self.discover()?.0;
            }
            let Some(path) = self.places.get(&netns) else { continue };
            let place = Places::from([(netns, path.clone())]);
            let mut found = None;
            if let Err(error) = netns::visit(&place, &mut |_| found = Some(read())) {
                tracing::debug!(%error, "what a bind meets there is not known");
                return Ok(None);
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Fills in who has these connections, and tells what these processes are.
    fn hold(
        &mut self,
        rows: &mut [Connection],
        table: Option<&mut dyn Descriptors>,
    ) -> Result<Vec<ProcessSeen>, SourceError> {
        let wanted: Vec<Wanted> =
            rows.iter().filter_map(|row| Some(Wanted { inode: row.inode?, uid: row.uid })).collect();
        let search = self
            .procfs
            .holders(&wanted, &HashMap::new(), HolderSearch::First, table)
            .map_err(|error| SourceError::Read { what: self.procfs.path().display().to_string(), error })?;
        for row in rows {
            if let Some(inode) = row.inode {
                let found = search.found.get(&inode).into_iter().flatten();
                row.holders =
                    found.map(|f| Holder { process: f.process, evidence: Evidence::Scan }).collect();
                row.owner = search.owner(inode);
            }
        }
        Ok(self.facts(&search))
    }
}

/// Of these connections those that each of these processes has, by the inodes of its sockets.
fn of_each(mut rows: Vec<Connection>, processes: Vec<(ProcessId, HashSet<u64>)>) -> Vec<OfProcess> {
    let mut holders: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut all = Vec::with_capacity(processes.len());
    for (index, (process, inodes)) in processes.into_iter().enumerate() {
        for inode in inodes {
            holders.entry(inode).or_default().push(index);
        }
        all.push(OfProcess { process, rows: Vec::new(), left_out: BTreeMap::new() });
    }
    rows.sort_by_cached_key(Connection::order);
    for row in rows {
        for &index in row.inode.and_then(|inode| holders.get(&inode)).into_iter().flatten() {
            let Some(of) = all.get_mut(index) else { continue };
            if of.rows.len() < Connection::LISTED {
                let holder = Holder { process: of.process, evidence: Evidence::Scan };
                of.rows.push(Connection { holders: vec![holder], owner: Owner::Known, ..row.clone() });
            } else {
                *of.left_out.entry(row.state).or_default() += 1;
            }
        }
    }
    all
}

/// Names the interfaces that sockets of the calling thread's network namespace are bound to.
pub(super) fn name_interfaces(sockets: &mut [SocketSeen]) {
    let mut known = HashMap::new();
    for seen in sockets {
        if let Attached::To { zone, name } = &mut seen.attached {
            let called = || rules::interface_name(*zone).map(|name| DeviceName::new(name.as_bytes()));
            *name = *known.entry(*zone).or_insert_with(called);
        }
    }
}

/// The connections of the namespace that `diag` answers for, without holders, and the interfaces of sockets.
fn read(diag: &mut Diag, scope: &ConnectionScope) -> Result<(Vec<Connection>, Interfaces), DiagError> {
    let (mut rows, mut interfaces) = (Vec::new(), Interfaces::default());
    match scope {
        ConnectionScope::TimeWait { .. } => rows = diag.connections(&[TcpState::TimeWait], &[])?,
        ConnectionScope::Processes { .. } => {
            let states = TcpState::ALL.into_iter().filter(|&state| state != TcpState::TimeWait);
            rows = diag.connections(&states.collect::<Vec<_>>(), &[])?;
        }
        ConnectionScope::Ports { ports, interfaces: wanted, .. } => {
            // No ports would mean all.
            if !ports.is_empty() {
                rows = diag.connections(&TcpState::ALL, ports)?;
            }
            interfaces = diag.interfaces(wanted)?;
        }
    }
    Ok((rows, interfaces))
}

#[cfg(test)]
mod tests;
