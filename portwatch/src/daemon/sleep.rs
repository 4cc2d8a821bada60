//! The machine slept: nothing ran, and what was asked of the clock meanwhile is in no record. The log says so.

use std::time::{Duration, Instant};

use crate::{
    model::{Event, EventKind, Evidence, GapReason, Timestamp},
    platform::vitals,
};

/// Two readings of clocks that do not belong together differ by less.
const SLEPT: Duration = Duration::from_secs(1);

/// Times since some moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clocks {
    /// Spent asleep.
    pub(super) asleep: Duration,
    /// Not asleep.
    pub(super) awake: Duration,
}

/// Watches for sleep.
pub(super) struct Sleep {
    read: Box<dyn Fn() -> Clocks + Send>,
    last: Clocks,
}

impl Sleep {
    /// By the machine's clocks.
    pub(super) fn new() -> Self {
        let begun = Instant::now();
        Self::with(move || Clocks { asleep: vitals::asleep(), awake: begun.elapsed() })
    }

    /// By clocks that are read otherwise.
    pub(super) fn with(read: impl Fn() -> Clocks + Send + 'static) -> Self {
        let last = read();
        Self { read: Box::new(read), last }
    }

    /// The gap, if the machine slept since the last look. Where in between is not known.
    pub(super) fn look(&mut self, now: Timestamp) -> Option<Event> {
        let clocks = (self.read)();
        let last = std::mem::replace(&mut self.last, clocks);
        let slept = clocks.asleep.saturating_sub(last.asleep);
        if slept <= SLEPT {
            return None;
        }
        let mut event = Event::new(now, EventKind::Gap, Evidence::Inferred);
        event.gap = Some(GapReason::Paused);
        // Not by the wall clock of the last look: it may have been set since.
        event.since = now.checked_sub(slept + clocks.awake.saturating_sub(last.awake)).ok();
        event.message = Some(format!("the machine slept for {} s", slept.as_secs()));
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_sleep_is_a_gap_that_says_how_long_and_a_busy_hour_is_none() {
        let clocks = Arc::new(Mutex::new(Clocks::default()));
        let pass = |asleep: u64, awake: u64| {
            let mut clocks = clocks.lock().unwrap();
            clocks.asleep += Duration::from_secs(asleep);
            clocks.awake += Duration::from_secs(awake);
        };
        let read = clocks.clone();
        let mut sleep = Sleep::with(move || *read.lock().unwrap());
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        pass(0, 3600);
        assert_eq!(sleep.look(now), None);
        // 10 s awake, asleep for eight hours.
        pass(28_800, 10);
        let event = sleep.look(now).unwrap();
        assert_eq!(
            (event.kind, event.gap, event.evidence),
            (EventKind::Gap, Some(GapReason::Paused), Evidence::Inferred)
        );
        assert_eq!(event.since, Some(now - Duration::from_secs(28_810)));
        assert_eq!(event.message.as_deref(), Some("the machine slept for 28800 s"));
        assert_eq!(sleep.look(now), None, "told once");
    }
}
