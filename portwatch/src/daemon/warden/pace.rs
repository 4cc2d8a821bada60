//! When the warden looks into the database: soon after somebody wrote to it, and rarely while nobody does.

use std::time::{Duration, Instant};

/// Looks are so far apart while something is written, while nothing tells of writes, and while processes have no pidfd.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Without anything to look for. Also the longest that a clock which was set, or a write that was not told of, stays unseen.
const CALM: Duration = Duration::from_secs(10);
/// From a write to the look at it: the pages of a transaction are written before it counts.
const SOON: Duration = Duration::from_millis(20);
/// A transaction takes its time between its first page and its commit, so looks go on for so long after a write.
const HOT: Duration = Duration::from_secs(3);

/// When to look.
#[derive(Debug)]
pub(super) struct Pace {
    last: Instant,
    due: Instant,
    hot: Instant,
}

impl Pace {
    /// The first look is at once.
    pub(super) const fn new(now: Instant) -> Self {
        Self { last: now, due: now, hot: now }
    }

    /// Somebody wrote.
    pub(super) fn written(&mut self, now: Instant) {
        self.hot = now + HOT;
        self.due = self.due.min((now + SOON).max(self.last + LOOK));
    }

    /// Whether it is time. If so the next time is that of a look which found nothing out.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let look = now >= self.due;
        if look {
            self.last = now;
            self.due = now + LOOK;
        }
        look
    }

    /// After a look: `deadline` is when something happens by itself, and nothing else happens unless somebody writes.
    pub(super) fn rest(&mut self, deadline: Option<Duration>) {
        if self.last >= self.hot {
            self.due = self.last + deadline.map_or(CALM, |left| left.clamp(SOON, CALM));
        }
    }

    /// When the next look is.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// Whether a write makes the next look earlier, so that it is worth being woken for one.
    pub(super) fn hears(&self) -> bool {
        self.due > self.last + LOOK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn looks_are_rare_until_somebody_writes_and_then_within_a_second_until_it_is_quiet() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        assert!(pace.look(now), "at once");
        pace.rest(None);
        assert!(pace.hears());
        assert_eq!(pace.due(), now + CALM);
        now += 5 * SECOND;
        assert!(!pace.look(now));
        pace.written(now);
        assert_eq!(pace.due(), now + SOON);
        now += SOON;
        assert!(pace.look(now));
        pace.rest(None);
        // It goes on: what was written may not have been committed yet.
        let mut looks = 1;
        while !pace.hears() {
            assert_eq!(pace.due(), now + LOOK);
            now = pace.due();
            assert!(pace.look(now));
            pace.rest(None);
            looks += 1;
        }
        assert_eq!(looks, 4);
        assert_eq!(pace.due(), now + CALM);
    }

    #[test]
    fn constant_writing_costs_one_look_a_second() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut looks = 0;
        for _ in 0..1000 {
            pace.written(now);
            if pace.look(now) {
                pace.rest(None);
                looks += 1;
            }
            now += Duration::from_millis(10);
        }
        assert!((9..=11).contains(&looks), "{looks} in ten seconds");
    }

    #[test]
    fn a_deadline_is_kept_and_a_look_that_failed_or_may_not_rest_is_followed_by_another() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert!(pace.look(now));
        pace.rest(Some(2 * SECOND));
        assert_eq!(pace.due(), now + 2 * SECOND);
        pace.rest(Some(Duration::ZERO));
        assert_eq!(pace.due(), now + SOON, "no spin");
        pace.rest(Some(Duration::from_hours(1)));
        assert_eq!(pace.due(), now + CALM);
        let now = now + CALM;
        assert!(pace.look(now));
        assert_eq!(pace.due(), now + LOOK);
    }
}
