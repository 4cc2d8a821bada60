//! Answer of `health`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::parts::{Event, SourceInfo};

/// How one claimed program is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheck {
    /// The claim.
    pub name: String,
    /// Its first port.
    pub port: Option<u16>,
    /// It is well; null when that is not known, or nothing was ever started there.
    pub healthy: Option<bool>,
    /// `healthy`, `refused`, `timeout`, `wrong-status`, `no-http`, `unreachable`; without asking: `stranger` (somebody else
    /// has the port), `ghost` (its program is gone), `idle` (none was there yet), `unknown` (could not be seen), `udp`
    /// (nothing to ask).
    pub result: String,
    /// The same as a sentence.
    pub sentence: String,
    /// What was asked: `GET http://127.0.0.1:3100/health`.
    pub endpoint: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// How long the answer took, milliseconds.
    pub latency_ms: Option<u64>,
    /// The beginning of the answer.
    pub body: Option<String>,
    /// When the name was claimed.
    pub claimed: Timestamp,
    /// Since when it is as it is, as far as anybody asked.
    pub since: Option<Timestamp>,
    /// When it was healthy last.
    pub last_healthy: Option<Timestamp>,
    /// Of a ghost: the event that ended its program.
    pub ended: Option<Event>,
    /// The command that comes next.
    pub suggestion: Option<String>,
}

/// Answer of `health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthAnswer {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When.
    pub time: Timestamp,
    /// Where the claims come from; the asking was done by the caller.
    pub source: SourceInfo,
    /// The claims, by name.
    pub checks: Vec<HealthCheck>,
}
