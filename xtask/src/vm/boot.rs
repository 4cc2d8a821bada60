//! One boot: the emulator, its console, and what came of it.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{console::Console, guest::Guest, kernels::Kernel};

/// Tells the guest that it may be put to sleep: by the scenarios' own word for it (`tests/src/kernel/scenarios/machine.rs`).
const SLEEPS: &str = "PORTWATCH_TEST_SLEEP";

/// Longest time for a boot with all its plans, on a slow and busy machine: ten times what it takes on one that is neither. The guest has
/// deadlines of its own, by its own clock, so only an emulator that stands still comes here.
const LIMIT: Duration = Duration::from_mins(40);

/// Result of a plan on a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct PlanResult {
    pub(super) plan: String,
    /// Scenarios the plan has.
    pub(super) expected: usize,
    pub(super) held: usize,
    /// Scenarios about what this kernel has not, with the reason.
    pub(super) not_here: Vec<(String, String)>,
    /// Those that do not hold, with what they complain about.
    pub(super) failed: Vec<(String, String)>,
}

impl PlanResult {
    pub(super) fn good(&self) -> bool {
        self.failed.is_empty() && self.held + self.not_here.len() == self.expected && self.held > 0
    }
}

/// A boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(super) series: String,
    pub(super) package: String,
    /// `uname -r`, said by the guest in its last line; nothing counts without it.
    pub(super) release: Option<String>,
    pub(super) plans: Vec<PlanResult>,
    pub(super) seconds: u64,
    /// Why there was no last line.
    pub(super) trouble: Option<String>,
    /// The trouble of a first attempt, where this is the second.
    pub(super) repeated: Option<String>,
    /// What it measured, line by line as the guest wrote it.
    pub(super) costs: Vec<String>,
}

impl Boot {
    /// All that was expected came, and the last line.
    pub(super) fn good(&self) -> bool {
        let something = !self.plans.is_empty() || !self.costs.is_empty();
        self.release.is_some()
            && self.trouble.is_none()
            && something
            && self.plans.iter().all(PlanResult::good)
    }

    /// The machine ended by itself and said nothing.
    pub(super) fn died(&self) -> bool {
        self.release.is_none() && self.trouble.is_some()
    }

    /// In one line.
    pub(super) fn summary(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return format!("TROUBLE: {trouble}");
        }
        let held: usize = self.plans.iter().map(|p| p.held).sum();
        let failed: usize = self.plans.iter().map(|p| p.failed.len()).sum();
        let expected: usize = self.plans.iter().map(|p| p.expected).sum();
        let not_here: usize = self.plans.iter().map(|p| p.not_here.len()).sum();
        let missing = expected - (held + failed + not_here).min(expected);
        format!("{held} of {expected} held, {not_here} not there, {failed} failed, {missing} missing")
    }
}

/// Starts another program that is killed when the thread that started it ends, however it does: a task that is killed drops
/// nothing. From util-linux, which every Debian machine has.
const TIED: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// A started emulator; it does not outlive this, nor this process.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a kernel and runs the guest's plans.
///
/// `-accel tcg` alone: a KVM that opens may still not work. One processor: two emulated ones crash now and then.
///
/// `-icount`: the guest's clock counts its instructions, one a nanosecond, and jumps to the next timer where it has nothing to
/// do. So what the machine does besides makes no deadline of the guest's pass, and no time of its kernel's run out. The battery
/// clock of one that is put to sleep is the host's: nothing runs meanwhile that could count, and that clock's alarm wakes it.
pub(super) fn boot(emulator: &Path, kernel: &Kernel, guest: &Guest, place: &Path) -> Result<Boot> {
    let begun = Instant::now();
    let packed = guest.pack(kernel, place)?;
    // A parameter that the kernel does not know becomes init's environment.
    let log = guest.log.as_ref().map_or_else(String::new, |filter| format!(" RUST_LOG={filter}"));
    let sleeps = if guest.sleeps() { format!(" {SLEEPS}=1") } else { String::new() };
    let machine = kernel.machine();
    let [tie, words @ ..] = TIED;
    let mut command = Command::new(tie);
    command
        .args(words)
        .arg(emulator)
        .args(["-accel", "tcg", "-icount", "shift=0,sleep=off"])
        .args(["-rtc", if guest.sleeps() { "clock=host" } else { "clock=vm" }])
        .args(machine.board())
        .args(["-smp", "1", "-m", "768", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot", "-serial", "stdio"])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(&packed)
        .args([
            "-append",
            &format!("{} panic=-1 quiet{log}{sleeps} -- {}", machine.parameters(), guest.words().join(" ")),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut running = Running(command.spawn().with_context(|| format!("starting {}", emulator.display()))?);
    let output = running.0.stdout.take().context("the console")?;
    let (sender, lines) = channel();
    // Ends with the emulator's output.
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    let mut console = Console::new(&guest.plans);
    let ended = loop {
        match lines.recv_timeout(LIMIT.saturating_sub(begun.elapsed())) {
            Ok(line) => {
                if guest.log.is_some() {
                    crate::say(&format!("{}| {line}", kernel.series));
                }
                console.take(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => break Some(format!("it did not end in {} s", LIMIT.as_secs())),
        }
    };
    drop(running);
    Ok(console.finish(kernel, begun.elapsed().as_secs(), ended))
}
