//! The flight record on disk: one SQLite database, one writer, any number of readers.
//!
//! Never: decide policy. What is noise, what is a claim, what a gap means to a person is settled elsewhere.
//!
//! Durability: WAL with `synchronous = NORMAL`. A process that is killed loses at most the batch it was writing
//! (100 ms). A machine that loses power loses at most what was written since the last checkpoint's sync; the
//! database stays consistent in both cases.

mod claims;
mod clock;
mod code;
mod coordinate;
mod error;
mod left;
mod open;
mod place;
mod read;
mod retention;
mod row;
mod schema;
mod select;
mod share;
mod store;
mod summary;
mod time;
mod webhooks;
mod worker;
mod writer;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use claims::{Allowed, ClaimError, Claimed, Claims, HealthRecord, Released, Request};
pub use coordinate::{
    Alive, Conflicts, CoordinateError, Coordination, Ending, Ends, FileConflict, Freed, Heir, MessagePage,
    MessagesWanted, OfSession, Publish, Register, Salvaged, StartSession, TakeLock, Taken, Told, Voice, gone,
};
pub use error::JournalError;
pub use left::Open as OpenSocket;
pub use open::{Journal, UNKNOWN_BOOT, boot_id};
pub use read::{Page, Reader};
pub use summary::{Activity, Held, Refusals, Summary};
pub use webhooks::{Dropped, Found, NewWebhook, Settled, Webhooks};
pub use writer::{Pending, Writer, WriterStatus, Writing};

use crate::model::{Event, Process, Timestamp};

/// What can be written.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every entry is an event; a box would cost each an allocation"
)]
pub enum Entry {
    /// A line of the record.
    Event(Event),
    /// Facts of a process: before the first event that names it, and again when they change.
    Process(Arc<Process>),
}

/// How a journal is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Events older than this go.
    pub retention_age: Duration,
    /// Rows go while the database is larger than this, first of whoever has most.
    pub retention_bytes: u64,
    /// A transaction begins when so many rows wait, or 100 ms after the first.
    pub batch: usize,
    /// Identity of this boot (see [`boot_id`]). Start times and cookies begin anew with each.
    pub boot_id: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention_age: Duration::from_hours(30 * 24),
            retention_bytes: 256 << 20,
            batch: 4096,
            boot_id: UNKNOWN_BOOT.to_owned(),
        }
    }
}

/// A journal that can be written.
#[derive(Debug)]
pub struct Opened {
    /// The one writer.
    pub writer: Writer,
    /// What was found.
    pub report: OpenReport,
}

/// What was found on opening.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// There was no database.
    pub fresh: bool,
    /// The schema it had, when it was brought forward.
    pub migrated_from: Option<i64>,
    /// How the last run ended. From then until now nobody was watching: a gap.
    pub previous: Option<PreviousRun>,
    /// A damaged database was set aside.
    pub set_aside: Option<SetAside>,
}

/// The last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousRun {
    /// It closed the journal in order. If not, up to a batch before `last` may be missing too.
    pub clean: bool,
    /// The last moment at which it is known to have been writing.
    pub last: Timestamp,
}

/// A damaged database, kept for whoever wants to look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now (`portwatch.db.damaged-<time>`).
    pub path: PathBuf,
    /// What was wrong.
    pub problem: String,
}
