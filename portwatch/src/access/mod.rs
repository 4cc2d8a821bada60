//! One trait, two ways to the same answers: over the daemon's socket, or in process when no daemon runs.
//!
//! Never: differ in answers.

mod coordinate;
mod embedded;
mod note;
mod office;
mod open;
mod registry;
mod remedy;
mod remote;
mod silent;

pub use coordinate::{Coordination, order};
pub use open::{AccessOptions, Tell, open};
pub use registry::Registry;

use std::path::Path;

use crate::api::Silence;
use crate::wire::{
    Doctor, Event, List, ListQuery, Log, LogQuery, LogSummary, SourceInfo, Status, Who, WhoQuery,
    claims::{self, Drift},
    metrics::Metrics,
};

/// Answers to every question the CLI asks.
pub trait Access: Registry + Coordination {
    /// Who has these?
    fn who(&self, query: &WhoQuery) -> Result<Who, AccessError>;
    /// What is open?
    fn list(&self, query: &ListQuery) -> Result<List, AccessError>;
    /// What happened?
    fn log(&self, query: &LogQuery) -> Result<Log, AccessError>;
    /// What happened, in numbers?
    fn summary(&self, query: &LogQuery) -> Result<LogSummary, AccessError>;
    /// Events as they happen, after those of `query` that are in the journal already if `backlog` is set.
    /// Ends when `each` returns `false` (closed pipe, limit) or the source ends. What is seen, and what is not, goes to
    /// `about` before the first event.
    fn follow(
        &self,
        query: &LogQuery,
        backlog: bool,
        about: Option<&mut dyn FnMut(SourceInfo)>,
        each: &mut dyn FnMut(Event) -> bool,
    ) -> Result<(), AccessError>;
    /// What do registry and reality disagree in, of a project or of all?
    fn drift(&self, project: Option<&str>) -> Result<Drift, AccessError> {
        let claims = self.claims(&["*".to_owned()])?;
        let mut list = self.list(&ListQuery { protocol: Some("tcp".to_owned()), ..ListQuery::default() })?;
        list.sockets.retain(|socket| claims::is_unclaimed(socket, project));
        Ok(claims::drift(claims, list, project))
    }
    /// A daemon answers, as far as is known: what happens is seen as it happens.
    fn is_daemon(&self) -> bool {
        false
    }
    /// Where that daemon is asked.
    fn socket(&self) -> Option<&Path> {
        None
    }
    /// Is a daemon running, and how is it?
    fn status(&self) -> Result<Status, AccessError>;
    /// Everything that is counted.
    fn metrics(&self) -> Result<Metrics, AccessError>;
    /// What works here, and what would mend the rest?
    fn doctor(&self) -> Result<Doctor, AccessError>;
}

/// Why there is no answer. Each variant has one exit code (`cli/exit.rs`).
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The question was wrong; the sentence says how. Exit 2.
    #[error("{0}")]
    Usage(String),
    /// There is a daemon, and it does not answer. Exit 3.
    #[error("{silence}; {remedy}")]
    Silent {
        /// How that was found out, and what it had been told.
        silence: Box<Silence>,
        /// What to do.
        remedy: String,
    },
    /// It could not be seen: permission, timeout, unreadable. Exit 3.
    #[error("{what}; {remedy}")]
    NotSeen {
        /// What could not be seen and why, with errno.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// It was seen, and the answer is no: a port is taken, a name is not there. Exit 1, with a sentence.
    #[error("{what}; {remedy}")]
    Refused {
        /// What is in the way.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Several answers where one is needed. Exit 4.
    #[error("{what}; {remedy}")]
    Ambiguous {
        /// Which.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A daemon or source is required and there is none. Exit 5.
    #[error("{what}; {remedy}")]
    NoDaemon {
        /// What was tried.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Our fault. Exit 70.
    #[error("internal error: {0}")]
    Internal(String),
}
