//! The clock by which a source dates what it sees.
//!
//! The live table orders by time, and the wall clock can be set while the daemon runs. So a source keeps one distance
//! between boot clock and wall clock for everything that it says, and takes over a new one only between two
//! deliveries, with a word to whoever holds older times ([`Seen::ClockSet`]).

use jiff::SignedDuration;

use super::convert::BootClock;
use crate::model::{Evidence, Observation, Seen, Timestamp};

/// A distance that changed by less is kept: clocks are slewed all the time.
pub(super) const STEP: SignedDuration = SignedDuration::from_millis(10);

/// Two clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Time since boot, the time asleep included, ns.
    pub boot_ns: u64,
    /// From there to the wall clock.
    pub clock: BootClock,
}

/// The clock of a source.
pub struct Clock {
    read: Box<dyn Fn() -> Option<Reading> + Send>,
    held: BootClock,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("held", &self.held).finish_non_exhaustive()
    }
}

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self::with(system)
    }

    /// One that is read by other means.
    pub fn with(read: impl Fn() -> Option<Reading> + Send + 'static) -> Self {
        let held = read().map_or(BootClock::from_offset_ns(0), |now| now.clock);
        Self { read: Box::new(read), held }
    }

    /// Takes over the wall clock as it is now; tells of it where it was set.
    pub fn follow(&mut self) -> Option<Observation> {
        let now = (self.read)()?;
        let by = now.clock.since(self.held);
        if by.abs() < STEP {
            return None;
        }
        self.held = now.clock;
        Some(Observation::new(now.clock.at(now.boot_ns), Evidence::Kernel, Seen::ClockSet { by }))
    }

    /// The distance kept.
    pub const fn held(&self) -> BootClock {
        self.held
    }

    /// Now, by the distance kept.
    pub fn now(&self) -> Timestamp {
        (self.read)().map_or_else(Timestamp::now, |now| self.held.at(now.boot_ns))
    }
}

#[cfg(target_os = "linux")]
fn system() -> Option<Reading> {
    BootClock::read().ok().map(|(boot_ns, clock)| Reading { boot_ns, clock })
}

/// Where no clock goes on while the machine sleeps, the wall clock jumps ahead afterwards.
#[cfg(not(target_os = "linux"))]
fn system() -> Option<Reading> {
    static BEGUN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let boot_ns = u64::try_from(BEGUN.get_or_init(std::time::Instant::now).elapsed().as_nanos()).ok()?;
    let offset = Timestamp::now().as_nanosecond() - i128::from(boot_ns);
    Some(Reading { boot_ns, clock: BootClock::from_offset_ns(i64::try_from(offset).ok()?) })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };

    use super::*;

    /// A clock that a test sets: boot time in ms, and wall clock minus boot clock in ms.
    pub(in crate::source) fn by_hand() -> (Clock, Arc<(AtomicI64, AtomicI64)>) {
        const MS: i64 = 1_000_000;
        let hands = Arc::new((AtomicI64::new(1_000), AtomicI64::new(1_700_000_000_000)));
        let read = hands.clone();
        let clock = Clock::with(move || {
            let boot_ns = u64::try_from(read.0.load(Ordering::Relaxed) * MS).ok()?;
            Some(Reading { boot_ns, clock: BootClock::from_offset_ns(read.1.load(Ordering::Relaxed) * MS) })
        });
        (clock, hands)
    }

    #[test]
    fn a_clock_that_is_set_is_followed_and_told_and_one_that_is_slewed_is_not() {
        let (mut clock, hands) = by_hand();
        let before = clock.now();
        hands.1.fetch_add(9, Ordering::Relaxed);
        assert_eq!((clock.follow(), clock.now()), (None, before));
        hands.1.fetch_sub(3_600_009, Ordering::Relaxed);
        assert_eq!(clock.now(), before, "what is said together has one clock");
        let told = clock.follow().unwrap();
        assert_eq!(told.seen, Seen::ClockSet { by: SignedDuration::from_hours(-1) });
        assert_eq!((told.at, clock.now()), (before - SignedDuration::from_hours(1), told.at));
        assert_eq!(clock.follow(), None);
    }

    #[test]
    fn the_machines_clock_is_the_wall_clock() {
        let mut clock = Clock::system();
        assert!(clock.now().duration_until(Timestamp::now()).abs() < SignedDuration::from_secs(5));
        // Nobody sets it here.
        assert_eq!(clock.follow(), None);
    }
}
