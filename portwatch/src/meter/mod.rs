//! Counters and histograms: how often, how long. Written from any thread, read at any time.
//!
//! Never: know what is counted.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many by now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper ends of the buckets of every histogram, seconds: half a millisecond to ten seconds.
pub const BOUNDS: [f64; 9] = [0.0005, 0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

/// How long something takes.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each of [`BOUNDS`], and one for what took longer.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
    longest_ns: AtomicU64,
}

impl Histogram {
    /// Something took so long.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.buckets.iter().zip(BOUNDS.iter().chain([&f64::INFINITY]));
        if let Some((bucket, _)) = bucket.into_iter().find(|(_, bound)| seconds <= **bound) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        self.longest_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// What it shows now.
    pub fn read(&self) -> Reading {
        let mut cumulative = [0; BOUNDS.len()];
        let mut count = 0;
        for (bucket, into) in self.buckets.iter().zip(&mut cumulative) {
            count += bucket.load(Ordering::Relaxed);
            *into = count;
        }
        count += self.buckets.last().map_or(0, |longest| longest.load(Ordering::Relaxed));
        Reading {
            cumulative,
            count,
            sum: Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)),
            longest: Duration::from_nanos(self.longest_ns.load(Ordering::Relaxed)),
        }
    }
}

/// What a histogram shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// How many took at most as long as each of [`BOUNDS`].
    pub cumulative: [u64; BOUNDS.len()],
    /// How many in all.
    pub count: u64,
    /// How long all of them took together.
    pub sum: Duration,
    /// The longest.
    pub longest: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_falls_into_fewer_buckets_and_the_longest_into_none_but_the_count() {
        let histogram = Histogram::default();
        for ms in [0, 1, 3, 24, 99, 60_000] {
            histogram.record(Duration::from_millis(ms));
        }
        let reading = histogram.read();
        assert_eq!(reading.cumulative, [1, 2, 3, 4, 5, 5, 5, 5, 5], "a bucket's end belongs to it");
        assert_eq!((reading.count, reading.longest), (6, Duration::from_mins(1)));
        assert_eq!(reading.sum, Duration::from_millis(60_127));
    }
}
