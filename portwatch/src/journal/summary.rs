//! The record in numbers.

use std::collections::HashMap;

use rusqlite::params_from_iter;

use super::{JournalError, Reader, code, select::Select, time};
use crate::model::{EventFilter, EventKind, Port, Protocol, Timestamp};

/// How many lines a ranking has.
const TOP: usize = 10;

/// What happened, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Beginning of the time covered: as asked, else the oldest event.
    pub since: Option<Timestamp>,
    /// Its end: as asked, else now.
    pub until: Timestamp,
    /// Events by type, most frequent first. A noise summary counts as the events it stands for.
    pub counts: Vec<(EventKind, u64)>,
    /// Programs with most events, at most ten.
    pub most_active: Vec<Activity>,
    /// Listeners held longest within the time covered, at most ten.
    pub longest_held: Vec<Held>,
    /// Ports on which binds were refused most, at most ten.
    pub refused: Vec<Refusals>,
    /// Listens on ports the kernel chose.
    pub random_listens: u64,
    /// Records lost, over all gaps.
    pub lost: u64,
}

/// Events of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Its comm.
    pub comm: String,
    /// Its project.
    pub project: Option<String>,
    /// Its events.
    pub count: u64,
}

/// A listener and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Port.
    pub port: Port,
    /// Protocol.
    pub protocol: Protocol,
    /// Comm of who began to listen, where known.
    pub comm: Option<String>,
    /// Seconds from listen to close, or to `Summary::until` when no close is recorded.
    pub seconds: u64,
    /// No close is recorded.
    pub open: bool,
}

/// Refused binds of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals {
    /// Port.
    pub port: Port,
    /// Protocol; `None` where the kernel did not tell.
    pub protocol: Option<Protocol>,
    /// How many.
    pub count: u64,
}

/// A listener whose end was not seen yet.
struct Begun {
    at: i64,
    port: Port,
    protocol: Protocol,
    process: Option<i64>,
}

impl Reader {
    /// Counts what matches. `limit` and `order` of the filter play no part.
    pub fn summary(&self, filter: &EventFilter) -> Result<Summary, JournalError> {
        let until = filter.until.unwrap_or_else(Timestamp::now);
        let oldest = || self.pairs("SELECT 0, ifnull(min(at), -1) FROM event WHERE {}", filter);
        let since = match filter.since {
            Some(since) => Some(since),
            None => oldest()?.first().filter(|(_, at)| *at >= 0).map(|&(_, at)| time::from_ns(at)),
        };
        let counts = self
            .pairs("SELECT type, sum(count) FROM event WHERE {} GROUP BY type ORDER BY 2 DESC, 1", filter)?;
        let random = format!(
            "SELECT 0, count(*) FROM event WHERE {{}} AND type = {} AND asked_port = 0",
            code::kind(EventKind::Listen)
        );
        let lost = "SELECT 0, ifnull(sum(lost), 0) FROM event WHERE {} AND type = 25 AND type >= 10";
        Ok(Summary {
            since,
            until,
            counts: counts.into_iter().filter_map(|(c, n)| Some((code::to_kind(c)?, number(n)))).collect(),
            most_active: self.most_active(filter)?,
            longest_held: self.longest_held(filter, until)?,
            refused: self.refused(filter)?,
            random_listens: self.pairs(&random, filter)?.first().map_or(0, |&(_, n)| number(n)),
            lost: self.pairs(lost, filter)?.first().map_or(0, |&(_, n)| number(n)),
        })
    }

    /// Runs a statement with `{}` for the conditions and two numbers a row.
    fn pairs(&self, sql: &str, filter: &EventFilter) -> Result<Vec<(i64, i64)>, JournalError> {
        let select = Select::new(filter);
        let failed = |error| self.failed(error);
        let mut statement =
            self.connection.prepare_cached(&sql.replace("{}", &select.condition)).map_err(failed)?;
        let rows = statement
            .query_map(params_from_iter(select.values), |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    fn most_active(&self, filter: &EventFilter) -> Result<Vec<Activity>, JournalError> {
        let select = Select::new(filter);
        let failed = |error| self.failed(error);
        // Grouped by process first: names are looked up once a process, not once an event.
        let sql = format!(
            "SELECT p.comm, p.project, sum(n) FROM (
                 SELECT event.process AS process, sum(count) AS n FROM event
                 WHERE {} AND event.process IS NOT NULL GROUP BY event.process)
             JOIN process p ON p.id = process WHERE p.comm IS NOT NULL
             GROUP BY p.comm, p.project ORDER BY 3 DESC, 1 LIMIT {TOP}",
            select.condition
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
        let rows = statement
            .query_map(params_from_iter(select.values), |row| {
                Ok(Activity { comm: row.get(0)?, project: row.get(1)?, count: number(row.get(2)?) })
            })
            .map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    fn refused(&self, filter: &EventFilter) -> Result<Vec<Refusals>, JournalError> {
        let select = Select::new(filter);
        let failed = |error| self.failed(error);
        let sql = format!(
            "SELECT port, protocol, sum(count) FROM event
             WHERE {} AND type = {} AND type >= {} AND port IS NOT NULL
             GROUP BY port, protocol ORDER BY 3 DESC, 1 LIMIT {TOP}",
            select.condition,
            code::kind(EventKind::Refused),
            code::FIRST_RARE,
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
        let rows = statement
            .query_map(params_from_iter(select.values), |row| {
                Ok((row.get::<_, u16>(0)?, row.get::<_, Option<i64>>(1)?, row.get(2)?))
            })
            .map_err(failed)?;
        let mut out = Vec::new();
        for row in rows {
            let (port, protocol, count) = row.map_err(failed)?;
            if let Some(port) = Port::new(port) {
                let protocol = protocol.and_then(code::to_protocol);
                out.push(Refusals { port, protocol, count: number(count) });
            }
        }
        Ok(out)
    }

    /// Pairs listens with their ends by the socket's identity.
    fn longest_held(&self, filter: &EventFilter, until: Timestamp) -> Result<Vec<Held>, JournalError> {
        let select = Select::new(filter);
        let failed = |error| self.failed(error);
        let sql = format!(
            "SELECT at, type, boot, ifnull(cookie, -1), ifnull(inode, -1), netns, port, protocol, process FROM event
             WHERE {} AND type IN (2, 3, 4) AND state IS NOT 1 ORDER BY at, id",
            select.condition
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
        let mut rows = statement.query(params_from_iter(select.values)).map_err(failed)?;
        let mut begun: HashMap<(i64, i64, i64, Option<u32>), Begun> = HashMap::new();
        let mut held: Vec<(i64, Begun, bool)> = Vec::new();
        let mut boot = None;
        while let Some(row) = rows.next().map_err(failed)? {
            let read = || -> rusqlite::Result<_> {
                let port: Option<u16> = row.get(6)?;
                let protocol: Option<i64> = row.get(7)?;
                let place = port.and_then(Port::new).zip(protocol.and_then(code::to_protocol));
                let key: (i64, i64, i64, Option<u32>) = (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, key, place, row.get(8)?))
            };
            let (at, kind, key, place, process) = read().map_err(failed)?;
            if boot.replace(key.0).is_some_and(|before| before != key.0) {
                // Sockets do not outlive a boot; when they ended was not seen.
                begun.clear();
            }
            if kind == code::kind(EventKind::Listen) {
                if let Some((port, protocol)) = place {
                    begun.entry(key).or_insert(Begun { at, port, protocol, process });
                }
            } else if let Some(begun) = begun.remove(&key) {
                keep_longest(&mut held, (at - begun.at, begun, false));
            }
        }
        let end = time::to_ns(until);
        for (_, begun) in begun {
            keep_longest(&mut held, (end - begun.at, begun, true));
        }
        held.sort_by_key(|(ns, begun, _)| (std::cmp::Reverse(*ns), begun.port));
        held.truncate(TOP);
        held.into_iter()
            .map(|(ns, begun, open)| {
                let comm = match begun.process {
                    Some(id) => self.comm(id)?,
                    None => None,
                };
                let seconds = u64::try_from(ns / 1_000_000_000).unwrap_or(0);
                Ok(Held { port: begun.port, protocol: begun.protocol, comm, seconds, open })
            })
            .collect()
    }

    fn comm(&self, process: i64) -> Result<Option<String>, JournalError> {
        let failed = |error| self.failed(error);
        let mut statement =
            self.connection.prepare_cached("SELECT comm FROM process WHERE id = ?1").map_err(failed)?;
        statement.query_row([process], |row| row.get(0)).map_err(failed)
    }
}

/// Keeps memory flat over millions of listeners.
fn keep_longest(held: &mut Vec<(i64, Begun, bool)>, item: (i64, Begun, bool)) {
    held.push(item);
    if held.len() >= 16 * TOP {
        held.sort_by_key(|(ns, ..)| std::cmp::Reverse(*ns));
        held.truncate(TOP);
    }
}

fn number(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
