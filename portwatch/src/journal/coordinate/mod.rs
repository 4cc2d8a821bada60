//! Coordination on disk: locks, agents, sessions, notes, channels. The same database, the same library, with a daemon and
//! without one; every change is one transaction that begins as a writer, and its event is written with it.
//!
//! Never: decide who is alive, or who may. Rules come from [`crate::coordinate`], liveness from the caller.

mod agent;
mod channel;
mod files;
mod lock;
mod owner;
mod session;
mod turn;

use std::{collections::HashMap, path::Path};

pub use agent::{Heir, Register, Salvaged, Voice};
pub use channel::{MessagePage, MessagesWanted, Publish};
pub use files::{Conflicts, FileConflict};
pub use lock::{Freed, TakeLock, Taken, gone};
pub use session::{OfSession, StartSession};
use turn::{Done, Tables, Turn};

use super::{
    JournalError,
    claims::{Claims, moment, text},
};
use crate::{
    coordinate::{Denial, EARLIER_BOOT},
    model::{Event, ProcessId, Timestamp},
};

/// Whether a process lives.
pub type Alive<'a> = dyn Fn(ProcessId) -> bool + 'a;

/// How a process ended that lives no more, as a sentence: `its process 4711 was killed by SIGKILL`. What nobody saw is said by
/// [`gone`].
pub type Ending<'a> = dyn Fn(ProcessId) -> String + 'a;

/// Processes that have ended, and how.
pub type Ends = HashMap<ProcessId, String>;

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

    /// As [`Claims::folded_elsewhere`].
    pub fn folded_elsewhere(self) -> Result<Self, JournalError> {
        Ok(Self { store: self.store.folded_elsewhere()? })
    }

    /// As [`Claims::version`].
    pub fn version(&self) -> Result<i64, JournalError> {
        self.store.version()
    }

    /// The name of the database: numbers of messages and places in lines mean something in it alone.
    pub fn identity(&self) -> Result<String, CoordinateError> {
        self.read(turn::identity)
    }

    /// Reads, without waiting for writers.
    fn read<T>(&self, work: impl FnOnce(&Tables<'_>) -> rusqlite::Result<T>) -> Result<T, CoordinateError> {
        self.store.keep_time()?;
        let (connection, boot) = self.store.parts();
        work(&Tables::new(connection, boot)).map_err(|error| self.store.failed("read", error).into())
    }

    /// Changes, in the name of an agent where there is one: all of it holds, its sign of life too, or nothing does. What is
    /// done goes by [`Turn::now`]: the clock may have been set while this waited for others.
    fn change<T>(
        &mut self,
        voice: Option<Voice<'_>>,
        now: Timestamp,
        work: impl FnOnce(&mut Turn<'_>) -> Done<T>,
    ) -> Result<(T, Told), CoordinateError> {
        self.store.transaction_at(now, |connection, boot, now| {
            let mut turn = Turn::new(connection, boot, now);
            if let Some(voice) = voice {
                agent::speak(&mut turn, voice)?;
            }
            let done = work(&mut turn)?;
            Ok((done, turn.told))
        })
    }
}

/// Processes on which something depends, those of earlier boots among them: the first of each user, the second of each, and so
/// on. Where not all are looked after in the same way, nobody takes the places of all by having many.
fn depended_on(tables: &Tables<'_>) -> rusqlite::Result<Vec<ProcessId>> {
    let found = tables.rows(
        "WITH one AS (
             SELECT pid, start_ticks, boot, uid FROM lock WHERE pid IS NOT NULL
             UNION SELECT pid, start_ticks, boot, uid FROM agent
                 WHERE pid IS NOT NULL AND died IS NULL AND ended IS NULL
             UNION SELECT pid, start_ticks, boot, uid FROM session
                 WHERE pid IS NOT NULL AND agent IS NULL AND state = 'active'
         ), first AS (SELECT pid, start_ticks, boot, min(uid) AS uid FROM one GROUP BY pid, start_ticks, boot)
         SELECT pid, start_ticks, boot FROM first
         ORDER BY row_number() OVER (PARTITION BY uid ORDER BY pid), uid",
        [],
        |row, boot| owner::process(row, 0, boot),
    )?;
    Ok(found.into_iter().flatten().collect())
}

impl Coordination {
    /// Processes of this boot on which something depends, those of each user by turns.
    pub fn processes(&self) -> Result<Vec<ProcessId>, CoordinateError> {
        let mut found = self.read(depended_on)?;
        found.retain(|process| process.start_ticks != EARLIER_BOOT);
        Ok(found)
    }

    /// Ends what these processes had: they have ended.
    pub fn ended(&mut self, ends: &Ends, now: Timestamp) -> Result<Told, CoordinateError> {
        if ends.is_empty() {
            return Ok(Told::new());
        }
        let ended = |turn: &mut Turn<'_>| {
            lock::free_ended(turn, ends)?;
            agent::ended(turn, ends)?;
            session::terminal_ended(turn, ends)?;
            Ok(())
        };
        Ok(self.change(None, now, ended)?.1)
    }

    /// Processes on which something depends, of earlier boots too, and that live no more.
    pub fn lost(&self, alive: &Alive<'_>) -> Result<Vec<ProcessId>, CoordinateError> {
        let mut found = self.read(depended_on)?;
        found.retain(|&process| !alive(process));
        Ok(found)
    }

    /// Ends the places of those who wait for locks no more, so that nobody who is gone is counted.
    pub fn leave_lines(&mut self, alive: &Alive<'_>, now: Timestamp) -> Result<(), CoordinateError> {
        if self.read(lock::places)?.iter().all(|waiter| waiter.waits(alive, now)) {
            return Ok(());
        }
        self.change(None, now, |turn| Ok(lock::leave_for(turn, alive)?)).map(drop)
    }

    /// Forgets what ended before `cutoff`: sessions, with notes and files, agents, places in lines, messages, and channels that
    /// nobody used since. How many rows went.
    pub fn forget(&mut self, cutoff: Timestamp, now: Timestamp) -> Result<usize, CoordinateError> {
        let forget = |turn: &mut Turn<'_>| {
            let cutoff = text(cutoff);
            lock::forget(turn)?;
            Ok(session::forget(turn, &cutoff)?
                + agent::forget(turn, &cutoff)?
                + channel::forget(turn, &cutoff)?)
        };
        Ok(self.change(None, now, forget)?.0)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_bounds;
#[cfg(test)]
mod tests_of_channels;
#[cfg(test)]
mod tests_of_clocks;
#[cfg(test)]
mod tests_of_files;
