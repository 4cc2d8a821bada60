//! Where nothing tells of a process's end: the warden looks every second.

use std::{io, time::Instant};

use crate::{model::ProcessId, source::Wake};

/// No process is watched.
#[derive(Debug, Default)]
pub(super) struct Handles();

#[expect(clippy::unused_self, reason = "the same face as where processes are watched")]
impl Handles {
    /// Nobody is watched.
    pub(super) fn follow(&mut self, _: &[ProcessId]) -> Vec<ProcessId> {
        Vec::new()
    }

    /// Nothing tells of an end.
    pub(super) fn ended(&mut self) -> Vec<(ProcessId, String)> {
        Vec::new()
    }

    /// Waits until `wake`, or until `due`.
    pub(super) fn wait(&self, wake: &Wake, due: Instant) -> io::Result<()> {
        wake.wait(due.saturating_duration_since(Instant::now())).map(drop)
    }
}
