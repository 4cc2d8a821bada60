//! What tests of the eBPF source share.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests; a skip is said aloud")]

use std::{
    os::unix::fs::MetadataExt as _,
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

/// This process.
pub(crate) fn me() -> u32 {
    std::process::id()
}

/// Inode of this thread's network namespace.
pub(crate) fn own_netns() -> u64 {
    std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino()
}

/// A running source. The first snapshot is behind it.
pub(crate) struct Watch {
    pub(crate) source: EbpfSource,
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
                Some(Self { source, seen: Vec::new() })
            }
            Err(why) => {
                let required = std::env::var("PORTWATCH_REQUIRE").is_ok_and(|v| v.contains("ebpf"));
                assert!(!required, "PORTWATCH_REQUIRE=ebpf, but {}: {}", why.what, why.remedy);
                eprintln!("SKIPPED: no BPF here: {}: {}", why.what, why.remedy);
                None
            }
        }
    }

    /// Takes in what there is now.
    pub(crate) fn take(&mut self, wait: Duration) {
        let mut out = Vec::new();
        self.source.poll(wait, &mut out).unwrap();
        self.seen.extend(out.into_iter().map(|o| o.seen));
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
