//! Kernel programs as a source: binds, refused binds, listens, closes and exits as they happen.
//!
//! Order of a start: attach, look at the kernel's tables, tell the programs which sockets existed before,
//! look again; so nothing falls between. After a loss: a `Gap` with the exact counts, then a `Snapshot`.

mod adopt;
mod btf;
mod descriptors;
mod hooks;
mod intake;
mod left;
mod load;
mod mounts;
mod object;
mod offsets;
mod ring;
mod sharing;

use std::{collections::HashMap, path::Path, time::Duration};

use aya::maps::{Array, HashMap as KernelMap, MapData, PerCpuArray, RingBuf};
use portwatch_common::{
    counter::{self, Counters as KernelCounters},
    record::ExecRecord,
};

use self::{
    descriptors::{Table, sees_every_pid},
    left::LeftConnections,
    load::Loaded,
    ring::Ring,
};
pub use self::{
    hooks::{Family, HookChoice},
    load::LoadOptions,
};
use super::{
    Counters, Progress, Refresh, Source, SourceError, SourceKind, Wake,
    clock::Clock,
    procfs::Descriptors,
    replay::Recorder,
    scan::{HolderSearch, Roots, Scanner},
};
use crate::model::{
    Attached, BindRules, ConnectionScope, Connections, Coverage, Degradation, Evidence, Fact, Local, Netns,
    Observation, ProcessId, Seen, Sharing, Snapshot, SocketKey, Timestamp,
};

/// A pass over all descriptors that takes no longer than this is made for every question: it finds holders to whom a
/// descriptor was passed, whom nobody saw receive it.
const CHEAP: Duration = Duration::from_millis(3);

/// Records taken in one call of `poll`: bounds memory in a burst, and how long a caller is kept.
const BATCH: usize = 8192;
/// Bytes of the shortest record in the ring, with the kernel's head before it (`BPF_RINGBUF_HDR_SZ`).
const SHORTEST: usize = size_of::<ExecRecord>() + 8;

/// The source.
pub struct EbpfSource {
    loaded: Loaded,
    ring: Ring,
    /// No more records than these are in the ring at once. Who takes so many has all that were there when it began; without the
    /// bound a flood that comes as fast as it is taken would never let go.
    full: usize,
    lost: PerCpuArray<MapData, KernelCounters>,
    bound: KernelMap<MapData, u64, [u32; 3]>,
    /// Start (ns since boot) and exec id of processes whose forks, execs, signals and end are told.
    processes: KernelMap<MapData, u32, [u64; 2]>,
    /// How long the last pass over all descriptors took; `None` where there is no iterator.
    pass: Option<Duration>,
    /// The kernel does not walk the descriptors of a single process.
    unconfined: bool,
    adopted: Array<MapData, u32>,
    /// Absent where nobody in the kernel fills its maps.
    left: Option<LeftConnections>,
    scanner: Scanner,
    counters: Counters,
    /// Kernel counters at the last look.
    counted: KernelCounters,
    /// Undecodable records that no gap has told of.
    undecodable: u64,
    /// The moment of the last look at the counters: nothing was lost before it that is not told.
    whole_until: Timestamp,
    started: bool,
    /// Something was lost since the begin of the last look at everything.
    stale: bool,
    recorder: Option<Recorder>,
    clock: Clock,
}

impl EbpfSource {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    /// The degradation that says why kernel programs cannot serve here; another source can.
    pub fn start(options: &LoadOptions, wake: Wake) -> Result<Self, Degradation> {
        let scanner = Scanner::new(&Roots { proc: options.proc.clone() })
            .map_err(|error| unusable(&format!("the kernel's socket tables: {error}")))?;
        let mut loaded = load::load(options)?;
        // Last of what can be in the way: whoever mends it shall not find the next thing behind it.
        if sees_every_pid() == Some(false) {
            return Err(other_pids());
        }
        let missing = |name: &'static str| unusable(&format!("map {name} of the object"));
        let mut take = |name| loaded.ebpf.take_map(name).ok_or_else(|| missing(name));
        let records = RingBuf::try_from(take("RECORDS")?).map_err(|_| missing("RECORDS"))?;
        let lost = PerCpuArray::try_from(take("COUNTERS")?).map_err(|_| missing("COUNTERS"))?;
        let bound = KernelMap::try_from(take("BOUND")?).map_err(|_| missing("BOUND"))?;
        let processes = KernelMap::try_from(take("PROCESSES")?).map_err(|_| missing("PROCESSES"))?;
        let adopted = Array::try_from(take("ADOPTED")?).map_err(|_| missing("ADOPTED"))?;
        let left = if loaded.coverage.iter().any(|c| c.fact == Fact::TimeWait && c.hook.is_some()) {
            Some(LeftConnections::take(&mut loaded.ebpf).map_err(missing)?)
        } else {
            None
        };
        let ring = Ring::new(records, wake).map_err(|error| unusable(&format!("epoll: {error}")))?;
        Ok(Self {
            loaded,
            ring,
            full: usize::try_from(options.ring_bytes).unwrap_or(usize::MAX) / SHORTEST,
            lost,
            bound,
            processes,
            pass: None,
            unconfined: false,
            adopted,
            left,
            scanner,
            counters: Counters::default(),
            counted: [0; counter::END],
            undecodable: 0,
            whole_until: Timestamp::now(),
            started: false,
            stale: false,
            recorder: None,
            clock: Clock::system(),
        })
    }

    /// Writes everything that comes from now on to a recording too.
    pub fn record_to(&mut self, path: &Path) -> Result<(), SourceError> {
        self.recorder = Some(Recorder::create(path, self.clock.held(), &self.coverage())?);
        Ok(())
    }

    /// Every socket.
    fn look(&mut self, search: HolderSearch) -> Result<Snapshot, SourceError> {
        let begun = self.clock.now();
        let found = match table(&mut self.loaded, &mut self.pass) {
            Some(mut table) => self.scanner.snapshot_by(search, Some(&mut table)),
            None => self.scanner.snapshot_everywhere(search),
        }?;
        // By the clock of the records.
        Ok(Snapshot { begun, ended: self.clock.now(), ..found })
    }

    /// Takes over the wall clock, before anything is dated by it.
    fn follow_clock(&mut self, out: &mut Vec<Observation>) {
        if let Some(set) = self.clock.follow() {
            if let Seen::ClockSet { by } = set.seen {
                self.whole_until = self.whole_until.saturating_add(by).unwrap_or(self.whole_until);
            }
            out.push(set);
        }
    }

    /// Delivers what does not come from a record.
    fn say(&mut self, observation: Observation, out: &mut Vec<Observation>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.observation(&observation);
        }
        out.push(observation);
    }

    /// Tells how many connections were left, and by whom.
    fn tell_left(&mut self, out: &mut Vec<Observation>) {
        if let Some(left) = &mut self.left {
            left.tell(out);
        }
    }

    /// After a loss: what is really there. What is lost meanwhile makes the look stale again.
    fn reconcile(&mut self, out: &mut Vec<Observation>) -> Result<(), SourceError> {
        // A child may be among what was lost: where it costs little, every holder is looked for.
        let search = if self.loaded.iterates { HolderSearch::All } else { HolderSearch::First };
        self.stale = false;
        let mut found = self.look(search).inspect_err(|_| self.stale = true)?;
        self.follow(&found);
        if self.adopt(&found) {
            // As at the beginning: what ended before it was adopted ended unseen.
            let mut now = self.look(HolderSearch::None).inspect_err(|_| self.stale = true)?;
            self.release_gone(&found, &now);
            adopt::keep_holders(&found, &mut now);
            found = now;
        }
        self.take(self.full, out)?;
        self.say(snapshot(found), out);
        Ok(())
    }
}

/// A pass over all descriptors, where the iterator serves.
fn table<'a>(loaded: &'a mut Loaded, took: &'a mut Option<Duration>) -> Option<Table<'a>> {
    loaded.iterates.then_some(Table { ebpf: &mut loaded.ebpf, took })
}

fn snapshot(found: Snapshot) -> Observation {
    Observation::new(found.ended, Evidence::Scan, Seen::Snapshot(Box::new(found)))
}

/// The pids that programs are told (`task->tgid`) are those of the first namespace: here they would name other processes, or none.
fn other_pids() -> Degradation {
    Degradation {
        name: "pid-namespace",
        what: "kernel programs are told the machine's pids, and in this pid namespace those are others"
            .to_owned(),
        remedy:
            "run the daemon on the machine itself, or in a container that has its pid namespace (--pid=host)"
                .to_owned(),
    }
}

fn unusable(what: &str) -> Degradation {
    Degradation {
        name: "bpf-unusable",
        what: format!("kernel programs cannot be used: {what}"),
        remedy: "see `portwatch doctor`".to_owned(),
    }
}

impl Source for EbpfSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Ebpf
    }

    fn coverage(&self) -> Vec<Coverage> {
        let mut all = self.loaded.coverage.clone();
        let scan = |fact| Coverage { fact, hook: Some("sock_diag and procfs".to_owned()) };
        all.push(scan(Fact::Existing));
        all.sort_by_key(|c| c.fact);
        all
    }

    fn degradations(&self) -> Vec<Degradation> {
        let mut all = self.loaded.degradations.clone();
        all.extend_from_slice(self.scanner.degradations());
        all.extend(self.recorder.as_ref().and_then(Recorder::degradation));
        all
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<Observation>) -> Result<Progress, SourceError> {
        if !self.started {
            self.first(out)?;
            self.started = true;
            return Ok(Progress::Open);
        }
        let deadline = std::time::Instant::now() + timeout;
        let before = out.len();
        loop {
            let left = if self.stale {
                Duration::ZERO
            } else {
                deadline.saturating_duration_since(std::time::Instant::now())
            };
            let read = |error| SourceError::Read { what: "the ring buffer".to_owned(), error };
            let counts_due = self.left.as_ref().map_or(left, LeftConnections::due_in);
            let woken = self.ring.wait(left.min(counts_due)).map_err(read)?;
            if counts_due.is_zero() {
                self.tell_left(out);
            }
            self.follow_clock(out);
            self.take(BATCH, out)?;
            if self.stale {
                self.reconcile(out)?;
            }
            if let Some(recorder) = &mut self.recorder {
                recorder.flush();
            }
            if woken || out.len() > before || left.is_zero() {
                return Ok(Progress::Open);
            }
        }
    }

    fn refresh(&mut self, scope: &Refresh, out: &mut Vec<Observation>) -> Result<(), SourceError> {
        self.follow_clock(out);
        self.take(self.full, out)?;
        if self.stale {
            // What is asked for is among everything.
            return self.reconcile(out);
        }
        let begun = self.clock.now();
        let cheap = self.pass.is_some_and(|pass| pass <= CHEAP);
        let search = if cheap { HolderSearch::All } else { HolderSearch::First };
        let binds = self.loaded.coverage.iter().any(|c| c.fact == Fact::Bind && c.hook.is_some());
        let mut table = table(&mut self.loaded, &mut self.pass);
        let search = if table.is_some() { search } else { HolderSearch::First };
        let table = table.as_mut().map(|table| table as &mut dyn Descriptors);
        let found = match scope {
            Refresh::Asked(ports) if binds => self.scanner.refresh_listeners(ports, search, table),
            _ => self.scanner.refresh_by(scope, search, table),
        }?;
        let found = Snapshot { begun, ended: self.clock.now(), ..found };
        self.follow(&found);
        self.take(self.full, out)?;
        self.say(snapshot(found), out);
        Ok(())
    }

    fn connections(&mut self, scope: &ConnectionScope) -> Result<Option<Connections>, SourceError> {
        let mut table = table(&mut self.loaded, &mut self.pass);
        let table = table.as_mut().map(|table| table as &mut dyn Descriptors);
        let mut found = self.scanner.connections_by(scope, table)?;
        if let (Some(left), Some(found)) = (&self.left, &mut found) {
            left.name(found);
        }
        Ok(found)
    }

    fn bind_rules(&mut self, addresses: &[Local], netns: Option<Netns>) -> BindRules {
        self.scanner.bind_rules(addresses, netns)
    }

    fn attached(&mut self) -> Result<Vec<(SocketKey, Attached)>, SourceError> {
        self.scanner.attached()
    }

    fn sharing(&mut self, sockets: &[(ProcessId, u64)]) -> Sharing {
        let cheap = self.pass.is_some_and(|pass| pass <= CHEAP);
        let (ebpf, unconfined) = (&mut self.loaded.ebpf, &mut self.unconfined);
        let found = sharing::Options { ebpf, unconfined, cheap }.of(sockets);
        Sharing::Read(found.unwrap_or_else(|error| {
            tracing::debug!(%error, "options of sockets not read in the kernel");
            HashMap::new()
        }))
    }

    fn finish(&mut self, out: &mut Vec<Observation>) {
        self.tell_left(out);
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}
