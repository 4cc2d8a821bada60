//! Whose rows fill the database, and what of theirs goes first. Anybody can make rows by the hundred thousand; what everybody else
//! did, and what was ordered, is not to go for them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::open;

/// Types below this come and go with sockets and processes, as fast as their makers like: bind, refused, listen, close, exit and
/// the like. Those from here on are claims, locks, notes, starts, stops, gaps and errors.
const ORDERED: i64 = 13;
/// Rows looked at to find out whose they are, of a million as of a thousand.
const SAMPLE: i64 = 1000;
/// It is looked at again after so long.
const FRESH: Duration = Duration::from_secs(2);
/// An event with its entries in the indexes takes about so many bytes.
const EVENT: u64 = 140;
/// Fewer bytes are not worth a step.
const AT_LEAST: u64 = 64 << 10;
/// Events looked at at once on the way through one user's, and how long in one step.
const WINDOW: i64 = 10_000;
const STEP: Duration = Duration::from_millis(25);

/// `None`: of a process whose user is not known, or of none.
type User = Option<u32>;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Thinned {
    /// So many rows went.
    Deleted(usize),
    /// None yet, and the way through is not at its end.
    Looking,
    /// Nobody has most, or has nothing that may go first.
    Nobody,
}

/// The ways through the events of those who have most.
#[derive(Debug, Default)]
pub(super) struct Passes {
    of: HashMap<User, Pass>,
    most: Option<(Option<Most>, Instant)>,
}

/// Who has most.
#[derive(Debug, Clone, Copy)]
struct Most {
    user: User,
    /// So many bytes go with each of its events, its part of its process with it.
    each: u64,
    /// A good part of them is in processes, which go when no event names them any more.
    in_processes: bool,
}

/// One of them: up to where it was looked, and whether anything went since it began.
#[derive(Debug, Default)]
struct Pass {
    upto: i64,
    found: bool,
}

impl Passes {
    /// Deletes the oldest events of whoever has most in the database, for about so many bytes and at most so many rows, and none
    /// of what was ordered.
    pub(super) fn thin(
        &mut self,
        connection: &Connection,
        bytes: u64,
        most_rows: i64,
    ) -> rusqlite::Result<Thinned> {
        let most = match self.most {
            Some((most, at)) if at.elapsed() < FRESH => most,
            _ => {
                let most = Shares::of(connection)?.most();
                self.most = Some((most, Instant::now()));
                most
            }
        };
        let Some(Most { user, each, .. }) = most else { return Ok(Thinned::Nobody) };
        let rows = i64::try_from((bytes + AT_LEAST) / each.max(1)).unwrap_or(most_rows).min(most_rows).max(1);
        let pass = self.of.entry(user).or_default();
        let (found, upto) = oldest_of(connection, user, pass.upto, rows)?;
        pass.found |= !found.is_empty();
        if let Some(upto) = upto {
            pass.upto = upto;
        } else {
            let is_empty = !pass.found;
            // The next way begins at the beginning, and with another look at who has most.
            self.of.remove(&user);
            self.most = None;
            if is_empty {
                return Ok(Thinned::Nobody);
            }
        }
        if found.is_empty() {
            return Ok(Thinned::Looking);
        }
        delete(connection, &found)?;
        Ok(Thinned::Deleted(found.len()))
    }

    /// What went last leaves processes that should go before any more events do.
    pub(super) fn leave_processes(&self) -> bool {
        matches!(self.most, Some((Some(Most { in_processes: true, .. }), _)))
    }
}

/// All or none, in one transaction; those that follow each other, as those of a flood do, at once.
fn delete(connection: &Connection, rows: &[i64]) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    {
        let mut delete = transaction.prepare_cached("DELETE FROM event WHERE id BETWEEN ?1 AND ?2")?;
        for run in rows.chunk_by(|a, b| a + 1 == *b) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                delete.execute([first, last])?;
            }
        }
    }
    transaction.commit()
}

/// Events of a user above this id, at most so many; and up to where was looked, `None` at the end. Never the newest row, so that
/// ids go on from it.
fn oldest_of(
    connection: &Connection,
    user: User,
    from: i64,
    rows: i64,
) -> rusqlite::Result<(Vec<i64>, Option<i64>)> {
    let begun = Instant::now();
    let newest = open::last_id(connection)?;
    let mut users = Users::new(connection)?;
    let mut window = connection
        .prepare_cached("SELECT id, type, process FROM event WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let (mut found, mut upto) = (Vec::new(), from);
    while begun.elapsed() < STEP {
        let mut window = window.query(params![upto, WINDOW])?;
        let before = upto;
        while let Some(row) = window.next()? {
            let (id, kind): (i64, i64) = (row.get(0)?, row.get(1)?);
            if id >= newest {
                return Ok((found, None));
            }
            upto = id;
            if kind < ORDERED && users.of(row.get(2)?)? == user {
                found.push(id);
                if i64::try_from(found.len()).is_ok_and(|count| count >= rows) {
                    return Ok((found, Some(upto)));
                }
            }
        }
        if upto == before {
            return Ok((found, None));
        }
    }
    Ok((found, Some(upto)))
}

/// The users of processes, by their rows.
struct Users<'a> {
    find: CachedStatement<'a>,
    known: HashMap<i64, User>,
}

impl<'a> Users<'a> {
    fn new(connection: &'a Connection) -> rusqlite::Result<Self> {
        let find = connection.prepare_cached("SELECT uid FROM process WHERE id = ?1")?;
        Ok(Self { find, known: HashMap::new() })
    }

    fn of(&mut self, process: Option<i64>) -> rusqlite::Result<User> {
        let Some(process) = process else { return Ok(None) };
        if let Some(&user) = self.known.get(&process) {
            return Ok(user);
        }
        let user = self.find.query_row([process], |row| row.get(0)).optional()?.flatten();
        self.known.insert(process, user);
        Ok(user)
    }
}

/// About how many bytes are whose, by some rows of all.
#[derive(Debug, Default)]
struct Shares {
    of: HashMap<User, Share>,
    ordered: u64,
}

#[derive(Debug, Default)]
struct Share {
    events: u64,
    processes: u64,
}

impl Share {
    const fn bytes(&self) -> u64 {
        self.events * EVENT + self.processes
    }
}

impl Shares {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let mut shares = Self::default();
        let mut users = Users::new(connection)?;
        let mut event = connection.prepare_cached("SELECT type, process FROM event WHERE id = ?1")?;
        let (first, last) = (open::first_id(connection)?, open::last_id(connection)?);
        let (step, ids) = sample(first, last);
        for id in ids {
            let row = event.query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).optional()?;
            match row {
                // That row went long ago; there is no other in its place, or those behind gaps would count for many.
                None => {}
                Some((kind, _)) if kind >= ORDERED => shares.ordered += EVENT * step,
                Some((_, process)) => shares.of.entry(users.of(process)?).or_default().events += step,
            }
        }
        let mut process = connection.prepare_cached(
            "SELECT uid, 500 + length(ifnull(command, '')) + length(lineage) FROM process WHERE id = ?1",
        )?;
        let ends = "SELECT min(id), ifnull(max(id), 0) FROM process";
        let (first, last) = connection.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (step, ids) = sample(first, last);
        for id in ids {
            let row = process.query_row([id], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).optional()?;
            if let Some((user, bytes)) = row {
                shares.of.entry(user).or_default().processes += bytes.unsigned_abs() * step;
            }
        }
        Ok(shares)
    }

    /// Who has most; nobody where most was ordered: then the oldest go, or orders could fill the database.
    fn most(&self) -> Option<Most> {
        let all: u64 = self.of.values().map(Share::bytes).sum();
        if self.ordered > all {
            return None;
        }
        let (&user, share) = self.of.iter().max_by_key(|&(user, share)| (share.bytes(), user))?;
        Some(Most {
            user,
            each: share.bytes() / share.events.max(1),
            in_processes: share.processes > share.bytes() / 4,
        })
    }
}

/// Ids from the first to the last, so many at most, each for so many.
fn sample(first: Option<i64>, last: i64) -> (u64, impl Iterator<Item = i64>) {
    let span = open::span(first, last);
    let step = (span / SAMPLE.unsigned_abs()).max(1);
    let first = first.unwrap_or(i64::MAX);
    let ids = (first..=last).step_by(usize::try_from(step).unwrap_or(usize::MAX));
    (step, ids)
}
