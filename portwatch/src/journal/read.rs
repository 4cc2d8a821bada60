//! Answers from the record, while a daemon writes it or without one.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, hash_map::Entry},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params_from_iter, types::Value};

use super::{JournalError, code, error::io as refused, open, row, schema, select::Select};
use crate::model::{EventFilter, EventKind, LoggedEvent, Netns, Order, Port, Process, ProcessId, Protocol};

/// Events that match.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In the order asked for.
    pub events: Vec<LoggedEvent>,
    /// Older ones match too, beyond the limit.
    pub truncated: bool,
}

/// A connection that reads, and the schema's version.
fn connect(path: &Path) -> rusqlite::Result<(Connection, i64)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let ready = |connection: Connection| {
        connection.busy_timeout(Duration::from_secs(2))?;
        open::plan_once(&connection)?;
        let version = schema::version(&connection)?;
        Ok((connection, version))
    };
    let shared = Connection::open_with_flags(path, flags).and_then(ready);
    match shared {
        // Readers and writers meet in a file beside the database, which cannot be made on a full disk or a read-only one.
        // Where there is no log either, nobody writes, and everything is in the database itself (sqlite.org/wal.html,
        // "Read-Only Databases").
        Err(error) if open::cannot_share(&error) && open::has_no_log(path) => {
            Connection::open_with_flags(open::alone(path), flags | OpenFlags::SQLITE_OPEN_URI)
                .and_then(ready)
                .map_err(|_| error)
        }
        shared => shared,
    }
}

/// A process's row, by its id.
pub(super) fn of_process() -> String {
    format!(
        "SELECT {} FROM process p LEFT JOIN cgroup c ON c.id = p.cgroup
         LEFT JOIN container k ON k.id = p.container WHERE p.id = ?1",
        row::PROCESS_COLUMNS
    )
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
        // Not opened for it: see `open::may`.
        #[cfg(unix)]
        open::may(path, nix::unistd::AccessFlags::R_OK).map_err(|error| refused("read", path, error))?;
        let failed = |error| JournalError::sqlite("read", path, error);
        let (connection, version) = connect(path).map_err(failed)?;
        if version > schema::latest() {
            return Err(JournalError::Newer {
                path: path.to_owned(),
                found: version,
                known: schema::latest(),
            });
        }
        let application: i64 =
            connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
        let is_empty =
            || connection.query_row("SELECT count(*) = 0 FROM sqlite_master", [], |row| row.get(0));
        if version == 0 && application == 0 && is_empty().map_err(failed)? {
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
        open::count(&self.connection).map_err(|error| self.failed(error))
    }

    /// Row id of the newest event; 0 where there is none.
    pub fn last_id(&self) -> Result<i64, JournalError> {
        open::last_id(&self.connection).map_err(|error| self.failed(error))
    }

    /// Events of these kinds (any, where none is named) with ids above `after` and up to `upto`, in the order of their ids.
    pub fn between(
        &self,
        after: i64,
        upto: i64,
        kinds: &[EventKind],
    ) -> Result<Vec<LoggedEvent>, JournalError> {
        let codes: Vec<String> = kinds.iter().map(|kind| code::kind(*kind).to_string()).collect();
        let of_kinds =
            if codes.is_empty() { String::new() } else { format!(" AND type IN ({})", codes.join(", ")) };
        let sql = format!(
            "SELECT {} FROM event NOT INDEXED WHERE event.id > ?1 AND event.id <= ?2{of_kinds} ORDER BY event.id",
            row::EVENT_COLUMNS
        );
        let rows = self.rows(&sql, vec![Value::Integer(after), Value::Integer(upto)])?;
        self.join(rows)
    }

    /// Events that match, the newest `limit` of them.
    pub fn events(&self, filter: &EventFilter) -> Result<Page, JournalError> {
        let failed = |error| self.failed(error);
        let limit = filter.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        // One more than asked for tells whether there are more.
        let most = limit.and_then(|limit| i64::try_from(limit.saturating_add(1)).ok()).unwrap_or(-1);
        let mut page = Gathered::new(self, limit.unwrap_or(usize::MAX), filter.bytes.unwrap_or(usize::MAX));
        if !filter.ports.is_empty() && filter.pids.is_empty() && filter.after_id.is_none() {
            for id in self.ids_of_ports(filter, most)? {
                for row in self.row(id)? {
                    page.take(row)?;
                }
                if page.full {
                    break;
                }
            }
        } else {
            let mut select = Select::new(filter);
            // What follows an id is few rows at the end of the table, whatever else is asked of them.
            let hint = if filter.after_id.is_some() { " NOT INDEXED" } else { "" };
            let sql = format!(
                "SELECT {} FROM event{hint} WHERE {} ORDER BY event.at DESC, event.id DESC LIMIT ?",
                row::EVENT_COLUMNS,
                select.condition
            );
            select.values.push(Value::Integer(most));
            let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
            let mut rows = statement.query(params_from_iter(select.values)).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)?
                && !page.full
            {
                page.take(row::event(row, &self.path)?)?;
            }
        }
        let Gathered { mut events, full: truncated, .. } = page;
        if filter.order == Order::OldestFirst {
            events.reverse();
        }
        Ok(Page { events, truncated })
    }

    /// The newest of each kind that tells of the end of a port's holder: listen, close, refused, and the exits of
    /// those who bound and closed it last; newest first. For the answer about a port that is free: in
    /// `netns`, or in any.
    pub fn last_of_port(
        &self,
        port: Port,
        protocol: Option<Protocol>,
        netns: Option<Netns>,
    ) -> Result<Vec<LoggedEvent>, JournalError> {
        let mut rows = Vec::new();
        for kind in [EventKind::Listen, EventKind::Close, EventKind::Refused] {
            let filter =
                EventFilter { ports: vec![port], protocol, kinds: vec![kind], ..EventFilter::default() };
            rows.extend(self.last_in(&filter, netns)?);
        }
        // An exit is a process's and has no port.
        let closed = rows.iter().find(|r| r.event.kind == EventKind::Close);
        let mut holders: BTreeSet<i64> =
            closed.into_iter().flat_map(|r| [r.process, r.other]).flatten().collect();
        // A worker closes last and ends in order, since its master was ended.
        if let Some(closer) = closed.and_then(|r| r.process) {
            holders.extend(self.parent_of(closer)?);
        }
        for holder in holders {
            rows.extend(self.exit_of(holder)?);
        }
        rows.sort_by_key(|r| Reverse((r.event.at, r.id)));
        self.join(rows)
    }

    /// The newest row in a namespace; a row that names none may be of any. Namespaces are in no index: where so many rows that are
    /// newer are another's, it is not known.
    fn last_in(
        &self,
        filter: &EventFilter,
        netns: Option<Netns>,
    ) -> Result<Option<row::EventRow>, JournalError> {
        const NEWEST: i64 = 64;
        let is_in = |row: &row::EventRow| {
            let there = row.event.netns;
            netns.is_none() || there.is_none() || there == netns
        };
        let newest = self.of_ports(filter, 1)?;
        if newest.iter().all(is_in) {
            return Ok(newest.into_iter().next());
        }
        Ok(self.of_ports(filter, NEWEST)?.into_iter().find(is_in))
    }

    /// The parent of a process, where that has a row too.
    fn parent_of(&self, process: i64) -> Result<Option<i64>, JournalError> {
        let sql = "SELECT parent.id FROM process AS child JOIN process AS parent
                 ON parent.boot = child.boot
                AND parent.pid = json_extract(child.lineage, '$[0].pid')
                AND parent.start_ticks = json_extract(child.lineage, '$[0].start_ticks')
             WHERE child.id = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.failed(error))?;
        statement.query_row([process], |row| row.get(0)).optional().map_err(|error| self.failed(error))
    }

    /// The exit of a process, by the time its own row has: a process may have a million events.
    fn exit_of(&self, process: i64) -> Result<Vec<row::EventRow>, JournalError> {
        let sql = format!(
            "SELECT {} FROM event INDEXED BY event_rare
             WHERE event.type >= {} AND event.type = ?1 AND event.process = ?2
               AND event.at = (SELECT ended FROM process WHERE id = ?2)",
            row::EVENT_COLUMNS,
            code::FIRST_RARE
        );
        self.rows(&sql, vec![Value::Integer(code::kind(EventKind::Exit)), Value::Integer(process)])
    }

    /// The newest `most` (-1: all) rows of the ports, newest first.
    fn of_ports(&self, filter: &EventFilter, most: i64) -> Result<Vec<row::EventRow>, JournalError> {
        let mut out = Vec::new();
        for id in self.ids_of_ports(filter, most)? {
            out.extend(self.row(id)?);
        }
        Ok(out)
    }

    /// A row. Retention may have taken it since its id was found.
    fn row(&self, id: i64) -> Result<Vec<row::EventRow>, JournalError> {
        let sql = format!("SELECT {} FROM event WHERE event.id = ?", row::EVENT_COLUMNS);
        self.rows(&sql, vec![Value::Integer(id)])
    }

    /// Their ids: looked for by port, protocol and type, each at the end of its own stretch of the index, because a busy port
    /// may have millions of rows of one type and none of another.
    fn ids_of_ports(&self, filter: &EventFilter, most: i64) -> Result<Vec<i64>, JournalError> {
        let failed = |error| self.failed(error);
        let protocols = match filter.protocol {
            Some(protocol) => vec![Some(protocol)],
            None => vec![Some(Protocol::Tcp), Some(Protocol::Udp), None],
        };
        let kinds = if filter.kinds.is_empty() { &EventKind::ALL[..] } else { &filter.kinds };
        let rest = EventFilter { ports: Vec::new(), protocol: None, kinds: Vec::new(), ..filter.clone() };
        let select = Select::new(&rest);
        let sql = format!(
            "SELECT event.at, event.id FROM event INDEXED BY event_port
             WHERE event.port = ? AND event.protocol IS ? AND event.type = ? AND {}
             ORDER BY event.at DESC, event.id DESC LIMIT ?",
            select.condition
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
        let mut found: Vec<(i64, i64)> = Vec::new();
        let ports: BTreeSet<Port> = filter.ports.iter().copied().collect();
        let kinds: BTreeSet<EventKind> = kinds.iter().copied().collect();
        for port in ports {
            for &protocol in &protocols {
                for &kind in &kinds {
                    let mut values = vec![
                        Value::Integer(port.get().into()),
                        protocol.map_or(Value::Null, |p| Value::Integer(code::protocol(p))),
                        Value::Integer(code::kind(kind)),
                    ];
                    values.extend(select.values.iter().cloned());
                    values.push(Value::Integer(most));
                    let rows = statement
                        .query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))
                        .map_err(failed)?;
                    for row in rows {
                        found.push(row.map_err(failed)?);
                    }
                }
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        if let Ok(most) = usize::try_from(most) {
            found.truncate(most);
        }
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    pub(super) fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<row::EventRow>, JournalError> {
        let failed = |error| self.failed(error);
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(failed)?;
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            out.push(row::event(row, &self.path)?);
        }
        Ok(out)
    }

    pub(super) fn join(&self, rows: Vec<row::EventRow>) -> Result<Vec<LoggedEvent>, JournalError> {
        let mut gathered = Gathered::new(self, usize::MAX, usize::MAX);
        for row in rows {
            gathered.take(row)?;
        }
        Ok(gathered.events)
    }

    pub(super) fn process(&self, id: i64) -> Result<(ProcessId, Option<Process>), JournalError> {
        let mut statement =
            self.connection.prepare_cached(&of_process()).map_err(|error| self.failed(error))?;
        statement.query_row([id], row::process).map_err(|error| self.failed(error))
    }

    pub(super) fn failed(&self, error: rusqlite::Error) -> JournalError {
        JournalError::sqlite("read", &self.path, error)
    }
}

/// Rows with their processes, as many as there is room for.
struct Gathered<'a> {
    reader: &'a Reader,
    known: HashMap<i64, (ProcessId, Option<Arc<Process>>)>,
    events: Vec<LoggedEvent>,
    rows: usize,
    bytes: usize,
    /// One did not fit.
    full: bool,
}

impl<'a> Gathered<'a> {
    fn new(reader: &'a Reader, rows: usize, bytes: usize) -> Self {
        Self { reader, known: HashMap::new(), events: Vec::new(), rows, bytes, full: false }
    }

    /// The first fits in any case.
    fn take(&mut self, mut row: row::EventRow) -> Result<(), JournalError> {
        let mut facts = [None, None];
        for (slot, id) in facts.iter_mut().zip([row.process, row.other]) {
            let Some(id) = id else { continue };
            *slot = Some(match self.known.entry(id) {
                Entry::Occupied(entry) => entry.get().clone(),
                Entry::Vacant(entry) => {
                    let (id, facts) = self.reader.process(id)?;
                    entry.insert((id, facts.map(Arc::new))).clone()
                }
            });
        }
        let [process, other] = facts;
        row.event.process = process.as_ref().map(|(id, _)| *id);
        row.event.other = other.as_ref().map(|(id, _)| *id);
        let event = LoggedEvent {
            id: row.id,
            event: row.event,
            process: process.and_then(|(_, facts)| facts),
            other: other.and_then(|(_, facts)| facts),
        };
        let bytes = if self.bytes == usize::MAX { 0 } else { event.json_bytes() };
        let is_first = self.events.is_empty() && self.rows > 0;
        self.full = self.events.len() >= self.rows || (bytes > self.bytes && !is_first);
        if !self.full {
            self.bytes = self.bytes.saturating_sub(bytes);
            self.events.push(event);
        }
        Ok(())
    }
}
