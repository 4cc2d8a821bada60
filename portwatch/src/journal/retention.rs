//! Old rows out: a bounded number of them at a time, so that writing never stalls.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Options, open,
    share::{Passes, Thinned},
    store::Store,
    time,
};
use crate::model::Timestamp;

/// Events looked at in one step. Larger than a batch: a journal at its limit keeps up with its writer.
const EVENTS: i64 = 10_000;
/// Fewer than these are not worth a step.
const AT_LEAST: i64 = 500;
/// Processes looked at at once, and how long in one step.
const PROCESSES: i64 = 500;
const SWEEP: Duration = Duration::from_millis(20);
/// Of those that events named which went, so many in one transaction.
const SOME: usize = 100;
/// A process that no event names any more and that has ended, or is of an earlier boot than `?2`.
const IS_UNNAMED: &str = "(ended IS NOT NULL OR boot <> ?2)
    AND NOT EXISTS (SELECT 1 FROM event WHERE event.process = process.id)
    AND NOT EXISTS (SELECT 1 FROM event WHERE event.other = process.id)";
/// Pages given back to the file system in one step.
const PAGES: i64 = 256;
/// Age is looked at, and a sign of life written, so often.
const PERIOD: Duration = Duration::from_mins(1);
/// Where the database is too large, all processes are looked through for those that nothing names any more, if they were not for so
/// long. Mostly they have gone with the last event that named them.
const AGAIN: Duration = Duration::from_mins(1);

/// Where the sweep stands.
pub(super) struct Retention {
    next: Instant,
    /// The last step left something to do.
    more: bool,
    /// Processes up to this row were looked at in the present sweep; `None` when none is under way.
    swept: Option<i64>,
    /// When the last one for the sake of the size began; events wait for its end.
    swept_for_size: Option<Instant>,
    /// Events that named these went.
    named: BTreeSet<i64>,
    passes: Passes,
}

impl Retention {
    pub(super) fn new() -> Self {
        Self {
            next: Instant::now(),
            more: true,
            swept: Some(0),
            swept_for_size: None,
            named: BTreeSet::new(),
            passes: Passes::default(),
        }
    }

    /// There is more to do at once.
    pub(super) fn due(&self) -> bool {
        self.more || self.swept.is_some() || !self.named.is_empty()
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
        if size > options.retention_bytes && self.swept_for_size.is_none_or(|at| at.elapsed() >= AGAIN) {
            (self.swept_for_size, self.swept) = (Some(Instant::now()), Some(0));
        }
        sweep_named(store, &mut self.named)?;
        if let Some(from) = self.swept {
            self.swept = sweep_processes(store, from)?;
        }
        // What the processes that went have left is not looked for among events.
        let size = used_bytes(&store.connection)?;
        let by_size = size > options.retention_bytes;
        let mut looking = false;
        let deleted = if !by_size {
            let age = i64::try_from(options.retention_age.as_nanos()).unwrap_or(i64::MAX);
            let cutoff = time::to_ns(Timestamp::now()).saturating_sub(age);
            delete_oldest(&store.connection, cutoff, EVENTS, &mut self.named)?
        } else if self.swept.is_some() || !self.named.is_empty() {
            0
        } else {
            let bytes = size - options.retention_bytes;
            match self.passes.thin(&store.connection, (bytes, EVENTS), &mut self.named)? {
                Thinned::Deleted(deleted) => deleted,
                Thinned::Looking => {
                    looking = true;
                    0
                }
                Thinned::Nobody => {
                    let rows = too_many(store.events, size, options.retention_bytes);
                    delete_oldest(&store.connection, i64::MAX, rows, &mut self.named)?
                }
            }
        };
        store.fewer(deleted);
        self.more = deleted > 0 || looking;
        self.more |= give_back(&store.connection)?;
        Ok(())
    }
}

/// Bytes of pages in use; free pages are filled before the file grows.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).map(u64::from);
    Ok(pragma("page_count")?.saturating_sub(pragma("freelist_count")?) * pragma("page_size")?)
}

/// Gives pages back to the file system when a good part of the file is empty; the rest is for new rows. Whether there are
/// more of them.
fn give_back(connection: &Connection) -> rusqlite::Result<bool> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let spare = || Ok(pragma("freelist_count")? > (pragma("page_count")? / 4).max(PAGES));
    if !spare()? {
        return Ok(false);
    }
    // It gives a row for each page, and goes on to the next when that was taken (`PragTyp_INCREMENTAL_VACUUM` in pragma.c).
    let mut give = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut given = give.query([])?;
    while given.next()?.is_some() {}
    spare()
}

/// About so many of the events make the database larger than it may be: no more go than must.
fn too_many(events: u64, size: u64, limit: u64) -> i64 {
    let rows = u128::from(events) * u128::from(size.saturating_sub(limit)) / u128::from(size.max(1));
    i64::try_from(rows).unwrap_or(EVENTS).saturating_add(AT_LEAST).min(EVENTS)
}

/// Deletes the oldest events that are older than `cutoff`, a bounded number; never the newest row, so that ids
/// go on from it. The processes that they named are added to `processes`.
fn delete_oldest(
    connection: &Connection,
    cutoff: i64,
    rows: i64,
    processes: &mut BTreeSet<i64>,
) -> rusqlite::Result<usize> {
    let mut find = connection.prepare_cached(
        "SELECT max(id) FROM (SELECT id, at FROM event ORDER BY id LIMIT ?1)
         WHERE at < ?2 AND id < (SELECT max(id) FROM event)",
    )?;
    let Some(upto) = find.query_row(params![rows, cutoff], |row| row.get::<_, Option<i64>>(0))? else {
        return Ok(0);
    };
    let mut find = connection.prepare_cached("SELECT process, other FROM event WHERE id <= ?1")?;
    let mut rows = find.query([upto])?;
    while let Some(row) = rows.next()? {
        processes.extend(row.get::<_, Option<i64>>(0)?);
        processes.extend(row.get::<_, Option<i64>>(1)?);
    }
    connection.prepare_cached("DELETE FROM event WHERE id <= ?1")?.execute([upto])
}

/// Deletes those of `named` that no event names any more and that have ended, or are of an earlier boot, as many as there is time for.
fn sweep_named(store: &mut Store, named: &mut BTreeSet<i64>) -> rusqlite::Result<()> {
    let begun = Instant::now();
    while let Some(&first) = named.first() {
        if begun.elapsed() >= SWEEP {
            break;
        }
        let some: Vec<i64> = named.range(first..).take(SOME).copied().collect();
        let transaction = store.connection.unchecked_transaction()?;
        let mut gone = Vec::new();
        {
            let mut delete = transaction.prepare_cached(&format!(
                "DELETE FROM process WHERE id = ?1 AND {IS_UNNAMED} RETURNING pid, start_ticks"
            ))?;
            for &id in &some {
                let boot = store.boot();
                gone.extend(delete.query_row([id, boot], |row| Ok((row.get(0)?, row.get(1)?))).optional()?);
            }
        }
        transaction.commit()?;
        store.forget_those(gone);
        for id in some {
            named.remove(&id);
        }
    }
    Ok(())
}

/// Deletes processes that no event names any more and that have ended, or are of an earlier boot. A process that
/// still runs keeps its row: its close may come a year after its listen.
fn sweep_processes(store: &mut Store, from: i64) -> rusqlite::Result<Option<i64>> {
    let begun = Instant::now();
    let mut from = from;
    while let Some(upto) = sweep_some(store, from)? {
        if begun.elapsed() >= SWEEP {
            return Ok(Some(upto));
        }
        from = upto;
    }
    Ok(None)
}

fn sweep_some(store: &mut Store, from: i64) -> rusqlite::Result<Option<i64>> {
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
        .prepare_cached(&format!("DELETE FROM process WHERE id > ?1 AND id <= ?3 AND {IS_UNNAMED}"))?
        .execute(params![from, store.boot(), upto])?;
    if deleted > 0 {
        store.forget();
    }
    Ok(Some(upto))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::{Entry, OpenReport},
        model::{Event, EventKind, Evidence, ProcessId},
    };

    #[test]
    fn a_process_whose_row_went_is_not_remembered_by_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let connection = open::prepare(&path, open::Depth::Head, &mut OpenReport::default()).unwrap();
        let mut store = Store::new(connection, "boot").unwrap();
        let entry = |kind, process| {
            let mut event = Event::new(Timestamp::now(), kind, Evidence::Kernel);
            event.process = process;
            Entry::Event(event)
        };
        let id = Some(ProcessId { pid: 7, start_ticks: 7 });
        let rows = [entry(EventKind::Listen, id), entry(EventKind::Exit, id), entry(EventKind::Note, None)];
        store.write(&[], &rows).unwrap();
        let mut named = BTreeSet::new();
        assert_eq!(delete_oldest(&store.connection, i64::MAX, 10, &mut named).unwrap(), 2);
        assert_eq!(named.len(), 1);
        sweep_named(&mut store, &mut named).unwrap();
        let left: i64 =
            store.connection.query_row("SELECT count(*) FROM process", [], |row| row.get(0)).unwrap();
        assert_eq!((left, named.len()), (0, 0));
        store.write(&[], &[entry(EventKind::Close, id)]).unwrap();
    }

    #[test]
    fn a_megabyte_is_given_back_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("db")).unwrap();
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t (x);
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 INSERT INTO t SELECT zeroblob(3000) FROM n;
                 DELETE FROM t;",
            )
            .unwrap();
        let pages = || connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0)).unwrap();
        let before = pages();
        assert!(before > 1000);
        assert!(give_back(&connection).unwrap(), "there is more");
        // Now and then one goes with them that told where they were (sqlite.org/fileformat2.html, "Pointer Map").
        assert!((PAGES..PAGES + 3).contains(&(before - pages())), "{before}, {}", pages());
        while give_back(&connection).unwrap() {}
        assert!(pages() <= 2 * PAGES, "{}", pages());
        assert!(!give_back(&connection).unwrap());
    }
}
