//! The live table joined with attribution: what observations go through, in the daemon and without one.

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::Arc,
};

use super::{
    Asked, KnownSocket, ListFilter, Record, Space, TableSizes, TargetAnswer, Traffic, forward, list, who,
};
use crate::platform::{
    ending,
    user::{ROOT, is_privileged},
};
use crate::{
    attribute::Attributor,
    engine::Engines,
    model::{
        AskedPort, Attached, Beyond, BindRules, Change, Completeness, Connection, Connections, Endpoint,
        Event, EventKind, LeftOpen, Netns, Observation, Owner, Phase, Port, Process, ProcessId, Project,
        Protocol, Seen, Sharing, Snapshot, Socket, SocketKey, TcpState, Timestamp, Viewer, described,
    },
    state::{LiveTable, Policy},
};

mod connected;
mod listing;
mod naming;

use connected::Connected;
pub use listing::Listed;

/// A user's configuration, below the home directory.
const USER_FILE: &str =
    if cfg!(windows) { r"AppData\Roaming\portwatch\config.toml" } else { ".config/portwatch/config.toml" };
/// So many directories of one worktree are looked into for a project file.
const DEEPEST: usize = 8;

/// What is around the sockets at the moment of a question.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// The network namespace that connections and settings are of.
    pub netns: Option<Netns>,
    /// Connections on the ports asked about; `None` when nobody could look.
    pub connections: Option<Connections>,
    /// What the kernel decides binds by.
    pub rules: BindRules,
    /// The sharing options that sockets have now.
    pub sharing: Sharing,
}

impl Around {
    /// Puts what a closer look found in the place of what it looked at again.
    pub fn name(&mut self, ports: &[Port], closer: Connections) {
        if let Some(known) = &mut self.connections {
            known.rows.retain(|row| !ports.contains(&row.local.port));
            known.rows.extend(closer.rows);
            known.processes.extend(closer.processes);
        }
    }
}

/// What is known now.
#[derive(Debug)]
pub struct Live {
    table: LiveTable,
    attributor: Attributor,
    policy: Policy,
    own: Option<Netns>,
    /// Whether everything was seen, as far as the last look goes.
    completeness: Completeness,
    /// Namespaces read by the last look beyond our own.
    looked: HashSet<Netns>,
    /// How far it reached there.
    beyond: Beyond,
    engines: Engines,
    /// Edition of the engines' report that processes were last named by.
    edition: u64,
    /// Processes that were met while their container had no name.
    unnamed: BTreeSet<ProcessId>,
    /// Containers without a name were met: when to ask again, and how often still.
    naming: Option<(Timestamp, u8)>,
    changes: Vec<Change>,
    /// Ports of sockets whose holders forked or called exec.
    stirred: HashSet<Port>,
}

impl Live {
    /// Nothing known yet. `own` is the namespace that questions mean.
    pub fn new(policy: Policy, attributor: Attributor, own: Option<Netns>) -> Self {
        Self {
            table: LiveTable::new(policy.clone()),
            attributor,
            policy,
            own,
            completeness: Completeness::Partial("nothing was looked at yet".to_owned()),
            looked: HashSet::new(),
            beyond: Beyond::NotLooked,
            engines: Engines::default(),
            edition: 0,
            unnamed: BTreeSet::new(),
            naming: None,
            changes: Vec::new(),
            stirred: HashSet::new(),
        }
    }

    /// Knows what an earlier run left open, to tell of its end when the first snapshot lacks it.
    #[must_use]
    pub fn expecting(mut self, left: Vec<LeftOpen>) -> Self {
        self.table.expect(left);
        self
    }

    /// Names containers by these engines.
    #[must_use]
    pub fn with_engines(mut self, engines: Engines) -> Self {
        self.engines = engines;
        self
    }

    /// The engines it names containers by.
    pub const fn engines(&self) -> &Engines {
        &self.engines
    }

    /// Whether an empty answer may be believed from now on.
    pub fn set_completeness(&mut self, completeness: Completeness) {
        self.completeness = completeness;
    }

    /// Whether an empty answer may be believed.
    pub const fn completeness(&self) -> &Completeness {
        &self.completeness
    }

    /// The namespace that questions mean.
    pub const fn own(&self) -> Option<Netns> {
        self.own
    }

    /// Sockets on a port in the namespace that questions mean, without portwatch's own trials.
    pub fn here(&mut self, port: Port, protocol: Option<Protocol>) -> Vec<KnownSocket> {
        let own = self.own;
        let is_here = |s: &&Socket| own.is_none() || s.seen.endpoint.netns.is_none_or(|n| Some(n) == own);
        let sockets: Vec<_> = self.table.on_port(port, protocol).filter(is_here).cloned().collect();
        let mut known: Vec<_> = sockets.into_iter().map(|s| self.know(s)).collect();
        known.retain(|socket| !socket.first().is_some_and(|id| self.attributor.is_own(id)));
        self.complete(known.iter_mut());
        known
    }

    /// Takes over the interfaces that sockets are bound to.
    pub fn attach(&mut self, found: Vec<(SocketKey, Attached)>) {
        for (key, attached) in found {
            self.table.attach(key, attached);
        }
    }

    /// Whether one of these ports has a TCP socket that is bound and does not listen.
    pub fn has_bound(&self, ports: &[Port]) -> bool {
        let mut on_ports = ports.iter().flat_map(|&port| self.table.on_port(port, Some(Protocol::Tcp)));
        on_ports.any(|socket| socket.seen.phase == Phase::Bound)
    }

    /// Ports with a socket in the namespace that questions mean.
    pub fn ports_here(&self) -> HashSet<Port> {
        let own = self.own;
        let here = |s: &&Socket| own.is_none() || s.seen.endpoint.netns.is_none_or(|n| Some(n) == own);
        self.table.sockets().filter(here).map(|s| s.seen.endpoint.port).collect()
    }

    /// The project file that holds for a process: in its project's directory, else in the nearest above it, up to the root of
    /// its git worktree. `files` are names, of which the first counts in each directory; gives the name and the text.
    pub fn project_file<'a>(
        &self,
        id: ProcessId,
        project: &Project,
        files: &[&'a str],
    ) -> Option<(&'a str, String)> {
        let top = project.worktree.as_ref().map_or(&project.root, |worktree| &worktree.root);
        let within = project.root.ancestors().take_while(|directory| directory.starts_with(top));
        let read = |directory: &Path| {
            files.iter().find_map(|&file| Some((file, self.attributor.text_of(id, &directory.join(file))?)))
        };
        within.take(DEEPEST).find_map(read)
    }

    /// The configuration file of a user, as a process of that user sees it.
    pub fn user_file(&mut self, id: ProcessId, uid: u32) -> Option<String> {
        self.attributor.text_at_home(id, uid, Path::new(USER_FILE))
    }

    /// Bound TCP sockets that a snapshot does not show and would have shown, with their places.
    pub fn doubted(&self, snapshot: &Snapshot) -> Vec<(SocketKey, Endpoint)> {
        self.table.doubted(snapshot)
    }

    /// Takes in an observation and appends the records it makes, with the processes they name.
    pub fn take(&mut self, observation: Observation, out: &mut Vec<Record>) {
        match &observation.seen {
            Seen::Process(seen) => {
                self.attributor.learn(seen);
            }
            Seen::Snapshot(snapshot) => {
                for seen in &snapshot.processes {
                    self.attributor.learn(seen);
                }
                if snapshot.beyond != Beyond::NotLooked {
                    self.looked = snapshot.namespaces.iter().copied().collect();
                    self.beyond = snapshot.beyond;
                }
            }
            Seen::ConnectionsLeft(left) => {
                if let Some(process) = &left.process {
                    self.attributor.learn(process);
                }
            }
            Seen::Forked(forked) => self.stir(forked.parent),
            Seen::Execed(execed) => {
                // One that acted is shown as it was then; of any other only what it is now is of use.
                let acted =
                    self.table.of_process(execed.process.pid).any(|s| s.creator == Some(execed.process));
                if !acted {
                    self.attributor.forget(execed.process);
                }
                self.stir(execed.process);
            }
            _ => {}
        }
        let mut changes = std::mem::take(&mut self.changes);
        self.table.apply(observation, &mut changes);
        self.join(&mut changes, out);
        self.changes = changes;
    }

    fn stir(&mut self, holder: ProcessId) {
        let held =
            self.table.of_process(holder.pid).filter(|s| s.holders.iter().any(|h| h.process == holder));
        self.stirred.extend(held.map(|socket| socket.seen.endpoint.port));
    }

    /// Ports whose holders may be others than the table says: who forked is known, and not what was closed after.
    pub fn take_stirred(&mut self) -> Vec<Port> {
        self.stirred.drain().collect()
    }

    /// Whether there are such ports.
    pub fn is_stirred(&self) -> bool {
        !self.stirred.is_empty()
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Record>) {
        let mut changes = std::mem::take(&mut self.changes);
        self.table.tick(now, &mut changes);
        self.ask_again(now);
        self.join(&mut changes, out);
        self.changes = changes;
    }

    /// Tells what is still pending, for an orderly stop.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<Record>) {
        let mut changes = std::mem::take(&mut self.changes);
        self.table.finish(now, &mut changes);
        self.join(&mut changes, out);
        self.changes = changes;
    }

    /// When [`Live::tick`] has something to do next.
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.table.next_tick().into_iter().chain(self.naming.map(|(due, _)| due)).min()
    }

    fn join(&mut self, changes: &mut Vec<Change>, out: &mut Vec<Record>) {
        for change in changes.drain(..) {
            let mut record = self.record(change.event);
            if self.is_self(&record.event) {
                if !self.policy.keep_noise {
                    continue;
                }
                record.event.message = Some("self: portwatch's own probe".to_owned());
            }
            out.push(record);
        }
    }

    /// What portwatch does by itself to look: binds that are refused or never listen, and the connections of its health
    /// checks. A listener is never hidden.
    fn is_self(&mut self, event: &Event) -> bool {
        let probes = match event.kind {
            EventKind::Refused | EventKind::Noise | EventKind::Timewait => true,
            EventKind::Bind | EventKind::Close => event.phase == Some(Phase::Bound),
            _ => false,
        };
        probes && event.process.is_some_and(|id| self.attributor.is_own(id))
    }

    /// An event with the facts of its processes.
    pub fn record(&mut self, event: Event) -> Record {
        let process = event.process.and_then(|id| self.named(id));
        let other = event.other.and_then(|id| self.named(id));
        // A container is listed a moment after its forwarder listens.
        let forwards =
            event.kind == EventKind::Listen && process.as_deref().is_some_and(forward::may_forward);
        let unnamed = process.iter().chain(&other).any(|p| naming::is_unnamed(p));
        if (forwards || unnamed) && self.naming.is_none() {
            self.naming = Some((event.at, naming::TRIES));
        }
        Record { id: None, event, process, other }
    }

    /// Facts of a process.
    pub fn process(&mut self, id: ProcessId) -> Option<Arc<Process>> {
        self.named(id)
    }

    /// Ports of the sockets whose listener left without a close, in `records`: to be looked at again.
    pub fn unsettled(records: &[Record]) -> Vec<Port> {
        let ports: HashSet<Port> = records
            .iter()
            .filter(|r| r.event.kind == EventKind::Unlisten)
            .filter_map(|r| r.event.port)
            .collect();
        ports.into_iter().collect()
    }

    fn know(&mut self, socket: Socket) -> KnownSocket {
        let described = described(socket.holders.iter().map(|h| h.process));
        let mut processes: Vec<Arc<Process>> = Vec::with_capacity(1 + described.len());
        let ids = socket.creator.into_iter().chain(described);
        for id in ids {
            if processes.iter().all(|p| p.id != id)
                && let Some(process) = self.named(id)
            {
                processes.push(process);
            }
        }
        let user = socket
            .seen
            .uid
            .and_then(|uid| processes.iter().find(|p| p.uid == Some(uid)))
            .and_then(|p| p.user.clone());
        KnownSocket {
            noise: self.is_noise(&socket),
            socket,
            processes,
            user,
            netns_name: None,
            forward: None,
            standing: None,
        }
    }

    /// A socket that stands for no server.
    fn is_noise(&self, socket: &Socket) -> bool {
        let seen = &socket.seen;
        seen.phase == Phase::Bound
            && match (seen.asked, seen.endpoint.protocol) {
                (AskedPort::Explicit(_), _) | (AskedPort::Unknown, Protocol::Tcp) => false,
                (AskedPort::KernelChosen, _) => true,
                (AskedPort::Unknown, Protocol::Udp) => {
                    self.policy.ephemeral.contains(&seen.endpoint.port.get())
                }
            }
    }

    /// Connections with the facts of their processes.
    pub fn traffic(&mut self, connections: &Connections, keep: impl Fn(&Connection) -> bool) -> Traffic {
        for seen in &connections.processes {
            self.attributor.learn(seen);
        }
        let rows: Vec<_> = connections.rows.iter().filter(|row| keep(row)).cloned().collect();
        let ids: BTreeSet<ProcessId> = rows.iter().flat_map(|r| &r.holders).map(|h| h.process).collect();
        Traffic { rows, processes: ids.into_iter().filter_map(|id| self.named(id)).collect() }
    }

    /// The sockets on these ports, and those of these connections, each by one process that has it and its inode.
    pub fn held(&self, ports: &[Port], connections: Option<&Connections>) -> Vec<(ProcessId, u64)> {
        let sockets = ports.iter().flat_map(|&port| self.table.on_port(port, None));
        let sockets = sockets.map(|socket| (socket.seen.inode, &socket.holders));
        let rows = connections.into_iter().flat_map(|found| &found.rows);
        let all = sockets.chain(rows.map(|row| (row.inode, &row.holders)));
        all.filter_map(|(inode, holders)| Some((holders.first()?.process, inode?))).collect()
    }

    /// Ports that living connections have and no known socket of their namespace: whose these are is the answer, and is worth a walk
    /// over the processes.
    pub fn unexplained(&self, connections: &Connections) -> Vec<Port> {
        let living = connections.rows.iter().filter(|row| row.inode.is_some());
        let ports: BTreeSet<Port> = living.map(|row| row.local.port).collect();
        let there = |s: &&Socket| connections.netns.is_none() || s.seen.endpoint.netns == connections.netns;
        let connected = Connected::of(connections);
        let bare = |port: &Port| {
            let mut there = self.table.on_port(*port, Some(Protocol::Tcp)).filter(there);
            there.all(|socket| connected.has(socket))
        };
        ports.into_iter().filter(bare).collect()
    }

    /// Answers of `who`, without history.
    pub fn who(&mut self, asked: &[Asked], space: Space, around: &Around) -> Vec<TargetAnswer> {
        let mut answers: Vec<_> = asked.iter().map(|asked| self.target(asked, space, around)).collect();
        self.complete(answers.iter_mut().flat_map(|a| a.sockets.iter_mut().chain(&mut a.elsewhere)));
        for answer in &mut answers {
            self.publish(answer, space);
        }
        answers
    }

    fn target(&mut self, asked: &Asked, space: Space, around: &Around) -> TargetAnswer {
        match asked {
            Asked::Port { address, port, protocol } => {
                let mut sockets = self.on_port(*port, *protocol);
                let seen = self.completeness_in(space);
                let there = space.one(self.own).map_or(Space::Own, Space::One);
                let seen_there = self.completeness_in(there);
                // Of another namespace they say nothing.
                let nothing = Around { sharing: around.sharing.clone(), ..Around::default() };
                let around = if around.netns == space.one(self.own) { around } else { &nothing };
                let connections = around.connections.as_ref();
                let connected = connections.map(Connected::of).unwrap_or_default();
                sockets.retain(|known| !connected.has(&known.socket));
                let traffic = connections.map(|c| self.traffic(c, |row| row.local.port == *port));
                let place = (*address, *port, *protocol);
                who::port(place, sockets, (space, self.own), (&seen, &seen_there), (traffic, around))
            }
            Asked::Pid(pid) => {
                let sockets: Vec<_> = self.table.of_process(*pid).cloned().collect();
                let completeness = if sockets.is_empty() { self.of_pid() } else { Completeness::Complete };
                let sockets = sockets.into_iter().map(|s| self.know(s)).collect();
                who::pid(*pid, sockets, &completeness, ending::exists(*pid))
            }
            Asked::Claim(name) => who::claim(name),
        }
    }

    fn on_port(&mut self, port: Port, protocol: Option<Protocol>) -> Vec<KnownSocket> {
        let sockets: Vec<_> = self.table.on_port(port, protocol).cloned().collect();
        sockets.into_iter().map(|s| self.know(s)).collect()
    }

    /// Whether an empty answer about these namespaces may be believed.
    fn completeness_in(&self, space: Space) -> Completeness {
        match space {
            Space::One(netns) if self.own != Some(netns) && !self.looked.contains(&netns) => {
                Completeness::Partial(format!(
                    "network namespace {netns} could not be looked into; ask as {ROOT}, a daemon that runs as {ROOT}, or from \
                     there with --no-daemon"
                ))
            }
            Space::All { .. } if self.beyond == Beyond::Hidden => {
                let what = "network namespaces of processes that may not be looked into here are not known";
                Completeness::Partial(if is_privileged() {
                    what.to_owned()
                } else {
                    format!("{what}; ask as {ROOT}, or a daemon that runs as {ROOT}")
                })
            }
            _ => self.completeness.clone(),
        }
    }

    /// Whether "this process has no socket" may be believed: not while some socket's processes are hidden.
    fn of_pid(&self) -> Completeness {
        let hidden = self.table.sockets().filter(|s| s.owner == Owner::NotPermitted).count();
        if hidden == 0 {
            self.completeness.clone()
        } else {
            Completeness::Partial(listing::hidden(hidden, Viewer::Unrestricted))
        }
    }

    /// Answer of `ls --time-wait`, and why others that match may be missing in it.
    pub fn time_wait(
        &mut self,
        connections: &Connections,
        filter: &ListFilter,
    ) -> (Option<Traffic>, Option<String>) {
        let mut traffic = self.traffic(connections, |row| row.state == TcpState::TimeWait);
        let concealed = list::time_wait(&mut traffic, filter);
        (Some(traffic), listing::left_by_nobody(concealed))
    }

    /// How many sockets listen, and how many are bound only.
    pub fn counts(&self) -> (usize, usize) {
        (self.table.listening(), self.table.bound_only())
    }

    /// How large the live table is, in parts.
    pub fn sizes(&self) -> TableSizes {
        let (mut listening, mut bound, mut udp) = (0, 0, 0);
        for socket in self.table.sockets() {
            *match (socket.seen.endpoint.protocol, socket.seen.phase) {
                (Protocol::Udp, _) => &mut udp,
                (Protocol::Tcp, Phase::Listening) => &mut listening,
                (Protocol::Tcp, _) => &mut bound,
            } += 1;
        }
        let all = self.completeness.missing(Some(Protocol::Tcp)).is_none();
        TableSizes { listening, bound: all.then_some(bound), udp }
    }
}
