//! What answers are made of.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use super::{Forward, Listed, PublishedPort, QueryError, Space, claims::ClaimView, coordinate::Counts, who};
use crate::platform::user::ROOT;
use crate::{
    engine::Problem,
    journal,
    model::{
        Connection, Coverage, Degradation, Event, Local, LoggedEvent, Netns, Port, Process, ProcessId,
        Protocol, Socket, TcpState, Timestamp, Viewer,
    },
    registry::{Standing, State},
    source::{Counters, SourceKind},
};

/// Where an answer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The source behind it.
    pub source: SourceKind,
    /// A daemon answers; otherwise a snapshot in this process.
    pub daemon: bool,
    /// One line on what is missing, when something is.
    pub note: Option<String>,
    /// Which hook serves each fact.
    pub coverage: Vec<Coverage>,
    /// What does not work.
    pub degradations: Vec<Degradation>,
}

impl About {
    /// Whoever asks about other network namespaces gets no answer rather than an empty one from a source that does not look
    /// there: the tools show the sockets of their own. `own` is the observer's; where the platform has no namespaces it is
    /// `None`, and nothing is beyond.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotSeen`], with what to do.
    pub fn reaches(&self, space: Space, own: Option<Netns>) -> Result<(), QueryError> {
        let near = matches!(self.source, SourceKind::Lsof | SourceKind::Netstat);
        if near && own.is_some() && space.is_beyond(own) {
            return Err(QueryError::NotSeen {
                what: format!("{} shows its own network namespace and no other", self.source.as_str()),
                remedy: "use --source scan".to_owned(),
            });
        }
        Ok(())
    }

    /// Says which engines did not tell the names of their containers.
    pub fn unnamed(&mut self, problems: &[Problem]) {
        for problem in problems {
            self.degradations.push(Degradation {
                name: "engine-unreadable",
                what: format!(
                    "names of containers are not known: {}: {}",
                    problem.socket.display(),
                    problem.what
                ),
                remedy: format!(
                    "Ask as {ROOT} or as a member of the socket's group; --engines names another socket"
                ),
            });
        }
        if let Some(problem) = problems.first()
            && self.note.is_none()
        {
            let socket = problem.socket.display();
            self.note =
                Some(format!("names and ports of containers are not known: {socket}: {}", problem.what));
        }
    }
}

/// What `localhost` means.
pub(super) const LOOPBACKS: [Local; 2] = [
    Local { address: IpAddr::V4(Ipv4Addr::LOCALHOST), zone: None },
    Local { address: IpAddr::V6(Ipv6Addr::LOCALHOST), zone: None },
];

/// A thing `who` is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Asked {
    /// A port.
    Port {
        /// Only sockets that a bind of this address would meet.
        address: Option<Local>,
        /// Those of every address, and what binds of 127.0.0.1 and ::1 would come to: a server that is told the name binds one of them, or both.
        localhost: bool,
        /// The port.
        port: Port,
        /// Only this protocol.
        protocol: Option<Protocol>,
    },
    /// The sockets of a process.
    Pid(u32),
    /// The port of a claim.
    Claim(String),
}

impl Asked {
    /// The processes asked about.
    pub fn pids(asked: &[Self]) -> Vec<u32> {
        let pid = |asked: &Self| if let Self::Pid(pid) = asked { Some(*pid) } else { None };
        asked.iter().filter_map(pid).collect()
    }

    /// The addresses that a bind is thought of, where some were named.
    pub fn addresses(&self) -> Vec<Local> {
        match self {
            Self::Port { address: Some(local), .. } => vec![*local],
            Self::Port { localhost: true, .. } => LOOPBACKS.to_vec(),
            _ => Vec::new(),
        }
    }

    /// The port, where an address of it was asked about together with an interface.
    pub fn with_interface(&self) -> Option<Port> {
        match self {
            Self::Port { address: Some(Local { zone: Some(_), .. }), port, .. } => Some(*port),
            _ => None,
        }
    }
}

impl fmt::Display for Asked {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { address, localhost, port, protocol } => {
                match address {
                    None if *localhost => f.write_str("localhost:")?,
                    None => {}
                    Some(local) if local.address.is_ipv4() => write!(f, "{local}:")?,
                    Some(local) => write!(f, "[{local}]:")?,
                }
                write!(f, "{port}")?;
                protocol.map_or(Ok(()), |p| write!(f, "/{p}"))
            }
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Claim(name) => f.write_str(name),
        }
    }
}

/// A socket with the facts of the processes it names.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownSocket {
    /// The socket.
    pub socket: Socket,
    /// Facts of creator and holders, as far as known.
    pub processes: Vec<Arc<Process>>,
    /// Name of the uid the socket belongs to.
    pub user: Option<String>,
    /// It stands for no server: a kernel-chosen UDP port, a bind that does not listen.
    pub noise: bool,
    /// What explains it, where that was asked.
    pub standing: Option<Standing>,
    /// What `ip netns` calls its network namespace.
    pub netns_name: Option<String>,
    /// Where it leads, when a forwarder holds it.
    pub forward: Option<Forward>,
}

impl KnownSocket {
    /// Facts of one of its processes.
    pub fn process(&self, id: ProcessId) -> Option<&Process> {
        self.processes.iter().map(AsRef::as_ref).find(|p| p.id == id)
    }

    /// The process to name first: a holder, else the creator.
    pub fn first(&self) -> Option<ProcessId> {
        self.socket.holders.first().map(|h| h.process).or(self.socket.creator)
    }
}

/// An event with the facts of its processes; with an id when the journal has kept it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Row id.
    pub id: Option<i64>,
    /// The event.
    pub event: Event,
    /// Facts of `event.process`.
    pub process: Option<Arc<Process>>,
    /// Facts of `event.other`.
    pub other: Option<Arc<Process>>,
}

impl From<LoggedEvent> for Record {
    fn from(logged: LoggedEvent) -> Self {
        Self { id: Some(logged.id), event: logged.event, process: logged.process, other: logged.other }
    }
}

/// What the journal says about a port.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// The last holder's listen, close and exit, newest first.
    pub last: Vec<Record>,
    /// Refused binds, newest first.
    pub refused: Vec<Record>,
    /// There are older ones.
    pub refused_before: bool,
}

/// Whether something holds what was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// At least one socket.
    Held,
    /// None, and everything was seen.
    Free,
    /// It could not be seen.
    Unknown,
}

impl Holding {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Free => "free",
            Self::Unknown => "unknown",
        }
    }
}

/// Would a bind succeed?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// `None` when it cannot be known.
    pub bindable: Option<bool>,
    /// With SO_REUSEADDR, as most servers ask.
    pub with_reuse_addr: Option<bool>,
    /// Why it would fail, a word: listening, bound, connected, time-wait, privileged, excluded, address-not-here,
    /// v6-only, needs-interface, no-interface, multicast.
    pub cause: Option<&'static str>,
    /// How it would fail, positive.
    pub errno: Option<i32>,
    /// When nothing but TIME_WAIT is in the way: how long at most.
    pub free_in: Option<Duration>,
    /// The network namespace that it is of; `None` where there are none.
    pub netns: Option<Netns>,
    /// The sentence.
    pub sentence: String,
}

/// Connections with the facts of the processes they name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Traffic {
    /// The connections.
    pub rows: Vec<Connection>,
    /// How many more a process has in each state.
    pub left_out: BTreeMap<TcpState, usize>,
    /// Facts of their processes, as far as known.
    pub processes: Vec<Arc<Process>>,
}

impl Traffic {
    /// Facts of one of its processes.
    pub fn process(&self, id: ProcessId) -> Option<&Process> {
        self.processes.iter().map(AsRef::as_ref).find(|p| p.id == id)
    }

    /// Those that are meant where this was asked: of one address those that a bind of it would meet, and none of them is of UDP. Targets share
    /// the connections of their port; a copy for each would be megabytes a target.
    pub fn rows_of(&self, asked: &Asked) -> impl Iterator<Item = &Connection> {
        let (address, none) = match asked {
            Asked::Port { address, protocol, .. } => (*address, *protocol == Some(Protocol::Udp)),
            Asked::Pid(_) | Asked::Claim(_) => (None, false),
        };
        let meant = move |row: &&Connection| {
            !none && address.is_none_or(|a| who::covers((row.local.address, None), row.interface, a))
        };
        self.rows.iter().filter(meant)
    }
}

/// Answer about one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetAnswer {
    /// The thing.
    pub asked: Asked,
    /// Held, free or unknown.
    pub state: Holding,
    /// Why unknown.
    pub reason: Option<String>,
    /// The sockets, in the namespaces that are meant.
    pub sockets: Vec<KnownSocket>,
    /// Sockets on the same port of the namespaces that are meant, at addresses that were not asked about: no conflict, but perhaps what is
    /// looked for.
    pub other_addresses: Vec<KnownSocket>,
    /// The same in other network namespaces.
    pub elsewhere: Vec<KnownSocket>,
    /// Of all these so many more, for which there is no room.
    pub left_out: u64,
    /// Protocols that the port is held for by what was asked about.
    pub held: Vec<Protocol>,
    /// Container engines forward this port without a socket of its own.
    pub published: Vec<PublishedPort>,
    /// The last holder's end.
    pub last: Vec<Record>,
    /// Refused binds.
    pub refused: Vec<Record>,
    /// There are older ones.
    pub refused_before: bool,
    /// Connections with this local port or of this process; `None` when nobody looked. [`Traffic::rows_of`] tells those that are meant.
    pub traffic: Option<Arc<Traffic>>,
    /// The claim on the port.
    pub claim: Option<ClaimView>,
    /// Would a bind succeed?
    pub verdict: Option<Outlook>,
}

impl TargetAnswer {
    /// Adds what the journal says, as far as it is about the namespaces that are meant.
    pub fn remember(&mut self, history: History, space: Space, own: Option<Netns>) {
        let meant = |record: &Record| space.holds(record.event.netns, own);
        self.last = history.last.into_iter().filter(meant).collect();
        self.refused = history.refused.into_iter().filter(meant).collect();
        self.refused_before = history.refused_before;
    }
}

/// Answer of `who`.
#[derive(Debug, Clone, PartialEq)]
pub struct WhoAnswer {
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub about: About,
    /// The network namespace that was meant; when all were, that from which it was asked, or else the observer's own.
    pub netns: Option<Netns>,
    /// In the order asked.
    pub targets: Vec<TargetAnswer>,
}

/// Order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// By port, protocol, address.
    #[default]
    Port,
    /// By comm of the first holder.
    Process,
    /// By project name, those without one last.
    Project,
    /// Oldest first.
    Since,
}

/// Which sockets `ls` is asked for. Conditions are joined by "and".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListFilter {
    /// Only this protocol.
    pub protocol: Option<Protocol>,
    /// Only holders working in a project of this name.
    pub project: Option<String>,
    /// Only sockets of this user (name or uid).
    pub user: Option<String>,
    /// The uid that this name has: of a socket whose processes are hidden nothing else tells whose it is.
    pub uid: Option<u32>,
    /// From this port.
    pub from: Option<u16>,
    /// To this port.
    pub to: Option<u16>,
    /// Only sockets of this container, or that lead to it: its name, or the beginning of its id.
    pub container: Option<String>,
    /// Which network namespaces.
    pub space: Space,
    /// Order.
    pub sort: Sort,
    /// Noise too.
    pub all: bool,
    /// Connections in TIME_WAIT instead of sockets.
    pub time_wait: bool,
    /// Who asks: what this one is not shown is not looked at, and orders nothing.
    pub viewer: Viewer,
}

impl ListFilter {
    /// The namespaces meant: a container is mostly in one of its own.
    pub fn space(&self) -> Space {
        if self.container.is_some() { self.space.widened() } else { self.space }
    }
}

/// Answer of `ls`.
#[derive(Debug, Clone, PartialEq)]
pub struct ListAnswer {
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub about: About,
    /// Sockets that match.
    pub sockets: Vec<KnownSocket>,
    /// Matching sockets left out as noise.
    pub hidden: u64,
    /// Connections in TIME_WAIT that match, where they were asked for.
    pub time_wait: Option<Traffic>,
    /// The network namespace that was meant; when all were, that from which it was asked, or else the observer's own.
    pub netns: Option<Netns>,
    /// Matching sockets in network namespaces that were not meant, noise not counted.
    pub elsewhere: u64,
    /// Why sockets that match may be missing; `None` where none can be.
    pub missing: Option<String>,
}

impl ListAnswer {
    /// Takes over what was found.
    pub fn holds(&mut self, listed: Listed) {
        let Listed { sockets, left_out, hidden, elsewhere, missing } = listed;
        self.about.leaves_out(left_out);
        (self.sockets, self.hidden, self.elsewhere, self.missing) = (sockets, hidden, elsewhere, missing);
    }
}

/// Answer of `log`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogAnswer {
    /// Where it comes from.
    pub about: About,
    /// Events that match.
    pub events: Vec<Record>,
    /// More match than the limit let through.
    pub truncated: bool,
}

/// Answer of `log --summary`: the journal's numbers.
#[derive(Debug, Clone)]
pub struct SummaryAnswer {
    /// Where it comes from.
    pub about: About,
    /// The numbers.
    pub summary: journal::Summary,
}

/// Answer of `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusAnswer {
    /// Where it comes from.
    pub about: About,
    /// The observer's pid.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// Its socket.
    pub socket: Option<PathBuf>,
    /// Its database.
    pub database: Option<PathBuf>,
    /// How the journal's writing goes; `None` where none is written.
    pub journal: Option<journal::WriterStatus>,
    /// Listening sockets.
    pub listening: u64,
    /// Bound sockets that do not listen.
    pub bound: u64,
    /// What each claim is worth; `None` when they could not be read.
    pub claims: Option<Vec<State>>,
    /// Locks, agents, sessions and channels; `None` when they could not be read.
    pub coordination: Option<Counts>,
    /// What the source took in.
    pub counters: Counters,
    /// Resident memory in bytes.
    pub memory_bytes: Option<u64>,
}

/// How a check of `doctor` went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// As it should be.
    Ok,
    /// Something is missing; the rest works.
    Degraded,
    /// It does not work.
    Failed,
}

impl CheckResult {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

/// One check of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Stable name.
    pub name: &'static str,
    /// How it went.
    pub result: CheckResult,
    /// What was found.
    pub found: String,
    /// What to do, when something is to be done.
    pub remedy: Option<String>,
}

impl Check {
    /// A check and how it went.
    pub fn new(name: &'static str, result: CheckResult, found: &str, remedy: Option<&str>) -> Self {
        Self { name, result, found: found.to_owned(), remedy: remedy.map(str::to_owned) }
    }
}

/// Answer of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoctorAnswer {
    /// Every check, in order.
    pub checks: Vec<Check>,
    /// Which hook serves each fact.
    pub coverage: Vec<Coverage>,
    /// What does not work.
    pub degradations: Vec<Degradation>,
}
