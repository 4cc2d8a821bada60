//! How much of everything there is, for `status`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::query::coordinate::Counts;

/// Counts over all users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CoordinationCounts {
    /// Locks.
    pub locks: LockCounts,
    /// Agents.
    pub agents: AgentCounts,
    /// Sessions.
    pub sessions: SessionCounts,
    /// Channels.
    pub channels: ChannelCounts,
}

/// Locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockCounts {
    /// Held.
    pub held: u64,
    /// Over their time, and neither taken nor given back since.
    pub expired: u64,
    /// Places in lines.
    pub waiting: u64,
}

/// Agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentCounts {
    /// Those that gave a sign of life lately.
    pub active: u64,
    /// Those that did not.
    pub stale: u64,
    /// The dead whose work nobody has taken over.
    pub dead: u64,
}

/// Sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionCounts {
    /// Active ones.
    pub active: u64,
}

/// Channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelCounts {
    /// All.
    pub total: u64,
    /// Those that somebody follows at the daemon; null without one.
    pub followed: Option<u64>,
}

impl From<Counts> for CoordinationCounts {
    fn from(counts: Counts) -> Self {
        Self {
            locks: LockCounts {
                held: counts.locks_held,
                expired: counts.locks_expired,
                waiting: counts.lock_waiters,
            },
            agents: AgentCounts {
                active: counts.agents_active,
                stale: counts.agents_stale,
                dead: counts.agents_dead,
            },
            sessions: SessionCounts { active: counts.sessions_active },
            channels: ChannelCounts { total: counts.channels, followed: counts.channels_followed },
        }
    }
}
