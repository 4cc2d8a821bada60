//! Webhooks: where one may lead, what is sent, how it is signed, how long a failing one rests. Rules apart from storage and from
//! the network.
//!
//! Never: open a connection, look up a name, store anything, read a clock.

mod allow;
mod pause;
mod sign;
mod target;

use std::fmt;

pub use allow::{AllowList, Allowance, Policy, forbidden};
pub use pause::{MOST_TRIES, USUAL_TRIES, pause};
pub use sign::sign;
pub use target::{Host, Target, TargetError};

use crate::model::{EventFilter, EventKind, Port, Timestamp, Viewer};

/// So many events wait for one webhook; what comes then falls out and is counted.
pub const QUEUE: u64 = 1000;
/// So many webhooks one user may have; root may have as many as all together.
pub const MOST_OF_USER: u64 = 16;
/// So many there are at most.
pub const MOST: u64 = 256;
/// Shortest secret, bytes: the 128 bits of RFC 2104's recommendation.
pub const SHORTEST_SECRET: usize = 16;
/// Longest secret, bytes.
pub const LONGEST_SECRET: usize = 1024;
/// Longest pattern, bytes.
pub const LONGEST_PATTERN: usize = 256;

/// Signs what is sent. Not shown to anybody, not even when printed for debugging.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Which events a webhook is for. Empty lists mean all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// Types.
    pub kinds: Vec<EventKind>,
    /// Ports.
    pub ports: Vec<Port>,
    /// A pattern, as in the log.
    pub pattern: Option<String>,
}

impl Wish {
    /// As the log's filter, of the user whose webhook it is.
    pub fn filter(&self, viewer: Viewer) -> EventFilter {
        EventFilter {
            kinds: self.kinds.clone(),
            ports: self.ports.clone(),
            pattern: self.pattern.clone(),
            viewer,
            ..EventFilter::default()
        }
    }
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub uid: u32,
    /// That user's name.
    pub user: Option<String>,
    /// Where it leads.
    pub url: String,
    /// Which events.
    pub wish: Wish,
    /// Signs.
    pub secret: Secret,
    /// An event is tried so often.
    pub tries: u32,
    /// Since when.
    pub created: Timestamp,
    /// Events up to this row id have been looked at.
    pub seen: i64,
    /// Tries that failed since the last that did not.
    pub failures: u32,
    /// Rests until then.
    pub paused: Option<Timestamp>,
    /// Events that arrived.
    pub delivered: u64,
    /// Events that were given up.
    pub given_up: u64,
    /// Events that fell out of the queue.
    pub dropped: u64,
    /// Events that wait.
    pub waiting: u64,
}

impl Webhook {
    /// What the log calls it.
    pub fn subject(id: i64) -> String {
        format!("{SUBJECT}{id}")
    }
}

const SUBJECT: &str = "webhook:";

/// What is told of webhooks themselves is not sent to any: two that fail would feed each other for ever.
pub fn is_about_webhooks(subject: Option<&str>) -> bool {
    subject.is_some_and(|subject| subject.starts_with(SUBJECT))
}

/// What became of an event that is for a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits.
    Waiting,
    /// It arrived.
    Delivered,
    /// It was tried often enough.
    GivenUp,
}

impl Standing {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::GivenUp];

    /// The word used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::GivenUp => "given-up",
        }
    }

    /// The inverse of [`Standing::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == word)
    }
}

/// An event on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// For which webhook.
    pub webhook: i64,
    /// The event's row id; `None` for a test.
    pub event: Option<i64>,
    /// The event's type; `test` for a test.
    pub kind: String,
    /// What became of it.
    pub standing: Standing,
    /// Since when it waits or waited.
    pub queued: Timestamp,
    /// When it was tried last.
    pub tried: Option<Timestamp>,
    /// How often it was tried.
    pub tries: u32,
    /// HTTP status of the last try.
    pub status: Option<u16>,
    /// How long the last try took, milliseconds.
    pub latency_ms: Option<u64>,
    /// Why the last try failed.
    pub problem: Option<String>,
}
