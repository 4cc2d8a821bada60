//! Where records go: to the journal, to watchers, and to the registry where they are of a port that it may have.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use tokio::sync::broadcast;

use crate::{
    daemon::{handle::Handle, keeper::Changed, tally::Tally},
    journal::{Entry, Pending, Writer, WriterStatus},
    model::{Event, EventKind, Netns, Phase, Port, Process, ProcessId, Protocol},
    query::{Record, Space},
};

/// Records a slow watcher may fall behind before it loses the oldest.
const WATCHER_QUEUE: usize = 4096;
/// Processes whose facts in the journal are remembered to be up to date.
const WRITTEN: usize = 2048;
/// The journal's thread is told of what others wrote once for so many rows of the log.
const STIR_AT: usize = 64;

/// What the pipeline delivers to.
pub(super) struct Sink {
    writer: Option<Writer>,
    /// Facts as the journal has them.
    written: LruCache<ProcessId, Arc<Process>>,
    watchers: broadcast::Sender<Arc<Record>>,
    changed: Arc<Changed>,
    tally: Arc<Tally>,
    /// Rows of the log that others wrote, since the journal's thread was told of them.
    others_wrote: usize,
    /// The newest row that the claims office has written.
    announced: i64,
}

impl Sink {
    pub(super) fn new(writer: Option<Writer>, handle: &Handle) -> Self {
        Self {
            writer,
            written: LruCache::new(NonZeroUsize::new(WRITTEN).unwrap_or(NonZeroUsize::MIN)),
            watchers: broadcast::Sender::new(WATCHER_QUEUE),
            changed: Arc::clone(&handle.changed),
            tally: Arc::clone(&handle.tally),
            others_wrote: 0,
            announced: 0,
        }
    }

    /// Facts before the events that name them, then the events; both to the journal, events to watchers. `own` is the daemon's network
    /// namespace.
    pub(super) fn deliver(&mut self, records: &mut Vec<Record>, own: Option<Netns>) {
        for record in records.drain(..) {
            self.tally.count(&record);
            // Claims are on ports of the daemon's own namespace.
            if Space::Own.holds(record.event.netns, own)
                && let Some(port) = changed_port(&record.event)
            {
                let came = matches!(record.event.kind, EventKind::Listen | EventKind::Bind);
                self.changed.add(port, record.event.protocol.zip(record.process.clone().filter(|_| came)));
            }
            if let Some(writer) = &self.writer {
                for process in record.process.iter().chain(&record.other) {
                    let known =
                        self.written.get(&process.id).is_some_and(|known| Arc::ptr_eq(known, process));
                    if !known {
                        writer.write(Entry::Process(Arc::clone(process)));
                        self.written.put(process.id, Arc::clone(process));
                    }
                }
                writer.write(Entry::Event(record.event.clone()));
            }
            self.show(record);
        }
    }

    /// Counts and shows rows that the claims office has written itself.
    pub(super) fn announce(&mut self, records: Vec<Record>) {
        self.others_wrote += records.len();
        if self.others_wrote >= STIR_AT
            && let Some(writer) = &self.writer
        {
            self.others_wrote = 0;
            writer.stir();
        }
        for record in records {
            self.tally.count(&record);
            self.announced = self.announced.max(record.id.unwrap_or(0));
            self.show(record);
        }
    }

    /// Writes facts of processes that the journal has otherwise.
    pub(super) fn correct(&mut self, processes: impl IntoIterator<Item = Arc<Process>>) {
        if let Some(writer) = &self.writer {
            for process in processes {
                writer.write(Entry::Process(Arc::clone(&process)));
                self.written.put(process.id, process);
            }
        }
    }

    fn show(&self, record: Record) {
        if self.watchers.receiver_count() > 0 {
            let _ = self.watchers.send(Arc::new(record));
        }
    }

    /// A receiver that misses nothing from now on, and the newest row before: `newest`, or one that the claims office has written.
    pub(super) fn watch(&self, newest: i64) -> (broadcast::Receiver<Arc<Record>>, i64) {
        (self.watchers.subscribe(), newest.max(self.announced))
    }

    /// Everything delivered so far is in the journal when this returns; gives the newest row id.
    pub(super) fn flush(&self) -> i64 {
        self.writer.as_ref().map(Writer::flush).map_or(0, |status| status.last_id)
    }

    /// The disk is waited for by whoever asked: this thread has the kernel's records to take in.
    pub(super) fn pending(&self) -> Option<Pending> {
        self.writer.as_ref().map(Writer::pending)
    }

    /// Closes the journal in order.
    pub(super) fn close(self) -> Option<WriterStatus> {
        self.writer.map(Writer::close)
    }
}

/// The port on which a program came or went.
fn changed_port(event: &Event) -> Option<Port> {
    match event.kind {
        EventKind::Listen | EventKind::Unlisten => event.port,
        EventKind::Bind if event.protocol == Some(Protocol::Udp) => event.port,
        EventKind::Close if event.phase != Some(Phase::Bound) || event.protocol == Some(Protocol::Udp) => {
            event.port
        }
        _ => None,
    }
}
