//! A polled source: looks again and again, and reports when something differs.
//!
//! A look at the kernel's socket tables is cheap and is made every 250 ms while things change and down to every 2 s
//! while nothing does; a tool that has to be run is run less often ([`Pace`](super::Pace)). Only when sockets came, or a holder went, processes are looked at, and a snapshot is
//! delivered whose difference to the last one the live table reports (evidence `scan`). What lived shorter than
//! an interval is missed; the coverage says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{HolderSearch, Look, Tables};
use crate::{
    model::{
        BindRules, Completeness, ConnectionScope, Connections, Coverage, Degradation, Evidence, Exited,
        GapReason, Local, LossCounts, Netns, Observation, Phase, ProcessId, Seen, Snapshot, SocketKey,
        SocketSeen, Timestamp,
    },
    source::{Counters, Progress, Refresh, Source, SourceError, SourceKind, Wake, clock::Clock},
};

/// How often to look at the kernel's tables while things change.
pub const FASTEST: Duration = Duration::from_millis(250);
/// How often to look at them when nothing has changed for a while.
pub const SLOWEST: Duration = Duration::from_secs(2);
/// Every so often the holders of all sockets are confirmed, newly forked ones looked for, and the other network
/// namespaces looked into.
const HOLDERS_EVERY: Duration = Duration::from_secs(10);
/// A look that comes so much later than it should have means that nobody was looking.
const PAUSE: Duration = Duration::from_secs(3);

/// Something to look with, polled.
#[derive(Debug)]
pub struct ScanSource {
    scanner: Box<dyn Look>,
    wake: Wake,
    degradations: Vec<Degradation>,
    interval: Duration,
    last: Option<Last>,
    holders_looked: Instant,
    /// Holders whose sockets were found to be gone since the last look, and who lived: a process that ends closes its sockets first.
    parted: BTreeSet<ProcessId>,
    counters: Counters,
    clock: Clock,
}

/// What the last look saw.
#[derive(Debug)]
struct Last {
    /// When it began.
    began: Timestamp,
    when: Instant,
    at: Timestamp,
    /// How long it took, and its telling.
    took: Duration,
    sockets: BTreeMap<SocketKey, Phase>,
}

impl ScanSource {
    /// A source over `scanner`. `why` are the degradations that led here, when something better was wanted.
    /// `wake` ends a waiting [`Source::poll`].
    pub fn new(scanner: impl Look + 'static, wake: Wake, why: Vec<Degradation>) -> Self {
        Self::over(Box::new(scanner), wake, why)
    }

    /// As [`ScanSource::new`].
    pub fn over(mut scanner: Box<dyn Look>, wake: Wake, why: Vec<Degradation>) -> Self {
        scanner.judge_gone();
        Self {
            interval: scanner.pace().fastest,
            scanner,
            wake,
            degradations: why,
            last: None,
            holders_looked: Instant::now(),
            parted: BTreeSet::new(),
            counters: Counters::default(),
            clock: Clock::system(),
        }
    }

    /// Time until the next look is due.
    fn due_in(&self) -> Duration {
        match &self.last {
            None => Duration::ZERO,
            Some(last) => {
                let rest = last.took * self.scanner.pace().rest;
                self.interval.max(rest).saturating_sub(last.when.elapsed())
            }
        }
    }

    /// Waits; `false` when woken.
    fn wait(&self, time: Duration) -> Result<bool, SourceError> {
        let woken = self
            .wake
            .wait(time)
            .map_err(|error| SourceError::Read { what: "the wake handle".to_owned(), error })?;
        if woken {
            self.wake.clear();
        }
        Ok(!woken)
    }

    /// Looks, and appends what differs from the last look.
    fn look(&mut self, out: &mut Vec<Observation>) -> Result<(), SourceError> {
        let begun = Instant::now();
        let holders_due = self.holders_looked.elapsed() >= HOLDERS_EVERY;
        let everywhere = holders_due || self.last.is_none();
        self.follow_clock(out);
        let started = self.clock.now();
        // Before the tables are read: a table that names processes forgets those whose sockets are gone.
        let held = self.scanner.known_holders();
        let mut tables =
            if everywhere { self.scanner.tables_everywhere(&[]) } else { self.scanner.tables(&[]) }?;
        tables.begun = started;
        let sockets = phases(&tables, self.scanner.netns());
        let mut gone: Vec<_> = std::mem::take(&mut self.parted).into_iter().collect();
        gone.retain(|&process| !self.scanner.lives(process));
        gone.extend(self.ended(held));
        let paused = self.pause();
        let changed = self.last.as_ref().is_none_or(|last| last.sockets != sockets);
        let quiet = !changed && gone.is_empty() && paused.is_none();
        let pace = self.scanner.pace();
        self.interval = if quiet { (self.interval * 3 / 2).min(pace.slowest) } else { pace.fastest };

        let at = self.clock.now();
        if let Some(since) = paused {
            let gap = Seen::Gap { lost: LossCounts::default(), since, reason: GapReason::Paused };
            out.push(Observation::new(at, Evidence::Scan, gap));
        }
        out.extend(gone.iter().map(|&process| exited(process, at)));
        if !quiet || holders_due {
            self.deliver(tables, &sockets, holders_due, out)?;
        }
        self.last = Some(Last { began: started, when: Instant::now(), at, took: begun.elapsed(), sockets });
        Ok(())
    }

    /// Appends a snapshot with the holders of the sockets that are new or have lost one; of all when `every`.
    fn deliver(
        &mut self,
        tables: Tables,
        now: &BTreeMap<SocketKey, Phase>,
        every: bool,
        out: &mut Vec<Observation>,
    ) -> Result<(), SourceError> {
        let before = self.last.as_ref().map(|look| &look.sockets);
        let fresh: BTreeSet<SocketKey> = now
            .iter()
            .filter(|&(key, phase)| before.is_none_or(|before| before.get(key) != Some(phase)))
            .map(|(key, _)| *key)
            .collect();
        let orphans = self.scanner.without_living_holder();
        let own = self.scanner.netns();
        let asked = |socket: &SocketSeen| {
            let elsewhere = socket.endpoint.netns != own;
            every
                || elsewhere
                || fresh.contains(&socket.key)
                || socket.inode.is_some_and(|inode| orphans.contains(&inode))
        };
        let found = self.scanner.with_holders(tables, HolderSearch::First, &asked)?;
        let snapshot = Snapshot { ended: self.clock.now(), ..found };
        if every {
            self.holders_looked = Instant::now();
        }
        self.counters.received += u64::try_from(snapshot.sockets.len()).unwrap_or(0);
        out.push(Observation::new(snapshot.ended, Evidence::Scan, Seen::Snapshot(Box::new(snapshot))));
        Ok(())
    }

    /// Those of `held` that have ended. Who lives without being known as a holder any more is looked at once more.
    fn ended(&mut self, held: BTreeSet<ProcessId>) -> BTreeSet<ProcessId> {
        let (live, ended): (BTreeSet<_>, BTreeSet<_>) =
            held.into_iter().partition(|&process| self.scanner.lives(process));
        self.parted.extend(live.difference(&self.scanner.known_holders()));
        ended
    }

    /// Since when nobody was looking, if that was long.
    fn pause(&self) -> Option<Timestamp> {
        let last = self.last.as_ref()?;
        let rest = self.scanner.pace().rest;
        // Stopped within a look. A tool may take that long, and has a limit of its own.
        if rest == 0 && last.took > PAUSE {
            return Some(last.began);
        }
        let longest = self.interval.max(last.took * rest) + PAUSE;
        // Linux's monotonic clock stands still while the machine sleeps; then nobody missed anything. Elsewhere only the
        // wall clock goes on.
        let late = self.clock.now().duration_since(last.at);
        let asleep = !cfg!(target_os = "linux") && late > longest.try_into().ok()?;
        (asleep || last.when.elapsed() > longest).then_some(last.at)
    }

    /// Takes over the wall clock, before anything is dated by it.
    fn follow_clock(&mut self, out: &mut Vec<Observation>) {
        if let Some(set) = self.clock.follow() {
            if let (Seen::ClockSet { by }, Some(last)) = (&set.seen, &mut self.last) {
                last.at = last.at.saturating_add(*by).unwrap_or(last.at);
                last.began = last.began.saturating_add(*by).unwrap_or(last.began);
            }
            out.push(set);
        }
    }
}

/// That it is gone, and no more.
fn exited(process: ProcessId, at: Timestamp) -> Observation {
    Observation::new(at, Evidence::Scan, Seen::Exited(Exited { process, status: None, sender: None }))
}

/// Sockets of our own namespace: the others are not looked at each time.
fn phases(tables: &Tables, own: Option<Netns>) -> BTreeMap<SocketKey, Phase> {
    let ours = tables.sockets.iter().filter(|socket| socket.endpoint.netns == own);
    ours.map(|socket| (socket.key, socket.phase)).collect()
}

impl Source for ScanSource {
    fn kind(&self) -> SourceKind {
        self.scanner.kind()
    }

    fn coverage(&self) -> Vec<Coverage> {
        self.scanner.coverage()
    }

    fn completeness(&self) -> Completeness {
        self.scanner.completeness()
    }

    fn degradations(&self) -> Vec<Degradation> {
        self.degradations.iter().chain(self.scanner.degradations()).cloned().collect()
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<Observation>) -> Result<Progress, SourceError> {
        let due = self.due_in();
        if due > timeout {
            self.wait(timeout)?;
            return Ok(Progress::Open);
        }
        if due.is_zero() || self.wait(due)? {
            self.look(out)?;
        }
        Ok(Progress::Open)
    }

    fn refresh(&mut self, scope: &Refresh, out: &mut Vec<Observation>) -> Result<(), SourceError> {
        self.follow_clock(out);
        let begun = self.clock.now();
        let held = self.scanner.known_holders();
        let found = self.scanner.refresh(scope)?;
        let snapshot = Snapshot { begun, ended: self.clock.now(), ..found };
        // Of those that are still known the next look tells; of the others nothing would.
        let forgotten = held.difference(&self.scanner.known_holders()).copied().collect();
        out.extend(self.ended(forgotten).into_iter().map(|process| exited(process, snapshot.ended)));
        out.push(Observation::new(snapshot.ended, Evidence::Scan, Seen::Snapshot(Box::new(snapshot))));
        Ok(())
    }

    fn connections(&mut self, scope: &ConnectionScope) -> Result<Option<Connections>, SourceError> {
        self.scanner.connections(scope)
    }

    fn bind_rules(&mut self, addresses: &[Local], netns: Option<Netns>) -> BindRules {
        self.scanner.bind_rules(addresses, netns)
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::source::scan::{Roots, Scanner};

    #[test]
    fn a_pause_within_a_look_is_told_by_the_next_one_and_once() {
        let scanner = Scanner::new(&Roots::default()).unwrap();
        let mut source = ScanSource::new(scanner, Wake::new().unwrap(), Vec::new());
        let mut look = |took: Option<Duration>| {
            if let (Some(took), Some(last)) = (took, &mut source.last) {
                last.took = took;
            }
            let (mut out, began) = (Vec::new(), source.last.as_ref().map(|last| last.began));
            source.look(&mut out).unwrap();
            let paused: Vec<_> = out
                .iter()
                .filter_map(|told| match &told.seen {
                    Seen::Gap { since, reason: GapReason::Paused, .. } => Some(*since),
                    _ => None,
                })
                .collect();
            (paused, began)
        };
        assert_eq!(look(None).0, []);
        assert_eq!(look(Some(PAUSE)).0, []);
        let (paused, began) = look(Some(PAUSE * 2));
        assert_eq!(paused, [began.unwrap()]);
        assert_eq!(look(None).0, []);
    }
}
