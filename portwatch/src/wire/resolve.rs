//! Answers of the commands that get a port back.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
