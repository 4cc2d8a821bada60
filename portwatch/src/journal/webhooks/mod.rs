//! Webhooks on disk, and the queue of what is on its way: the same database, so that what was not delivered when a daemon ended
//! is delivered by the next. The journal itself is what a webhook reads; `seen` says how far.
//!
//! Never: decide whether something may be sent, or when.

mod queue;
mod row;

use std::path::Path;

pub use queue::{Dropped, Found, Settled};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    JournalError,
    claims::{Claims, Fault, text},
};
use crate::{
    model::Timestamp,
    webhook::{Delivery, Secret, Webhook, Wish},
};

type Done<T> = Result<T, Fault<JournalError>>;

/// A webhook that somebody wants.
#[derive(Debug)]
pub struct NewWebhook<'a> {
    /// Whose.
    pub uid: u32,
    /// That user's name.
    pub user: Option<&'a str>,
    /// Where it leads.
    pub url: &'a str,
    /// Which events.
    pub wish: &'a Wish,
    /// Signs.
    pub secret: &'a Secret,
    /// An event is tried so often.
    pub tries: u32,
}

/// The tables, for reading and writing.
#[derive(Debug)]
pub struct Webhooks {
    store: Claims,
}

impl Webhooks {
    /// Opens the database at `path`, as [`Claims::open`] does.
    pub fn open(path: &Path, boot_id: &str) -> Result<Self, JournalError> {
        Claims::open(path, boot_id).map(|store| Self { store })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, JournalError> {
        self.store.keep_time()?;
        let (connection, _) = self.store.parts();
        work(connection).map_err(|error| self.store.failed("read", error))
    }

    fn change<T>(&mut self, work: impl FnOnce(&Connection, i64) -> Done<T>) -> Result<T, JournalError> {
        self.store.transaction(work)
    }

    /// Every webhook, with how many events wait for it.
    pub fn all(&self) -> Result<Vec<Webhook>, JournalError> {
        self.read(|connection| row::webhooks(connection, "1", []))
    }

    /// One of them.
    pub fn get(&self, id: i64) -> Result<Option<Webhook>, JournalError> {
        self.read(|connection| Ok(row::webhooks(connection, "id = ?1", [id])?.pop()))
    }

    /// Adds one, for events from now on. `None` where the user, or all together, have as many as they may.
    pub fn add(
        &mut self,
        new: &NewWebhook<'_>,
        (of_user, in_all): (u64, u64),
        now: Timestamp,
    ) -> Result<Option<Webhook>, JournalError> {
        self.change(|connection, _| {
            let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            let mine: i64 =
                connection
                    .query_row("SELECT count(*) FROM webhook WHERE uid = ?1", [new.uid], |row| row.get(0))?;
            let all = count("SELECT count(*) FROM webhook")?;
            let full = |count: i64, most: u64| u64::try_from(count).unwrap_or(0) >= most;
            if full(all, in_all) || (new.uid != 0 && full(mine, of_user)) {
                return Ok(None);
            }
            connection.execute(
                "INSERT INTO webhook (uid, user, url, types, ports, filter, secret, tries, created, seen)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, (SELECT ifnull(max(id), 0) FROM event))",
                params![
                    new.uid,
                    new.user,
                    new.url,
                    row::join(new.wish.kinds.iter().map(|kind| kind.as_str().to_owned())),
                    row::join(new.wish.ports.iter().map(|port| port.get().to_string())),
                    new.wish.pattern,
                    new.secret.0,
                    new.tries,
                    text(now),
                ],
            )?;
            let id = connection.last_insert_rowid();
            Ok(row::webhooks(connection, "id = ?1", [id])?.pop())
        })
    }

    /// Removes one, with what waits for it.
    pub fn remove(&mut self, id: i64) -> Result<bool, JournalError> {
        self.change(|connection, _| Ok(connection.execute("DELETE FROM webhook WHERE id = ?1", [id])? > 0))
    }

    /// The newest `limit` deliveries of a webhook, or of all of a user's; `uid: None` is everybody's. One more than asked for tells
    /// whether there are more.
    pub fn deliveries(
        &self,
        webhook: Option<i64>,
        uid: Option<u32>,
        limit: u64,
    ) -> Result<Vec<Delivery>, JournalError> {
        self.read(|connection| {
            row::deliveries(
                connection,
                "(?1 IS NULL OR webhook = ?1) AND (?2 IS NULL OR webhook IN (SELECT id FROM webhook WHERE uid = ?2))
                 ORDER BY ifnull(tried, queued) DESC, id DESC LIMIT ?3",
                params![webhook, uid, i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX)],
            )
        })
    }

    /// One delivery.
    pub fn delivery(&self, id: i64) -> Result<Option<Delivery>, JournalError> {
        self.read(|connection| Ok(row::deliveries(connection, "id = ?1", [id])?.pop()))
    }

    /// Queues a test. `None` where one waits already, or the webhook is gone.
    pub fn queue_test(&mut self, webhook: i64, now: Timestamp) -> Result<Option<i64>, JournalError> {
        self.change(|connection, _| {
            let waits = "SELECT 1 FROM webhook_delivery WHERE webhook = ?1 AND event IS NULL AND state = 'waiting'";
            let known = "SELECT 1 FROM webhook WHERE id = ?1";
            let there = |sql| connection.query_row(sql, [webhook], |_| Ok(())).optional();
            if there(known)?.is_none() || there(waits)?.is_some() {
                return Ok(None);
            }
            connection.execute(
                "INSERT INTO webhook_delivery (webhook, event, type, state, queued) VALUES (?1, NULL, 'test', 'waiting', ?2)",
                params![webhook, text(now)],
            )?;
            Ok(Some(connection.last_insert_rowid()))
        })
    }
}
