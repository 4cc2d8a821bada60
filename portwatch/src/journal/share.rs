//! Whose rows fill the database, and what of theirs goes first. Anybody can make rows by the hundred thousand; what everybody else
//! did, and what was ordered, is not to go for them.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::open;

/// Types below this come and go with sockets and processes, as fast as their makers like: bind, refused, listen, close, exit and
/// the like. Those from here on are claims, locks, notes, starts, stops, gaps and errors.
const ORDERED: i64 = 13;
/// Places that are looked at to find out whose the rows are, of a million as of a thousand, and rows read in each.
const PLACES: u64 = 1000;
const IN_PLACE: usize = 4;
/// So often the places are laid more closely where the rows are.
const CLOSER: usize = 6;
/// It is looked at again after so long.
const FRESH: Duration = Duration::from_secs(2);
/// An event with its entries in the indexes takes about so many bytes.
const EVENT: u64 = 140;
/// A process without its long texts.
const PROCESS: u64 = 500;
/// Fewer bytes are not worth a step.
const AT_LEAST: u64 = 64 << 10;
/// So many times as many bytes as estimated may come free, and still no more go than must: a text that fills a little more than half
/// of a page has the page alone, and what is too long for a page has whole ones (sqlite.org/fileformat2.html, "Cell Payload
/// Overflow Pages"). So a step takes this part of what is too many, and what came of it is seen before the next.
const OUT_BY: u64 = 2;
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
}

/// One of them: up to where it was looked, and whether anything went since it began.
#[derive(Debug, Default)]
struct Pass {
    upto: i64,
    found: bool,
}

impl Passes {
    /// Deletes the oldest events of whoever has most in the database, for a part of so many bytes and at most so many rows, and none
    /// of what was ordered. The processes that they named are added to `processes`.
    pub(super) fn thin(
        &mut self,
        connection: &Connection,
        (bytes, most_rows): (u64, i64),
        processes: &mut BTreeSet<i64>,
    ) -> rusqlite::Result<Thinned> {
        let most = match self.most {
            Some((most, at)) if at.elapsed() < FRESH => most,
            _ => {
                let most = Shares::of(connection)?.most();
                self.most = Some((most, Instant::now()));
                most
            }
        };
        let Some(Most { user, each }) = most else { return Ok(Thinned::Nobody) };
        let rows = i64::try_from((bytes / OUT_BY).max(AT_LEAST) / each.max(1))
            .unwrap_or(most_rows)
            .min(most_rows)
            .max(1);
        let pass = self.of.entry(user).or_default();
        let (found, upto) = oldest_of(connection, user, (pass.upto, rows), processes)?;
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
/// ids go on from it. The processes that they name are added to `processes`.
fn oldest_of(
    connection: &Connection,
    user: User,
    (from, rows): (i64, i64),
    processes: &mut BTreeSet<i64>,
) -> rusqlite::Result<(Vec<i64>, Option<i64>)> {
    let begun = Instant::now();
    let newest = open::last_id(connection)?;
    let mut users = Users::new(connection)?;
    let mut window = connection
        .prepare_cached("SELECT id, type, process, other FROM event WHERE id > ?1 ORDER BY id LIMIT ?2")?;
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
            let process = row.get(2)?;
            if kind < ORDERED && users.of(process)? == user {
                found.push(id);
                processes.extend(process);
                processes.extend(row.get::<_, Option<i64>>(3)?);
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
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(1)?, row.get(2)?));
        let found = sample(connection, "event", "type, process", read)?;
        for (count, (kind, process)) in found {
            if kind >= ORDERED {
                shares.ordered += EVENT * count;
            } else {
                shares.of.entry(users.of(process)?).or_default().events += count;
            }
        }
        // Bytes and not characters, which are up to four each; and SQLite need not read a text for it.
        let texts = ["command", "lineage", "exe", "cwd", "project_root", "worktree_root"];
        let bytes = texts.map(|text| format!("ifnull(octet_length({text}), 0)")).join(" + ");
        let read = |row: &Row<'_>| Ok((row.get(1)?, row.get::<_, i64>(2)?));
        let found = sample(connection, "process", &format!("uid, {PROCESS} + {bytes}"), read)?;
        for (count, (user, bytes)) in found {
            shares.of.entry(user).or_default().processes += bytes.unsigned_abs() * count;
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
        Some(Most { user, each: share.bytes() / share.events.max(1) })
    }
}

/// Rows of a table from all over it, each with how many it stands for.
///
/// Ids are sown unevenly: of a flood that has lasted for hours the newest rows are left, a thousandth of the ids that were given. So
/// where there are few rows all of them are read, and where there are more the places are laid more closely.
fn sample<T>(
    connection: &Connection,
    table: &str,
    columns: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<(u64, T)>> {
    // One by one: for both at once SQLite reads the table (sqlite.org/optoverview.html, "The MIN/MAX Optimization").
    let mut ends = connection.prepare_cached(&format!(
        "SELECT (SELECT min(id) FROM {table}), (SELECT ifnull(max(id), 0) FROM {table})"
    ))?;
    let (first, last) = ends.query_row([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    let Some(first) = first else { return Ok(Vec::new()) };
    let mut rows = connection.prepare_cached(&format!(
        "SELECT id, {columns} FROM {table} WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT {IN_PLACE}"
    ))?;
    let (mut all, mut stretches) = (Vec::new(), vec![(first, last)]);
    for round in 1..=CLOSER {
        let ids: u64 = stretches.iter().map(|&(first, last)| span(first, last)).sum();
        let step = ids.div_ceil(PLACES).max(IN_PLACE as u64);
        let mut full = Vec::new();
        for (first, last) in pieces(&stretches, step) {
            let found = rows
                .query_map([first, last], |row| Ok((row.get::<_, i64>(0)?, read(row)?)))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            if found.len() < IN_PLACE {
                all.extend(found.into_iter().map(|(_, row)| (1, row)));
            } else {
                full.push((first, last, found));
            }
        }
        // Even enough, or as close as places can lie.
        if round == CLOSER || full.len() as u64 > PLACES / 4 || step == IN_PLACE as u64 {
            for (first, last, found) in full {
                let seen = span(first, found.last().map_or(last, |&(id, _)| id));
                let count = ((span(first, last) + seen / 2) / seen.max(1)).max(1);
                all.extend(found.into_iter().map(|(_, row)| (count, row)));
            }
            break;
        }
        stretches = full.into_iter().map(|(first, last, _)| (first, last)).collect();
    }
    Ok(all)
}

/// How many ids there are from the first to the last.
fn span(first: i64, last: i64) -> u64 {
    u64::try_from(last.saturating_sub(first)).unwrap_or(0) + 1
}

/// These stretches of ids, cut into pieces of so many.
fn pieces(stretches: &[(i64, i64)], step: u64) -> Vec<(i64, i64)> {
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    let mut pieces = Vec::new();
    for &(first, last) in stretches {
        let mut from = first;
        while from <= last {
            let upto = from.saturating_add(step - 1).min(last);
            pieces.push((from, upto));
            let Some(next) = upto.checked_add(1) else { break };
            from = next;
        }
    }
    pieces
}
