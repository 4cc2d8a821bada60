//! One daemon a state directory: the directory itself is locked, and a file in it, which says whose it is (docs/adr/0013).

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    model::ProcessId,
    platform::files,
    source::process::{Absent, Processes},
};

/// The lock, held while this lives. The kernel drops it when its process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Mutex<File>,
    _directory: Option<File>,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A daemon runs.
    #[error(
        "a portwatch daemon runs already ({})",
        .holder.map_or_else(
            || "portwatch.lock, which would say its pid, was removed or is just written; look again in 10 s".to_owned(),
            |holder| format!("pid {holder}")
        )
    )]
    Held {
        /// It, as it wrote itself into the file. Nobody when the file was removed: the daemon writes another.
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
        let held = match files::hold(directory(path)) {
            Ok(held) => held,
            Err(TryLockError::WouldBlock) => {
                let found = File::open(path).ok();
                return Err(LockError::Held { holder: found.and_then(|mut file| parse(&mut file)) });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock the directory of")(error)),
        };
        let file = Mutex::new(locked(path)?);
        Ok(Self { path: path.to_owned(), file, _directory: held })
    }

    /// Writes the file anew where it was removed: others learn from it whom to stop. Whether it was.
    pub fn renew(&self) -> Result<bool, LockError> {
        let failed = |error| LockError::Io { operation: "look at", path: self.path.clone(), error };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if files::is_of(&file, &self.path).map_err(failed)? {
            return Ok(false);
        }
        *file = locked(&self.path)?;
        Ok(true)
    }

    /// The daemon that holds the lock at `path`; `None` when none does. [`LockError::Held`] when one does and its file was removed.
    pub fn holder(path: &Path) -> Result<Option<ProcessId>, LockError> {
        let mut file = match OpenOptions::new().read(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return unnamed(path),
            Err(error) => return Err(LockError::Io { operation: "open", path: path.to_owned(), error }),
        };
        match files::try_lock_shared(&file) {
            Ok(()) => unnamed(path),
            Err(TryLockError::WouldBlock) => Ok(parse(&mut file)),
            Err(TryLockError::Error(error)) => {
                Err(LockError::Io { operation: "look at the lock of", path: path.to_owned(), error })
            }
        }
    }
}

/// The file, locked by this process and with its name in it.
fn locked(path: &Path) -> Result<File, LockError> {
    let failed = |operation| {
        let path = path.to_owned();
        move |error| LockError::Io { operation, path, error }
    };
    let mut file = loop {
        let mut file = files::lockable(path).map_err(failed("open"))?;
        match files::try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { holder: parse(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
        // One that was removed before it was locked keeps nobody out.
        if files::is_of(&file, path).map_err(failed("look at"))? {
            break file;
        }
    };
    let own = own_identity().map_err(failed("identify the process for"))?;
    let text = format!("{} {}\n", own.pid, own.start_ticks);
    file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(failed("write"))?;
    Ok(file)
}

/// Nobody's name is at `path`: no daemon runs, or one whose file was removed.
fn unnamed(path: &Path) -> Result<Option<ProcessId>, LockError> {
    match files::is_held(directory(path)) {
        Ok(false) => Ok(None),
        Ok(true) => Err(LockError::Held { holder: None }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LockError::Io {
            operation: "look at the lock of the directory of",
            path: path.to_owned(),
            error,
        }),
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
