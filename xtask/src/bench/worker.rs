//! The handle of a worker (see `work`), and of the daemon: both end when this process does.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::de::DeserializeOwned;

/// How long anything may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A worker that runs.
#[derive(Debug)]
pub(super) struct Worker {
    name: String,
    child: Child,
    tell: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts `program bench-work ARGUMENTS` with these variables added to its environment.
    pub(super) fn start(program: &Path, arguments: &[&str], variables: &[(String, String)]) -> Result<Self> {
        let name = arguments.first().copied().unwrap_or_default().to_owned();
        let mut child = Command::new(program)
            .arg("bench-work")
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let tell = child.stdin.take();
        let hear = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        Ok(Self { name, child, tell, hear })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its next line.
    pub(super) fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.hear.read_line(&mut line).with_context(|| format!("hearing from {}", self.name))?;
        ensure!(!line.is_empty(), "{} ended without a word", self.name);
        serde_json::from_str(&line).with_context(|| format!("{} said: {line}", self.name))
    }

    /// Lets it begin.
    pub(super) fn go(&mut self) -> Result<()> {
        self.tell.as_mut().context("it has ended")?.write_all(b"go\n").context("telling it to begin")
    }

    /// Ends it, and waits until it has ended.
    pub(super) fn end(mut self) -> Result<()> {
        self.tell = None;
        let status = wait(&mut self.child)?.with_context(|| format!("{} does not end", self.name))?;
        ensure!(status.success(), "{} failed: {status}", self.name);
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tell = None;
        if !matches!(wait(&mut self.child), Ok(Some(_))) {
            // It is ours and not waited for, so its pid is still its own. Nothing more can be done about errors.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Waits for the end; `None` when it does not come.
pub(super) fn wait(child: &mut Child) -> Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().context("waiting")? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Asks a child of ours that is not waited for to end.
pub(super) fn terminate(child: &Child) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(child.id()).context("a pid")?);
    kill(pid, Signal::SIGTERM).with_context(|| format!("SIGTERM to {pid}"))
}
