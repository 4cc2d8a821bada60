//! The tables as one reader or one transaction sees them.

use std::ops::Deref;

use rusqlite::{Connection, OptionalExtension as _, Params, Row, Transaction};

use super::{CoordinateError, Told};
use crate::{
    coordinate::Denial,
    journal::claims::{Fault, insert_event},
    model::{Event, EventKind, Evidence, Timestamp},
};

/// Bytes of words in one answer: what is asked for by many at once has to fit the memory of a daemon.
const LARGEST_PAGE: usize = 256 << 10;

pub(super) type Done<T> = Result<T, Fault<CoordinateError>>;

impl From<Denial> for Fault<CoordinateError> {
    fn from(denial: Denial) -> Self {
        Self::Other(denial.into())
    }
}

/// The name that the database was given when it was made.
pub(super) fn identity(tables: &Tables<'_>) -> rusqlite::Result<String> {
    let sql = "SELECT value FROM meta WHERE key = 'identity'";
    Ok(tables.row(sql, [], |row, _| row.get::<_, Option<String>>(0))?.flatten().unwrap_or_default())
}

/// For reading.
pub(super) struct Tables<'a> {
    connection: &'a Connection,
    /// The row of this boot.
    pub(super) boot: i64,
}

impl<'a> Tables<'a> {
    pub(super) const fn new(connection: &'a Connection, boot: i64) -> Self {
        Self { connection, boot }
    }

    /// What is read until it is dropped is of one moment.
    pub(super) fn snapshot(&self) -> rusqlite::Result<Transaction<'_>> {
        self.connection.unchecked_transaction()
    }

    /// Every row, each made by `read` with the row of this boot.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl Fn(&Row<'_>, i64) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(values, |row| read(row, self.boot))?;
        rows.collect()
    }

    /// Does something with every row, one after the other.
    pub(super) fn each(
        &self,
        sql: &str,
        values: impl Params,
        mut visit: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        while let Some(row) = rows.next()? {
            visit(row)?;
        }
        Ok(())
    }

    /// As many rows as one answer has room for, and whether there are more: at most so many, and [`LARGEST_PAGE`] bytes of
    /// what `words` counts, but one row at least.
    pub(super) fn page<T>(
        &self,
        sql: &str,
        values: impl Params,
        (most, words): (u32, impl Fn(&T) -> usize),
        read: impl Fn(&Row<'_>, i64) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<(Vec<T>, bool)> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let next = read(row, self.boot)?;
            bytes += words(&next);
            if page.len() == most as usize || (bytes > LARGEST_PAGE && !page.is_empty()) {
                return Ok((page, true));
            }
            page.push(next);
        }
        Ok((page, false))
    }

    /// The first row.
    pub(super) fn row<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>, i64) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_row(values, |row| read(row, self.boot)).optional()
    }

    /// The number that is asked for.
    pub(super) fn count(&self, sql: &str, values: impl Params) -> rusqlite::Result<u32> {
        Ok(self.row(sql, values, |row, _| row.get(0))?.unwrap_or(0))
    }
}

/// For changing: one transaction that began as a writer, and what it tells the log.
pub(super) struct Turn<'a> {
    tables: Tables<'a>,
    pub(super) now: Timestamp,
    pub(super) told: Told,
}

impl<'a> Deref for Turn<'a> {
    type Target = Tables<'a>;

    fn deref(&self) -> &Tables<'a> {
        &self.tables
    }
}

impl<'a> Turn<'a> {
    pub(super) const fn new(connection: &'a Connection, boot: i64, now: Timestamp) -> Self {
        Self { tables: Tables::new(connection, boot), now, told: Told::new() }
    }

    /// Changes rows; how many.
    pub(super) fn execute(&self, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
        self.tables.connection.prepare_cached(sql)?.execute(values)
    }

    /// Adds a row; its id.
    pub(super) fn insert(&self, sql: &str, values: impl Params) -> rusqlite::Result<i64> {
        self.tables.connection.prepare_cached(sql)?.insert(values)
    }

    /// Writes an event about `subject`.
    pub(super) fn tell(&mut self, kind: EventKind, subject: &str, message: String) -> rusqlite::Result<()> {
        let mut event = Event::new(self.now, kind, Evidence::Kernel);
        event.subject = Some(subject.to_owned());
        event.message = Some(message);
        let id = insert_event(self.tables.connection, self.boot, &event)?;
        self.told.push((id, event));
        Ok(())
    }
}
