//! One daemon a state directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{
    model::ProcessId,
    platform::files,
    source::process::{Absent, Processes},
};

/// The lock, held while this lives. The kernel drops it when its process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A daemon runs.
    #[error("a portwatch daemon runs already{}", .holder.map(|h| format!(" (pid {h})")).unwrap_or_default())]
    Held {
        /// It, as it wrote itself into the file.
        holder: Option<ProcessId>,
    },
    /// The file cannot be had.
    #[error(
        "cannot {operation} {path}: {error}; make the directory writable, or choose another with --state"
    )]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// errno.
        error: io::Error,
    },
}

impl Lock {
    /// Takes the lock and writes this process into the file.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |operation| {
            let path = path.to_owned();
            move |error| LockError::Io { operation, path, error }
        };
        let mut file = files::lockable(path).map_err(failed("open"))?;
        match files::try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { holder: parse(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
        let own = own_identity().map_err(failed("identify the process for"))?;
        let text = format!("{} {}\n", own.pid, own.start_ticks);
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(failed("write"))?;
        Ok(Self { _file: file })
    }

    /// The daemon that holds the lock at `path`; `None` when none does.
    pub fn holder(path: &Path) -> Result<Option<ProcessId>, LockError> {
        let mut file = match OpenOptions::new().read(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LockError::Io { operation: "open", path: path.to_owned(), error }),
        };
        match files::try_lock_shared(&file) {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(parse(&mut file)),
            Err(TryLockError::Error(error)) => {
                Err(LockError::Io { operation: "look at the lock of", path: path.to_owned(), error })
            }
        }
    }
}

fn parse(file: &mut File) -> Option<ProcessId> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(64).read_to_string(&mut text).ok()?;
    let (pid, start_ticks) = text.trim_end().split_once(' ')?;
    Some(ProcessId { pid: pid.parse().ok()?, start_ticks: start_ticks.parse().ok()? })
}

fn own_identity() -> io::Result<ProcessId> {
    let pid = std::process::id();
    Ok(ProcessId { pid, start_ticks: start_ticks(pid)? })
}

/// When the process that has `pid` now began.
pub fn start_ticks(pid: u32) -> io::Result<u64> {
    let mut processes = Processes::open().map_err(io::Error::other)?;
    processes.identify(pid).map(|id| id.start_ticks).map_err(|absent| match absent {
        Absent::Gone => io::Error::new(io::ErrorKind::NotFound, format!("there is no process {pid}")),
        Absent::NotPermitted | Absent::Kernel => {
            io::Error::new(io::ErrorKind::PermissionDenied, format!("process {pid} may not be looked at"))
        }
    })
}
