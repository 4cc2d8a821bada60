//! What the live table decides by, and the bounds of what it remembers.

use std::{ops::RangeInclusive, time::Duration};

/// How long a TCP bind may stay without listen before it is told: a silent blocker is worth a row.
pub const GRACE: Duration = Duration::from_secs(1);
/// One noise summary per process in this time.
pub const NOISE_WINDOW: Duration = Duration::from_mins(1);
/// Noise summaries being collected at once; when there are more, all are told early.
pub const MAX_NOISE: usize = 4_096;
/// Recently closed sockets remembered, so that a snapshot begun before the close cannot revive one. A snapshot
/// takes tens of milliseconds; this covers the closes of half a second at the highest rate measured.
pub const MAX_TOMBSTONES: usize = 65_536;
/// Of those, how many keep the whole socket (only sockets found gone by a scan, whose close may still come).
pub const MAX_REMEMBERED: usize = 4_096;
/// Tombstones older than this are dropped.
pub const TOMBSTONE_AGE: Duration = Duration::from_mins(1);
/// Processes that had a socket, remembered for their exit.
pub const MAX_RECENT: usize = 4_096;
/// How long after its last socket a process's exit is still told.
pub const RECENT_AGE: Duration = Duration::from_mins(5);
/// Exits remembered, so that a snapshot begun before an exit cannot bring the process back as a holder.
pub const MAX_EXITS: usize = 4_096;
/// Scopes of past snapshots remembered, to judge events that come later than the snapshot they precede.
pub const MAX_SCOPES: usize = 16;

/// Rules of the live table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Tell each noisy bind and close instead of one summary per process and minute.
    pub keep_noise: bool,
    /// `net.ipv4.ip_local_port_range`: a UDP socket in it of which nobody saw the request counts as kernel-chosen.
    pub ephemeral: RangeInclusive<u16>,
    /// How long a TCP bind may stay without listen before it is told.
    pub grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        // Linux's own default, and what RFC 6335 (section 6) names and other systems take.
        let ephemeral = if cfg!(target_os = "linux") { 32_768..=60_999 } else { 49_152..=65_535 };
        Self { keep_noise: false, ephemeral, grace: GRACE }
    }
}
