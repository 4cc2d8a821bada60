//! The writing thread: takes batches, survives what the disk does, keeps the size in bounds.

use std::{
    mem,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Entry, JournalError, Options, open,
    place::Place,
    retention::Retention,
    store::Store,
    writer::{Shared, WriterStatus},
};
use crate::model::{Event, EventKind, Evidence, GapReason, LossCounts, Timestamp};

/// A batch waits no longer than this for more.
const LINGER: Duration = Duration::from_millis(100);
/// A failing batch is tried again for so long before its events are counted instead.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(200);
/// An idle thread wakes so often to write a sign of life and to look at the age of rows.
const IDLE: Duration = Duration::from_mins(1);
/// Facts of processes kept for better times while the disk refuses.
const KEPT_PROCESSES: usize = 4096;
/// Entries that an empty queue keeps room for.
const ROOM: usize = 64;

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    pub(super) path: PathBuf,
    pub(super) place: Place,
    pub(super) options: Options,
    pub(super) retention: Retention,
    pub(super) status: WriterStatus,
    pub(super) unwritten: Unwritten,
}

/// Events that could not be written since the last that could.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    since: Option<Timestamp>,
    events: u64,
    lost: LossCounts,
    cause: String,
    processes: Vec<Entry>,
    next_try: Option<Instant>,
}

impl Unwritten {
    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Process(_) if self.processes.len() < KEPT_PROCESSES => self.processes.push(entry),
            Entry::Process(_) => self.lost.process += 1,
            Entry::Event(event) => {
                self.since.get_or_insert(event.at);
                self.events += 1;
                match event.kind {
                    EventKind::Bind => self.lost.bind += 1,
                    EventKind::Refused => self.lost.refused += 1,
                    EventKind::Listen => self.lost.listen += 1,
                    EventKind::Close | EventKind::Unlisten => self.lost.close += 1,
                    EventKind::Exit => self.lost.exit += 1,
                    _ => {}
                }
                if let Some(lost) = event.lost {
                    self.lost.process += lost.process;
                    self.lost.bind += lost.bind;
                    self.lost.refused += lost.refused;
                    self.lost.listen += lost.listen;
                    self.lost.close += lost.close;
                    self.lost.exit += lost.exit;
                    self.lost.undecodable += lost.undecodable;
                }
            }
        }
    }

    /// What goes in front of the first batch that can be written again.
    fn entries(&self) -> Vec<Entry> {
        let mut entries = self.processes.clone();
        if self.events > 0 {
            let mut gap = Event::new(Timestamp::now(), EventKind::Gap, Evidence::Kernel);
            gap.gap = Some(GapReason::NotWritten);
            gap.since = self.since;
            gap.lost = Some(self.lost);
            gap.message = Some(format!("{} events could not be written: {}", self.events, self.cause));
            entries.push(Entry::Event(gap));
        }
        entries
    }

    const fn any(&self) -> bool {
        self.events > 0 || !self.processes.is_empty()
    }
}

impl Worker {
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        let clean = loop {
            let closing = self.take(&mut batch);
            let taken = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            self.put(&mut batch, closing.is_some());
            // It is the queue's next time, which a burst would leave a megabyte large for the life of the daemon.
            batch.shrink_to(ROOM);
            self.tidy();
            self.publish(taken);
            if let Some(clean) = closing
                && self.shared.lock().entries.is_empty()
            {
                break clean;
            }
        };
        let end = open::mark_end(&self.store.connection, clean);
        if let Err(error) = end {
            self.status.error = Some(JournalError::sqlite("close", &self.path, error).to_string());
        }
        self.publish(0);
        let shared = Arc::clone(&self.shared);
        // Closing the connection checkpoints and takes -wal and -shm away; users are told after that.
        drop(self);
        shared.lock().ended = true;
        shared.drained.notify_all();
    }

    /// Waits for work, then for more of it, and takes what there is.
    fn take(&self, batch: &mut Vec<Entry>) -> Option<bool> {
        let mut queue = self.shared.lock();
        if queue.entries.is_empty() && queue.closing.is_none() {
            let pause = if self.unwritten.any() {
                RETRY
            } else if self.retention.due() {
                LINGER
            } else {
                IDLE
            };
            queue = self.shared.filled.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
        let deadline = Instant::now() + LINGER;
        while !queue.entries.is_empty()
            && queue.entries.len() < self.options.batch
            && !queue.urgent
            && queue.closing.is_none()
        {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.shared.filled.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        mem::swap(&mut queue.entries, batch);
        let closing = queue.closing;
        drop(queue);
        self.shared.drained.notify_all();
        closing
    }

    /// Writes the batch, or counts it.
    fn put(&mut self, batch: &mut Vec<Entry>, closing: bool) {
        if batch.is_empty() && !self.unwritten.any() {
            return;
        }
        let begun = Instant::now();
        let may_try = closing || self.unwritten.next_try.is_none_or(|at| at <= begun);
        loop {
            if !may_try {
                break;
            }
            let first = self.unwritten.entries();
            let tried = Instant::now();
            let written = self.place.check().and_then(|()| {
                self.store
                    .write(&first, batch)
                    .map_err(|error| JournalError::sqlite("write", &self.path, error))
            });
            match written {
                Ok(last) => {
                    self.shared.commits.record(tried.elapsed());
                    if let Some(last) = last {
                        self.status.last_id = last;
                    }
                    self.status.error = None;
                    self.unwritten = Unwritten::default();
                    batch.clear();
                    return;
                }
                Err(error) => self.failed(&error),
            }
            let given_up = self.unwritten.next_try.is_some() || begun.elapsed() >= PATIENCE || closing;
            if given_up {
                break;
            }
            std::thread::sleep(RETRY);
        }
        self.unwritten.next_try = Some(Instant::now() + RETRY);
        for entry in batch.drain(..) {
            if matches!(entry, Entry::Event(_)) {
                self.status.unwritten += 1;
            }
            self.unwritten.add(entry);
        }
    }

    /// Says what is wrong; replaces a database that turned out to be damaged.
    fn failed(&mut self, error: &JournalError) {
        let sentence = error.to_string();
        if self.status.error.as_ref() != Some(&sentence) {
            tracing::warn!(error = sentence, "the journal cannot be written");
        }
        self.unwritten.cause.clone_from(&sentence);
        self.status.error = Some(sentence);
        self.shared.lock().status.error.clone_from(&self.status.error);
        if let JournalError::Damaged { problem, .. } = error {
            match open::replace(&self.path, problem, &self.options, &mut self.store) {
                Ok(aside) => {
                    self.place = Place::of(&self.path);
                    let mut event = Event::new(Timestamp::now(), EventKind::Error, Evidence::Kernel);
                    event.message =
                        Some(format!("a damaged journal was set aside as {}: {problem}", aside.display()));
                    self.unwritten.processes.push(Entry::Event(event));
                }
                Err(error) => self.status.error = Some(error.to_string()),
            }
        }
    }

    /// Sign of life, retention and a write-ahead log that others wrote, a bounded amount at a time.
    fn tidy(&mut self) {
        let done = self.retention.step(&mut self.store, &self.options);
        let done = done.and_then(|()| open::fold(&self.store.connection));
        if let Err(error) = done {
            let error = JournalError::sqlite("trim", &self.path, error).to_string();
            tracing::warn!(error, "retention");
            self.status.error = Some(error);
        }
        // Told also where there is nothing to be written.
        if let Err(error) = self.place.check() {
            self.failed(&error);
        }
    }

    fn publish(&mut self, taken: u64) {
        self.status.events = self.store.events;
        self.status.bytes = open::bytes(&self.path);
        let mut queue = self.shared.lock();
        queue.settled += taken;
        if queue.settled == queue.accepted {
            queue.urgent = false;
        }
        queue.status.clone_from(&self.status);
        drop(queue);
        self.shared.drained.notify_all();
    }
}
