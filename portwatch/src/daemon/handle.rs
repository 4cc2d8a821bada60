//! What askers hold of the pipeline: the live knowledge, its reports, and a way to send it commands. All of it may be used from any
//! thread.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use tokio::sync::broadcast;

use super::{
    keeper::{Changed, UserRules},
    tally::Tally,
};
use crate::{
    journal::{Pending, WriterStatus, Writing},
    meter::Reading,
    model::{ConnectionScope, Event, Local, Timestamp},
    query::{Around, Live, Record},
    source::{Counters, Refresh, Wake},
};

/// What askers want of the pipeline's thread.
#[derive(Debug)]
pub enum Command {
    /// Look at the kernel again; the reply tells when everything seen so far is in the journal.
    Verify(Refresh, mpsc::SyncSender<Option<Pending>>),
    /// Look at the interfaces that sockets of the own network namespace are bound to.
    Attach(mpsc::SyncSender<()>),
    /// Look at connections, and at the settings that decide binds of these addresses. Nothing of it is kept.
    Around(ConnectionScope, Vec<Local>, mpsc::SyncSender<Around>),
    /// Take in what the source has; the reply tells when all of it is in the journal.
    Settle(mpsc::SyncSender<Option<Pending>>),
    /// As `Settle`, and wait for the journal; the reply is a receiver that misses nothing after, and the newest row id before.
    Subscribe(mpsc::SyncSender<(broadcast::Receiver<Arc<Record>>, i64)>),
    /// Tell watchers of rows that the claims office has written itself.
    Announce(Vec<Record>),
    /// Write a row of the registry's own.
    Tell(Box<Event>),
}

/// The live knowledge, shared with askers.
pub(super) type SharedLive = Arc<Mutex<Live>>;

/// Locks it. Live is whole between any two of its calls, so a panic elsewhere does not spoil it.
pub(super) fn lock(live: &SharedLive) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread tells about itself without being asked.
#[derive(Debug, Default)]
pub struct Report {
    /// What the source took in.
    pub counters: Counters,
    /// The source's last failure, while it lasts.
    pub failure: Option<String>,
    /// The first snapshot was taken in.
    pub ready: bool,
    /// When the source was last heard; while it has nothing to say, what is known stays true.
    pub heard: Option<Timestamp>,
}

/// What askers hold: everything that may be used from any thread.
#[derive(Debug, Clone)]
pub struct Handle {
    /// What is known now.
    pub live: SharedLive,
    /// The thread's report.
    pub report: Arc<Mutex<Report>>,
    /// For the registry: where something changed.
    pub(super) changed: Arc<Changed>,
    /// What users' configuration files allow.
    pub(super) rules: Arc<UserRules>,
    /// What was delivered.
    pub(super) tally: Arc<Tally>,
    /// How the journal's writing goes.
    writing: Option<Writing>,
    commands: mpsc::Sender<Command>,
    wake: Wake,
    stop: Arc<AtomicBool>,
}

impl Handle {
    /// What is used with the live knowledge, and where the pipeline reads commands.
    pub(super) fn new(live: Live, writing: Option<Writing>, wake: Wake) -> (Self, mpsc::Receiver<Command>) {
        let (sender, commands) = mpsc::channel();
        let handle = Self {
            live: Arc::new(Mutex::new(live)),
            report: Arc::default(),
            changed: Arc::default(),
            rules: Arc::default(),
            tally: Arc::default(),
            writing,
            commands: sender,
            wake,
            stop: Arc::default(),
        };
        (handle, commands)
    }

    /// Sends a command. `false` when the pipeline has ended.
    pub fn send(&self, command: Command) -> bool {
        let sent = self.commands.send(command).is_ok();
        self.wake.wake();
        sent
    }

    /// Asks the pipeline to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
    }

    /// Whether somebody asked for that.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// How the journal's writing goes; `None` where none is written.
    pub fn journal(&self) -> Option<WriterStatus> {
        self.writing.as_ref().map(Writing::status)
    }

    /// How long the journal's batches take.
    pub(super) fn commits(&self) -> Option<Reading> {
        self.writing.as_ref().map(Writing::commits)
    }

    /// The thread's report.
    pub fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
