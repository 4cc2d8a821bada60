//! Old rows out: a bounded number of them at a time, so that writing never stalls.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use super::{Options, open, store::Store, time};
use crate::model::Timestamp;

/// Events looked at in one step. Larger than a batch: a journal at its limit keeps up with its writer.
const EVENTS: i64 = 10_000;
/// Fewer than these are not worth a step.
const AT_LEAST: i64 = 500;
/// Processes looked at in one step.
const PROCESSES: i64 = 500;
/// Pages given back to the file system in one step.
const PAGES: i64 = 256;
/// Age is looked at, and a sign of life written, so often.
const PERIOD: Duration = Duration::from_mins(1);

/// Where the sweep stands.
pub(super) struct Retention {
    next: Instant,
    /// The last step left something to do.
    more: bool,
    /// Processes up to this row were looked at in the present sweep; `None` when none is under way.
    swept: Option<i64>,
}

impl Retention {
    pub(super) fn new() -> Self {
        Self { next: Instant::now(), more: true, swept: Some(0) }
    }

    /// There is more to do at once.
    pub(super) const fn due(&self) -> bool {
        self.more || self.swept.is_some()
    }

    /// One step.
    pub(super) fn step(&mut self, store: &mut Store, options: &Options) -> rusqlite::Result<()> {
        let periodic = Instant::now() >= self.next;
        let size = used_bytes(&store.connection)?;
        if !periodic && !self.due() && size <= options.retention_bytes {
            return Ok(());
        }
        if periodic {
            self.next = Instant::now() + PERIOD;
            open::mark_alive(&store.connection)?;
        }
        let age = i64::try_from(options.retention_age.as_nanos()).unwrap_or(i64::MAX);
        let cutoff = time::to_ns(Timestamp::now()).saturating_sub(age);
        let by_size = size > options.retention_bytes;
        let rows = if by_size { too_many(&store.connection, size, options.retention_bytes)? } else { EVENTS };
        let deleted = delete_events(&store.connection, if by_size { i64::MAX } else { cutoff }, rows)?;
        self.more = deleted > 0;
        if deleted > 0 && self.swept.is_none() {
            self.swept = Some(0);
        }
        if let Some(from) = self.swept {
            self.swept = sweep_processes(store, from)?;
        }
        give_back(&store.connection)
    }
}

/// Bytes of pages in use; free pages are filled before the file grows.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).map(u64::from);
    Ok(pragma("page_count")?.saturating_sub(pragma("freelist_count")?) * pragma("page_size")?)
}

/// Gives pages back to the file system when a good part of the file is empty; the rest is for new rows.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("freelist_count")? > (pragma("page_count")? / 4).max(PAGES) {
        connection.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    }
    Ok(())
}

/// About so many rows make the database larger than it may be: no more go than must.
fn too_many(connection: &Connection, size: u64, limit: u64) -> rusqlite::Result<i64> {
    let count = open::count(open::first_id(connection)?, open::last_id(connection)?);
    let rows = u128::from(count) * u128::from(size.saturating_sub(limit)) / u128::from(size.max(1));
    Ok(i64::try_from(rows).unwrap_or(EVENTS).saturating_add(AT_LEAST).min(EVENTS))
}

/// Deletes the oldest events that are older than `cutoff`, a bounded number; never the newest row, so that ids
/// go on from it. Ids stay contiguous: what goes is a prefix.
fn delete_events(connection: &Connection, cutoff: i64, rows: i64) -> rusqlite::Result<usize> {
    let mut find = connection.prepare_cached(
        "SELECT max(id) FROM (SELECT id, at FROM event ORDER BY id LIMIT ?1)
         WHERE at < ?2 AND id < (SELECT max(id) FROM event)",
    )?;
    let Some(upto) = find.query_row(params![rows, cutoff], |row| row.get::<_, Option<i64>>(0))? else {
        return Ok(0);
    };
    connection.prepare_cached("DELETE FROM event WHERE id <= ?1")?.execute([upto])
}

/// Deletes processes that no event names any more and that have ended, or are of an earlier boot. A process that
/// still runs keeps its row: its close may come a year after its listen.
fn sweep_processes(store: &mut Store, from: i64) -> rusqlite::Result<Option<i64>> {
    let connection = &store.connection;
    let upto: Option<i64> = connection
        .prepare_cached("SELECT max(id) FROM (SELECT id FROM process WHERE id > ?1 ORDER BY id LIMIT ?2)")?
        .query_row(params![from, PROCESSES], |row| row.get(0))
        .optional()?
        .flatten();
    let Some(upto) = upto else {
        connection.execute(
            "DELETE FROM cgroup WHERE boot <> ?1 AND NOT EXISTS (SELECT 1 FROM process WHERE cgroup = cgroup.id)",
            [store.boot()],
        )?;
        connection.execute(
            "DELETE FROM container WHERE NOT EXISTS (SELECT 1 FROM process WHERE container = container.id)",
            [],
        )?;
        return Ok(None);
    };
    let deleted = connection
        .prepare_cached(
            "DELETE FROM process WHERE id > ?1 AND id <= ?2 AND (ended IS NOT NULL OR boot <> ?3)
               AND NOT EXISTS (SELECT 1 FROM event WHERE event.process = process.id)
               AND NOT EXISTS (SELECT 1 FROM event WHERE event.other = process.id)",
        )?
        .execute(params![from, upto, store.boot()])?;
    if deleted > 0 {
        store.forget();
    }
    Ok(Some(upto))
}
