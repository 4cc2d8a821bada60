//! What tests of the eBPF source share.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests; a skip is said aloud")]

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use portwatch::{
    model::{Observation, Seen},
    source::{
        Source as _, Wake,
        ebpf::{EbpfSource, LoadOptions},
    },
};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// Set in a process that [`child`] starts.
pub(crate) const CHILD: &str = "PORTWATCH_TEST_CHILD";

/// Says aloud that a test cannot run here.
pub(crate) fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Starts one test of this binary as a program of its own.
pub(crate) fn child(test: &str) -> Child {
    command(test).spawn().unwrap()
}

/// As [`child`], with a variable.
pub(crate) fn child_with(test: &str, name: &str, value: &str) -> Child {
    command(test).env(name, value).spawn().unwrap()
}

/// A process that is ended and waited for when it is dropped.
pub(crate) struct Reaped(pub(crate) Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(CHILD, "1").stdout(Stdio::null());
    command
}

/// This process.
pub(crate) fn me() -> u32 {
    std::process::id()
}

/// A running source. The first snapshot is behind it.
pub(crate) struct Watch {
    pub(crate) source: EbpfSource,
    /// What the first delivery held. The look at the tables binds a port itself, so this process is in it.
    pub(crate) before: Vec<Seen>,
    /// Everything since, in order.
    pub(crate) seen: Vec<Seen>,
}

impl Watch {
    /// `None`, said aloud, where kernel programs cannot be loaded and the run does not insist.
    pub(crate) fn start() -> Option<Self> {
        Self::with(&LoadOptions::default())
    }

    /// As [`Watch::start`], with options.
    pub(crate) fn with(options: &LoadOptions) -> Option<Self> {
        match EbpfSource::start(options, Wake::new().unwrap()) {
            Ok(mut source) => {
                let mut out = Vec::new();
                source.poll(Duration::ZERO, &mut out).unwrap();
                assert!(
                    matches!(out.last(), Some(Observation { seen: Seen::Snapshot(_), .. })),
                    "the first delivery ends with a snapshot"
                );
                let before = out.into_iter().map(|o| o.seen).collect();
                Some(Self { source, before, seen: Vec::new() })
            }
            Err(why) => {
                let required = std::env::var("PORTWATCH_REQUIRE").is_ok_and(|v| v.contains("ebpf"));
                assert!(!required, "PORTWATCH_REQUIRE=ebpf, but {}: {}", why.what, why.remedy);
                eprintln!("SKIPPED: no BPF here: {}: {}", why.what, why.remedy);
                None
            }
        }
    }

    /// Records received so far.
    pub(crate) fn source_received(&self) -> u64 {
        self.source.counters().received
    }

    /// Takes in what there is now.
    pub(crate) fn take(&mut self, wait: Duration) {
        let mut out = Vec::new();
        self.source.poll(wait, &mut out).unwrap();
        self.seen.extend(out.into_iter().map(|o| o.seen));
    }

    /// Waits until something is seen, and returns what `pick` makes of it.
    pub(crate) fn find<T>(&mut self, pick: impl Fn(&Seen) -> Option<T>) -> T {
        self.until(|seen| pick(seen).is_some());
        self.seen.iter().find_map(pick).unwrap()
    }

    /// Waits until something is seen, and returns all that was seen so far.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Seen) -> bool) -> &[Seen] {
        let deadline = Instant::now() + DEADLINE;
        while !self.seen.iter().any(&wanted) {
            assert!(Instant::now() < deadline, "not seen in time; seen: {:#?}", self.seen);
            self.take(Duration::from_millis(100));
        }
        &self.seen
    }
}
