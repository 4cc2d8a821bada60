//! Locks.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ask, Done, Method, Place};

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lock {
    /// Its name.
    pub name: String,
    /// Its holder: an agent's name, a session's id, or `comm (pid)`.
    pub owner: String,
    /// `agent`, `session` or `process`.
    pub owner_kind: String,
    /// The holder's uid.
    pub uid: u32,
    /// The holder's user name.
    pub user: Option<String>,
    /// The process that it ends with.
    pub pid: Option<u32>,
    /// Since when it is held.
    #[serde(rename = "heldSince")]
    pub held_since: Timestamp,
    /// When it was extended last.
    pub renewed: Timestamp,
    /// Seconds that it is held from then; null: until its process ends.
    pub ttl: Option<u64>,
    /// When that is over.
    pub expires: Option<Timestamp>,
    /// It is over: whoever asks gets it.
    pub expired: bool,
    /// How many wait for it.
    pub waiting: u64,
}

/// Which locks there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LocksQuery {
    /// At most so many; 1000 when it is not set.
    pub limit: Option<u32>,
}

/// Answer of `locks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Locks {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// By name.
    pub locks: Vec<Lock>,
    /// There are more: `total` says how many in all.
    #[serde(default)]
    pub truncated: bool,
    /// How many there are.
    #[serde(default)]
    pub total: u64,
    /// Which database they are kept in: another daemon that keeps the same one knows the same locks.
    #[serde(default)]
    pub database: String,
}

impl Ask for LocksQuery {
    type Answer = Locks;
    const PLACE: Place =
        Place { method: Method::Get, path: "/v1/locks", summary: "which locks are held, and by whom?" };
}

/// Order to take a lock, or to extend one's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LockRequest {
    /// The lock.
    pub name: String,
    /// For this agent.
    pub agent: Option<String>,
    /// For this session.
    pub session: Option<String>,
    /// Ends with the process that asks.
    pub own_process: bool,
    /// Ends with this process.
    pub pid: Option<u32>,
    /// For so many milliseconds; null: until its process ends.
    pub ttl_ms: Option<u64>,
    /// Wait for it, at most so long; 0 does not wait. One request waits for 20 s at most: ask again with the ticket.
    pub wait_ms: u64,
    /// The place in the line that an earlier request has got.
    pub ticket: Option<i64>,
}

/// Answer of `lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockState {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// `taken`, `extended` (it was the asker's already) or `waiting`.
    pub state: String,
    /// The lock as it is; null when nobody has it and others go first.
    pub lock: Option<Lock>,
    /// Who had it until its time passed or its process ended.
    pub from: Option<Freed>,
    /// The place in the line.
    pub ticket: Option<i64>,
    /// How many go first.
    pub ahead: u64,
    /// Which database it is kept in: places in a line mean something in it alone.
    #[serde(default)]
    pub database: String,
}

impl Ask for LockRequest {
    type Answer = LockState;
    const PLACE: Place =
        Place { method: Method::Post, path: "/v1/locks", summary: "takes a lock, or waits for it in line" };
}

/// A lock that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Freed {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// The lock as it was.
    pub lock: Lock,
    /// Why, where its holder did not give it back: `forced by erich`, `its time had passed`.
    pub why: Option<String>,
}

/// Order to give a lock back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UnlockRequest {
    /// The lock.
    pub name: String,
    /// As this agent.
    pub agent: Option<String>,
    /// As this session.
    pub session: Option<String>,
    /// As the process that asks.
    pub own_process: bool,
    /// As this process.
    pub pid: Option<u32>,
    /// Whoever of the peer's user holds it; for root anybody.
    pub force: bool,
}

impl Ask for UnlockRequest {
    type Answer = Freed;
    const PLACE: Place =
        Place { method: Method::Post, path: "/v1/locks/release", summary: "gives a lock back" };
}

/// Order to hold a lock longer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExtendRequest {
    /// The lock.
    pub name: String,
    /// As this agent.
    pub agent: Option<String>,
    /// As this session.
    pub session: Option<String>,
    /// As this process.
    pub pid: Option<u32>,
    /// For so many milliseconds from now.
    pub ttl_ms: u64,
}

impl Ask for ExtendRequest {
    type Answer = LockState;
    const PLACE: Place =
        Place { method: Method::Post, path: "/v1/locks/extend", summary: "holds a lock longer" };
}

/// Order to let a child stand for a lock of the process that asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HandOverRequest {
    /// The lock.
    pub name: String,
    /// As this agent.
    pub agent: Option<String>,
    /// As this session.
    pub session: Option<String>,
    /// The child.
    pub pid: u32,
}

impl Ask for HandOverRequest {
    type Answer = Done;
    const PLACE: Place = Place {
        method: Method::Post,
        path: "/v1/locks/hand-over",
        summary: "lets another process of the peer's user stand for a lock of the peer's own process",
    };
}

/// Order to leave the line for a lock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaveRequest {
    /// The place.
    pub ticket: i64,
}

impl Ask for LeaveRequest {
    type Answer = Done;
    const PLACE: Place =
        Place { method: Method::Post, path: "/v1/locks/leave", summary: "leaves the line for a lock" };
}
