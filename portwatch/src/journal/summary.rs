//! The record in numbers.

use std::{cmp::Reverse, collections::HashMap};

use rusqlite::{OptionalExtension, params_from_iter};

use super::{
    JournalError, Reader, code,
    select::{Select, seen},
    time,
};
use crate::model::{EventFilter, EventKind, Port, Protocol, Sight, Timestamp, Viewer};

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
    /// Its project, as far as the asker is shown it.
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

/// What tells one socket from another: boot, cookie, inode, network namespace.
type Identity = (i64, i64, i64, Option<u32>);

/// A row, as far as counting needs it.
struct Line {
    at: i64,
    kind: i64,
    count: u64,
    process: Option<i64>,
    port: Option<Port>,
    protocol: Option<Protocol>,
    random: bool,
    lost: u64,
    bound_only: bool,
    identity: Identity,
}

const COLUMNS: &str = "event.at, event.type, event.count, event.process, event.port, event.protocol,
    event.asked_port IS 0, ifnull(event.lost, 0), event.state IS 1, event.boot, ifnull(event.cookie, -1),
    ifnull(event.inode, -1), event.netns";

impl Line {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            at: row.get(0)?,
            kind: row.get(1)?,
            count: number(row.get(2)?),
            process: row.get(3)?,
            port: row.get::<_, Option<u16>>(4)?.and_then(Port::new),
            protocol: row.get::<_, Option<i64>>(5)?.and_then(code::to_protocol),
            random: row.get(6)?,
            lost: number(row.get(7)?),
            bound_only: row.get(8)?,
            identity: (row.get(9)?, row.get(10)?, row.get(11)?, row.get(12)?),
        })
    }
}

/// Sums of one pass over the rows.
#[derive(Default)]
struct Tally {
    oldest: Option<i64>,
    kinds: HashMap<i64, u64>,
    processes: HashMap<i64, u64>,
    refused: HashMap<(Port, Option<Protocol>), u64>,
    random_listens: u64,
    lost: u64,
    boot: Option<i64>,
    /// Listeners whose end was not seen yet.
    begun: HashMap<Identity, Begun>,
    held: Vec<(i64, Begun, bool)>,
}

impl Tally {
    fn add(&mut self, line: &Line) {
        const LISTEN: i64 = code::kind(EventKind::Listen);
        const CLOSE: i64 = code::kind(EventKind::Close);
        const UNLISTEN: i64 = code::kind(EventKind::Unlisten);
        const REFUSED: i64 = code::kind(EventKind::Refused);
        const GAP: i64 = code::kind(EventKind::Gap);
        self.oldest.get_or_insert(line.at);
        *self.kinds.entry(line.kind).or_default() += line.count;
        if let Some(process) = line.process {
            *self.processes.entry(process).or_default() += line.count;
        }
        match line.kind {
            LISTEN => self.random_listens += u64::from(line.random),
            GAP => self.lost += line.lost,
            REFUSED => {
                if let Some(port) = line.port {
                    *self.refused.entry((port, line.protocol)).or_default() += line.count;
                }
            }
            _ => {}
        }
        if !matches!(line.kind, LISTEN | CLOSE | UNLISTEN) || line.bound_only {
            return;
        }
        if self.boot.replace(line.identity.0).is_some_and(|before| before != line.identity.0) {
            // Sockets do not outlive a boot; when they ended was not seen.
            self.begun.clear();
        }
        if line.kind == LISTEN {
            if let Some((port, protocol)) = line.port.zip(line.protocol) {
                let begun = Begun { at: line.at, port, protocol, process: line.process };
                self.begun.entry(line.identity).or_insert(begun);
            }
        } else if let Some(begun) = self.begun.remove(&line.identity) {
            keep_longest(&mut self.held, (line.at - begun.at, begun, false));
        }
    }
}

impl Reader {
    /// Counts what matches, in one pass. `limit` and `order` of the filter play no part.
    pub fn summary(&self, filter: &EventFilter) -> Result<Summary, JournalError> {
        let until = filter.until.unwrap_or_else(Timestamp::now);
        let tally = self.tally(filter)?;
        let mut counts: Vec<_> =
            tally.kinds.into_iter().filter_map(|(c, n)| Some((code::to_kind(c)?, n))).collect();
        counts.sort_by_key(|&(kind, n)| (Reverse(n), kind));
        let mut refused: Vec<_> = tally
            .refused
            .into_iter()
            .map(|((port, protocol), count)| Refusals { port, protocol, count })
            .collect();
        refused.sort_by_key(|r| (Reverse(r.count), r.port, r.protocol.map(code::protocol)));
        refused.truncate(TOP);
        Ok(Summary {
            since: filter.since.or_else(|| tally.oldest.map(time::from_ns)),
            until,
            counts,
            most_active: self.most_active(tally.processes, filter.viewer)?,
            longest_held: self.longest_held(tally.begun, tally.held, until)?,
            refused,
            random_listens: tally.random_listens,
            lost: tally.lost,
        })
    }

    fn tally(&self, filter: &EventFilter) -> Result<Tally, JournalError> {
        let select = Select::new(filter);
        let failed = |error| self.failed(error);
        let sql =
            format!("SELECT {COLUMNS} FROM event WHERE {} ORDER BY event.at, event.id", select.condition);
        let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
        let mut rows = statement.query(params_from_iter(select.values)).map_err(failed)?;
        let mut tally = Tally::default();
        while let Some(row) = rows.next().map_err(failed)? {
            tally.add(&Line::read(row).map_err(failed)?);
        }
        Ok(tally)
    }

    fn most_active(
        &self,
        processes: HashMap<i64, u64>,
        viewer: Viewer,
    ) -> Result<Vec<Activity>, JournalError> {
        let failed = |error| self.failed(error);
        let sql = format!(
            "SELECT comm, CASE WHEN {} THEN project END FROM process WHERE id = ?1 AND comm IS NOT NULL",
            seen(viewer, Sight::Full)
        );
        let mut names = self.connection.prepare_cached(&sql).map_err(failed)?;
        let mut programs: HashMap<(String, Option<String>), u64> = HashMap::new();
        for (process, count) in processes {
            let name = names.query_row([process], |row| Ok((row.get(0)?, row.get(1)?))).optional();
            if let Some(name) = name.map_err(failed)? {
                *programs.entry(name).or_default() += count;
            }
        }
        let mut out: Vec<_> =
            programs.into_iter().map(|((comm, project), count)| Activity { comm, project, count }).collect();
        out.sort_by(|a, b| (b.count, &a.comm, &a.project).cmp(&(a.count, &b.comm, &b.project)));
        out.truncate(TOP);
        Ok(out)
    }

    /// The closed ones among the longest, and those whose end is not recorded.
    fn longest_held(
        &self,
        begun: HashMap<Identity, Begun>,
        mut held: Vec<(i64, Begun, bool)>,
        until: Timestamp,
    ) -> Result<Vec<Held>, JournalError> {
        let end = time::to_ns(until);
        for (_, begun) in begun {
            keep_longest(&mut held, (end - begun.at, begun, true));
        }
        held.sort_by_key(|(ns, begun, _)| (Reverse(*ns), begun.port));
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
        held.sort_by_key(|(ns, ..)| Reverse(*ns));
        held.truncate(TOP);
    }
}

fn number(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
