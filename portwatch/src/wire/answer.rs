//! Whole answers: one document a command.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    claims::{ClaimBrief, ClaimCounts},
    connection::{Connection, Traffic},
    coordinate::CoordinationCounts,
    parts::{Degradation, Event, Published, Socket, SourceInfo},
};

/// Answer of `who`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Who {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub source: SourceInfo,
    /// Inode of the network namespace that was meant; when all were, that from which it was asked, or else the observer's own. Null
    /// where there are none.
    #[serde(default)]
    pub netns: Option<u32>,
    /// One for each thing asked about, in the order asked.
    pub targets: Vec<WhoTarget>,
}

/// Answer about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhoTarget {
    /// As asked (`3100`, `127.0.0.1:3100`, `[fe80::1%2]:3100`, `53/udp`, `pid:812`, a claim name).
    pub asked: String,
    /// Port asked about, where one was.
    pub port: Option<u16>,
    /// Protocol asked about, where one was.
    pub protocol: Option<String>,
    /// `held`, `free`, `unknown` or `ambiguous`. Never `free` when not everything could be seen.
    pub state: String,
    /// Why the state is unknown or ambiguous.
    pub reason: Option<String>,
    /// The sockets on it (or, for `pid:`, of that process).
    pub sockets: Vec<Socket>,
    /// Where an address was asked about: sockets on the same port at others, which a bind of it does not meet.
    #[serde(default)]
    pub other_addresses: Vec<Socket>,
    /// Sockets on the same port in other network namespaces: no conflict.
    #[serde(default)]
    pub elsewhere: Vec<Socket>,
    /// The port as container engines publish it without a socket; makes the state `held`.
    #[serde(default)]
    pub published: Vec<Published>,
    /// The last holder's end, newest first: listen, close, exit events from the journal.
    pub last: Vec<Event>,
    /// Refused binds since the present holder came, or lately, newest first.
    pub refused: Vec<Event>,
    /// There are older ones, which are not in `refused`.
    #[serde(default)]
    pub refused_before: bool,
    /// Connections with this local port, or of that process (without those that it left in TIME_WAIT); null when nobody looked, and of a process of another user to whom is not root.
    pub traffic: Option<Traffic>,
    /// The claim on the port, where there is one.
    #[serde(default)]
    pub claim: Option<ClaimBrief>,
    /// Would a bind succeed?
    pub verdict: Option<Verdict>,
}

/// Would a bind succeed, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Inode of the network namespace that it is of: the one asked about, or of all of them the asker's own; null where there
    /// are none.
    #[serde(default)]
    pub netns: Option<u32>,
    /// `true`, `false`, or null when it cannot be known.
    pub bindable: Option<bool>,
    /// The same with SO_REUSEADDR, which most servers set.
    pub with_reuse_addr: Option<bool>,
    /// Why it would fail: listening, bound, connected, time-wait, privileged, excluded, address-not-here, v6-only, needs-interface,
    /// no-interface, multicast.
    pub cause: Option<String>,
    /// errno, positive.
    pub errno: Option<i32>,
    /// Its name (`EADDRINUSE`).
    pub errno_name: Option<String>,
    /// When only TIME_WAIT is in the way: milliseconds until it is over, at most.
    pub free_in_ms: Option<u64>,
    /// The sentence.
    pub sentence: String,
}

/// Answer of `ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct List {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub source: SourceInfo,
    /// Sockets that match.
    pub sockets: Vec<Socket>,
    /// Sockets left out as noise (kernel-chosen UDP ports, binds that do not listen); `--all` shows them.
    pub hidden: u64,
    /// Inode of the network namespace that was meant; when all were, that from which it was asked, or else the observer's own. Null
    /// where there are none.
    #[serde(default)]
    pub netns: Option<u32>,
    /// Matching sockets in other network namespaces, noise not counted; `--all-namespaces` shows them.
    #[serde(default)]
    pub elsewhere: u64,
    /// Why there may be sockets that match and were not seen; null where there are none. `ls` that found nothing then ends
    /// with 3, not 1. Of those that there was no room for `source.note` tells.
    #[serde(default)]
    pub missing: Option<String>,
    /// Connections in TIME_WAIT, with `--time-wait`; null without.
    pub time_wait: Option<Vec<Connection>>,
}

/// Answer of `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Log {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// Where it comes from.
    pub source: SourceInfo,
    /// Events that match.
    pub events: Vec<Event>,
    /// More events match than the limit let through.
    pub truncated: bool,
}

/// Answer of `log --summary`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogSummary {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// Where it comes from.
    pub source: SourceInfo,
    /// Beginning of the time covered.
    pub since: Option<Timestamp>,
    /// Its end.
    pub until: Timestamp,
    /// Events by type, most frequent first.
    pub counts: Vec<TypeCount>,
    /// Most active programs.
    pub most_active: Vec<ProcessCount>,
    /// Listeners held longest, with seconds in `count`.
    pub longest_held: Vec<PortCount>,
    /// Ports on which binds were refused most.
    pub refused: Vec<PortCount>,
    /// Listens on ports the kernel chose.
    pub random_listens: u64,
    /// Listeners that nothing explains; null until the rogue policy exists.
    pub rogue: Option<u64>,
    /// Records lost, over all gaps.
    pub lost: u64,
}

/// Events of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypeCount {
    /// Event type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// Events of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessCount {
    /// Comm.
    pub comm: String,
    /// Project name, where known.
    pub project: Option<String>,
    /// How many.
    pub count: u64,
}

/// Something counted per port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortCount {
    /// Port.
    pub port: u16,
    /// tcp or udp.
    pub protocol: String,
    /// Comm of the process concerned, where known.
    pub comm: Option<String>,
    /// The number.
    pub count: u64,
}

/// Which hook serves a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FactCoverage {
    /// bind, refused, listen, close, …
    pub fact: String,
    /// Hook or method; null when nothing serves it.
    pub hook: Option<String>,
}

/// Answer of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// A daemon runs.
    pub running: bool,
    /// Why it is taken to hang: it is there and does not answer. What follows was then read beside it.
    #[serde(default)]
    pub hangs: Option<String>,
    /// Its pid.
    pub pid: Option<u32>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Its version.
    pub version: Option<Version>,
    /// Its socket.
    pub socket: Option<String>,
    /// Its database.
    pub database: Option<String>,
    /// Size of the database in bytes, with its write-ahead log.
    pub database_bytes: Option<u64>,
    /// Events in the journal.
    pub events: Option<u64>,
    /// Why the journal does not take events at the moment (disk full, …); null when it does.
    pub journal_error: Option<String>,
    /// Source and degradations.
    pub source: SourceInfo,
    /// Which hook serves each fact.
    pub coverage: Vec<FactCoverage>,
    /// Listening sockets in the live table.
    pub listening: Option<u64>,
    /// Bound sockets in the live table that do not listen.
    pub bound: Option<u64>,
    /// Claims by state; null when they could not be read.
    #[serde(default)]
    pub claims: Option<ClaimCounts>,
    /// Locks, agents, sessions and channels; null when they could not be read.
    #[serde(default)]
    pub coordination: Option<CoordinationCounts>,
    /// Records received from the kernel since start.
    pub received: Option<u64>,
    /// Records lost since start.
    pub lost: Option<u64>,
    /// Resident memory of the daemon in bytes.
    pub memory_bytes: Option<u64>,
}

/// That a daemon is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alive {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// Its pid.
    pub pid: u32,
}

/// Version of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Package version.
    pub version: String,
    /// Identity of the build: hash of sources and kernel object, first 12 hex digits.
    pub build: String,
    /// SHA-256 of the embedded kernel object, first 12 hex digits.
    pub object: String,
}

impl Version {
    /// The build this code is part of.
    pub fn of_this_build() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: env!("PORTWATCH_BUILD_ID").to_owned(),
            object: env!("PORTWATCH_OBJECT_ID").to_owned(),
        }
    }
}

/// Answer of `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionReport {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// This program.
    pub program: Version,
    /// The running daemon; null when none answers.
    pub daemon: Option<Version>,
    /// Both are the same build; null when no daemon answers.
    pub same: Option<bool>,
}

/// Answer of `config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigReport {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// The configuration file.
    pub file: Option<String>,
    /// It exists and was read.
    pub file_read: bool,
    /// Why it was passed over, where nobody named it and the system did not let it be read.
    #[serde(default)]
    pub file_problem: Option<String>,
    /// The project file that holds in the working directory.
    pub project_file: Option<String>,
    /// Every setting.
    pub settings: Vec<ConfigSetting>,
}

/// One setting in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigSetting {
    /// Name, as in the configuration file.
    pub name: String,
    /// Value in effect; a number, a boolean, a text, or null when unset.
    pub value: serde_json::Value,
    /// `flag`, `env`, `file` or `default`.
    pub origin: String,
    /// The environment variable that sets it.
    pub variable: Option<String>,
}

/// Answer of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Doctor {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// Every check, in order.
    pub checks: Vec<DoctorCheck>,
    /// Which hook serves each fact here.
    pub coverage: Vec<FactCoverage>,
    /// What is missing.
    pub degradations: Vec<Degradation>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorCheck {
    /// Stable name.
    pub name: String,
    /// `ok`, `degraded`, `failed`.
    pub result: String,
    /// What was found.
    pub found: String,
    /// What to do, when something is to be done.
    pub remedy: Option<String>,
}
