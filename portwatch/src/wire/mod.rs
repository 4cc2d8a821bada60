//! The JSON contract: versioned types that CLI, API and exports share. Inner types never leak through it;
//! `convert` is the only place that knows both sides. `docs/schema/portwatch-v1.json` is generated from these
//! types and compared by a test; `docs/json.md` says what may change and when.
//!
//! Numbers are numbers, unknown is null, times are RFC 3339 UTC.

mod answer;
pub mod claims;
mod connection;
pub mod convert;
pub mod coordinate;
mod error;
pub mod escaped;
pub mod metrics;
mod parts;
mod probe;
mod request;
mod resolve;
mod room;
mod schema;

pub use answer::{
    Alive, ConfigReport, ConfigSetting, Doctor, DoctorCheck, FactCoverage, List, Log, LogSummary, PortCount,
    ProcessCount, Status, TypeCount, Verdict, Version, VersionReport, Who, WhoTarget,
};
pub use connection::{Connection, ProcessName, TimeWaitOwner, Traffic};
pub use error::{ErrorBody, ErrorDocument};
pub use parts::{
    Ancestor, Cgroup, Container, Degradation, Event, Exit, Forward, Gap, Holder, LostCounts, Process,
    Project, Published, Socket, SourceInfo, Unit, UnprovenContainer, Worktree,
};
pub use probe::{Probe, ProbedAddress, ProbedBind};
pub use request::{ListQuery, LogQuery, Target, TargetError, WhoQuery};
pub use resolve::{
    Free, FreeContainer, FreeDependent, FreeProcess, FreeRefusal, FreeTarget, FreeUnit, Wait, WaitTarget,
};
pub use room::{Room, View};
pub use schema::schema;

/// Version of the contract; in every document as `schema`.
pub const SCHEMA: u32 = 1;
