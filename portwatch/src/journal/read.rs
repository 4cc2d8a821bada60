//! Answers from the record, while a daemon writes it or without one.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, params_from_iter, types::Value};

use super::{JournalError, code, error::io as refused, open, row, schema, select::Select};
use crate::model::{EventFilter, EventKind, LoggedEvent, Order, Port, Process, ProcessId, Protocol};

/// Events that match.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In the order asked for.
    pub events: Vec<LoggedEvent>,
    /// Older ones match too, beyond the limit.
    pub truncated: bool,
}

/// A read-only view.
#[derive(Debug)]
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
}

impl Reader {
    /// Opens the database for reading. [`JournalError::Missing`] when there is none.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        match fs::metadata(path) {
            Ok(found) => open::not_a_file(path, &found)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(JournalError::Missing { path: path.to_owned() });
            }
            Err(error) => return Err(refused("open", path, error)),
        }
        fs::File::open(path).map_err(|error| refused("read", path, error))?;
        let failed = |error| JournalError::sqlite("read", path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(2)).map_err(failed)?;
        let version = schema::version(&connection).map_err(failed)?;
        if version > schema::latest() {
            return Err(JournalError::Newer {
                path: path.to_owned(),
                found: version,
                known: schema::latest(),
            });
        }
        let application: i64 =
            connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
        if version == 0 && application == 0 {
            // Made a moment ago and not filled, or never: nothing was recorded.
            return Err(JournalError::Missing { path: path.to_owned() });
        }
        if application != schema::APPLICATION_ID {
            return Err(JournalError::Foreign { path: path.to_owned() });
        }
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Events in the database.
    pub fn count(&self) -> Result<u64, JournalError> {
        let ends = open::first_id(&self.connection).and_then(|f| Ok((f, open::last_id(&self.connection)?)));
        ends.map(|(first, last)| open::count(first, last)).map_err(|error| self.failed(error))
    }

    /// Events that match, the newest `limit` of them.
    pub fn events(&self, filter: &EventFilter) -> Result<Page, JournalError> {
        let mut select = Select::new(filter);
        let mut sql = format!(
            "SELECT {} FROM event WHERE {} ORDER BY event.at DESC, event.id DESC",
            row::EVENT_COLUMNS,
            select.condition
        );
        let limit = filter.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if let Some(limit) = limit {
            let more = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
            sql.push_str(" LIMIT ?");
            select.values.push(Value::Integer(more));
        }
        let mut rows = self.rows(&sql, select.values)?;
        let truncated = limit.is_some_and(|limit| rows.len() > limit);
        if let Some(limit) = limit {
            rows.truncate(limit);
        }
        if filter.order == Order::OldestFirst {
            rows.reverse();
        }
        Ok(Page { events: self.join(rows)?, truncated })
    }

    /// The newest of each kind that tells of the end of a port's holder: listen, close, exit, refused; newest
    /// first. For the answer about a port that is free.
    pub fn last_of_port(
        &self,
        port: Port,
        protocol: Option<Protocol>,
    ) -> Result<Vec<LoggedEvent>, JournalError> {
        let mut rows = Vec::new();
        for kind in [EventKind::Listen, EventKind::Close, EventKind::Exit, EventKind::Refused] {
            let mut sql =
                format!("SELECT {} FROM event WHERE event.port = ? AND event.type = ?", row::EVENT_COLUMNS);
            let mut values = vec![Value::Integer(i64::from(port.get())), Value::Integer(code::kind(kind))];
            if let Some(protocol) = protocol {
                sql.push_str(" AND event.protocol = ?");
                values.push(Value::Integer(code::protocol(protocol)));
            }
            // Of several sockets of one program the one that listened is wanted, not a probe's bind.
            let _ = write!(sql, " ORDER BY event.at DESC, event.id DESC LIMIT 1");
            rows.extend(self.rows(&sql, values)?);
        }
        rows.sort_by_key(|r| std::cmp::Reverse((r.event.at, r.id)));
        self.join(rows)
    }

    fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<row::EventRow>, JournalError> {
        let failed = |error| self.failed(error);
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(failed)?;
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            out.push(row::event(row, &self.path)?);
        }
        Ok(out)
    }

    fn join(&self, rows: Vec<row::EventRow>) -> Result<Vec<LoggedEvent>, JournalError> {
        let mut known: HashMap<i64, (ProcessId, Option<Process>)> = HashMap::new();
        let mut out = Vec::with_capacity(rows.len());
        for mut row in rows {
            let mut facts = [None, None];
            for (slot, id) in facts.iter_mut().zip([row.process, row.other]) {
                let Some(id) = id else { continue };
                *slot = Some(match known.entry(id) {
                    Entry::Occupied(entry) => entry.get().clone(),
                    Entry::Vacant(entry) => entry.insert(self.process(id)?).clone(),
                });
            }
            let [process, other] = facts;
            row.event.process = process.as_ref().map(|(id, _)| *id);
            row.event.other = other.as_ref().map(|(id, _)| *id);
            out.push(LoggedEvent {
                id: row.id,
                event: row.event,
                process: process.and_then(|(_, facts)| facts),
                other: other.and_then(|(_, facts)| facts),
            });
        }
        Ok(out)
    }

    fn process(&self, id: i64) -> Result<(ProcessId, Option<Process>), JournalError> {
        let sql = format!(
            "SELECT {} FROM process p LEFT JOIN cgroup c ON c.id = p.cgroup WHERE p.id = ?1",
            row::PROCESS_COLUMNS
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(|error| self.failed(error))?;
        statement.query_row([id], row::process).map_err(|error| self.failed(error))
    }

    pub(super) fn failed(&self, error: rusqlite::Error) -> JournalError {
        JournalError::sqlite("read", &self.path, error)
    }
}
