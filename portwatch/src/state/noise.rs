//! Noise: kernel-chosen UDP binds and TCP binds that end without listening, one summary per process and minute.

use std::collections::HashMap;

use jiff::SignedDuration;

use super::{
    clock::shifted,
    policy::{MAX_NOISE, NOISE_WINDOW},
    rows::later,
};
use crate::model::{Change, Event, EventKind, Evidence, ProcessId, Protocol, Timestamp};

type Source = (Option<ProcessId>, Protocol, Evidence);

#[derive(Debug)]
struct Summary {
    first: Timestamp,
    count: u64,
}

/// Binds counted and not told yet.
#[derive(Debug, Default)]
pub(super) struct Noise {
    open: HashMap<Source, Summary>,
    due: Option<Timestamp>,
}

impl Noise {
    /// Counts one bind.
    pub(super) fn count(&mut self, at: Timestamp, source: Source, out: &mut Vec<Change>) {
        if self.open.len() >= MAX_NOISE && !self.open.contains_key(&source) {
            self.flush(at, |_| true, out);
        }
        self.open.entry(source).or_insert(Summary { first: at, count: 0 }).count += 1;
        let due = later(at, NOISE_WINDOW);
        self.due = Some(self.due.map_or(due, |d| d.min(due)));
    }

    /// The clock by which all this was dated was set.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        for summary in self.open.values_mut() {
            summary.first = shifted(summary.first, by);
        }
        self.due = self.due.map(|at| shifted(at, by));
    }

    /// When the next summary is due.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Tells the summaries that are due.
    pub(super) fn tick(&mut self, now: Timestamp, out: &mut Vec<Change>) {
        if self.due.is_some_and(|due| due <= now) {
            self.flush(now, |s| later(s.first, NOISE_WINDOW) <= now, out);
        }
    }

    /// Tells every summary, due or not.
    pub(super) fn flush_all(&mut self, now: Timestamp, out: &mut Vec<Change>) {
        self.flush(now, |_| true, out);
    }

    fn flush(&mut self, now: Timestamp, ripe: impl Fn(&Summary) -> bool, out: &mut Vec<Change>) {
        let mut told: Vec<_> = self.open.extract_if(|_, summary| ripe(summary)).collect();
        told.sort_unstable_by_key(|(source, summary)| (summary.first, *source));
        for ((process, protocol, evidence), summary) in told {
            let mut event = Event::new(now, EventKind::Noise, evidence);
            event.process = process;
            event.protocol = Some(protocol);
            event.since = Some(summary.first);
            event.count = summary.count;
            event.message = Some(
                match protocol {
                    Protocol::Udp => "UDP binds to a kernel-chosen port",
                    Protocol::Tcp => "TCP binds closed without listening",
                }
                .to_owned(),
            );
            out.push(Change { event, socket: None });
        }
        self.due = self.open.values().map(|s| later(s.first, NOISE_WINDOW)).min();
    }
}
