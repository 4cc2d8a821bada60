//! Claims on disk: the same database, the same library, with a daemon and without one.
//!
//! Every change is one transaction that begins as a writer: what was read in it holds until it is committed,
//! whatever other processes do. The primary key of `claim_port` is the last word on "no two callers one port".
//!
//! Never: decide what may be claimed. Terms, obstacles and the caller's rights come from outside.

mod allow;
mod error;
mod health;
mod read;
mod told;
mod write;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};

pub use allow::Allowed;
pub use error::ClaimError;
pub use health::HealthRecord;
pub(super) use write::insert_event;
pub use write::{Claimed, Released, Request};

use super::{
    JournalError, OpenReport,
    clock::Clock,
    open::{self, Depth},
    place::Place,
};
use crate::{
    model::{Netns, Timestamp},
    registry::PortSet,
};

/// Where `meta` says which ports the kernel keeps back for claims: boot, namespace, ports.
const RESERVED: &str = "reserved_ports";

/// Statements kept ready: coordination has that many.
const STATEMENTS: usize = 128;

/// A writer waits so long for others before it gives up, milliseconds.
const PATIENCE_MS: i32 = 20_000;

/// The registry's tables, for reading and writing.
#[derive(Debug)]
pub struct Claims {
    connection: Connection,
    path: PathBuf,
    place: Place,
    boot: i64,
    clock: Clock,
}

impl Claims {
    /// Opens the database at `path`; makes it or brings its schema forward as needed. Nothing is set aside: that is
    /// for a daemon that starts.
    pub fn open(path: &Path, boot_id: &str) -> Result<Self, JournalError> {
        let mut connection = open::prepare(path, Depth::Head, &mut OpenReport::default())?;
        let failed = |error| JournalError::sqlite("open", path, error);
        connection.busy_handler(Some(wait)).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let find = |connection: &Connection| {
            connection
                .query_row("SELECT id FROM boot WHERE uuid = ?1", [boot_id], |row| row.get(0))
                .optional()
        };
        // Read first: the row is nearly always there, and reading waits for nobody.
        let boot = if let Some(boot) = find(&connection).map_err(failed)? {
            boot
        } else {
            connection
                .execute("INSERT INTO boot (uuid) VALUES (?1) ON CONFLICT DO NOTHING", [boot_id])
                .map_err(failed)?;
            find(&connection).map_err(failed)?.unwrap_or(0)
        };
        Ok(Self { connection, path: path.to_owned(), place: Place::of(path), boot, clock: Clock::system() })
    }

    /// Another number whenever another connection has changed the database, or the clock was set.
    pub fn version(&self) -> Result<i64, JournalError> {
        self.keep_time()?;
        let version: i64 = self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(|error| self.failed("read", error))?;
        // What this connection has moved is no change of another one, and news all the same.
        Ok(version.wrapping_add(i64::from(self.clock.moves()) << 32))
    }

    /// Moves times along where the wall clock was set since they were written. Whatever else reads or writes here does so first.
    pub fn keep_time(&self) -> Result<(), JournalError> {
        self.settle(false).map_err(|error| self.failed("write", error))
    }

    fn settle(&self, writer: bool) -> rusqlite::Result<()> {
        if self.clock.is_settled() || !self.clock.wants(&self.connection, self.boot, writer)? {
            return Ok(());
        }
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let distance = self.clock.settle(&transaction, self.boot)?;
        transaction.commit()?;
        self.clock.settled(distance);
        Ok(())
    }

    /// Begins as a writer, in tables that go by the clock as it is.
    fn begin(&self) -> rusqlite::Result<Transaction<'_>> {
        /// Nobody sets a clock all the time.
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            self.settle(true)?;
            let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            if self.clock.is_settled() {
                return Ok(transaction);
            }
        }
        Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)
    }

    /// Ports that the kernel keeps back for claims in this namespace. Another boot has begun with none.
    pub fn reserved(&self, netns: Netns) -> Result<PortSet, JournalError> {
        let sql = "SELECT value FROM meta WHERE key = ?1";
        let text: Option<String> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([RESERVED], |row| row.get(0)).optional())
            .map_err(|error| self.failed("read", error))?;
        let about = format!("{} {netns} ", self.boot);
        let ports = text.as_deref().and_then(|text| text.strip_prefix(&about)?.parse().ok());
        Ok(ports.unwrap_or_default())
    }

    /// Writes down which they are.
    pub fn set_reserved(&mut self, netns: Netns, ports: &PortSet) -> Result<(), ClaimError> {
        self.transaction(|connection, boot| {
            connection.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [RESERVED, &format!("{boot} {netns} {ports}")],
            )?;
            Ok(())
        })
    }

    /// Leaves it to the journal's writer, which must be told of writes ([`Writer::stir`](crate::journal::Writer::stir)), to fold the
    /// write-ahead log into the database: that waits for the disk, and who asks for a lock or a claim does not. A log that nobody
    /// folds is folded here, at four times its usual size.
    pub fn folded_elsewhere(self) -> Result<Self, JournalError> {
        let set = self.connection.pragma_update(None, "wal_autocheckpoint", 4 * open::FOLD_AT);
        set.map_err(|error| self.failed("open", error))?;
        Ok(self)
    }

    /// The same by another clock.
    #[cfg(test)]
    pub(in crate::journal) fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    pub(in crate::journal) fn failed(&self, operation: &'static str, error: rusqlite::Error) -> JournalError {
        JournalError::sqlite(operation, &self.path, error)
    }

    /// The connection and the row of this boot.
    pub(in crate::journal) const fn parts(&self) -> (&Connection, i64) {
        (&self.connection, self.boot)
    }

    /// Runs `work` as the only writer; all of it holds, or nothing does.
    pub(in crate::journal) fn transaction<T, E: From<JournalError>>(
        &mut self,
        work: impl FnOnce(&Connection, i64) -> Result<T, Fault<E>>,
    ) -> Result<T, E> {
        self.transaction_at(Timestamp::UNIX_EPOCH, |connection, boot, _| work(connection, boot))
    }

    /// The same for what happens `now`; `work` is told which moment that is, where the clock was set meanwhile.
    pub(in crate::journal) fn transaction_at<T, E: From<JournalError>>(
        &mut self,
        now: Timestamp,
        work: impl FnOnce(&Connection, i64, Timestamp) -> Result<T, Fault<E>>,
    ) -> Result<T, E> {
        let path = self.path.clone();
        let failed = |error| E::from(JournalError::sqlite("write", &path, error));
        self.place.check()?;
        let transaction = self.begin().map_err(failed)?;
        match work(&transaction, self.boot, self.clock.corrected(now)) {
            Ok(done) => {
                transaction.commit().map_err(failed)?;
                Ok(done)
            }
            Err(Fault::Sqlite(error)) => Err(failed(error)),
            Err(Fault::Other(error)) => Err(error),
        }
    }

    /// Runs `work` for each of `count` pieces as the only writer and commits them together. Each piece holds or fails by
    /// itself; where the database fails, none of them holds. One commit serves all: it costs more than a claim.
    pub(in crate::journal) fn transaction_of<T, E: From<JournalError>>(
        &mut self,
        count: usize,
        mut work: impl FnMut(usize, &Connection, i64) -> Result<T, Fault<E>>,
    ) -> Result<Vec<Result<T, E>>, JournalError> {
        let path = self.path.clone();
        let failed = |error| JournalError::sqlite("write", &path, error);
        self.place.check()?;
        let transaction = self.begin().map_err(failed)?;
        let run =
            |sql| transaction.prepare_cached(sql).and_then(|mut s| s.execute([])).map(drop).map_err(failed);
        let mut done = Vec::with_capacity(count);
        for piece in 0..count {
            run("SAVEPOINT piece")?;
            let result = work(piece, &transaction, self.boot);
            if result.is_err() {
                run("ROLLBACK TO piece")?;
            }
            run("RELEASE piece")?;
            done.push(match result {
                Ok(value) => Ok(value),
                Err(Fault::Other(error)) => Err(error),
                // A row that cannot be is this piece's alone; what else fails, fails for all.
                Err(Fault::Sqlite(error))
                    if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) =>
                {
                    Err(E::from(failed(error)))
                }
                Err(Fault::Sqlite(error)) => return Err(failed(error)),
            });
        }
        transaction.commit().map_err(failed)?;
        Ok(done)
    }
}

/// Why a transaction ends without effect.
pub(in crate::journal) enum Fault<E> {
    Sqlite(rusqlite::Error),
    Other(E),
}

impl<E> From<rusqlite::Error> for Fault<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Asks again every millisecond. SQLite's own waiting grows to a tenth of a second, and with many short
/// transactions the one that waits longest would get its turn last.
fn wait(tries: i32) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    tries < PATIENCE_MS
}

/// ISO-8601 UTC, always the same length, so that texts sort as moments do.
pub(in crate::journal) fn text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

pub(in crate::journal) fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::worker;
