//! The handle of the writing thread: a bounded queue.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::Entry;
use crate::meter::{Histogram, Reading};

/// How writing goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriterStatus {
    /// Events in the database.
    pub events: u64,
    /// Row id of the newest event; 0 when there is none.
    pub last_id: i64,
    /// Size of database and write-ahead log in bytes.
    pub bytes: u64,
    /// Events that could not be written since the start.
    pub unwritten: u64,
    /// Entries that wait to be written.
    pub waiting: u64,
    /// What is wrong now, with what to do: one sentence.
    pub error: Option<String>,
}

/// What the thread and its users share.
#[derive(Debug)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Something for the thread to look at.
    pub(super) filled: Condvar,
    /// Room in the queue, or a batch settled.
    pub(super) drained: Condvar,
    /// How long batches took, from their beginning until they were committed.
    pub(super) commits: Histogram,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) entries: Vec<Entry>,
    /// Entries ever put in.
    pub(super) accepted: u64,
    /// Entries ever written or counted as not written.
    pub(super) settled: u64,
    /// Somebody waits in `flush`.
    pub(super) urgent: bool,
    /// End after what is queued; `Some(true)` marks a clean end.
    pub(super) closing: Option<bool>,
    /// The thread is gone.
    pub(super) ended: bool,
    pub(super) status: WriterStatus,
}

impl Shared {
    pub(super) fn new(status: WriterStatus) -> Self {
        Self {
            queue: Mutex::new(Queue { status, ..Queue::default() }),
            filled: Condvar::new(),
            drained: Condvar::new(),
            commits: Histogram::default(),
        }
    }

    fn status(&self) -> WriterStatus {
        let queue = self.lock();
        WriterStatus { waiting: queue.accepted.saturating_sub(queue.settled), ..queue.status.clone() }
    }

    /// The queue is whole between any two of its statements, so a panic elsewhere does not spoil it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How writing goes, for whoever does not write.
#[derive(Debug, Clone)]
pub struct Writing(Arc<Shared>);

impl Writing {
    /// How long batches took until now.
    pub fn commits(&self) -> Reading {
        self.0.commits.read()
    }

    /// What is written now.
    pub fn status(&self) -> WriterStatus {
        self.0.status()
    }
}

/// Writes in a thread of its own. Dropping it writes what is queued, and leaves the run marked as not ended in
/// order: that is what [`Writer::close`] is for.
#[derive(Debug)]
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) thread: Option<JoinHandle<()>>,
    pub(super) batch: usize,
}

impl Writer {
    /// Queues an entry. Blocks while two batches wait: the pressure goes back to the kernel's buffer, whose
    /// losses are counted. While the disk refuses, entries are counted instead, so this does not block for good.
    pub fn write(&self, entry: Entry) {
        self.write_batch([entry]);
    }

    /// Queues entries in order, with one lock and at most one wake-up for as many as there is room for. Blocks
    /// like [`Writer::write`].
    pub fn write_batch(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let mut queue = self.shared.lock();
            while queue.entries.len() >= 2 * self.batch && !queue.ended {
                queue = self.shared.drained.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.ended {
                return;
            }
            let before = queue.entries.len();
            queue.entries.extend(entries.by_ref().take(2 * self.batch - before));
            let waiting = queue.entries.len();
            queue.accepted += u64::try_from(waiting - before).unwrap_or(u64::MAX);
            drop(queue);
            if before == 0 || (before < self.batch && waiting >= self.batch) {
                self.shared.filled.notify_one();
            }
        }
    }

    /// Others wrote into the database: the thread looks after the write-ahead log.
    pub fn stir(&self) {
        self.shared.filled.notify_one();
    }

    /// Waits until everything queued so far is written, or counted as not written.
    pub fn flush(&self) -> WriterStatus {
        let mut queue = self.shared.lock();
        let target = queue.accepted;
        while queue.settled < target && !queue.ended {
            queue.urgent = true;
            self.shared.filled.notify_one();
            queue = self.shared.drained.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.status.clone()
    }

    /// What is queued so far, to be waited for elsewhere.
    pub fn pending(&self) -> Pending {
        let mut queue = self.shared.lock();
        let target = queue.accepted;
        if queue.settled < target {
            queue.urgent = true;
            self.shared.filled.notify_one();
        }
        drop(queue);
        Pending { shared: Arc::clone(&self.shared), target }
    }

    /// How writing goes.
    pub fn status(&self) -> WriterStatus {
        self.shared.status()
    }

    /// How writing goes, to be read elsewhere.
    pub fn writing(&self) -> Writing {
        Writing(Arc::clone(&self.shared))
    }

    /// Writes what is queued and marks the end as clean.
    pub fn close(mut self) -> WriterStatus {
        self.end(true);
        self.status()
    }

    fn end(&mut self, clean: bool) {
        if let Some(thread) = self.thread.take() {
            self.shared.lock().closing = Some(clean);
            self.shared.filled.notify_one();
            if thread.join().is_err() {
                tracing::error!("the journal's thread panicked");
            }
        }
    }
}

/// Entries on their way to the disk. Whoever needs them there waits; whoever queues them need not.
#[derive(Debug)]
pub struct Pending {
    shared: Arc<Shared>,
    target: u64,
}

impl Pending {
    /// Waits until all of them are written, or counted as not written, at most so long; `false` when the time was up.
    pub fn wait(&self, timeout: Duration) -> bool {
        let waits = |queue: &mut Queue| queue.settled < self.target && !queue.ended;
        let queue = self.shared.lock();
        let (mut queue, _) = self
            .shared
            .drained
            .wait_timeout_while(queue, timeout, waits)
            .unwrap_or_else(PoisonError::into_inner);
        !waits(&mut queue)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(false);
    }
}
