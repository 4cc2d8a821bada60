//! The only wiring of stages: source → attribution and live table → journal and watchers.
//!
//! One thread owns the source and writes the journal. Questions reach it as [`Command`]s: they wake it, it looks
//! at the kernel again, and the asker reads the live table behind its lock. When the journal's queue is full,
//! writing blocks, the ring fills, and the kernel counts what it drops: the loss becomes a `Gap`.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use lru::LruCache;
use tokio::sync::broadcast;

use super::{
    doubt::connected,
    keeper::{Changed, UserRules},
    sleep::Sleep,
    tally::Tally,
};
use crate::{
    journal::{Entry, Pending, Writer, WriterStatus, Writing},
    meter::Reading,
    model::{
        Completeness, ConnectionScope, Event, EventKind, Evidence, Fact, Local, Netns, Observation, Phase,
        Port, Process, ProcessId, Protocol, Seen, Sharing, Timestamp,
    },
    query::{Around, Live, Record, Space},
    source::{Counters, Progress, Refresh, Source, SourceKind, Wake},
};

/// Records a slow watcher may fall behind before it loses the oldest.
pub(super) const WATCHER_QUEUE: usize = 4096;
/// Observations taken in while the live table is locked once: askers wait no longer than these take.
const CHUNK: usize = 64;
/// Processes whose facts in the journal are remembered to be up to date.
const WRITTEN: usize = 2048;
/// Wait after a source failed, so that a broken one does not spin.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Children and execs of holders are looked at together, so late: a server that forks for each connection costs four
/// looks a second.
const STIRRED: Duration = Duration::from_millis(250);
/// So many times as long as one took lies before the next: where thousands of processes share a socket a look takes long, and
/// all of them together cost a tenth of a processor.
const REST: u32 = 9;
/// Longest wait of a source that has nothing to say.
const IDLE: Duration = Duration::from_hours(1);

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

/// The journal's thread is told of what others wrote once for so many rows of the log.
const STIR_AT: usize = 64;

/// The stages, joined.
pub struct Pipeline {
    source: Box<dyn Source>,
    writer: Option<Writer>,
    /// Rows of the log that others wrote, since the journal's thread was told of them.
    others_wrote: usize,
    handle: Handle,
    commands: mpsc::Receiver<Command>,
    watchers: broadcast::Sender<Arc<Record>>,
    written: LruCache<ProcessId, Arc<Process>>,
    seen: Vec<Observation>,
    records: Vec<Record>,
    /// Ports to look at again: a listener left them without a close.
    unsettled: Vec<Port>,
    /// Commands that came while something was taken in and need all of it.
    waiting: VecDeque<Command>,
    /// When the holders of stirred ports are looked at.
    settling: Option<Instant>,
    /// How long the last of these looks took.
    settled_in: Duration,
    /// The newest row that the claims office has written.
    announced: i64,
    sleep: Sleep,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("source", &self.source.kind()).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Joins a source, the live knowledge and a journal. `wake` must be the one that ends the source's wait.
    pub fn new(source: Box<dyn Source>, wake: Wake, live: Live, writer: Option<Writer>) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel();
        let waker = wake.clone();
        live.engines().on_news(move || waker.wake());
        let handle = Handle {
            live: Arc::new(Mutex::new(live)),
            report: Arc::default(),
            changed: Arc::default(),
            rules: Arc::default(),
            tally: Arc::default(),
            writing: writer.as_ref().map(Writer::writing),
            commands: sender,
            wake,
            stop: Arc::default(),
        };
        let pipeline = Self {
            source,
            writer,
            others_wrote: 0,
            handle: handle.clone(),
            commands,
            watchers: broadcast::Sender::new(WATCHER_QUEUE),
            written: LruCache::new(NonZeroUsize::new(WRITTEN).unwrap_or(NonZeroUsize::MIN)),
            seen: Vec::new(),
            records: Vec::new(),
            unsettled: Vec::new(),
            waiting: VecDeque::new(),
            settling: None,
            settled_in: Duration::ZERO,
            announced: 0,
            sleep: Sleep::new(),
        };
        (pipeline, handle)
    }

    /// Runs until [`Handle::stop`]; then tells what is pending, writes the stop and closes the journal in order.
    pub fn run(mut self) -> Option<WriterStatus> {
        let mut source_ended = false;
        while !self.handle.stop.load(Ordering::Acquire) {
            let wait = self.until_tick();
            if source_ended {
                // A recording is over; its answers are still wanted.
                if let Ok(command) = self.commands.recv_timeout(wait.min(Duration::from_secs(1))) {
                    self.obey(command);
                }
            } else {
                source_ended = self.poll(wait) == Progress::Ended;
            }
            self.tick();
            self.tell_names();
            self.look_again();
            self.look_at_stirred();
            while let Some(command) = self.waiting.pop_front().or_else(|| self.commands.try_recv().ok()) {
                self.obey(command);
            }
            self.report();
        }
        self.end()
    }

    /// Writes a row of the daemon's own: start, gap, error.
    pub fn tell(&mut self, event: Event) {
        let record = lock(&self.handle.live).record(event);
        self.records.push(record);
        self.deliver();
    }

    fn end(mut self) -> Option<WriterStatus> {
        let _ = self.poll(Duration::ZERO);
        self.source.finish(&mut self.seen);
        self.take();
        let now = Timestamp::now();
        lock(&self.handle.live).finish(now, &mut self.records);
        self.deliver();
        self.tell(Event::new(now, EventKind::Stop, Evidence::Kernel));
        self.writer.take().map(Writer::close)
    }

    fn until_tick(&self) -> Duration {
        let due = lock(&self.handle.live).next_tick();
        let settling = self.settling.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        due.map_or(IDLE, |due| {
            // Rounded up: a source waits in whole milliseconds.
            let wait = due.duration_since(Timestamp::now());
            Duration::try_from(wait).unwrap_or(Duration::ZERO) + Duration::from_millis(1)
        })
        .min(settling)
    }

    fn poll(&mut self, wait: Duration) -> Progress {
        let result = self.source.poll(wait, &mut self.seen);
        self.notice_sleep();
        self.take();
        match result {
            Ok(progress) => {
                if self.handle.report().failure.take().is_some() {
                    tracing::info!("the source works again");
                }
                progress
            }
            Err(error) => {
                self.fail(&error.to_string());
                if wait > Duration::ZERO {
                    // Commands and the stop are looked at in between.
                    std::thread::sleep(AFTER_FAILURE.min(wait));
                }
                Progress::Open
            }
        }
    }

    /// A failure is told once, not once a second.
    fn fail(&mut self, error: &str) {
        lock(&self.handle.live).set_completeness(Completeness::Partial(error.to_owned()));
        let known = self.handle.report().failure.replace(error.to_owned());
        if known.as_deref() != Some(error) {
            tracing::warn!(error, "the source failed");
            let mut event = Event::new(Timestamp::now(), EventKind::Error, Evidence::Kernel);
            event.message = Some(error.to_owned());
            self.tell(event);
        }
    }

    /// Takes in what the source said. In between, commands are obeyed that need not wait for the rest of it: in a flood
    /// that is long, and a source that has looked at the kernel after it must not be heard before.
    fn take(&mut self) {
        if self.seen.is_empty() {
            return;
        }
        let mut seen = std::mem::take(&mut self.seen);
        let kernel_binds = self.kernel_binds();
        let complete = self.source.completeness();
        // Between a gap and the look that mends it the table is known to be wrong, and nobody is to read it.
        let lossy = seen.iter().any(|observation| matches!(observation.seen, Seen::Gap { .. }));
        let chunk = if lossy { usize::MAX } else { CHUNK };
        {
            let mut drain = seen.drain(..).peekable();
            while drain.peek().is_some() {
                let mut first = false;
                let mut live = lock(&self.handle.live);
                for mut observation in drain.by_ref().take(chunk) {
                    if let Seen::Snapshot(snapshot) = &mut observation.seen {
                        let doubted = live.doubted(snapshot);
                        snapshot.connected = connected(&mut *self.source, &doubted);
                        live.set_completeness(match &complete {
                            Completeness::Complete => completeness(snapshot.bound_included, kernel_binds),
                            partial => partial.clone(),
                        });
                        first |= !std::mem::replace(&mut self.handle.report().ready, true);
                    }
                    live.take(observation, &mut self.records);
                }
                drop(live);
                if first {
                    // What ran before is no event, and the registry hears of it by this.
                    self.handle.changed.add_all();
                }
                self.deliver();
                self.obey_what_can_be();
            }
        }
        self.seen = seen;
    }

    fn kernel_binds(&self) -> bool {
        matches!(self.source.kind(), SourceKind::Ebpf | SourceKind::Replay | SourceKind::Fake)
            && self.source.coverage().iter().any(|c| c.fact == Fact::Bind && c.hook.is_some())
    }

    fn tick(&mut self) {
        lock(&self.handle.live).tick(Timestamp::now(), &mut self.records);
        self.deliver();
    }

    fn deliver(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let own = lock(&self.handle.live).own();
        deliver(
            &mut self.records,
            self.writer.as_ref(),
            &mut self.written,
            &self.watchers,
            &mut self.unsettled,
            (&self.handle.changed, &self.handle.tally),
            own,
        );
    }

    /// Obeys commands that do not need everything taken in that was seen; the others wait, in their order.
    fn obey_what_can_be(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Tell(_) | Command::Announce(_) | Command::Around(..) | Command::Attach(_) => {
                    self.obey(command);
                }
                Command::Verify(..) | Command::Settle(_) | Command::Subscribe(_) => {
                    self.waiting.push_back(command);
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Verify(scope, reply) => {
                self.refresh(&scope);
                let _ = reply.try_send(self.pending());
            }
            Command::Attach(reply) => {
                match self.source.attached() {
                    Ok(found) => lock(&self.handle.live).attach(found),
                    Err(error) => tracing::warn!(%error, "interfaces of sockets could not be looked at"),
                }
                let _ = reply.try_send(());
            }
            Command::Around(scope, addresses, reply) => {
                let connections = self.source.connections(&scope).unwrap_or_else(|error| {
                    tracing::warn!(%error, "connections could not be looked at");
                    None
                });
                let netns = scope.netns();
                let rules = self.source.bind_rules(&addresses, netns);
                let netns = netns.or(lock(&self.handle.live).own());
                let sharing = match &scope {
                    ConnectionScope::Ports { ports, .. } => {
                        let held = lock(&self.handle.live).held(ports, connections.as_ref());
                        self.source.sharing(&held)
                    }
                    ConnectionScope::TimeWait { .. } | ConnectionScope::Sockets { .. } => Sharing::default(),
                };
                let _ = reply.try_send(Around { netns, connections, rules, sharing });
            }
            Command::Settle(reply) => {
                let _ = self.poll(Duration::ZERO);
                let _ = reply.try_send(self.pending());
            }
            Command::Subscribe(reply) => {
                let _ = self.poll(Duration::ZERO);
                let newest = self.settle();
                let _ = reply.try_send((self.watchers.subscribe(), newest.max(self.announced)));
            }
            Command::Tell(event) => self.tell(*event),
            Command::Announce(records) => {
                self.others_wrote += records.len();
                if self.others_wrote >= STIR_AT
                    && let Some(writer) = &self.writer
                {
                    self.others_wrote = 0;
                    writer.stir();
                }
                for record in records {
                    self.handle.tally.count(&record);
                    self.announced = self.announced.max(record.id.unwrap_or(0));
                    if self.watchers.receiver_count() > 0 {
                        let _ = self.watchers.send(Arc::new(record));
                    }
                }
            }
        }
    }

    fn refresh(&mut self, scope: &Refresh) {
        // A bound socket that is asked about is looked at, not only remembered: who has it, whether it is there.
        let whole = match scope {
            Refresh::Asked(ports) if lock(&self.handle.live).has_bound(ports) => {
                Some(Refresh::Ports(ports.clone()))
            }
            _ => None,
        };
        let scope = whole.as_ref().unwrap_or(scope);
        let result = self.source.refresh(scope, &mut self.seen);
        self.take();
        if let Err(error) = result {
            self.fail(&error.to_string());
        }
    }

    /// A listener that shut down keeps its port or gives it up; only the kernel's table tells which.
    fn look_again(&mut self) {
        if !self.unsettled.is_empty() {
            let ports = std::mem::take(&mut self.unsettled);
            self.refresh(&Refresh::Ports(ports));
            self.unsettled.clear();
        }
    }

    /// What holders' children kept, and what execs closed.
    fn look_at_stirred(&mut self) {
        match self.settling {
            None if lock(&self.handle.live).is_stirred() => {
                self.settling = Some(Instant::now() + STIRRED.max(self.settled_in * REST));
            }
            Some(due) if due <= Instant::now() => {
                self.settling = None;
                let begun = Instant::now();
                let ports = lock(&self.handle.live).take_stirred();
                self.refresh(&Refresh::Ports(ports));
                self.settled_in = begun.elapsed();
            }
            _ => {}
        }
    }

    /// Containers got names after their processes were written.
    fn tell_names(&mut self) {
        let Some(named) = lock(&self.handle.live).news() else { return };
        // A forwarder's port may be known by its container from now on.
        self.handle.changed.add_all();
        if let Some(writer) = &self.writer {
            for process in named {
                writer.write(Entry::Process(Arc::clone(&process)));
                self.written.put(process.id, process);
            }
        }
    }

    /// Everything delivered so far is in the journal when this returns; gives the newest row id.
    fn settle(&mut self) -> i64 {
        self.report();
        self.writer.as_ref().map(Writer::flush).map_or(0, |status| status.last_id)
    }

    /// The disk is waited for by whoever asked: this thread has the kernel's records to take in.
    fn pending(&self) -> Option<Pending> {
        self.writer.as_ref().map(Writer::pending)
    }

    fn report(&mut self) {
        let counters = self.source.counters();
        self.handle.report().counters = counters;
    }

    /// While the machine slept nothing ran, and nothing was seen either: the record says so.
    fn notice_sleep(&mut self) {
        let now = Timestamp::now();
        if let Some(event) = self.sleep.look(now) {
            self.tell(event);
        }
        self.handle.report().heard = Some(now);
    }
}

/// Facts before the events that name them, then the events; both to the journal, events to watchers.
fn deliver(
    records: &mut Vec<Record>,
    writer: Option<&Writer>,
    written: &mut LruCache<ProcessId, Arc<Process>>,
    watchers: &broadcast::Sender<Arc<Record>>,
    unsettled: &mut Vec<Port>,
    (changed, tally): (&Changed, &Tally),
    own: Option<Netns>,
) {
    unsettled.extend(Live::unsettled(records));
    for record in records.drain(..) {
        tally.count(&record);
        // Claims are on ports of the daemon's own namespace.
        if Space::Own.holds(record.event.netns, own)
            && let Some(port) = changed_port(&record.event)
        {
            let came = matches!(record.event.kind, EventKind::Listen | EventKind::Bind);
            changed.add(port, record.event.protocol.zip(record.process.clone().filter(|_| came)));
        }
        if let Some(writer) = writer {
            for process in record.process.iter().chain(&record.other) {
                let known = written.get(&process.id).is_some_and(|known| Arc::ptr_eq(known, process));
                if !known {
                    writer.write(Entry::Process(Arc::clone(process)));
                    written.put(process.id, Arc::clone(process));
                }
            }
            writer.write(Entry::Event(record.event.clone()));
        }
        if watchers.receiver_count() > 0 {
            let _ = watchers.send(Arc::new(record));
        }
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

/// Whether an empty answer may be believed after a snapshot.
fn completeness(bound_included: bool, kernel_binds: bool) -> Completeness {
    if bound_included || kernel_binds {
        Completeness::Complete
    } else {
        Completeness::PartialTcp(
            "a TCP socket that is bound without listening cannot be seen here: sock_diag shows them from \
             Linux 6.8, kernel programs on any; run a daemon as root"
                .to_owned(),
        )
    }
}
