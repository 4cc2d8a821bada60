//! Everything that is counted, for people's and machines' monitoring.

use std::time::Duration;

use super::{About, coordinate::Counts};
use crate::{
    journal::WriterStatus,
    meter::Reading,
    model::{EventKind, Evidence, GapReason, Timestamp},
    registry::State,
    source::Counters,
};

/// Answer of `metrics`. What could not be read is `None` and is left out, never 0.
#[derive(Debug, Clone)]
pub struct MetricsAnswer {
    /// Where it comes from.
    pub about: About,
    /// When it was true.
    pub time: Timestamp,
    /// What only a running daemon has.
    pub running: Option<Running>,
    /// The live table.
    pub sockets: Option<TableSizes>,
    /// Connections in TIME_WAIT in the observer's network namespace.
    pub time_wait: Option<u64>,
    /// What each claim is worth.
    pub claims: Option<Vec<State>>,
    /// Locks, agents and sessions.
    pub coordination: Option<Counts>,
    /// Webhooks, and events that wait for them.
    pub webhooks: Option<(u64, u64)>,
    /// Events in the journal.
    pub events: Option<u64>,
    /// Size of the database with its log, bytes.
    pub database_bytes: Option<u64>,
}

/// What a running daemon counts since it began.
#[derive(Debug, Clone)]
pub struct Running {
    /// When it started.
    pub started: Timestamp,
    /// Resident memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time.
    pub cpu: Option<Duration>,
    /// What the source took in.
    pub counters: Counters,
    /// What was delivered.
    pub tallied: Tallied,
    /// What was sent to webhooks.
    pub posted: Posted,
    /// How the journal's writing goes; `None` where none is written.
    pub journal: Option<WriterStatus>,
    /// How long its batches take.
    pub commits: Option<Reading>,
}

/// Requests to webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Posted {
    /// Arrived.
    pub delivered: u64,
    /// Failed, each try for itself.
    pub failed: u64,
    /// Events that were given up.
    pub given_up: u64,
    /// Events that fell out of a queue.
    pub dropped: u64,
}

/// The live table in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableSizes {
    /// TCP, listening.
    pub listening: u64,
    /// TCP, bound and not listening; `None` where the source does not show such sockets: that is not 0.
    pub bound: Option<u64>,
    /// UDP.
    pub udp: u64,
}

/// Rows that were delivered, by what they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tallied {
    /// Every row.
    pub events: Vec<(EventKind, u64)>,
    /// Gaps by reason.
    pub gaps: Vec<(GapReason, u64)>,
    /// Lost records by the reason of their gap and by kind of record.
    pub lost: Vec<(GapReason, &'static str, u64)>,
    /// Binds, refused binds and listens by how their process is known.
    pub attributed: Vec<(Evidence, u64)>,
}
