//! Why a journal could not be opened, read or written.

use std::{io, path::PathBuf};

/// Why. Every sentence names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no database: nothing was ever recorded here.
    #[error("there is no journal at {path}; it begins when a daemon runs (portwatch start)")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something that is not a regular file is in its place.
    #[error("{path} is {kind}, not a database; move it away or set PORTWATCH_STATE to another directory")]
    NotAFile {
        /// The place.
        path: PathBuf,
        /// What is there.
        kind: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {operation} {path}: {error}; {remedy}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// errno.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A newer portwatch wrote it.
    #[error(
        "{path} has schema {found}, this portwatch knows {known}; update portwatch, or set PORTWATCH_STATE to \
         another directory"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema this build knows.
        known: i64,
    },
    /// Another program's database.
    #[error("{path} is another program's SQLite database; set PORTWATCH_STATE to another directory")]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// Another process holds its lock.
    #[error("{path} is locked by another process; end what holds it (fuser {path}) and try again")]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// Its file is not at its path any more.
    #[error(
        "{path} was {what} while portwatch had it open; nothing is written any more, because it would be lost: begin again \
         with what is there now (portwatch restart)"
    )]
    Gone {
        /// Where it was.
        path: PathBuf,
        /// What happened to it.
        what: &'static str,
    },
    /// It is damaged.
    #[error("{path} is damaged ({problem}); the next start of a daemon sets it aside and begins a new one")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// SQLite refused.
    #[error("cannot {operation} {path}: {error}; check that disk and directory can be written")]
    Sqlite {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// SQLite's word.
        error: rusqlite::Error,
    },
    /// A row holds what no portwatch writes.
    #[error("{path}: row {id} of {table} has an unknown {column} ({value}); somebody changed it by hand")]
    Row {
        /// The database.
        path: PathBuf,
        /// Table.
        table: &'static str,
        /// Row id.
        id: i64,
        /// Column.
        column: &'static str,
        /// Its value.
        value: String,
    },
}

impl JournalError {
    /// Names SQLite's errors that have a cause of their own.
    pub(super) fn sqlite(operation: &'static str, path: &std::path::Path, error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => {
                Self::Damaged { path, problem: error.to_string() }
            }
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Locked { path },
            _ => Self::Sqlite { operation, path, error },
        }
    }
}

/// What to do about an errno of opening or creating.
pub(super) fn io(operation: &'static str, path: &std::path::Path, error: io::Error) -> JournalError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "run as its owner, or set PORTWATCH_STATE to a directory of your own"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only; set PORTWATCH_STATE to a directory on another"
        }
        io::ErrorKind::StorageFull => "the disk is full; make room, or set PORTWATCH_STATE to another disk",
        io::ErrorKind::NotADirectory => {
            "a part of the path is not a directory; set PORTWATCH_STATE to one that is"
        }
        _ => "set PORTWATCH_STATE to a directory that can be written",
    };
    JournalError::Io { operation, path: path.to_owned(), error, remedy }
}
