//! The questions, as a transport asks them.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{
    Asked, DoctorAnswer, ListAnswer, ListFilter, LogAnswer, MetricsAnswer, QueryError, Record, Space,
    StatusAnswer, SummaryAnswer, WhoAnswer,
    claims::{Office, OfficeError},
    coordinate::Bureau,
};
use crate::model::EventFilter;

/// What a daemon answers. The API speaks to this; the daemon's desk implements it, and tests a fake.
pub trait Answers: Office {
    /// Who has these, in the network namespaces of `space`?
    fn who(&self, asked: &[Asked], space: Space) -> Result<WhoAnswer, QueryError>;
    /// What is open?
    fn list(&self, filter: &ListFilter) -> Result<ListAnswer, QueryError>;
    /// What happened?
    fn log(&self, filter: &EventFilter) -> Result<LogAnswer, QueryError>;
    /// What happened, in numbers?
    fn summary(&self, filter: &EventFilter) -> Result<SummaryAnswer, QueryError>;
    /// How is the observer?
    fn status(&self) -> Result<StatusAnswer, QueryError>;
    /// Everything that is counted.
    fn metrics(&self) -> Result<MetricsAnswer, QueryError>;
    /// What works here?
    fn doctor(&self) -> Result<DoctorAnswer, QueryError>;
    /// Where people and agents keep out of each other's way.
    fn bureau(&self) -> Result<&Bureau, OfficeError>;
    /// Events from now on; those of `backlog` that the journal already has, without overlap or hole between.
    fn subscribe(&self, backlog: Option<&EventFilter>) -> Result<Subscription, QueryError>;
}

/// A reader of the live stream.
#[derive(Debug)]
pub struct Subscription {
    /// Events from before, oldest first.
    pub backlog: Vec<Record>,
    /// Older ones than these were too much for the filter's bytes.
    pub cut: bool,
    /// Everything after them.
    pub live: broadcast::Receiver<Arc<Record>>,
}
