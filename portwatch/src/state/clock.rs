//! The wall clock was set: everything that is remembered moves with it.
//!
//! Order and age are what times are for here, and both are lost where one moment is dated by two clocks: an event after the
//! clock was set back would count as older than the snapshot before.

use jiff::SignedDuration;

use super::LiveTable;
use crate::model::{CLOCK_SET, Change, Event, EventKind, Evidence, Timestamp};

/// Below this a row says nothing to anybody.
const WORTH_TELLING: SignedDuration = SignedDuration::from_secs(1);

/// A moment by the new clock.
pub(super) fn shifted(at: Timestamp, by: SignedDuration) -> Timestamp {
    // The earliest of all stands for "never".
    if at == Timestamp::MIN { at } else { at.saturating_add(by).unwrap_or(at) }
}

impl LiveTable {
    pub(super) fn clock_set(
        &mut self,
        at: Timestamp,
        evidence: Evidence,
        by: SignedDuration,
        out: &mut Vec<Change>,
    ) {
        let keys: Vec<_> = self.sockets.keys().copied().collect();
        for key in keys {
            self.update(key, |entry| {
                entry.settled = shifted(entry.settled, by);
                entry.looked = shifted(entry.looked, by);
                if let super::Telling::Pending(due) = &mut entry.telling {
                    *due = shifted(*due, by);
                }
                let socket = &mut entry.socket;
                socket.since = shifted(socket.since, by);
                socket.listening_since = socket.listening_since.map(|at| shifted(at, by));
            });
        }
        self.tombstones.shift(by);
        self.processes.shift(by);
        self.scopes.shift(by);
        self.noise.shift(by);
        self.lossy_until = self.lossy_until.map(|at| shifted(at, by));
        if by.abs() >= WORTH_TELLING {
            let mut event = Event::new(at, EventKind::Error, evidence);
            event.since = Some(at.saturating_sub(by).unwrap_or(at));
            let (way, by) = if by.is_negative() { ("back", by.abs()) } else { ("forward", by) };
            // Two clocks are not read at one moment: what is below a millisecond is noise.
            let by = SignedDuration::from_millis_i128((by.as_nanos() + 500_000).div_euclid(1_000_000));
            event.message = Some(format!(
                "{CLOCK_SET}{way} by {by:#}: rows before this one are dated by the old clock, and the live \
                 table by the new one"
            ));
            out.push(Change { event, socket: None });
        }
    }
}
