//! Times in the tables go by the wall clock, and that can be set. Whoever reads or writes looks first whether it was, and moves
//! along what was written in this boot: a lock is held for as long as was said, and an agent is silent for as long as it has
//! been, whatever the clock says. What the log has said stays as it was said.
//!
//! Never: move what was written in an earlier boot, by a clock that nobody can compare with this one.

use std::{cell::Cell, path::Path};

use jiff::SignedDuration;
use rusqlite::{Connection, OptionalExtension, params};

use super::{claims::text, open::boot_id};
use crate::{model::Timestamp, platform::vitals};

/// Where `meta` has the clock by which the tables go.
const KEY: &str = "wall_clock";

/// A clock that was set by less is left alone. Clocks that are slewed take the boot clock along.
const STEP: SignedDuration = SignedDuration::from_secs(1);

/// Columns that are moved: each if the moment in the second was of this boot.
const COLUMNS: [(&str, &[(&str, &str)]); 12] = [
    ("lock", &[("since", "since"), ("renewed", "renewed"), ("expires", "renewed")]),
    ("lock_waiter", &[("since", "since"), ("seen", "seen")]),
    (
        "agent",
        &[
            ("registered", "registered"),
            ("seen", "seen"),
            ("died", "died"),
            ("ended", "ended"),
            ("salvaged", "salvaged"),
        ],
    ),
    ("session", &[("created", "created"), ("ended", "ended")]),
    ("note", &[("at", "at")]),
    ("file_claim", &[("claimed", "claimed"), ("released", "released")]),
    ("channel", &[("created", "created"), ("last", "last"), ("removed", "removed")]),
    ("message", &[("at", "at")]),
    ("claim", &[("created", "created"), ("renewed", "renewed"), ("expires", "renewed"), ("seen", "seen")]),
    ("health", &[("since", "since"), ("checked", "checked"), ("healthy", "healthy")]),
    ("webhook", &[("created", "created"), ("paused", "paused")]),
    ("webhook_delivery", &[("queued", "queued"), ("tried", "tried")]),
];

/// Two clocks at one moment: nanoseconds since boot, and how far the wall clock is ahead of that.
type Reading = (u64, i64);

/// The clock of one connection.
pub(super) struct Clock {
    read: Box<dyn Fn() -> Option<Reading> + Send>,
    /// The boot clock's namespace: in another one it says something else.
    space: String,
    /// The distance by which the tables go, as far as this connection knows.
    settled: Cell<Option<i64>>,
    /// The distance when somebody said which moment it is.
    said: Cell<Option<i64>>,
    moves: Cell<u32>,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("settled", &self.settled).finish_non_exhaustive()
    }
}

impl Clock {
    /// The machine's.
    pub(super) fn system() -> Self {
        Self::with(vitals::clocks)
    }

    /// One that is read by other means.
    pub(super) fn with(read: impl Fn() -> Option<Reading> + Send + 'static) -> Self {
        let said = Cell::new(read().map(|(_, ahead)| ahead));
        Self { read: Box::new(read), space: space(), settled: Cell::new(None), said, moves: Cell::new(0) }
    }

    /// The same in another namespace.
    #[cfg(test)]
    pub(super) fn in_space(self, space: &str) -> Self {
        Self { space: space.to_owned(), ..self }
    }

    /// Whether the tables go by the clock as it is, as far as can be known without reading them.
    pub(super) fn is_settled(&self) -> bool {
        match (self.settled.get(), (self.read)()) {
            (Some(settled), Some((_, ahead))) => step(settled, ahead).is_none(),
            (None, Some(_)) => false,
            // What cannot be read is not gone by.
            (_, None) => true,
        }
    }

    /// Whether something has to be moved, or written down for a `writer`.
    pub(super) fn wants(&self, connection: &Connection, boot: i64, writer: bool) -> rusqlite::Result<bool> {
        let Some((_, ahead)) = (self.read)() else { return Ok(false) };
        let found = self.known(connection, boot)?;
        if found.is_some_and(|known| step(known, ahead).is_none()) {
            self.settled.set(found);
        }
        // Where nothing is written down, nothing was written in this boot.
        Ok(found.map_or(writer, |known| step(known, ahead).is_some()))
    }

    /// Moves what was written in this boot along, and writes down by which clock the tables go. The distance that holds once
    /// that is committed.
    pub(super) fn settle(&self, connection: &Connection, boot: i64) -> rusqlite::Result<Option<i64>> {
        let Some((_, ahead)) = (self.read)() else { return Ok(None) };
        let known = self.known(connection, boot)?;
        if let Some(before) = known {
            let Some(by) = step(before, ahead) else { return Ok(known) };
            move_along(connection, before, by)?;
        }
        connection.execute(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [KEY, &format!("{boot} {ahead} {}", self.space)],
        )?;
        Ok(Some(ahead))
    }

    /// It is committed.
    pub(super) fn settled(&self, distance: Option<i64>) {
        self.settled.set(distance);
        self.moves.set(self.moves.get().wrapping_add(1));
    }

    /// How often the tables were written to for it.
    pub(super) const fn moves(&self) -> u32 {
        self.moves.get()
    }

    /// `now`, or now by the clock as it was set since anybody said that last: who waits for the database may have read the old one.
    pub(super) fn corrected(&self, now: Timestamp) -> Timestamp {
        let Some((boot_ns, ahead)) = (self.read)() else { return now };
        match self.said.replace(Some(ahead)) {
            Some(before) if step(before, ahead).is_some() => {
                Timestamp::from_nanosecond(i128::from(boot_ns) + i128::from(ahead)).unwrap_or(now)
            }
            _ => now,
        }
    }

    fn known(&self, connection: &Connection, boot: i64) -> rusqlite::Result<Option<i64>> {
        let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        let text: Option<String> = statement.query_row([KEY], |row| row.get(0)).optional()?;
        let known = text.as_deref().and_then(parse);
        Ok(known.filter(|(of, _, space)| *of == boot && *space == self.space).map(|(_, ahead, _)| ahead))
    }
}

/// The boot clock's namespace. Before Linux 5.6 there is none.
pub(super) fn space() -> String {
    std::fs::read_link("/proc/self/ns/time").map(|link| link.display().to_string()).unwrap_or_default()
}

/// Row of a boot, distance, namespace.
fn parse(text: &str) -> Option<(i64, i64, &str)> {
    let mut words = text.splitn(3, ' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?))
}

/// What has not been moved along yet, for who reads and may not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lag {
    /// When this boot began, by the clock by which the tables go.
    boot: Timestamp,
    /// By so much the clock was set since.
    by: SignedDuration,
}

impl Lag {
    /// By the machine's clock.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let Some((_, ahead)) = vitals::clocks() else { return Ok(None) };
        Self::between(connection, ahead, &|| (boot_id(Path::new("/proc")).unwrap_or_default(), space()))
    }

    /// `here` is this boot and the boot clock's namespace; it is asked only where the clock was set.
    pub(super) fn between(
        connection: &Connection,
        ahead: i64,
        here: &dyn Fn() -> (String, String),
    ) -> rusqlite::Result<Option<Self>> {
        let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        let text: Option<String> = statement.query_row([KEY], |row| row.get(0)).optional()?;
        let Some((of, before, tables)) = text.as_deref().and_then(parse) else { return Ok(None) };
        let Some(by) = step(before, ahead) else { return Ok(None) };
        let (boot, space) = here();
        let mut statement = connection.prepare_cached("SELECT id FROM boot WHERE uuid = ?1")?;
        let own: Option<i64> = statement.query_row([boot], |row| row.get(0)).optional()?;
        let boot = Timestamp::from_nanosecond(i128::from(before)).unwrap_or(Timestamp::MIN);
        Ok((own == Some(of) && space == tables).then_some(Self { boot, by }))
    }

    /// `at` by the clock as it is, if `of` is of this boot.
    pub(super) fn moved(self, at: Timestamp, of: Timestamp) -> Timestamp {
        if of < self.boot { at } else { at.saturating_add(self.by).unwrap_or(at) }
    }
}

/// By how much the clock was set, where it was.
fn step(before: i64, after: i64) -> Option<SignedDuration> {
    let by = SignedDuration::from_nanos(after.saturating_sub(before));
    (by.abs() >= STEP).then_some(by)
}

/// What is older than the boot, by the clock of then, is of an earlier one.
fn move_along(connection: &Connection, before: i64, by: SignedDuration) -> rusqlite::Result<()> {
    let boot = text(Timestamp::from_nanosecond(i128::from(before)).unwrap_or(Timestamp::MIN));
    let by = format!("{:+.3} seconds", by.as_secs_f64());
    for (table, columns) in COLUMNS {
        let set: Vec<String> = columns
            .iter()
            .map(|(column, of)| {
                format!(
                    "{column} = iif({of} >= ?1, \
                     ifnull(strftime('%Y-%m-%dT%H:%M:%f', {column}, ?2) || '000Z', {column}), {column})"
                )
            })
            .collect();
        connection.execute(&format!("UPDATE {table} SET {}", set.join(", ")), params![boot, by])?;
    }
    tracing::info!(by, "the clock was set: times of locks, agents, sessions and claims go with it");
    Ok(())
}
