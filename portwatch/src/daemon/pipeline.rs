//! The only wiring of stages: source → attribution and live table → journal and watchers.
//!
//! One thread owns the source and writes the journal. Questions reach it as [`Command`]s: they wake it, it looks
//! at the kernel again, and the asker reads the live table behind its lock. When the journal's queue is full,
//! writing blocks, the ring fills, and the kernel counts what it drops: the loss becomes a `Gap`.

mod commands;
mod sink;

use std::{
    collections::VecDeque,
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{
    doubt::connected,
    handle::{Command, Handle, lock},
    sleep::Sleep,
};
use crate::{
    journal::{Writer, WriterStatus},
    model::{Completeness, Event, EventKind, Evidence, Fact, Observation, Port, Seen, Timestamp},
    query::{Live, Record},
    source::{Progress, Refresh, Source, SourceKind, Wake},
};
use sink::Sink;

/// Observations taken in while the live table is locked once: askers wait no longer than these take.
const CHUNK: usize = 64;
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

/// The stages, joined.
pub struct Pipeline {
    source: Box<dyn Source>,
    sink: Sink,
    handle: Handle,
    commands: mpsc::Receiver<Command>,
    seen: Vec<Observation>,
    records: Vec<Record>,
    /// Ports to look at again: a listener left them without a close.
    unsettled: Vec<Port>,
    /// Commands that came while something was taken in and need all of it.
    waiting: VecDeque<Command>,
    /// Until then no command is obeyed in between.
    rest: Instant,
    /// When the holders of stirred ports are looked at.
    settling: Option<Instant>,
    /// How long the last of these looks took.
    settled_in: Duration,
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
        let waker = wake.clone();
        live.engines().on_news(move || waker.wake());
        let (handle, commands) = Handle::new(live, writer.as_ref().map(Writer::writing), wake);
        let pipeline = Self {
            source,
            sink: Sink::new(writer, &handle),
            handle: handle.clone(),
            commands,
            seen: Vec::new(),
            records: Vec::new(),
            unsettled: Vec::new(),
            waiting: VecDeque::new(),
            rest: Instant::now(),
            settling: None,
            settled_in: Duration::ZERO,
            sleep: Sleep::new(),
        };
        (pipeline, handle)
    }

    /// Runs until [`Handle::stop`]; then tells what is pending, writes the stop and closes the journal in order.
    pub fn run(mut self) -> Option<WriterStatus> {
        let (mut source_ended, mut is_asked) = (false, false);
        while !self.handle.is_stopped() {
            let wait = if is_asked { Duration::ZERO } else { self.until_tick() };
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
            is_asked = self.obey_some();
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
        self.sink.close()
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
                        if lossy {
                            snapshot.connected = connected(&mut *self.source, &doubted);
                        } else if !doubted.is_empty() {
                            // To read all connections takes long, and nobody but this thread changes the table.
                            drop(live);
                            snapshot.connected = connected(&mut *self.source, &doubted);
                            live = lock(&self.handle.live);
                        }
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
        self.unsettled.extend(Live::unsettled(&self.records));
        let own = lock(&self.handle.live).own();
        self.sink.deliver(&mut self.records, own);
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
        self.sink.correct(named);
    }

    /// Everything delivered so far is in the journal when this returns; gives the newest row id.
    fn settle(&mut self) -> i64 {
        self.report();
        self.sink.flush()
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
