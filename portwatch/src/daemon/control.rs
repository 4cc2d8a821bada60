//! `start`, `stop`: done by the caller with the caller's own rights. The daemon itself can be told nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    DETACHED,
    headway::{self, Headway},
    lock::{Lock, LockError, start_ticks},
};
use crate::{
    api::{Client, ClientError, Places},
    model::ProcessId,
    platform::{
        ending::{self, Running},
        files, standstill,
    },
};

/// A daemon may do nothing for so long before it answers. It ends by itself where its start has hung.
const START: Duration = Duration::from_secs(20);
/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(10);
/// Lines of its log that are shown when it does not start.
const LOG_LINES: usize = 10;

/// Why a daemon was not started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// None runs.
    #[error("no portwatch daemon runs with state directory {}", .0.display())]
    NotRunning(PathBuf),
    /// It ended instead of answering.
    #[error("the daemon did not start ({why}); the end of its log:\n{log}")]
    Failed {
        /// How it ended.
        why: String,
        /// Last lines of its log.
        log: String,
    },
    /// It did not stop.
    #[error("the daemon (pid {pid}) did not stop within {seconds} s: {}",
            standstill::of(*pid).map_or_else(|| "it is still ending".to_owned(), |why| why.to_string()))]
    Stuck {
        /// It.
        pid: u32,
        /// The deadline.
        seconds: u64,
    },
    /// The operating system refused.
    #[error("cannot {operation}: {error}")]
    Io {
        /// What was tried.
        operation: String,
        /// errno.
        error: io::Error,
    },
}

fn failed(operation: impl Into<String>) -> impl FnOnce(io::Error) -> ControlError {
    let operation = operation.into();
    move |error| ControlError::Io { operation, error }
}

/// Starts `program` with `arguments` (those of `portwatch daemon`) in a session of its own, and waits until its
/// socket answers. Gives its pid.
pub fn start(places: &Places, program: &Path, arguments: &[std::ffi::OsString]) -> Result<u32, ControlError> {
    if let Some(holder) = Lock::holder(&places.lock())? {
        return Err(LockError::Held { holder: Some(holder) }.into());
    }
    files::directory(&places.state, 0o700).map_err(failed(format!("make {}", places.state.display())))?;
    let path = places.log();
    let log = files::append(&path).map_err(failed(format!("open {}", path.display())))?;
    let before = log.metadata().map_or(0, |m| m.len());
    let mut command = Command::new(program);
    let mut child = ending::detached(&mut command)
        .args(arguments)
        .env(DETACHED, "1")
        // Few threads share much: two arenas keep glibc from reserving one for each.
        .env("MALLOC_ARENA_MAX", "2")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(failed(format!("run {}", program.display())))?;
    let client = Client::new(places.socket.clone())
        .map_err(|error| failed("ask the daemon")(io::Error::other(error.to_string())))?;
    let mut headway = Headway::of(headway::process(child.id()), START, Instant::now());
    loop {
        match client.probe() {
            // At the socket another daemon may answer, of another state: ours, which has its own lock, ends then.
            Ok(())
                if client.server().is_none_or(|pid| pid == child.id())
                    && Lock::holder(&places.lock())?.is_some_and(|h| h.pid == child.id()) =>
            {
                return Ok(child.id());
            }
            Ok(()) | Err(ClientError::Absent(_) | ClientError::Stale(_) | ClientError::NoSocket(_)) => {}
            Err(error) => return Err(did_not(&path, before, &error.to_string())),
        }
        if let Some(status) = child.try_wait().map_err(failed("wait for the daemon"))? {
            return Err(did_not(&path, before, &status.to_string()));
        }
        if headway.has_stalled(Instant::now()) {
            // It is ours and answers nobody: it must not stay.
            let _ = child.kill();
            let _ = child.wait();
            return Err(did_not(&path, before, &format!("it has hung for {} s", START.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn did_not(log: &Path, before: u64, why: &str) -> ControlError {
    let text = fs::read(log).unwrap_or_default();
    let from = usize::try_from(before).unwrap_or(0).min(text.len());
    let text = String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
    ControlError::Failed { why: why.to_owned(), log: last.join("\n") }
}

/// What a daemon is ended by, as it is told where it fails.
const ASK: &str = if cfg!(windows) { "set the event of" } else { "signal" };

/// Asks the daemon of this state directory to end (SIGTERM through a pidfd, on Windows an event: exactly the process
/// that holds the lock) and waits until it has. Gives its pid.
pub fn stop(places: &Places) -> Result<u32, ControlError> {
    let Some(holder) = Lock::holder(&places.lock())? else {
        return Err(ControlError::NotRunning(places.state.clone()));
    };
    let running =
        Running::open(holder.pid).map_err(failed(format!("open a handle of pid {}", holder.pid)))?;
    // The handle is of whoever has the pid now; only if that began when the daemon did, it is the daemon.
    let found = start_ticks(holder.pid).map_err(failed(format!("look at pid {}", holder.pid)))?;
    if (ProcessId { pid: holder.pid, start_ticks: found }) != holder {
        return Err(ControlError::NotRunning(places.state.clone()));
    }
    running.ask().map_err(failed(format!("{ASK} pid {}", holder.pid)))?;
    match running.wait(STOP) {
        Ok(false) => Err(ControlError::Stuck { pid: holder.pid, seconds: STOP.as_secs() }),
        Ok(true) => Ok(holder.pid),
        Err(error) => Err(failed(format!("wait for pid {}", holder.pid))(error)),
    }
}

/// Stops the daemon if one runs, then starts one.
pub fn restart(
    places: &Places,
    program: &Path,
    arguments: &[std::ffi::OsString],
) -> Result<u32, ControlError> {
    match stop(places) {
        Ok(_) | Err(ControlError::NotRunning(_)) => start(places, program, arguments),
        Err(error) => Err(error),
    }
}
