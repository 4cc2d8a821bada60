//! Clients of the claims office: each claims one new name after the other until the time is up.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::api::Kept;

#[derive(Args)]
pub(super) struct Arguments {
    /// The daemon's socket.
    #[arg(long)]
    socket: PathBuf,
    /// Clients that ask the daemon, each on a connection that it keeps.
    #[arg(long, default_value_t = 0)]
    clients: usize,
    /// Clients that run the program, which asks the daemon, a process a claim.
    #[arg(long, default_value_t = 0)]
    programs: usize,
    /// Clients that run the program with --no-daemon, a process a claim.
    #[arg(long, default_value_t = 0)]
    direct: usize,
    /// That program; the database is named by its environment.
    #[arg(long)]
    program: PathBuf,
    /// How long.
    #[arg(long)]
    milliseconds: u64,
}

/// What one client was promised.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Promised {
    /// Name and port of each claim that was acknowledged.
    pub(crate) claims: Vec<(String, u16)>,
    /// What was refused, and how.
    pub(crate) errors: Vec<String>,
    /// The longest that a claim took, ns.
    pub(crate) longest: u64,
}

/// What all of them were promised.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// By the daemon.
    pub(crate) daemon: Vec<Promised>,
    /// By the program with it.
    pub(crate) programs: Vec<Promised>,
    /// By the program without it.
    pub(crate) direct: Vec<Promised>,
    /// Time it took, ns.
    pub(crate) wall: u64,
}

/// Every port but those that need a privilege: at some thousand claims a second a smaller range is soon full.
const RANGE: &str = "1024-65535";
/// All clients together end after so many claims: a range that is nearly full is another measurement.
const MOST: usize = 40_000;

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { socket, clients, programs, direct, program, milliseconds } = arguments;
    let begin = Instant::now();
    let until = begin + Duration::from_millis(*milliseconds);
    let most = MOST / (clients + programs + direct).max(1);
    let (daemon, run, alone) = thread::scope(|scope| {
        let daemon: Vec<_> = (0..*clients)
            .map(|client| {
                scope.spawn(move || {
                    let mut api = Kept::connect(socket);
                    claim(&format!("client{client}"), until, most, |name| match &mut api {
                        Ok(api) => by_daemon(api, name),
                        Err(error) => bail!("{error:#}"),
                    })
                })
            })
            .collect();
        let by_program = |kind: &'static str, count: usize, no_daemon: bool| -> Vec<_> {
            let client = |client| {
                scope.spawn(move || {
                    claim(&format!("{kind}{client}"), until, most, |name| {
                        by_program(program, socket, no_daemon, name)
                    })
                })
            };
            (0..count).map(client).collect()
        };
        let run = by_program("program", *programs, false);
        let alone = by_program("direct", *direct, true);
        let join = |threads: Vec<thread::ScopedJoinHandle<'_, Promised>>| {
            threads.into_iter().map(|thread| thread.join().ok()).collect::<Option<Vec<_>>>()
        };
        Some((join(daemon)?, join(run)?, join(alone)?))
    })
    .context("a client panicked")?;
    let wall = u64::try_from(begin.elapsed().as_nanos())?;
    super::report(&Done { daemon, programs: run, direct: alone, wall })
}

fn claim(client: &str, until: Instant, most: usize, mut ask: impl FnMut(&str) -> Result<u16>) -> Promised {
    let mut promised = Promised::default();
    let mut number = 0_u32;
    while Instant::now() < until && promised.errors.len() < 10 && promised.claims.len() < most {
        let name = format!("bench:{client}:n{number}");
        number += 1;
        let begin = Instant::now();
        match ask(&name) {
            Ok(port) => promised.claims.push((name, port)),
            Err(error) => promised.errors.push(format!("{name}: {error:#}")),
        }
        promised.longest =
            promised.longest.max(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    promised
}

fn by_daemon(api: &mut Kept, name: &str) -> Result<u16> {
    let order = json!({
        "name": name, "port": null, "range": RANGE, "exclude": [], "ephemeral": true, "ttl_ms": null,
        "protocols": [], "ports": 0, "host": null, "root": null, "worktree": null, "agent": null, "session": null,
    });
    let claimed = api.post("/v1/claims", &order)?;
    let port = claimed.pointer("/claim/port").and_then(Value::as_u64).context("a claim without a port")?;
    ensure!(claimed.get("fresh").and_then(Value::as_bool) == Some(true), "the claim stood already");
    Ok(u16::try_from(port)?)
}

fn by_program(program: &Path, socket: &Path, no_daemon: bool, name: &str) -> Result<u16> {
    let output = Command::new(program)
        .args(["claim", name, "--quiet", "--ephemeral", "--range", RANGE])
        .args(no_daemon.then_some("--no-daemon"))
        .env("PORTWATCH_SOCKET", socket)
        .stdin(Stdio::null())
        .output()
        .context("starting portwatch")?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8_lossy(&output.stdout).trim().parse().context("no port")
}
