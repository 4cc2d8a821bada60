//! Metrics, as one document and in the text format of Prometheus.
//!
//! Labels are words of this program's own lists (types, states, routes, reasons): never a port, pid, address or anything
//! that somebody else chooses, so the number of series is bounded.

mod convert;
mod text;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use convert::metrics;

use crate::meter;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answer of `metrics`: the numbers that people look at first, and every family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metrics {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Seconds since the daemon started; null without a daemon.
    pub uptime: Option<u64>,
    /// Requests answered since then.
    pub requests: Option<u64>,
    /// How long one took on average, milliseconds; null before the first.
    #[serde(rename = "avgResponseMs")]
    pub average_ms: Option<f64>,
    /// How long the slowest took, milliseconds; null before the first.
    #[serde(rename = "peakResponseMs")]
    pub peak_ms: Option<f64>,
    /// Live streams now.
    #[serde(rename = "activeSSE")]
    pub streams: Option<u64>,
    /// Size of the database with its log, bytes.
    #[serde(rename = "dbSizeBytes")]
    pub database_bytes: Option<u64>,
    /// Resident memory of the daemon, bytes.
    #[serde(rename = "memoryRSS")]
    pub memory_bytes: Option<u64>,
    /// Identity of the daemon's build.
    #[serde(rename = "codeHash")]
    pub build: Option<String>,
    /// Every family.
    pub families: Vec<Family>,
}

/// A metric: samples of one name, unit and meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Family {
    /// Its name, after Prometheus' conventions.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub r#type: String,
    /// What it is.
    pub help: String,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// One number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// The family's name; a histogram's with `_bucket`, `_sum` or `_count` behind it.
    pub name: String,
    /// What tells it from others.
    pub labels: Vec<Label>,
    /// The number.
    pub value: f64,
}

/// A label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Family {
    /// An empty family.
    fn new(name: &str, kind: &str, help: &str) -> Self {
        Self { name: name.to_owned(), r#type: kind.to_owned(), help: help.to_owned(), samples: Vec::new() }
    }

    /// A number that only grows; its name ends in `_total`.
    pub fn counter(name: &str, help: &str) -> Self {
        Self::new(name, "counter", help)
    }

    /// A number that goes up and down.
    pub fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, "gauge", help)
    }

    /// A distribution; its name ends in a unit.
    pub fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, "histogram", help)
    }

    /// The same with a sample.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "the format has no integers; exact up to 2^53")]
    pub fn with(self, labels: &[(&str, &str)], value: u64) -> Self {
        self.with_real(labels, value as f64)
    }

    /// The same with a sample that is no integer.
    #[must_use]
    pub fn with_real(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        self.push("", labels, value);
        self
    }

    /// The same with a histogram's samples.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "the format has no integers; exact up to 2^53")]
    pub fn with_reading(mut self, labels: &[(&str, &str)], reading: &meter::Reading) -> Self {
        let all = (f64::INFINITY, reading.count);
        for (bound, count) in meter::BOUNDS.into_iter().zip(reading.cumulative).chain([all]) {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            self.push("_bucket", &labels, count as f64);
        }
        self.push("_sum", labels, reading.sum.as_secs_f64());
        self.push("_count", labels, reading.count as f64);
        self
    }

    fn push(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let label =
            |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
        let name = format!("{}{suffix}", self.name);
        self.samples.push(Sample { name, labels: labels.iter().map(label).collect(), value });
    }
}

/// What the server of the API counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests {
    /// How long requests took, by route and method.
    pub took: Vec<(String, String, meter::Reading)>,
    /// How many there were, by route, method and status.
    pub answered: Vec<(String, String, u16, u64)>,
    /// Live streams now.
    pub streams: u64,
}

impl Metrics {
    /// The same with what the server counts.
    #[must_use]
    pub fn with_requests(mut self, requests: &Requests) -> Self {
        let count: u64 = requests.took.iter().map(|(.., reading)| reading.count).sum();
        let sum: f64 = requests.took.iter().map(|(.., reading)| reading.sum.as_secs_f64()).sum();
        let peak = requests.took.iter().map(|(.., reading)| reading.longest).max();
        let ms = |seconds: f64| (seconds * 1e6).round() / 1e3;
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        let average = (count > 0).then(|| ms(sum / count as f64));
        (self.requests, self.average_ms) = (Some(count), average);
        self.peak_ms = peak.filter(|_| count > 0).map(|peak| ms(peak.as_secs_f64()));
        self.streams = Some(requests.streams);
        let mut answered = Family::counter(
            "portwatch_http_requests_total",
            "Requests answered, by route, method and HTTP status.",
        );
        for (route, method, status, count) in &requests.answered {
            let status = status.to_string();
            answered = answered.with(&[("route", route), ("method", method), ("status", &status)], *count);
        }
        let mut took = Family::histogram(
            "portwatch_http_request_duration_seconds",
            "Time from the head of a request to the head of its answer, by route and method.",
        );
        for (route, method, reading) in &requests.took {
            took = took.with_reading(&[("route", route), ("method", method)], reading);
        }
        let streams = Family::gauge("portwatch_http_streams", "Live streams of events that are open.");
        self.families.extend([answered, took, streams.with(&[], requests.streams)]);
        self
    }
}
