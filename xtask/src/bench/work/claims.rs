//! Clients of the claims office: each claims one new name after the other until the time is up.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Args)]
pub(super) struct Arguments {
    /// The daemon's socket.
    #[arg(long)]
    socket: PathBuf,
    /// Clients that ask the daemon.
    #[arg(long)]
    clients: usize,
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
    /// By the program without it.
    pub(crate) direct: Vec<Promised>,
    /// Time it took, ns.
    pub(crate) wall: u64,
}

/// Every port but those that need a privilege: at some thousand claims a second a smaller range is soon full.
const RANGE: &str = "1024-65535";

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let begin = Instant::now();
    let until = begin + Duration::from_millis(arguments.milliseconds);
    let done = thread::scope(|scope| {
        let daemon: Vec<_> = (0..arguments.clients)
            .map(|client| {
                let ask = move |name: &str| by_daemon(&arguments.socket, name);
                scope.spawn(move || claim(&format!("client{client}"), until, ask))
            })
            .collect();
        let direct: Vec<_> = (0..arguments.direct)
            .map(|client| {
                let ask = move |name: &str| directly(&arguments.program, name);
                scope.spawn(move || claim(&format!("direct{client}"), until, ask))
            })
            .collect();
        let join = |threads: Vec<thread::ScopedJoinHandle<'_, Promised>>| {
            threads.into_iter().map(|thread| thread.join().ok()).collect::<Option<Vec<_>>>()
        };
        let (daemon, direct) = (join(daemon), join(direct));
        daemon.zip(direct).context("a client panicked")
    })?;
    let wall = u64::try_from(begin.elapsed().as_nanos())?;
    super::report(&Done { daemon: done.0, direct: done.1, wall })
}

fn claim(client: &str, until: Instant, ask: impl Fn(&str) -> Result<u16>) -> Promised {
    let mut promised = Promised::default();
    let mut number = 0_u32;
    while Instant::now() < until && promised.errors.len() < 10 {
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

fn by_daemon(socket: &Path, name: &str) -> Result<u16> {
    let order = json!({
        "name": name, "port": null, "range": RANGE, "exclude": [], "ephemeral": true, "ttl_ms": null,
        "protocols": [], "ports": 0, "host": null, "root": null, "worktree": null, "agent": null, "session": null,
    })
    .to_string();
    let mut stream = UnixStream::connect(socket).context("connecting")?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    let request = format!(
        "POST /v1/claims HTTP/1.1\r\nHost: portwatch\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{order}",
        order.len()
    );
    stream.write_all(request.as_bytes()).context("asking")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer broken off")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{}: {body}", head.lines().next().unwrap_or_default());
    let claimed: Value = serde_json::from_str(body).context("no JSON")?;
    let port = claimed.pointer("/claim/port").and_then(Value::as_u64).context("a claim without a port")?;
    ensure!(claimed.get("fresh").and_then(Value::as_bool) == Some(true), "the claim stood already");
    Ok(u16::try_from(port)?)
}

fn directly(program: &Path, name: &str) -> Result<u16> {
    let output = Command::new(program)
        .args(["claim", name, "--no-daemon", "--quiet", "--ephemeral", "--range", RANGE])
        .stdin(Stdio::null())
        .output()
        .context("starting portwatch")?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8_lossy(&output.stdout).trim().parse().context("no port")
}
