//! What container engines say of their containers: names, images, addresses, published ports.
//!
//! Docker and Podman answer the same question over a Unix socket. A thread asks them, never a caller: an engine that
//! hangs costs a caller the deadline it names and nothing else. Only sockets that were named at the start are opened.
//!
//! What they say of a process is believed by one rule, in `vouch`.
//!
//! Never: change anything in an engine, open a socket that a caller names, block the pipeline.

mod api;
mod client;
#[cfg(test)]
#[cfg(unix)]
mod tests;
mod vouch;

use std::{
    collections::VecDeque,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    model::{Compose, Container, Engine, Netns, Port, Protocol},
    platform::local,
};

/// Where the engines of the system listen. Other sockets are named in the configuration.
pub const SYSTEM: [&str; 2] = if cfg!(windows) {
    [r"\\.\pipe\docker_engine", r"\\.\pipe\podman-machine-default"]
} else if cfg!(target_os = "macos") {
    ["/var/run/docker.sock", "/var/run/podman.sock"]
} else {
    ["/run/docker.sock", "/run/podman/podman.sock"]
};

/// Where the engines of one user listen, below `$XDG_RUNTIME_DIR`.
pub const USER: [&str; 2] = ["docker.sock", "podman/podman.sock"];

/// An answer that comes later is not waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// So many containers are asked about one by one.
const DOUBTED: usize = 64;

/// What is known of the engines at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Running containers of every engine that answered.
    pub running: Vec<Running>,
    /// Engines that did not answer.
    pub problems: Vec<Problem>,
    /// Engines that answered, whether or not containers run.
    pub answered: Vec<Engine>,
}

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Which, with name and image.
    pub container: Container,
    /// Whom its engine runs as; `None` where engines run in a machine of their own (not on Linux).
    pub uid: Option<u32>,
    /// `/proc/PID/cgroup` of its first process, where that decides what is in it ([`Engines::doubt`]).
    pub first: Option<String>,
    /// The engine's namespace, where it could be found out: that of its networks and published ports.
    pub netns: Option<Netns>,
    /// Its addresses in the engine's networks.
    pub addresses: Vec<IpAddr>,
    /// Ports of the machine that lead to it.
    pub published: Vec<Published>,
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Address of the machine; `None` when the engine names none, which means all.
    pub address: Option<IpAddr>,
    /// Port of the machine.
    pub port: Port,
    /// Port in the container.
    pub inner: Port,
    /// Protocol.
    pub protocol: Protocol,
}

/// An engine that did not answer, and why. Its containers keep their ids and have no names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its socket.
    pub socket: PathBuf,
    /// One sentence, with errno where there is one.
    pub what: String,
}

impl Report {
    /// Running containers with this id: another user's engine may name any.
    pub fn of_id(&self, id: &str) -> impl Iterator<Item = &Running> {
        self.running.iter().filter(move |running| running.container.id == id)
    }

    /// The running container that has this address in a network of the namespace, if exactly one has, of those to which a
    /// program of this user may forward. Every engine begins with the same addresses.
    pub fn by_address(
        &self,
        netns: Option<Netns>,
        address: IpAddr,
        forwarder: Option<u32>,
    ) -> Option<&Running> {
        let here = |there: Option<Netns>| there.is_none() || netns.is_none() || there == netns;
        let mut found = self.running.iter().filter(|running| {
            here(running.netns) && running.has_helper(forwarder) && running.addresses.contains(&address)
        });
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Containers to which a port of a namespace leads.
    pub fn behind(
        &self,
        netns: Option<Netns>,
        port: Port,
        protocol: Protocol,
    ) -> impl Iterator<Item = (&Running, Published)> {
        let here = move |there: Option<Netns>| there.is_none() || netns.is_none() || there == netns;
        self.running.iter().filter(move |running| here(running.netns)).filter_map(move |running| {
            let mut published =
                running.published.iter().filter(move |p| p.port == port && p.protocol == protocol);
            // One container may publish a port on two addresses.
            published.next().map(|published| (running, *published))
        })
    }
}

impl Running {
    /// What it adds to a container known by its control group: everything but engine, id and pod.
    pub fn complete(&self, known: &Container) -> Container {
        Container {
            engine: known.engine.or(self.container.engine),
            id: known.id.clone(),
            pod: known.pod.clone(),
            name: self.container.name.clone(),
            image: self.container.image.clone(),
            compose: self.container.compose.clone(),
            owner: self.owner(),
        }
    }
}

/// Called when something new is known.
type News = Box<dyn Fn() + Send + Sync>;

/// The engines of this machine. Clones share what is known.
#[derive(Clone, Default)]
pub struct Engines {
    sockets: Arc<[PathBuf]>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engines").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
struct State {
    report: Arc<Report>,
    /// When the latest round began; what it tells was true then or later.
    told: Option<Instant>,
    /// Counts rounds that changed the report.
    edition: u64,
    /// A round is under way.
    asking: bool,
    /// Containers of which the first process decides what is in them, newest last.
    doubted: VecDeque<String>,
    news: Option<News>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engines {
    /// The engines behind these sockets. Nothing is opened before somebody asks.
    pub fn new(sockets: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { sockets: sockets.into_iter().collect(), shared: Arc::default() }
    }

    /// The sockets of this machine: the system's, and below `runtime` those of its user.
    pub fn of_machine(runtime: Option<&Path>) -> Self {
        let system = SYSTEM.iter().map(PathBuf::from);
        let user = runtime.into_iter().flat_map(|runtime| USER.iter().map(|name| runtime.join(name)));
        Self::new(system.chain(user))
    }

    /// Their sockets.
    pub fn sockets(&self) -> &[PathBuf] {
        &self.sockets
    }

    /// Calls `news` from the asking thread whenever something else is known than before.
    pub fn on_news(&self, news: impl Fn() + Send + Sync + 'static) {
        self.shared.lock().news = Some(Box::new(news));
    }

    /// From the next round on, asks for the first process of this container too, if an engine of the system's runs it:
    /// there is a group of its name that others could have made. Costs a request each, so few are remembered.
    pub fn doubt(&self, id: &str) {
        let mut state = self.shared.lock();
        if state.doubted.iter().any(|known| known == id) {
            return;
        }
        if state.doubted.len() >= DOUBTED {
            state.doubted.pop_front();
        }
        state.doubted.push_back(id.to_owned());
        state.told = None;
    }

    /// What is known now, and its edition, which changes when it does. Never waits.
    pub fn known(&self) -> (Arc<Report>, u64) {
        let state = self.shared.lock();
        (Arc::clone(&state.report), state.edition)
    }

    /// What the engines say; asks them when the last answer is older than `age`, and waits at most `wait` for it.
    /// Afterwards the older answer stands.
    pub fn ask(&self, age: Duration, wait: Duration) -> Arc<Report> {
        let deadline = Instant::now() + wait;
        let fresh = |state: &State| state.told.is_some_and(|told| told.elapsed() <= age);
        let mut state = self.shared.lock();
        if !fresh(&state) && !self.start(&mut state) {
            return Arc::clone(&state.report);
        }
        while !fresh(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !state.asking {
                break;
            }
            state = self.shared.answered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Arc::clone(&state.report)
    }

    /// Starts a round unless one is under way. `false` when there is nobody to ask.
    fn start(&self, state: &mut State) -> bool {
        if state.asking {
            return true;
        }
        let there: Vec<PathBuf> =
            self.sockets.iter().filter(|socket| local::exists(socket)).cloned().collect();
        if there.is_empty() {
            // Engines that ended took their containers along.
            if *state.report != Report::default() {
                state.report = Arc::default();
                state.edition += 1;
            }
            return false;
        }
        let shared = Arc::clone(&self.shared);
        let begun = Instant::now();
        let doubted: Vec<String> = state.doubted.iter().cloned().collect();
        let thread = std::thread::Builder::new().name("engines".to_owned()).spawn(move || {
            let report = client::ask(&there, ANSWER, &doubted);
            let mut state = shared.lock();
            let all = state.doubted.iter().all(|id| doubted.contains(id));
            (state.asking, state.told) = (false, all.then_some(begun));
            if *state.report != report {
                state.report = Arc::new(report);
                state.edition += 1;
                if let Some(news) = &state.news {
                    news();
                }
            }
            drop(state);
            shared.answered.notify_all();
        });
        state.asking = thread.is_ok();
        state.asking
    }
}
