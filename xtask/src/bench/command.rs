//! Running a command to its end and knowing what it cost.

use std::{
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};

use super::stats::Cost;

/// A command line that is run again and again.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    /// As it is called in tables.
    pub(super) name: String,
    program: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Tool {
    pub(super) fn new(name: &str, program: &str, arguments: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            variables: Vec::new(),
        }
    }

    pub(super) fn with(mut self, variables: &[(String, String)]) -> Self {
        self.variables = variables.to_vec();
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it and gives its output.
    pub(super) fn output(&self) -> Result<Output> {
        self.command().output().with_context(|| format!("running {}", self.name))
    }

    /// Runs it once and makes sure that its answer names `word`: a tool that answers nothing is fast.
    pub(super) fn must_say(&self, word: &str) -> Result<()> {
        let output = self.output()?;
        let text = format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
        if words.any(|found| found == word) {
            return Ok(());
        }
        bail!("{} does not name {word}; it ended with {} and said: {text}", self.name, output.status)
    }

    /// Runs it once, output thrown away, and gives what it cost.
    ///
    /// Processor time is that of all children this process has waited for, so no other child may be waited for
    /// meanwhile: all of `bench` runs in one thread.
    pub(super) fn cost(&self) -> Result<Cost> {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let cpu = cpu_of_children()?;
        let begin = Instant::now();
        let status = command.status().with_context(|| format!("running {}", self.name))?;
        let wall = begin.elapsed();
        ensure!(status.success(), "{} failed: {status}", self.name);
        Ok(Cost { wall, cpu: cpu_of_children()?.saturating_sub(cpu) })
    }
}

fn cpu_of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let micros = |time: nix::sys::time::TimeVal| {
        Ok::<_, std::num::TryFromIntError>(
            Duration::from_secs(u64::try_from(time.tv_sec())?)
                + Duration::from_micros(u64::try_from(time.tv_usec())?),
        )
    };
    Ok(micros(usage.user_time())? + micros(usage.system_time())?)
}

/// The tools we are compared with, and where Debian has them.
const PACKAGES: [(&str, &str); 4] =
    [("ss", "iproute2"), ("ip", "iproute2"), ("lsof", "lsof"), ("fuser", "psmisc")];

/// Fails with the packages that are missing.
pub(super) fn require_comparators() -> Result<()> {
    let mut missing: Vec<&str> =
        PACKAGES.into_iter().filter(|(program, _)| !installed(program)).map(|(_, package)| package).collect();
    missing.dedup();
    ensure!(
        missing.is_empty(),
        "the tools to compare with are missing; install them: apt-get install {}",
        missing.join(" ")
    );
    Ok(())
}

/// Is it on the path?
pub(super) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_burns_time_costs_it() {
        let busy = Tool::new("busy", "sh", &["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]);
        let cost = busy.cost().unwrap();
        assert!(cost.cpu > Duration::from_millis(5), "{cost:?}");
        assert!(cost.wall > Duration::from_millis(5), "{cost:?}");
        let idle = Tool::new("idle", "true", &[]).cost().unwrap();
        assert!(idle.cpu < cost.cpu, "{idle:?} {cost:?}");
    }

    #[test]
    fn a_failure_is_no_measurement() {
        assert!(Tool::new("false", "false", &[]).cost().is_err());
        assert!(Tool::new("none", "/nonexistent", &[]).cost().is_err());
    }

    #[test]
    fn a_tool_must_name_the_whole_word() {
        let echo = Tool::new("echo", "echo", &["pid=1234,fd=3"]);
        assert!(echo.must_say("1234").is_ok());
        assert!(echo.must_say("123").is_err());
    }
}
