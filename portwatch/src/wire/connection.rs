//! Connections, as far as they matter for a port.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parts::Process;

/// A process by name: its facts are in the list beside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessName {
    /// Thread-group id.
    pub pid: u32,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Name of the thread-group leader, at most 15 bytes; empty when not known.
    pub comm: String,
    /// User name.
    pub user: Option<String>,
    /// How it is known that it has, or left, the connection.
    pub evidence: String,
}

/// A TCP connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// Local address.
    pub address: String,
    /// Local port.
    pub port: u16,
    /// Network namespace inode.
    pub netns: Option<u32>,
    /// The other end's address.
    pub peer_address: String,
    /// The other end's port.
    pub peer_port: Option<u16>,
    /// established, syn-sent, fin-wait-1, fin-wait-2, time-wait, close-wait, last-ack, closing.
    pub state: String,
    /// In TIME_WAIT: milliseconds until it ends, at most.
    pub expires_in_ms: Option<u64>,
    /// Inode of its socket; null when no process has it any more.
    pub inode: Option<u64>,
    /// SO_REUSEADDR of its socket, which stays in force to the end.
    pub reuse_addr: Option<bool>,
    /// Who has it; in TIME_WAIT who left it. Null when not known.
    pub process: Option<ProcessName>,
    /// known, kernel, not-permitted, no-process, unknown.
    pub owner: String,
}

/// Who left connections in TIME_WAIT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimeWaitOwner {
    /// Who; null when nobody saw it.
    pub process: Option<ProcessName>,
    /// How many.
    pub connections: u64,
    /// Milliseconds until the last of them ends, at most.
    pub expires_in_ms: Option<u64>,
}

/// Connections with one local port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// How many are open.
    pub established: u64,
    /// How many are in TIME_WAIT.
    pub time_wait: u64,
    /// How many are in between.
    pub other: u64,
    /// There were more: the kernel ends TIME_WAIT of loopback connections early.
    pub time_wait_at_least: bool,
    /// Who left those in TIME_WAIT, most connections first.
    pub time_wait_owners: Vec<TimeWaitOwner>,
    /// The connections: the living first, then those that stay longest; at most 100.
    pub connections: Vec<Connection>,
    /// How many more there are.
    pub connections_left_out: u64,
    /// Facts of the processes that have living connections, where these are all that has the port.
    pub processes: Vec<Process>,
}
