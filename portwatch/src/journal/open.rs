//! Opening: make, check, migrate, set aside.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, config::DbConfig, params};

use super::{
    JournalError, OpenReport, Opened, Options, PreviousRun, SetAside,
    error::io as refused,
    place::Place,
    retention::Retention,
    schema,
    store::Store,
    worker::{Unwritten, Worker},
    writer::{Shared, Writer, WriterStatus},
};
use crate::{model::Timestamp, platform::files};

/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_millis(500);
/// So many pages of the write-ahead log, 8 MiB, are folded into the database.
pub(super) const FOLD_AT: i64 = 2048;

/// The journal.
#[derive(Debug)]
pub struct Journal;

impl Journal {
    /// Opens the database at `path` for writing; makes it, brings its schema forward or sets it aside as needed,
    /// and starts the writing thread.
    pub fn open(path: &Path, options: Options) -> Result<Opened, JournalError> {
        let mut report = OpenReport::default();
        let connection = match prepare(path, Depth::Pages, &mut report) {
            Err(JournalError::Damaged { problem, .. }) => {
                let aside = set_aside(path)?;
                report = OpenReport::default();
                report.set_aside = Some(SetAside { path: aside, problem });
                prepare(path, Depth::Pages, &mut report)?
            }
            other => other?,
        };
        let failed = |error| JournalError::sqlite("open", path, error);
        let store = Store::new(connection, &options.boot_id).map_err(failed)?;
        let last_id = last_id(&store.connection).map_err(failed)?;
        let status =
            WriterStatus { events: store.events, last_id, bytes: bytes(path), ..WriterStatus::default() };
        mark_begun(&store.connection).map_err(failed)?;
        let shared = Arc::new(Shared::new(status.clone()));
        let batch = options.batch.max(1);
        let worker = Worker {
            shared: Arc::clone(&shared),
            store,
            path: path.to_owned(),
            place: Place::of(path),
            options: Options { batch, ..options },
            retention: Retention::new(),
            status,
            unwritten: Unwritten::default(),
        };
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| refused("start the writing thread of", path, error))?;
        Ok(Opened { writer: Writer { shared, thread: Some(thread), batch }, report })
    }
}

/// What a boot is called that has no name.
pub const UNKNOWN_BOOT: &str = "unknown";

/// The identity of this boot, from `<proc>/sys/kernel/random/boot_id`; `None` where there is none.
pub fn boot_id(proc_root: &Path) -> Option<String> {
    let text = fs::read_to_string(proc_root.join("sys/kernel/random/boot_id")).ok()?;
    let id = text.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// How closely an existing database is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Every page.
    Pages,
    /// Whose it is, and which schema.
    Head,
}

/// Lets a statement be planned once. SQLite would plan it anew, which takes longer than to run it, for each value that is bound to it on a
/// table with partial indexes, since one of them might serve this value (`sqlite3VdbeSetVarmask`; sqlite.org/queryplanner-ng.html, "The
/// Query Planner Stability Guarantee").
pub(super) fn plan_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Everything up to a usable, checked connection with the newest schema.
pub(super) fn prepare(
    path: &Path,
    depth: Depth,
    report: &mut OpenReport,
) -> Result<Connection, JournalError> {
    make_directory(path)?;
    let _turn = turn(path);
    report.fresh = make_file(path)?;
    let failed = |error| JournalError::sqlite("open", path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    plan_once(&connection).map_err(failed)?;
    // The first read: a file that is no database is found out here.
    let version = schema::version(&connection).map_err(failed)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(failed)?;
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    if application != schema::APPLICATION_ID && (application != 0 || tables > 0 || version != 0) {
        return Err(JournalError::Foreign { path: path.to_owned() });
    }
    if version > schema::latest() {
        return Err(JournalError::Newer { path: path.to_owned(), found: version, known: schema::latest() });
    }
    #[cfg(unix)]
    close_to_others(path)?;
    if tables == 0 {
        report.fresh = true;
        // Has an effect before the first table is made only.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed)?;
    } else {
        if depth == Depth::Pages {
            check(&connection, path)?;
        }
        report.previous = previous_run(&connection).map_err(failed)?;
    }
    configure(&connection).map_err(failed)?;
    if version < schema::latest() {
        schema::migrate(&connection, version, schema::latest()).map_err(failed)?;
        report.migrated_from = (!report.fresh).then_some(version);
    }
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A killed process loses nothing committed; a power cut may lose what is not checkpointed.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // And no more left of the log after a checkpoint.
    connection.pragma_update(None, "wal_autocheckpoint", FOLD_AT)?;
    connection.pragma_update(None, "journal_size_limit", 8 << 20)?;
    connection.pragma_update(None, "cache_size", -4096)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Folds the write-ahead log into the database where it is long and the connections that wrote it left it to others. Nobody
/// waits for that: who writes goes on.
pub(super) fn fold(connection: &Connection) -> rusqlite::Result<()> {
    // Busy, pages in the log, pages of it that are folded.
    let look = |mode: &str| {
        connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)
        })
    };
    if look("NOOP")? >= FOLD_AT {
        look("PASSIVE")?;
    }
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), JournalError> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        files::directory(directory, 0o700)
            .map_err(|error| refused("create the directory", directory, error))?;
    }
    Ok(())
}

/// Makes the file where there is none, readable by its owner only whatever the umask is. `true` if it was made.
fn make_file(path: &Path) -> Result<bool, JournalError> {
    match fs::symlink_metadata(path) {
        Ok(found) => {
            let found = if found.is_symlink() { fs::metadata(path) } else { Ok(found) }
                .map_err(|error| refused("open", path, error))?;
            not_a_file(path, &found)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut file = fs::OpenOptions::new();
            file.write(true).create_new(true);
            // SQLite gives -wal and -shm the mode of the database.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
            file.open(path).map_err(|error| refused("create", path, error))?;
            return Ok(true);
        }
        Err(error) => return Err(refused("open", path, error)),
    }
    #[cfg(unix)]
    {
        may(path, nix::unistd::AccessFlags::R_OK | nix::unistd::AccessFlags::W_OK)
            .map_err(|error| refused("open", path, error))?;
        if let Some(directory) = path.parent() {
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            nix::unistd::access(directory, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)
                .map_err(|errno| refused("create files in", directory, errno.into()))?;
        }
    }
    Ok(false)
}

/// Takes others' access to a database that is portwatch's own, and to the files beside it: SQLite gives them its mode. What lies
/// in its place and is something else is left as it is.
#[cfg(unix)]
fn close_to_others(path: &Path) -> Result<(), JournalError> {
    use std::os::unix::fs::PermissionsExt;
    // SQLite puts its files beside what a link leads to.
    let path = fs::canonicalize(path).map_err(|error| refused("open", path, error))?;
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.clone().into_os_string();
        file.push(suffix);
        let file = PathBuf::from(file);
        let is_open = fs::symlink_metadata(&file)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o077 != 0);
        if is_open {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
                .map_err(|error| refused("take others' access to", &file, error))?;
        }
    }
    Ok(())
}

/// Whether the effective user may. The file is not opened for it: closing it would end every lock that this process
/// has on it through SQLite (fcntl(2), record locks), and the next process to close the database would then take
/// the log away from under the daemon.
#[cfg(unix)]
pub(super) fn may(path: &Path, access: nix::unistd::AccessFlags) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, AtFlags};
    Ok(nix::unistd::faccessat(AT_FDCWD, path, access, AtFlags::AT_EACCESS)?)
}

/// Processes that make or migrate one database at the same time take turns, by its directory; the turn ends with the value.
fn turn(path: &Path) -> Option<fs::File> {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Where it cannot be had, SQLite's own locks still keep the database whole.
    files::turn(directory).ok()
}

pub(super) fn not_a_file(path: &Path, found: &fs::Metadata) -> Result<(), JournalError> {
    let kind = if found.is_file() {
        return Ok(());
    } else if found.is_dir() {
        "a directory"
    } else {
        "not a regular file"
    };
    Err(JournalError::NotAFile { path: path.to_owned(), kind })
}

/// Looks at every page's structure.
fn check(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let damaged = |problem| JournalError::Damaged { path: path.to_owned(), problem };
    match connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(result) if result == "ok" => Ok(()),
        Ok(problem) => Err(damaged(problem.replace('\n', "; "))),
        Err(error) => Err(JournalError::sqlite("check", path, error)),
    }
}

/// Renames a damaged database with its log to `<name>.damaged-<time>`. Nothing is deleted.
fn set_aside(path: &Path) -> Result<PathBuf, JournalError> {
    let suffixed = |base: &Path, suffix: &str| {
        let mut name = base.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let aside = (0..100_u32)
        .map(|n| if n == 0 { format!(".damaged-{stamp}") } else { format!(".damaged-{stamp}-{n}") })
        .map(|suffix| suffixed(path, &suffix))
        .find(|aside| fs::symlink_metadata(aside).is_err())
        .unwrap_or_else(|| suffixed(path, ".damaged"));
    fs::rename(path, &aside).map_err(|error| refused("set aside", path, error))?;
    for log in ["-wal", "-shm"] {
        let from = suffixed(path, log);
        match fs::rename(&from, suffixed(&aside, log)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(refused("set aside", &from, error));
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// Sets a database that turned out to be damaged aside and goes on with a fresh one.
pub(super) fn replace(
    path: &Path,
    problem: &str,
    options: &Options,
    store: &mut Store,
) -> Result<PathBuf, JournalError> {
    tracing::error!(path = %path.display(), problem, "the journal is damaged and is set aside");
    let failed = |error| JournalError::sqlite("open", path, error);
    // Closed first: closing removes the log by its name, which must not be the new database's.
    drop(std::mem::replace(&mut store.connection, Connection::open_in_memory().map_err(failed)?));
    let aside = set_aside(path)?;
    let connection = prepare(path, Depth::Pages, &mut OpenReport::default())?;
    let fresh = Store::new(connection, &options.boot_id).map_err(failed)?;
    mark_begun(&fresh.connection).map_err(failed)?;
    *store = fresh;
    Ok(aside)
}

fn set(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![key, value])
        .map(drop)
}

fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

fn mark_begun(connection: &Connection) -> rusqlite::Result<()> {
    set(connection, "began", &Timestamp::now().to_string())?;
    set(connection, "ended", "no")?;
    mark_alive(connection)
}

/// A sign of life, so that a run that was killed is known to have lived until about then.
pub(super) fn mark_alive(connection: &Connection) -> rusqlite::Result<()> {
    set(connection, "alive", &Timestamp::now().to_string())
}

/// The end of a run.
pub(super) fn mark_end(connection: &Connection, clean: bool) -> rusqlite::Result<()> {
    mark_alive(connection)?;
    if clean { set(connection, "ended", "in order") } else { Ok(()) }
}

fn previous_run(connection: &Connection) -> rusqlite::Result<Option<PreviousRun>> {
    let Some(ended) = get(connection, "ended")? else { return Ok(None) };
    let alive = get(connection, "alive")?.and_then(|text| text.parse::<Timestamp>().ok());
    let written: Option<i64> = connection
        .query_row("SELECT at FROM event ORDER BY id DESC LIMIT 1", [], |row| row.get(0))
        .optional()?;
    let written = written.map(super::time::from_ns);
    Ok(alive.max(written).map(|last| PreviousRun { clean: ended == "in order", last }))
}

/// 0 when there is no event.
pub(super) fn last_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT ifnull(max(id), 0) FROM event")?.query_row([], |row| row.get(0))
}

/// How many events there are. It reads an index to its end.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    let count: i64 = connection.query_row("SELECT count(*) FROM event", [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The write-ahead log of a database.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Size of the database and its log.
pub(super) fn bytes(path: &Path) -> u64 {
    [path, &log_of(path)].into_iter().filter_map(|p| fs::metadata(p).ok()).map(|m| m.len()).sum()
}

/// Whether an error may come of the files beside the database, which readers need too.
pub(super) fn cannot_share(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as Code;
    let code = error.sqlite_error_code();
    matches!(code, Some(Code::CannotOpen | Code::SystemIoFailure | Code::ReadOnly | Code::DiskFull))
}

/// Whether the write-ahead log is not there, or empty.
pub(super) fn has_no_log(path: &Path) -> bool {
    match fs::metadata(log_of(path)) {
        Ok(found) => found.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The database as a URI that says that nobody writes to it (sqlite.org/uri.html).
pub(super) fn alone(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            other => {
                // Writing to a String does not fail.
                let _ = write!(uri, "%{other:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    uri
}
