//! Answers of the commands that get a port back.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Container, Process};

/// Answer of `wait`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wait {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// When the waiting ended.
    pub time: Timestamp,
    /// What was waited for: free, listening, healthy.
    pub condition: String,
    /// Every port is as wanted; otherwise the time was up.
    pub met: bool,
    /// Seconds waited.
    pub seconds: f64,
    /// One for each port, in the order asked.
    pub targets: Vec<WaitTarget>,
}

/// How it stands with one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitTarget {
    /// As asked (`3100`, `127.0.0.1:3100`, `53/udp`).
    pub asked: String,
    /// Port.
    pub port: u16,
    /// tcp or udp.
    pub protocol: String,
    /// It is as wanted.
    pub met: bool,
    /// How it stands, for people.
    pub sentence: String,
    /// Seconds until it was as wanted; null when it is not.
    pub seconds: Option<f64>,
}

/// Answer of `free`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Free {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Nothing was done, only told.
    pub dry_run: bool,
    /// One for each port, in the order asked.
    pub targets: Vec<FreeTarget>,
}

/// What became, or would become, of one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FreeTarget {
    /// As asked.
    pub asked: String,
    /// Port.
    pub port: u16,
    /// tcp or udp.
    pub protocol: String,
    /// `free`: nothing was in the way. `planned`: what is listed would be ended. `refused`: it cannot be done, and
    /// nothing was. `freed`: done, and a bind succeeds. `held`: done, and a bind does not succeed. `failed`: begun and not
    /// finished; the sentence says what was done and what went wrong.
    pub state: String,
    /// Why the state is as it is, for people.
    pub sentence: Option<String>,
    /// Processes to be ended, in this order.
    pub processes: Vec<FreeProcess>,
    /// Units to be stopped by their manager.
    pub units: Vec<FreeUnit>,
    /// Containers to be stopped by their engine.
    pub containers: Vec<FreeContainer>,
    /// Holders that are left alone. If there is one, nothing is ended.
    pub refusals: Vec<FreeRefusal>,
    /// Who is connected.
    pub dependents: Vec<FreeDependent>,
    /// Connections in TIME_WAIT on the port, before anything was done.
    pub time_wait: u64,
    /// Connections in TIME_WAIT that the kernel was made to forget.
    pub time_wait_destroyed: Option<u64>,
    /// Seconds from the first signal until a bind succeeded.
    pub seconds: Option<f64>,
}

/// A process that is ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FreeProcess {
    /// Who.
    pub process: Process,
    /// `master`: ancestor of the others, ended first; `worker`: descendant of another; `alone`.
    pub role: String,
    /// What else is to be known.
    pub note: Option<String>,
    /// `signalled`, `killed`, `let-go` (it closed the port and is still ending), `ended` (by itself or with its master),
    /// `not-the-same` (the pid is another's by now), `another-program` (it runs another program than the one shown),
    /// `left-alone` (its master stays): these were not signalled; `not-permitted` (the kernel refused the signal),
    /// `survived`; null when nothing was done.
    pub outcome: Option<String>,
}

/// A container that is stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FreeContainer {
    /// Which.
    pub container: Container,
    /// The command that would do the same.
    pub command: String,
    /// What else is to be known: its restart policy, or that it is removed when it stops.
    pub note: Option<String>,
}

/// Units to be stopped by systemd, a socket before its service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FreeUnit {
    /// The command that does it.
    pub command: String,
    /// Their processes that hold the place; none where a socket unit waits for the first connection.
    pub processes: Vec<Process>,
}

/// A holder that is left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FreeRefusal {
    /// Who; null when no process is to be seen.
    pub process: Option<Process>,
    /// Why.
    pub why: String,
    /// What would work.
    pub instead: String,
    /// `--force` goes past it.
    pub forceable: bool,
}

/// Somebody connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FreeDependent {
    /// Who, where it is on this machine and may be seen.
    pub process: Option<Process>,
    /// Its address.
    pub address: String,
    /// Connections.
    pub connections: u64,
}
