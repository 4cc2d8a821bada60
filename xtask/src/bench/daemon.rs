//! The daemon under measurement: its own socket, state and configuration, and what it costs.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use serde_json::Value;

use super::{api::Api, command::Tool, worker};

/// How long it may take to be ready.
const START: Duration = Duration::from_secs(30);

/// A running daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    place: Place,
}

/// Where a daemon keeps its things, and which program it is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) binary: PathBuf,
    /// The program that tethers it to this process.
    pub(super) helper: PathBuf,
    pub(super) directory: PathBuf,
}

/// What a daemon used up to a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Processor time of all its threads.
    pub(super) cpu: Duration,
    /// Times one of its threads went to sleep, and so was woken again.
    pub(super) switches: u64,
}

impl Place {
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// What makes any portwatch use this place and nothing of the machine's.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        vec![
            ("PORTWATCH_SOCKET".to_owned(), path(self.socket())),
            ("PORTWATCH_STATE".to_owned(), path(self.directory.join("state"))),
            ("XDG_CONFIG_HOME".to_owned(), path(self.directory.join("config"))),
        ]
    }

    /// `portwatch ARGUMENTS` here.
    pub(super) fn cli(&self, name: &str, arguments: &[&str]) -> Tool {
        Tool::new(name, &self.binary.to_string_lossy(), arguments).with(&self.variables())
    }

    /// Starts a daemon and waits until it answers.
    pub(super) fn start(&self, arguments: &[&str]) -> Result<Daemon> {
        let log = self.directory.join("daemon.log");
        let log = File::options().create(true).append(true).open(&log).context("the daemon's log")?;
        let child = Command::new(&self.helper)
            .args(["bench-work", "tethered", "--parent"])
            .arg(std::process::id().to_string())
            .arg("--")
            .arg(&self.binary)
            .arg("daemon")
            .args(arguments)
            .envs(self.variables())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting the daemon")?;
        let mut daemon = Daemon { child, place: self.clone() };
        daemon.wait_until_it_answers()?;
        Ok(daemon)
    }
}

impl Daemon {
    fn wait_until_it_answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if self.status().is_ok() {
                return Ok(());
            }
            let ended = self.child.try_wait().context("waiting for the daemon")?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.place.directory.join("daemon.log")).unwrap_or_default();
                match ended {
                    Some(status) => bail!("the daemon ended at once ({status}): {log}"),
                    None => bail!("the daemon does not answer within {START:?}: {log}"),
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it is asked.
    pub(super) fn api(&self) -> Api {
        Api::new(&self.place.socket())
    }

    /// Its status document.
    pub(super) fn status(&self) -> Result<Value> {
        self.api().get("/v1/status")
    }

    /// Whether kernel programs serve it, or else why not.
    pub(super) fn sees_the_kernel(&self) -> Result<bool> {
        Ok(self.status()?.pointer("/source/source").and_then(Value::as_str) == Some("ebpf"))
    }

    /// What it used since it started.
    pub(super) fn usage(&self) -> Result<Usage> {
        let pid = i32::try_from(self.pid()).context("a pid")?;
        let clock = clock_getcpuclockid(Pid::from_raw(pid)).context("the daemon's clock")?;
        let cpu = clock_gettime(clock).context("the daemon's clock")?.into();
        let mut switches = 0;
        let tasks = Path::new("/proc").join(pid.to_string()).join("task");
        for task in fs::read_dir(&tasks).with_context(|| format!("reading {}", tasks.display()))? {
            // A thread may end between the two.
            if let Ok(status) = fs::read_to_string(task?.path().join("status")) {
                switches += field(&status, "voluntary_ctxt_switches")?;
            }
        }
        Ok(Usage { cpu, switches })
    }

    /// A line of its /proc status in bytes: `VmRSS`, `VmHWM`, `RssAnon`, `RssFile`.
    pub(super) fn memory(&self, name: &str) -> Result<u64> {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).context("the daemon's status")?;
        Ok(field(&status, name)? * 1024)
    }

    /// Ends it as a crash would, and waits until it has ended.
    pub(super) fn kill(mut self) -> Result<()> {
        // It is our child and not waited for: the pid is its own.
        self.child.kill().context("SIGKILL to the daemon")?;
        self.child.wait().context("waiting for the daemon")?;
        Ok(())
    }

    /// Ends it, and waits until it has ended.
    pub(super) fn stop(mut self) -> Result<()> {
        worker::terminate(&self.child)?;
        let status = worker::wait(&mut self.child)?.context("the daemon does not end after SIGTERM")?;
        anyhow::ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Nothing more can be done about errors here.
        drop(worker::terminate(&self.child));
        if !matches!(worker::wait(&mut self.child), Ok(Some(_))) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn field(status: &str, name: &str) -> Result<u64> {
    status
        .lines()
        .find_map(|line| {
            let (key, value) = line.split_once(':')?;
            if key != name {
                return None;
            }
            value.split_whitespace().next()?.parse().ok()
        })
        .with_context(|| format!("no {name} in a status file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_field_is_found_by_its_whole_name() {
        let status = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t12\nVmRSS:\t  2048 kB\n";
        assert_eq!(field(status, "voluntary_ctxt_switches").unwrap(), 12);
        assert_eq!(field(status, "VmRSS").unwrap(), 2048);
        assert!(field(status, "VmHWM").is_err());
    }
}
