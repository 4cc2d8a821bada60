//! Answers: what the live table, the journal and attribution know together about what was asked.
//!
//! Never: format text for a terminal, act on anything. `wire::convert` turns these answers into the JSON contract.

mod answer;
mod answers;
pub mod claims;
pub mod coordinate;
mod doctor;
mod error;
mod forward;
mod history;
mod list;
mod live;
mod metrics;
mod outlook;
mod rows;
mod space;
mod who;

pub use crate::model::{Sight, Viewer};
pub use answer::{
    About, Asked, Check, CheckResult, DoctorAnswer, History, Holding, KnownSocket, ListAnswer, ListFilter,
    LogAnswer, Outlook, Record, Sort, StatusAnswer, SummaryAnswer, TargetAnswer, Traffic, WhoAnswer,
};
pub use answers::{Answers, Subscription};
pub use doctor::doctor;
pub use error::QueryError;
pub use forward::{Forward, PublishedPort, is_engine, is_forwarder};
pub use history::{log, matches, of_port, summary};
pub use live::{Around, LONGEST, Listed, Live};
pub use metrics::{MetricsAnswer, Posted, Running, TableSizes, Tallied};
pub use space::Space;
