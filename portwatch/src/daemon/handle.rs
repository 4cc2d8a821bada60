//! What askers hold of the pipeline: the live knowledge, its reports, and a way to send it commands. All of it may be used from any
//! thread.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Instant,
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

/// Where an answer of the pipeline's goes, for as long as somebody waits for it.
#[derive(Debug, Clone)]
pub struct Reply<T> {
    to: mpsc::SyncSender<T>,
    until: Instant,
}

impl<T> Reply<T> {
    /// To this asker, who waits until then.
    pub(super) const fn new(to: mpsc::SyncSender<T>, until: Instant) -> Self {
        Self { to, until }
    }

    /// Whether the asker still waits.
    pub(super) fn is_awaited(&self) -> bool {
        Instant::now() < self.until
    }

    /// Answers; an asker that has left hears nothing.
    pub(super) fn send(&self, answer: T) {
        let _ = self.to.try_send(answer);
    }
}

/// What askers want of the pipeline's thread.
#[derive(Debug)]
pub enum Command {
    /// Look at the kernel again; the reply tells when everything seen so far is in the journal.
    Verify(Refresh, Reply<Option<Pending>>),
    /// Look at the interfaces that sockets of the own network namespace are bound to.
    Attach(Reply<()>),
    /// Look at connections, and at the settings that decide binds of these addresses. Nothing of it is kept.
    Around(ConnectionScope, Vec<Local>, Reply<Around>),
    /// Take in what the source has; the reply tells when all of it is in the journal.
    Settle(Reply<Option<Pending>>),
    /// As `Settle`, and wait for the journal; the reply is a receiver that misses nothing after, and the newest row id before.
    Subscribe(Reply<(broadcast::Receiver<Arc<Record>>, i64)>),
    /// Tell watchers of rows that the claims office has written itself.
    Announce(Vec<Record>),
    /// Write a row of the registry's own.
    Tell(Box<Event>),
}

impl Command {
    /// Whether it is still to be carried out: not where nobody waits any more for what it replies.
    pub(super) fn is_wanted(&self) -> bool {
        match self {
            Self::Verify(_, reply) | Self::Settle(reply) => reply.is_awaited(),
            Self::Attach(reply) => reply.is_awaited(),
            Self::Around(_, _, reply) => reply.is_awaited(),
            Self::Subscribe(reply) => reply.is_awaited(),
            Self::Announce(_) | Self::Tell(_) => true,
        }
    }
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
