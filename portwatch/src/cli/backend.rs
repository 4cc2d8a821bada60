//! Where the commands meet the daemon and the in-process stages: settings become their options.

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{exit::Exit, failure::Failure, session, settings::Settings};
use crate::{
    access::{self, Access, AccessError, AccessOptions, Tell},
    api::{Places, environment},
    attribute::{Attributor, Redaction, RedactionError, Roots},
    daemon::{
        self, DaemonError, LockError, Options,
        control::{self, ControlError},
    },
    engine::Engines,
    model::{ProcessId, Project},
    platform::user::{ROOT, is_privileged},
    webhook::{AllowList, Policy},
};

/// The variable that a user's state is found by.
const HOME: &str = if cfg!(windows) { "LOCALAPPDATA" } else { "HOME" };

fn of(settings: &Settings) -> Result<Places, AccessError> {
    // The daemon works in another directory than whoever starts it.
    let absolute = |path: &Option<PathBuf>| {
        path.as_deref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    };
    let (socket, state) = (absolute(&settings.socket.value), absolute(&settings.state.value));
    Places::of(socket.as_deref(), state.as_deref(), is_privileged(), &environment).ok_or_else(|| {
        AccessError::Usage(format!(
            "there is no home directory for the state; set {HOME}, or name one with --state"
        ))
    })
}

pub(super) fn redaction(settings: &Settings) -> Result<Redaction, AccessError> {
    settings.redact.value.parse().map_err(|error: RedactionError| {
        AccessError::Usage(format!("{error}; --redact takes on, off, or names separated by commas"))
    })
}

/// `auto`: the system's engines, those of the user who asks, unless that is root, and the one that `docker` and `podman` are told
/// to use.
pub(super) fn engines(settings: &Settings) -> Result<Engines, AccessError> {
    match settings.engines.value.as_str() {
        "off" => Ok(Engines::default()),
        "auto" => {
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !is_privileged());
            let machine = Engines::of_machine(runtime.as_deref().map(Path::new));
            let named: Vec<PathBuf> =
                ["DOCKER_HOST", "CONTAINER_HOST"].into_iter().filter_map(engine_named).collect();
            Ok(if named.is_empty() {
                machine
            } else {
                Engines::new(named.into_iter().chain(machine.sockets().to_vec()))
            })
        }
        paths => {
            let paths: Vec<PathBuf> = paths.split(',').map(|path| PathBuf::from(path.trim())).collect();
            match paths.iter().find(|path| !path.is_absolute()) {
                None => Ok(Engines::new(paths)),
                Some(path) => Err(AccessError::Usage(format!(
                    "'{}' is not the path of a socket; --engines takes auto, off, or absolute paths separated by commas",
                    path.display()
                ))),
            }
        }
    }
}

/// The socket of an engine that a variable names, `unix:///run/user/1000/docker.sock`; engines elsewhere are not asked.
fn engine_named(variable: &str) -> Option<PathBuf> {
    let value = std::env::var(variable).ok()?;
    let path = PathBuf::from(value.strip_prefix("unix://")?);
    path.is_absolute().then_some(path)
}

/// Where webhooks may lead; the file was read before, with its errors.
fn webhooks(settings: &Settings) -> Policy {
    let list = |texts: &Vec<String>| AllowList::parse(texts.iter().map(String::as_str)).unwrap_or_default();
    Policy { configured: settings.webhooks.as_ref().map(list), own_uid: crate::platform::user::own_uid() }
}

pub(super) fn open(settings: &Settings) -> Result<Box<dyn Access>, AccessError> {
    open_telling(settings, Tell { slow: session::tell_terminal, silent: session::tell })
}

/// The same for what works beside the command, which tells what there is to be told.
pub(super) fn open_beside(settings: &Settings) -> Result<Box<dyn Access>, AccessError> {
    open_telling(settings, Tell { slow: |_| {}, silent: |_| {} })
}

fn open_telling(settings: &Settings, tell: Tell) -> Result<Box<dyn Access>, AccessError> {
    access::open(&AccessOptions {
        places: of(settings)?,
        socket_set: settings.socket.value.is_some(),
        state_set: settings.state.value.is_some(),
        no_daemon: settings.no_daemon.value,
        source: settings.source.value.clone(),
        hooks: settings.hooks.value.clone(),
        redaction: redaction(settings)?,
        engines: engines(settings)?,
        rules: settings.policy.allow.clone(),
        ports_per_user: settings.ports_per_user(),
        webhooks: webhooks(settings),
        tell,
    })
}

pub(super) fn daemon(settings: &Settings, record: Option<&Path>) -> Result<Exit, Failure> {
    log();
    let options = Options {
        redaction: redaction(settings)?,
        engines: engines(settings)?,
        keep_noise: settings.all.value,
        claims: settings.policy.clone(),
        reserve_ports: settings.reserve_ports.value,
        ports_per_user: settings.ports_per_user(),
        webhooks: webhooks(settings),
        retention_age: Duration::from_hours(24 * u64::from(settings.retention_days.value)),
        retention_bytes: u64::from(settings.retention_mb.value) << 20,
        ..Options::new(of(settings)?)
    };
    let opener = daemon::opener(&settings.source.value, &settings.hooks.value, record.map(Path::to_owned))
        .map_err(AccessError::Usage)?;
    match daemon::run(&options, opener) {
        Ok(()) => Ok(Exit::Yes),
        Err(error) => Err(refused(&error).into()),
    }
}

/// To stderr, `info` and above unless `PORTWATCH_LOG` says otherwise.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PORTWATCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A test may have set one already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .try_init();
}

fn refused(error: &DaemonError) -> AccessError {
    let what = error.to_string();
    let remedy = match error {
        DaemonError::Lock(LockError::Held { .. }) => "portwatch stop ends it, portwatch restart renews it",
        DaemonError::Source(_) | DaemonError::NoSnapshot => "portwatch doctor says what works here",
        _ => "nothing was changed",
    };
    match error {
        DaemonError::Source(_) | DaemonError::NoSnapshot => {
            AccessError::NoDaemon { what, remedy: remedy.to_owned() }
        }
        _ => AccessError::NotSeen { what, remedy: remedy.to_owned() },
    }
}

pub(super) fn start(settings: &Settings, out: &mut dyn Write) -> Result<Exit, Failure> {
    let places = of(settings)?;
    let program = std::env::current_exe()
        .map_err(|error| AccessError::Internal(format!("this program's own file: {error}")))?;
    match control::start(&places, &program, &arguments(settings, &places)) {
        Ok(pid) => {
            writeln!(out, "portwatch daemon started (pid {pid}), {}", places.socket.display())?;
            Ok(Exit::Yes)
        }
        Err(ControlError::Lock(error @ LockError::Held { .. })) => {
            writeln!(out, "{error}; portwatch stop ends it, portwatch restart renews it")?;
            Ok(Exit::No)
        }
        Err(error) => Err(not_done(&error).into()),
    }
}

pub(super) fn stop(settings: &Settings, out: &mut dyn Write) -> Result<Exit, Failure> {
    match control::stop(&of(settings)?) {
        Ok(pid) => {
            writeln!(out, "portwatch daemon stopped (pid {pid})")?;
            Ok(Exit::Yes)
        }
        Err(error @ ControlError::NotRunning(_)) => {
            writeln!(out, "{error}")?;
            Ok(Exit::No)
        }
        Err(error) => Err(not_done(&error).into()),
    }
}

fn not_done(error: &ControlError) -> AccessError {
    let what = error.to_string();
    let remedy = match error {
        ControlError::Failed { .. } => "portwatch daemon shows it in the foreground".to_owned(),
        ControlError::Stuck { pid, .. } => format!(
            "look again; {} ends it at once, and what it has acknowledged is kept",
            if cfg!(windows) { format!("taskkill /F /PID {pid}") } else { format!("kill -KILL {pid}") }
        ),
        // No rights are wanting where the system says something else.
        ControlError::Io { error, .. }
            if error.kind() != std::io::ErrorKind::PermissionDenied || is_privileged() =>
        {
            "mend that, or choose another place with --state".to_owned()
        }
        _ => format!("do it as the user whose daemon it is, or as {ROOT}"),
    };
    match error {
        ControlError::Failed { .. } => AccessError::NoDaemon { what, remedy },
        _ => AccessError::NotSeen { what, remedy },
    }
}

/// The command line of a daemon with these settings.
fn arguments(settings: &Settings, places: &Places) -> Vec<OsString> {
    let pair = |flag: &str, value: OsString| [OsString::from(flag), value];
    let mut words = vec![OsString::from("daemon")];
    words.extend(pair("--socket", places.socket.clone().into()));
    words.extend(pair("--state", places.state.clone().into()));
    words.extend(pair("--source", settings.source.value.clone().into()));
    words.extend(pair("--hooks", settings.hooks.value.clone().into()));
    words.extend(pair("--redact", settings.redact.value.clone().into()));
    words.extend(pair("--engines", settings.engines.value.clone().into()));
    words.extend(pair("--retention-days", settings.retention_days.value.to_string().into()));
    words.extend(pair("--retention-mb", settings.retention_mb.value.to_string().into()));
    words.extend(pair("--ports-per-user", settings.ports_per_user.value.to_string().into()));
    if settings.all.value {
        words.push("--all".into());
    }
    if settings.reserve_ports.value {
        words.push("--reserve-ports".into());
    }
    // What it says of claims has no flags.
    if let (Some(file), true) = (&settings.file, settings.file_read) {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        words.extend(pair("--config", file.into()));
    }
    words
}

/// The project that the working directory lies in. `run` asks before it starts a program: nothing else is looked at.
pub(super) fn project() -> Option<Project> {
    let pid = std::process::id();
    let start_ticks = daemon::start_ticks(pid).ok()?;
    Attributor::new(Roots::default()).project_of(ProcessId { pid, start_ticks })
}

/// Socket and state directory in effect, for `config`.
pub(super) fn places(settings: &Settings) -> (PathBuf, PathBuf) {
    of(settings).map_or_else(|_| (PathBuf::new(), PathBuf::new()), |p| (p.socket, p.state))
}
