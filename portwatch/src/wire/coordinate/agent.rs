//! Agents, and what dead ones left.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ask, Method, Place, Session};

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Its user.
    pub uid: u32,
    /// Its user's name.
    pub user: Option<String>,
    /// `active`, `stale` (silent for more than 10 minutes), `dead` (for more than 20, or its process ended) or `ended`.
    pub state: String,
    /// What it works on.
    pub purpose: Option<String>,
    /// What it is, as it says itself.
    pub identity: Option<String>,
    /// It dies with this process.
    pub pid: Option<u32>,
    /// Since when it is known.
    pub registered: Timestamp,
    /// Its last sign of life.
    pub seen: Timestamp,
    /// When its process ended.
    pub died: Option<Timestamp>,
    /// How that ended.
    pub cause: Option<String>,
    /// When it was unregistered.
    pub ended: Option<Timestamp>,
    /// Its active sessions.
    pub sessions: Vec<String>,
    /// Who took its work over.
    pub salvaged_by: Option<String>,
    /// When.
    pub salvaged: Option<Timestamp>,
}

/// Which agents there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentsQuery {
    /// Those too that were unregistered, were salvaged, or are dead for more than a day.
    pub all: bool,
    /// At most so many; 1000 when it is not set.
    pub limit: Option<u32>,
}

/// Answer of `agents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Agents {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// By name.
    pub agents: Vec<Agent>,
    /// So many more are known and were not asked for.
    pub hidden: u64,
    /// There are more that were asked for: `total` says how many in all.
    #[serde(default)]
    pub truncated: bool,
    /// How many were asked for.
    #[serde(default)]
    pub total: u64,
}

impl Ask for AgentsQuery {
    type Answer = Agents;
    const PLACE: Place =
        Place { method: Method::Get, path: "/v1/agents", summary: "which agents are there?" };
}

/// Order to make an agent known, or to tell more of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RegisterRequest {
    /// Its name.
    pub name: String,
    /// What it works on.
    pub purpose: Option<String>,
    /// What it is.
    pub identity: Option<String>,
    /// It dies with this process.
    pub pid: Option<u32>,
}

/// An agent as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentState {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// The agent.
    pub agent: Agent,
}

impl Ask for RegisterRequest {
    type Answer = AgentState;
    const PLACE: Place = Place {
        method: Method::Post,
        path: "/v1/agents",
        summary: "makes an agent of the peer's user known",
    };
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// The agent.
    pub name: String,
}

impl Ask for HeartbeatRequest {
    type Answer = AgentState;
    const PLACE: Place =
        Place { method: Method::Post, path: "/v1/agents/heartbeat", summary: "a sign of life of an agent" };
}

/// Order to end an agent: its locks are free, its sessions abandoned.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UnregisterRequest {
    /// The agent.
    pub name: String,
}

impl Ask for UnregisterRequest {
    type Answer = AgentState;
    const PLACE: Place = Place {
        method: Method::Post,
        path: "/v1/agents/unregister",
        summary: "ends an agent: its locks are free, its sessions abandoned",
    };
}

/// What dead agents left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SalvageQuery {
    /// At most so many; 1000 when it is not set.
    pub limit: Option<u32>,
}

/// A session of a dead agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wreck {
    /// The session.
    pub session: Session,
    /// Its last note; null where there is none, or where it is another user's.
    pub last_note: Option<String>,
}

/// A dead agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadAgent {
    /// The agent.
    pub agent: Agent,
    /// Its active sessions.
    pub sessions: Vec<Wreck>,
}

/// Answer of `salvage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Salvage {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Dead agents whose work nobody has taken over, by name.
    pub dead: Vec<DeadAgent>,
    /// There are more: `total` says how many in all.
    #[serde(default)]
    pub truncated: bool,
    /// How many there are.
    #[serde(default)]
    pub total: u64,
}

impl Ask for SalvageQuery {
    type Answer = Salvage;
    const PLACE: Place =
        Place { method: Method::Get, path: "/v1/salvage", summary: "what did dead agents work on?" };
}

/// Order to take over what a dead agent worked on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SalvageRequest {
    /// The dead agent.
    pub name: String,
    /// Who takes it over; without one the terminal of the process that asks.
    pub agent: Option<String>,
}

/// Answer of `salvage claim`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Salvaged {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was done.
    pub time: Timestamp,
    /// The dead agent, as it was.
    pub agent: Agent,
    /// Its sessions, which are the other's now, with their files.
    pub sessions: Vec<Session>,
}

impl Ask for SalvageRequest {
    type Answer = Salvaged;
    const PLACE: Place = Place {
        method: Method::Post,
        path: "/v1/salvage",
        summary: "takes over what a dead agent worked on",
    };
}
