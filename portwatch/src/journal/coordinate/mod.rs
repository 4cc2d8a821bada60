//! Coordination on disk: locks, agents, sessions, notes, channels. The same database, the same library, with a daemon and
//! without one; every change is one transaction that begins as a writer, and its event is written with it.
//!
//! Never: decide who is alive, or who may. Rules come from [`crate::coordinate`], liveness from the caller.

mod agent;
mod lock;
mod owner;
mod session;

use std::path::Path;

pub use agent::{Heir, Register, Salvaged};
pub use lock::{Freed, TakeLock, Taken};
use rusqlite::Connection;
pub use session::{FileConflict, StartSession};

use super::{
    JournalError,
    claims::{Claims, Fault, insert_event, moment, text},
};
use crate::{
    coordinate::{Denial, Lock},
    model::{Event, EventKind, Evidence, ProcessId, Timestamp},
};

/// Whether a process lives.
pub type Alive<'a> = dyn Fn(ProcessId) -> bool + 'a;

/// Rows of the log that a change has written, by id.
pub type Told = Vec<(i64, Event)>;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CoordinateError {
    /// The database.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The rules.
    #[error(transparent)]
    Denied(#[from] Denial),
}

impl From<Denial> for Fault<CoordinateError> {
    fn from(denial: Denial) -> Self {
        Self::Other(denial.into())
    }
}

type Done<T> = Result<T, Fault<CoordinateError>>;

/// The tables of coordination, for reading and writing.
#[derive(Debug)]
pub struct Coordination {
    store: Claims,
}

impl Coordination {
    /// Opens the database at `path`, as [`Claims::open`] does.
    pub fn open(path: &Path, boot_id: &str) -> Result<Self, JournalError> {
        Claims::open(path, boot_id).map(|store| Self { store })
    }

    /// Another number whenever another connection has changed the database.
    pub fn version(&self) -> Result<i64, JournalError> {
        self.store.version()
    }

    /// Reads, without waiting for writers.
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection, i64) -> rusqlite::Result<T>,
    ) -> Result<T, CoordinateError> {
        let (connection, boot) = self.store.parts();
        work(connection, boot).map_err(|error| self.store.failed("read", error).into())
    }

    /// Changes: all of it holds, or nothing does.
    fn change<T>(&mut self, work: impl FnOnce(&Connection, i64) -> Done<T>) -> Result<T, CoordinateError> {
        self.store.transaction(work)
    }
}

impl Coordination {
    /// Processes of this boot on which something depends.
    pub fn processes(&self) -> Result<Vec<ProcessId>, CoordinateError> {
        self.read(|connection, boot| {
            let mut statement = connection.prepare_cached(
                "SELECT pid, start_ticks FROM lock WHERE pid IS NOT NULL AND boot = ?1
                 UNION SELECT pid, start_ticks FROM agent
                     WHERE pid IS NOT NULL AND boot = ?1 AND died IS NULL AND ended IS NULL
                 UNION SELECT pid, start_ticks FROM session
                     WHERE pid IS NOT NULL AND boot = ?1 AND agent IS NULL AND state = 'active'",
            )?;
            let row = |row: &rusqlite::Row<'_>| {
                let ticks: i64 = row.get(1)?;
                Ok(ProcessId { pid: row.get(0)?, start_ticks: ticks.cast_unsigned() })
            };
            statement.query_map([boot], row)?.collect()
        })
    }

    /// Ends what a process had: it has ended, as `why` says.
    pub fn process_ended(
        &mut self,
        process: ProcessId,
        why: &str,
        now: Timestamp,
    ) -> Result<Told, CoordinateError> {
        self.change(|connection, boot| {
            let mut told = Told::new();
            let its = |lock: &Lock| lock.owner.process == Some(process);
            lock::free_where(connection, boot, &mut told, (why, now), &its)?;
            let it = |other: ProcessId| other == process;
            agent::ended(connection, boot, &mut told, &it, (why, now))?;
            session::terminal_ended(connection, boot, &mut told, &it, (why, now))?;
            Ok(told)
        })
    }

    /// Ends what belonged to processes that are gone, when nobody saw their end, and tells of agents that fell silent.
    pub fn sweep(&mut self, alive: &Alive<'_>, now: Timestamp) -> Result<Told, CoordinateError> {
        let gone = |process: ProcessId| !alive(process);
        let orphans = self.read(|connection, boot| {
            Ok(lock::all(connection, boot)?.iter().any(|lock| lock.is_orphaned(alive))
                || agent::all(connection, boot)?.iter().any(|agent| agent.is_orphaned(alive))
                || session::terminals(connection, boot)?.into_iter().any(gone))
        })?;
        let mut told = Told::new();
        if orphans {
            told = self.change(|connection, boot| {
                let mut told = Told::new();
                lock::free_orphans(connection, boot, &mut told, alive, now)?;
                agent::ended(connection, boot, &mut told, &gone, ("", now))?;
                session::terminal_ended(connection, boot, &mut told, &gone, ("", now))?;
                Ok(told)
            })?;
        }
        told.extend(self.tell_of_silence(now)?);
        Ok(told)
    }
}

/// Writes an event about `subject` and keeps it in `told`.
fn tell(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    (kind, subject, message, now): (EventKind, &str, String, Timestamp),
) -> rusqlite::Result<()> {
    let mut event = Event::new(now, kind, Evidence::Kernel);
    event.subject = Some(subject.to_owned());
    event.message = Some(message);
    let id = insert_event(connection, boot, &event)?;
    told.push((id, event));
    Ok(())
}

#[cfg(test)]
mod tests;
