//! Sockets that the record leaves open: what a run saw come, and nobody saw go.

use std::{cmp::Reverse, collections::HashMap};

use rusqlite::{OptionalExtension, params, types::Value};

use super::{JournalError, Reader, code, row, time};
use crate::model::{Began, CLOCK_SET, Event, EventKind, Evidence, Port, ProcessId};

/// So many beginnings of each type on a port are looked at, the newest: a port that was taken more often since has few
/// of the older ones left.
const BEGINNINGS: i64 = 64;
/// So many ports are looked at, those that were taken last.
const PLACES: usize = 2048;
/// So many ends of a port, the newest. What began before the oldest of them is not judged.
const ENDS: i64 = 1024;

/// A socket that the record leaves open.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// The row that tells its state: a bind, a listen, or the end of listening.
    pub event: Event,
    /// Who bound it or began to listen, where known.
    pub by: Option<ProcessId>,
    /// The source that it was written by, where that is known.
    pub source: Option<String>,
    /// Since when it is there, as far as its rows are still in the record; `None` where the clock was set after the first of
    /// them, which is dated by the old one.
    pub began: Option<Began>,
}

/// What tells a socket from others on its port: cookie, inode, namespace; where the source has neither of the first two, the
/// address.
type Identity = (Option<i64>, Option<i64>, Option<u32>, Option<String>);

/// How often something began and ended on a port, and when last.
#[derive(Default)]
struct Place {
    /// Port and protocol.
    at: (i64, i64),
    begun: i64,
    ended: i64,
    last_begin: i64,
    last_end: i64,
}

/// A row of a port.
struct Line {
    id: i64,
    kind: EventKind,
    at: i64,
    process: Option<i64>,
    identity: Identity,
    evidence: Evidence,
}

impl Line {
    fn read(kind: EventKind, row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let (cookie, inode): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
        let address = if cookie.is_none() && inode.is_none() { row.get(6)? } else { None };
        Ok(Self {
            id: row.get(0)?,
            kind,
            at: row.get(1)?,
            process: row.get(2)?,
            identity: (cookie, inode, row.get(5)?, address),
            evidence: code::to_evidence(row.get(7)?).unwrap_or(Evidence::Unknown),
        })
    }
}

/// What tells of a socket that is open: its newest row, who made it, and since when it is there.
type Told = (i64, Option<i64>, Option<Began>);

/// What the rows of one socket tell, oldest first; `None` where there are none. `clock` is the row that tells that the clock was
/// set, the newest.
fn told(lines: &[Line], clock: Option<i64>) -> Option<Told> {
    let (first, newest) = (lines.first()?, lines.last()?);
    let process = lines.iter().rev().find_map(|line| line.process);
    // A look finds a listener, and not when it began.
    let seen = newest.kind == EventKind::Listen && newest.evidence == Evidence::Kernel;
    let began = Began {
        since: time::from_ns(first.at),
        listening_since: seen.then(|| time::from_ns(newest.at)),
        evidence: lines.iter().map(|line| line.evidence).min()?,
    };
    // Order is that of ids, which no clock decides.
    Some((newest.id, process, Some(began).filter(|_| clock.is_none_or(|clock| clock < first.id))))
}

impl Reader {
    /// Sockets of this boot that began in the record and did not end in it, oldest first.
    pub fn left_open(&self, boot_id: &str) -> Result<Vec<Open>, JournalError> {
        let failed = |error| self.failed(error);
        let boot: Option<i64> = self
            .connection
            .query_row("SELECT id FROM boot WHERE uuid = ?1", [boot_id], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        let Some(boot) = boot else { return Ok(Vec::new()) };
        let clock = self.clock_set(boot).map_err(failed)?;
        let mut ids = Vec::new();
        for place in self.places().map_err(failed)? {
            self.open_on(place, (boot, clock), &mut ids).map_err(failed)?;
        }
        ids.sort_unstable_by_key(|&(id, ..)| id);
        let mut open = Vec::with_capacity(ids.len());
        for (id, by, began) in ids {
            let sql = format!("SELECT {} FROM event WHERE event.id = ?1", row::EVENT_COLUMNS);
            let rows = self.join(self.rows(&sql, vec![Value::Integer(id)])?)?;
            let by = by.map(|process| self.process(process)).transpose()?.map(|(id, _)| id);
            let source = self.source_at(id).map_err(failed)?;
            open.extend(rows.into_iter().map(|logged| Open {
                event: logged.event,
                by,
                source: source.clone(),
                began,
            }));
        }
        Ok(open)
    }

    /// The source of the last run, where that is known.
    pub fn last_source(&self) -> Result<Option<String>, JournalError> {
        self.source_at(i64::MAX).map_err(|error| self.failed(error))
    }

    /// The newest row of a boot that tells that the clock was set.
    fn clock_set(&self, boot: i64) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT max(id) FROM event
            WHERE type = ?1 AND type >= 4 AND boot = ?2 AND substr(message, 1, length(?3)) = ?3";
        let error = code::kind(EventKind::Error);
        self.connection.query_row(sql, params![error, boot, CLOCK_SET], |row| row.get(0))
    }

    /// The source of the run that wrote a row.
    fn source_at(&self, id: i64) -> rusqlite::Result<Option<String>> {
        let sql =
            "SELECT message FROM event WHERE type = ?1 AND type >= 4 AND id <= ?2 ORDER BY at DESC LIMIT 1";
        let start = code::kind(EventKind::Start);
        let message: Option<Option<String>> =
            self.connection.prepare_cached(sql)?.query_row([start, id], |row| row.get(0)).optional()?;
        Ok(message.flatten().and_then(|text| text.rsplit_once("source ").map(|(_, word)| word.to_owned())))
    }

    /// Ports and protocols on which something may be open: more began than ended, or something began after the last end. One pass
    /// over the index tells that, where looking at each port would keep a start waiting for seconds.
    fn places(&self) -> rusqlite::Result<Vec<(i64, i64)>> {
        let code = code::kind;
        let sql = format!(
            "SELECT port, protocol, type, count(*), max(at) FROM event INDEXED BY event_port
             WHERE port IS NOT NULL AND protocol IS NOT NULL AND type IN ({}, {}, {}, {})
             GROUP BY port, protocol, type",
            code(EventKind::Bind),
            code(EventKind::Listen),
            code(EventKind::Unlisten),
            code(EventKind::Close)
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut places: Vec<Place> = Vec::new();
        while let Some(row) = rows.next()? {
            let at = (row.get(0)?, row.get(1)?);
            let (kind, count, newest): (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let place = match places.last_mut() {
                Some(last) if last.at == at => last,
                _ => places.push_mut(Place { at, ..Place::default() }),
            };
            if kind == code(EventKind::Close) {
                (place.ended, place.last_end) = (count, newest);
            } else {
                // A socket that was bound and listens has a row of each.
                place.begun = place.begun.max(count);
                place.last_begin = place.last_begin.max(newest);
            }
        }
        places.retain(|place| place.begun > place.ended || place.last_begin > place.last_end);
        places.sort_unstable_by_key(|place| Reverse(place.last_begin));
        places.truncate(PLACES);
        Ok(places.into_iter().map(|place| place.at).collect())
    }

    /// Appends the rows that tell of open sockets on a port, and who made them.
    fn open_on(
        &self,
        (port, protocol): (i64, i64),
        (boot, clock): (i64, Option<i64>),
        out: &mut Vec<Told>,
    ) -> rusqlite::Result<()> {
        if u16::try_from(port).ok().and_then(Port::new).is_none() {
            return Ok(());
        }
        let lines = |kind: EventKind, most: i64| -> rusqlite::Result<Vec<Line>> {
            let sql = "SELECT id, at, process, cookie, inode, netns, address, evidence FROM event
                WHERE port = ?1 AND protocol = ?2 AND type = ?3 AND boot = ?4 ORDER BY at DESC, id DESC LIMIT ?5";
            let mut rows = self.connection.prepare_cached(sql)?;
            rows.query_map(params![port, protocol, code::kind(kind), boot, most], |row| {
                Line::read(kind, row)
            })?
            .collect()
        };
        let mut begun: HashMap<Identity, Vec<Line>> = HashMap::new();
        for kind in [EventKind::Bind, EventKind::Listen, EventKind::Unlisten] {
            for line in lines(kind, BEGINNINGS)? {
                begun.entry(line.identity.clone()).or_default().push(line);
            }
        }
        if begun.is_empty() {
            return Ok(());
        }
        let ended = lines(EventKind::Close, ENDS)?;
        let all = i64::try_from(ended.len()).is_ok_and(|count| count < ENDS);
        let oldest = ended.last().filter(|_| !all).map(|line| line.at);
        for end in &ended {
            if let Some(lines) = begun.get_mut(&end.identity) {
                lines.retain(|line| line.id > end.id);
            }
        }
        for (identity, mut lines) in begun {
            lines.sort_unstable_by_key(|line| line.id);
            if lines.last().is_some_and(|newest| oldest.is_some_and(|oldest| newest.at <= oldest)) {
                continue;
            }
            // A cookie is one socket's; of others an older end may be another's.
            if identity.0.is_none() {
                lines.retain(|line| oldest.is_none_or(|oldest| line.at > oldest));
            }
            out.extend(told(&lines, clock));
        }
        Ok(())
    }
}
