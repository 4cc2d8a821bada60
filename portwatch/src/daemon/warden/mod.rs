//! Who lives: the processes behind locks, agents and sessions, each by a pidfd, which tells of its end at once.
//!
//! One thread. What belonged to a process that has ended is ended, with how that ended in the log. What another process wrote
//! into the database without this daemon is noticed within a second. While nothing happens, it sleeps.

#[cfg(target_os = "linux")]
mod ending;
mod pace;
#[cfg(target_os = "linux")]
mod pidfds;
#[cfg(not(target_os = "linux"))]
mod sweeps;
#[cfg(target_os = "linux")]
mod writes;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use self::pace::{LOOK, Pace};
#[cfg(not(target_os = "linux"))]
use self::sweeps::{Handles, Writes};
#[cfg(target_os = "linux")]
use self::{pidfds::Handles, writes::Writes};
use super::{DaemonError, Handle, Lock, handle::Command};
use crate::{
    journal::Told,
    model::Timestamp,
    query::{Record, claims::OfficeError, coordinate::Bureau},
    source::Wake,
    webhook::Policy,
};

/// What is older than the time of retention is looked for so often.
const FORGET: Duration = Duration::from_mins(10);
/// How long the daemon waits for its end.
const END: Duration = Duration::from_secs(1);

/// The thread and the bureau that it keeps.
pub(super) struct Warden {
    bureau: Arc<Bureau>,
    wake: Wake,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the bureau goes by.
pub(super) struct Terms {
    /// What ended is kept so long.
    pub(super) keep: Duration,
    /// Where webhooks may lead.
    pub(super) webhooks: Policy,
    /// The daemon's, whose file is written anew where it was removed.
    pub(super) lock: Arc<Lock>,
}

impl Warden {
    /// Opens the bureau and starts the thread; `wake` is told of every change.
    pub(super) fn start(
        handle: &Handle,
        database: &Path,
        boot_id: &str,
        terms: Terms,
        wake: Wake,
    ) -> Result<Self, DaemonError> {
        let pipeline = handle.clone();
        let announce = move |told: Told| {
            let record = |(id, event)| Record { id: Some(id), event, process: None, other: None };
            pipeline.send(Command::Announce(told.into_iter().map(record).collect()));
        };
        let stirred = wake.clone();
        let bureau = Bureau::open(database, boot_id, announce, move || stirred.wake())?.folded_elsewhere()?;
        if let Err(error) = bureau.keep_places() {
            tracing::warn!(%error, "who waits for a lock may lose its place in the line");
        }
        let handles = Handles::default();
        let watched = handles.clone();
        let ending = move |process, deadline| watched.ending(process, deadline);
        let bureau = Arc::new(bureau.with_webhooks(terms.webhooks).with_ending(ending));
        let stop = Arc::new(AtomicBool::new(false));
        let writes = Writes::beside(database)
            .map_err(|error| tracing::debug!(%error, "the database is looked into every second"))
            .ok();
        let watch = Watch {
            bureau: Arc::clone(&bureau),
            wake: wake.clone(),
            stop: Arc::clone(&stop),
            handles,
            writes,
            pace: Pace::new(Instant::now()),
            version: None,
            keep: terms.keep,
            lock: terms.lock,
            forget: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("warden".to_owned()).spawn(move || watch.run());
        let thread = thread
            .map_err(|error| tracing::warn!(%error, "nobody watches the processes behind locks and agents"))
            .ok();
        Ok(Self { bureau, wake, stop, thread })
    }

    pub(super) fn bureau(&self) -> Arc<Bureau> {
        Arc::clone(&self.bureau)
    }

    /// Ends the thread, so that the database is left before the journal closes it.
    pub(super) fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
        let deadline = Instant::now() + END;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() {
                if Instant::now() >= deadline {
                    tracing::warn!(
                        "whoever watches the processes behind locks and agents did not end within {} s",
                        END.as_secs()
                    );
                    return;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.join().is_err() {
                tracing::error!("the thread that watches the processes behind locks and agents panicked");
            }
        }
    }
}

/// The thread's state.
struct Watch {
    bureau: Arc<Bureau>,
    wake: Wake,
    stop: Arc<AtomicBool>,
    handles: Handles,
    /// `None` where nothing tells of them.
    writes: Option<Writes>,
    pace: Pace,
    version: Option<i64>,
    /// What ended is kept so long.
    keep: Duration,
    /// When to look for what is older.
    forget: Instant,
    lock: Arc<Lock>,
}

impl Watch {
    fn run(mut self) {
        let mut failing = false;
        while !self.stop.load(Ordering::Acquire) {
            let done = self.turn();
            if let Err(error) = &done
                && !failing
            {
                tracing::warn!(%error, "the processes behind locks and agents could not be looked after");
            }
            failing = done.is_err();
            let writes = self.writes.as_ref().filter(|_| self.pace.hears());
            if let Err(error) = self.handles.wait(&self.wake, writes, self.pace.due()) {
                tracing::warn!(%error, "waiting for processes failed");
                std::thread::sleep(LOOK);
            }
        }
    }

    fn turn(&mut self) -> Result<(), OfficeError> {
        let stirred = self.wake.wait(Duration::ZERO).unwrap_or(true);
        self.wake.clear();
        let ended = self.handles.ended();
        let told = self.bureau.lost(ended.iter().copied());
        // Also where it could not be written: they would wake this thread again and again. The next look finds them dead.
        self.handles.let_go(&ended);
        told?;
        // Before the look: what is written after it is told of later.
        if self.writes.as_ref().is_some_and(Writes::any) {
            self.pace.written(Instant::now());
        }
        let look = self.pace.look(Instant::now());
        if look {
            self.renew_lock();
            let version = self.bureau.version()?;
            if self.version.replace(version) != Some(version) {
                self.bureau.changed_elsewhere();
            }
            self.bureau.sweep()?;
            self.bureau.leave_lines()?;
            if Instant::now() >= self.forget {
                self.forget = Instant::now() + FORGET;
                if let Ok(cutoff) = Timestamp::now().checked_sub(self.keep) {
                    self.bureau.forget(cutoff)?;
                }
            }
        }
        if stirred || look {
            let all_are_watched = self.follow()?;
            if look && all_are_watched && self.writes.is_some() {
                let silence = self.bureau.next_silence(Timestamp::now())?;
                self.pace.rest(silence);
            }
        }
        Ok(())
    }

    /// Where its file was removed: at each look, so within ten seconds.
    fn renew_lock(&self) {
        match self.lock.renew() {
            Ok(false) => {}
            Ok(true) => tracing::warn!("the file of the daemon's lock was removed, and is there again"),
            Err(error) => tracing::debug!(%error, "the file of the daemon's lock was removed"),
        }
    }

    /// Watches the processes that matter now, and no others. Whether each of them tells of its end.
    fn follow(&mut self) -> Result<bool, OfficeError> {
        let wanted = self.bureau.processes()?;
        let gone = self.handles.follow(&wanted);
        self.bureau.lost(gone.iter().copied())?;
        Ok(self.handles.watched() + gone.len() >= wanted.len())
    }
}
