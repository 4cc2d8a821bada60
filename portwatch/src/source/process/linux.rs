//! By procfs.

use std::path::Path;

use super::Absent;
use crate::{
    model::{Netns, ProcessId, ProcessSeen},
    source::{SourceError, procfs::ProcFs},
};

/// Processes of this machine.
#[derive(Debug)]
pub struct Processes(ProcFs);

fn open() -> Result<ProcFs, SourceError> {
    ProcFs::open(Path::new("/proc")).map_err(|error| SourceError::Read { what: "/proc".to_owned(), error })
}

/// The network namespace of the calling thread.
pub fn own_netns() -> Result<Option<Netns>, SourceError> {
    let netns = open()?.own_netns();
    netns
        .map(|inode| Some(Netns(inode)))
        .map_err(|error| SourceError::Read { what: "/proc/thread-self/ns/net".to_owned(), error })
}

/// This moment as [`ProcessId::start_ticks`] counts; `None` where the clock says nothing.
pub fn now() -> Option<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
    let hundredths = u64::try_from(now.tv_nsec()).ok()? / 10_000_000;
    u64::try_from(now.tv_sec()).ok()?.checked_mul(100)?.checked_add(hundredths)
}

impl Processes {
    /// Opens what is needed to look.
    pub fn open() -> Result<Self, SourceError> {
        open().map(Self)
    }

    /// Forgets what a look before has found. Nothing is kept here.
    pub fn look_again(&mut self) {}

    /// The process that has `pid` now.
    pub fn identify(&mut self, pid: u32) -> Result<ProcessId, Absent> {
        // The start time is readable for every user, except where hidepid hides the process altogether.
        self.0.identify(pid).ok_or(Absent::Gone)
    }

    /// Facts of exactly this process.
    pub fn process(&mut self, id: ProcessId) -> Option<ProcessSeen> {
        self.0.process(id)
    }
}
