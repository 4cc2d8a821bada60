//! The daemon. Its life, in this order; it ends in the reverse:
//!
//! 1. **State**: the state directory, its lock, and the file that says whose it is. A second daemon ends here, with the first
//!    one's pid.
//! 2. **Handles and programs**: the source opens what needs privileges and attaches, before anything is read,
//!    so that nothing falls between.
//! 3. **Files**: the journal. If the last run did not end in order, a gap from its last row until now is written;
//!    then `start`.
//! 4. **Snapshot**: the pipeline's thread takes in what exists already, and tells of what the last run left open and
//!    is gone. That may take as long as it makes headway.
//! 5. **Serve**: the socket is bound only now, so whoever can connect gets whole answers; `READY=1`.
//! 6. **Stop** (SIGTERM, SIGINT): `STOPPING=1`; connections end, the socket file goes; the pipeline takes in what
//!    the kernel still has, writes `stop`, marks the journal's end as clean; programs are detached; the lock goes.
//!    All of it within [`STOP_WITHIN`].
//!
//! Programs are not pinned: however the daemon dies, the kernel is as before. It sends no signals and acts on
//! nobody's behalf.

mod beside;
pub mod control;
mod courier;
mod desk;
mod doubt;
mod handle;
mod headway;
mod heap;
mod keeper;
mod left;
mod lock;
mod manager;
mod office;
mod pipeline;
mod sleep;
mod tally;
mod warden;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use self::{
    beside::Beside,
    courier::{Courier, Posted},
    headway::Headway,
    keeper::{Keeper, Reserve},
    warden::Warden,
};
pub use self::{
    desk::Desk,
    handle::Handle,
    keeper::AutoPolicy,
    lock::{Lock, LockError, start_ticks},
    pipeline::Pipeline,
};
use crate::{
    api::{self, Limits, Places},
    attribute::{Attributor, Redaction, Roots},
    engine::Engines,
    journal::{self, Claims, Journal, JournalError, OpenReport},
    model::{Event, EventKind, Evidence, GapReason, Netns, Timestamp},
    platform::{
        ending::{self, Asked},
        files,
        local::{self, Listener},
    },
    query::{About, Live, coordinate::Bureau},
    registry::{PORTS_PER_USER, UserPolicy},
    source::{
        Source, SourceKind, Wake,
        ebpf::{HookChoice, LoadOptions},
        negotiate::{self, SourceChoice},
        process,
    },
    state::Policy,
    webhook,
};

/// Set in the environment of a daemon that `start` has made: it leaves its caller's session.
pub const DETACHED: &str = "PORTWATCH_DETACHED";

/// Everything of an orderly stop fits into this; what is not done by then is left to the next start.
pub const STOP_WITHIN: Duration = Duration::from_secs(5);

/// The first look at the machine may do nothing for so long. It takes as long as it takes: on a machine that has much else to do,
/// a daemon that gave up would never start.
const FIRST_SNAPSHOT: Duration = Duration::from_secs(15);

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Socket and state directory.
    pub places: Places,
    /// What is hidden of command lines.
    pub redaction: Redaction,
    /// What the configuration file says of claims: which listeners become automatic ones, and what is not rogue.
    pub claims: UserPolicy,
    /// Claimed ports are kept back in the kernel (root).
    pub reserve_ports: bool,
    /// So many ports a user other than root may have claimed; `None` is no limit.
    pub ports_per_user: Option<u32>,
    /// Where webhooks may lead.
    pub webhooks: webhook::Policy,
    /// Container engines that may be asked.
    pub engines: Engines,
    /// Journal each noisy bind instead of summaries.
    pub keep_noise: bool,
    /// How long events are kept.
    pub retention_age: Duration,
    /// How large the database may become, bytes.
    pub retention_bytes: u64,
    /// Permissions of the socket; 0666 lets every local user ask.
    pub socket_mode: u32,
    /// What one client may take.
    pub limits: Limits,
}

impl Options {
    /// The defaults at `places`.
    pub fn new(places: Places) -> Self {
        Self {
            places,
            redaction: Redaction::default(),
            claims: UserPolicy::default(),
            reserve_ports: false,
            ports_per_user: Some(PORTS_PER_USER),
            webhooks: webhook::Policy { configured: None, own_uid: crate::platform::user::own_uid() },
            engines: Engines::default(),
            keep_noise: false,
            retention_age: Duration::from_hours(30 * 24),
            retention_bytes: 256 << 20,
            socket_mode: 0o666,
            limits: Limits::default(),
        }
    }
}

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another one runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No source. The sentence says why, with a remedy.
    #[error("{0}")]
    Source(String),
    /// A socket that another server serves.
    #[error(
        "another server listens at {}; end it, or choose another socket with --socket", .0.display()
    )]
    SocketTaken(PathBuf),
    /// The operating system refused.
    #[error("cannot {operation} {}: {error}; {remedy}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// errno.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The first look at the machine did not come back.
    #[error("reading the kernel's tables has hung for {} s; see the log above", FIRST_SNAPSHOT.as_secs())]
    NoSnapshot,
    /// The journal's end could not be marked as clean in time.
    #[error("stopping took longer than {} s; the next start will tell of a gap", STOP_WITHIN.as_secs())]
    SlowStop,
}

/// Opens the source, once the state is locked.
pub type Opener<'a> = dyn FnOnce() -> Result<(Box<dyn Source>, Wake), String> + 'a;

/// An opener of the source that the words of `--source` and `--hooks` name, recorded to a file where one is given.
pub fn opener(source: &str, hooks: &str, record: Option<PathBuf>) -> Result<Box<Opener<'static>>, String> {
    let choice: SourceChoice = source.parse().map_err(|error| format!("{error}"))?;
    let hooks = HookChoice::from_word(hooks).ok_or_else(|| {
        format!("hooks '{hooks}' are not part of this build; say one of {}", HookChoice::WORDS.join(", "))
    })?;
    Ok(Box::new(move || {
        let wake = Wake::new().map_err(|error| format!("cannot make an eventfd: {error}"))?;
        let options = LoadOptions { hooks, ..LoadOptions::default() };
        let source = negotiate::start(&choice, &options, record.as_deref(), wake.clone())
            .map_err(|error| error.to_string())?;
        Ok((source, wake))
    }))
}

/// Runs until it is asked to end: SIGTERM or SIGINT; on Windows an event, Ctrl-C, Ctrl-Break, the console's or the
/// machine's end.
pub fn run(options: &Options, open: Box<Opener<'_>>) -> Result<(), DaemonError> {
    if std::env::var_os(DETACHED).is_some() {
        ending::detach();
    }
    heap::few_arenas();
    let started = Timestamp::now();
    let places = &options.places;

    // 1. State
    directory(&places.state, 0o700)?;
    let lock = Arc::new(Lock::take(&places.lock())?);

    // 2. Handles and programs
    let (source, wake) = open().map_err(DaemonError::Source)?;
    let about = About {
        source: source.kind(),
        daemon: true,
        note: None,
        coverage: source.coverage(),
        degradations: source.degradations(),
    };

    // 3. Files
    let boot_id = journal::boot_id(Path::new("/proc")).unwrap_or_else(|| journal::UNKNOWN_BOOT.to_owned());
    let journal = journal::Options {
        retention_age: options.retention_age,
        retention_bytes: options.retention_bytes,
        boot_id: boot_id.clone(),
        ..journal::Options::default()
    };
    let opened = Journal::open(&places.database(), journal)?;
    let claims = Claims::open(&places.database(), &boot_id)?.folded_elsewhere()?;
    let kept = Claims::open(&places.database(), &boot_id)?.folded_elsewhere()?;
    let changed = Wake::new().map_err(socket_error("make an eventfd for", &places.socket))?;

    // 4. Snapshot
    let attributor = Attributor::with_redaction(Roots::default(), options.redaction.clone());
    let left =
        opened.report.previous.map(|last| left::open(&places.database(), &boot_id, last.last, about.source));
    let live = Live::new(policy(options.keep_noise), attributor, own_netns())
        .expecting(left.unwrap_or_default())
        .with_engines(options.engines.clone());
    let (mut pipeline, handle) = Pipeline::new(source, wake, live, Some(opened.writer));
    for event in beginning(&opened.report, started, &about) {
        pipeline.tell(event);
    }
    let (sender, place) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("pipeline".to_owned())
        .spawn(move || {
            let _ = sender.send(headway::own_thread());
            pipeline.run()
        })
        .map_err(|error| DaemonError::Io {
            operation: "start a thread for",
            path: "the pipeline".into(),
            error,
            remedy: "raise the limit of processes (ulimit -u)",
        })?;
    handle.rules.set(crate::platform::user::own_uid(), &options.claims.allow);
    let keeper = Keeper::new(
        handle.clone(),
        Arc::clone(&handle.changed),
        kept,
        AutoPolicy::default().but(&options.claims),
        own_netns().map(|netns| Reserve::new(netns, options.reserve_ports)),
        options.ports_per_user,
    );
    let keeping = std::thread::Builder::new().name("registry".to_owned()).spawn(move || keeper.run());
    if let Err(error) = &keeping {
        tracing::warn!(%error, "claims are not kept: no thread could be started");
    }
    let terms = warden::Terms {
        keep: options.retention_age,
        webhooks: options.webhooks.clone(),
        lock: Arc::clone(&lock),
    };
    let warden = Warden::start(&handle, &places.database(), &boot_id, terms, changed)?;
    let terms = courier::Terms {
        database: &places.database(),
        boot_id: &boot_id,
        policy: options.webhooks.clone(),
        hidepid: hidepid(Path::new("/proc/self/mountinfo")),
    };
    let courier = Courier::start(&handle, warden.bureau(), terms);
    let headway = Headway::of(place.recv().ok().flatten(), FIRST_SNAPSHOT, Instant::now());
    let ended = first_look(&handle, headway)
        .and_then(|()| serve(options, &handle, about, started, (claims, warden.bureau(), courier.posted())));
    handle.changed.stop();
    courier.stop();
    warden.stop();

    // 6. Stop
    let deadline = Instant::now() + STOP_WITHIN;
    // It asks the pipeline, so it ends first; and the last to leave the database folds its write-ahead log.
    if let Ok(keeping) = keeping {
        while !keeping.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    handle.stop();
    let clean = join(thread, deadline);
    drop(lock);
    ended?;
    if clean { Ok(()) } else { Err(DaemonError::SlowStop) }
}

/// Waits until the first look at the machine is taken in: for as long as it does anything.
fn first_look(handle: &Handle, mut headway: Headway) -> Result<(), DaemonError> {
    let begun = Instant::now();
    let mut told = begun;
    while !handle.report().ready {
        let now = Instant::now();
        if let Some(failure) = handle.report().failure.take() {
            return Err(DaemonError::Source(failure));
        }
        if headway.has_stalled(now) {
            return Err(DaemonError::NoSnapshot);
        }
        let waited = now.saturating_duration_since(begun);
        if now.saturating_duration_since(told) >= FIRST_SNAPSHOT / 3 {
            told = now;
            manager::starting(FIRST_SNAPSHOT * 2);
            tracing::warn!(
                seconds = waited.as_secs(),
                "the kernel's tables are not read yet: the machine has much else to do"
            );
        }
        // Soon there as a rule; later it takes no processor from what it waits for.
        let soon = waited < Duration::from_secs(1);
        std::thread::sleep(if soon { Duration::from_millis(1) } else { Duration::from_millis(20) });
    }
    Ok(())
}

/// Steps 5 and the beginning of 6.
fn serve(
    options: &Options,
    handle: &Handle,
    about: About,
    started: Timestamp,
    (claims, bureau, posted): (Claims, Arc<Bureau>, Arc<Posted>),
) -> Result<(), DaemonError> {
    let places = &options.places;
    heap::give_back();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(2))
        .thread_stack_size(512 * 1024)
        .build()
        .map_err(socket_error("make a runtime for", &places.socket))?;
    let result = runtime.block_on(async {
        let mut asked = Asked::hear().map_err(socket_error("catch signals for", &places.socket))?;
        if let Some(parent) = local::directory_of(&places.socket) {
            // A socket for everybody in a directory for root (umask 077) would be one for nobody else.
            if crate::platform::user::is_privileged() && options.socket_mode & 0o007 != 0 {
                made(parent, files::thoroughfare(parent))?;
            } else {
                directory(parent, 0o755)?;
            }
        }
        let mut listener =
            Listener::bind(&places.socket, options.socket_mode).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => DaemonError::SocketTaken(places.socket.clone()),
                _ => socket_error("listen at", &places.socket)(error),
            })?;
        // A look besides is of this machine, and only where the source is.
        let beside = matches!(about.source, SourceKind::Ebpf | SourceKind::Scan)
            .then(|| Beside::of_this_machine(options.redaction.clone(), options.engines.clone()));
        let desk = Arc::new(
            Desk::new(handle.clone(), about, Some(places.database()), Some(places.socket.clone()), started)
                .with_claims(claims, options.reserve_ports, options.ports_per_user)
                .with_bureau(bureau)
                .with_beside(beside)
                .with_posted(posted),
        );
        let watchdog = tokio::spawn(manager::watchdog(handle.clone()));
        let breath = tokio::spawn(heap::breathe());
        manager::ready();
        tracing::info!(socket = %places.socket.display(), "ready");
        let stop = async {
            asked.wait().await;
            manager::stopping();
            tracing::info!("stopping");
        };
        api::serve(
            &mut listener,
            api::router(desk),
            options.limits,
            hidepid(Path::new("/proc/self/mountinfo")),
            stop,
        )
        .await;
        watchdog.abort();
        breath.abort();
        listener.close();
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

fn socket_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DaemonError {
    let path = path.to_owned();
    move |error| DaemonError::Io { operation, path, error, remedy: "choose another socket with --socket" }
}

/// Waits for the pipeline's end.
fn join(thread: std::thread::JoinHandle<Option<journal::WriterStatus>>, deadline: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let Ok(status) = thread.join() else {
        tracing::error!("the pipeline's thread panicked");
        return false;
    };
    if let Some(error) = status.and_then(|s| s.error) {
        tracing::error!(error, "the journal's end is not whole");
    }
    true
}

/// Rows that begin a run: what nobody saw, and the start.
fn beginning(report: &OpenReport, started: Timestamp, about: &About) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(previous) = report.previous {
        let mut gap = Event::new(started, EventKind::Gap, Evidence::Inferred);
        gap.gap = Some(GapReason::NotRunning);
        gap.since = Some(previous.last);
        gap.message = (!previous.clean)
            .then(|| "the daemon before did not end in order; its last events may be missing too".to_owned());
        events.push(gap);
    }
    if let Some(aside) = &report.set_aside {
        let mut error = Event::new(started, EventKind::Error, Evidence::Kernel);
        error.message = Some(format!(
            "the journal was damaged ({}) and is kept as {}",
            aside.problem,
            aside.path.display()
        ));
        events.push(error);
    }
    let mut start = Event::new(started, EventKind::Start, Evidence::Kernel);
    start.message =
        Some(format!("portwatch {}, source {}", env!("CARGO_PKG_VERSION"), about.source.as_str()));
    events.push(start);
    events
}

fn directory(path: &Path, mode: u32) -> Result<(), DaemonError> {
    made(path, files::directory(path, mode))
}

fn made(path: &Path, made: io::Result<()>) -> Result<(), DaemonError> {
    made.map_err(|error| DaemonError::Io {
        operation: "make directory",
        path: path.to_owned(),
        error,
        remedy: "choose another place with --state and --socket",
    })
}

/// The live table's rules on this machine.
pub fn policy(keep_noise: bool) -> Policy {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let range = range.and_then(|text| {
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
    });
    let default = Policy::default();
    Policy { keep_noise, ephemeral: range.unwrap_or_else(|| default.ephemeral.clone()), ..default }
}

/// The network namespace of this process.
pub fn own_netns() -> Option<Netns> {
    process::own_netns().ok().flatten()
}

/// Whether `/proc` hides processes from other users (proc(5), `hidepid`). Unreadable counts as hiding.
fn hidepid(mountinfo: &Path) -> bool {
    let Ok(text) = fs::read_to_string(mountinfo) else { return true };
    text.lines().filter(|line| line.split(' ').nth(4) == Some("/proc")).any(|line| {
        line.split([' ', ','])
            .filter_map(|option| option.strip_prefix("hidepid="))
            .any(|value| !matches!(value, "0" | "off"))
    })
}

#[cfg(test)]
mod tests;
