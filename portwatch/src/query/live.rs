//! The live table joined with attribution: what observations go through, in the daemon and without one.

mod around;
mod asked;
mod connected;
mod intake;
mod listing;
mod naming;

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::Arc,
};

use super::{KnownSocket, Space, TableSizes, forward::Memo};
use crate::{
    attribute::Attributor,
    engine::Engines,
    model::{
        AskedPort, Attached, Beyond, Change, Completeness, Endpoint, LeftOpen, Netns, Phase, Port, Process,
        ProcessId, Project, Protocol, Snapshot, Socket, SocketKey, Timestamp, described,
    },
    state::{LiveTable, Policy},
};

pub use around::Around;
pub use asked::LONGEST;
pub use listing::Listed;

/// A user's configuration, below the home directory.
const USER_FILE: &str =
    if cfg!(windows) { r"AppData\Roaming\portwatch\config.toml" } else { ".config/portwatch/config.toml" };
/// So many directories of one worktree are looked into for a project file.
const DEEPEST: usize = 8;

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
    /// Where forwarders lead, until something happens.
    forwards: Memo,
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
            forwards: Memo::default(),
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
        let is_here = |s: &&Socket| Space::Own.holds(s.seen.endpoint.netns, own);
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
        let here = |s: &&Socket| Space::Own.holds(s.seen.endpoint.netns, own);
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

    /// Facts of a process.
    pub fn process(&mut self, id: ProcessId) -> Option<Arc<Process>> {
        self.named(id)
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

    fn on_port(&mut self, port: Port, protocol: Option<Protocol>) -> Vec<KnownSocket> {
        let sockets: Vec<_> = self.table.on_port(port, protocol).cloned().collect();
        sockets.into_iter().map(|s| self.know(s)).collect()
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

#[cfg(test)]
mod tests;
