//! Where nothing tells of a process's end: the warden looks every second.

use std::{io, path::Path, time::Instant};

use crate::{model::ProcessId, source::Wake};

/// Nothing tells who writes into the database.
#[derive(Debug)]
pub(super) enum Writes {}

impl Writes {
    /// Never.
    pub(super) fn beside(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never called.
    pub(super) fn any(&self) -> bool {
        match *self {}
    }
}

/// No process is watched.
#[derive(Debug, Clone, Default)]
pub(super) struct Handles();

#[expect(clippy::unused_self, reason = "the same face as where processes are watched")]
impl Handles {
    /// Nobody is watched.
    pub(super) fn follow(&self, _: &[ProcessId]) -> Vec<ProcessId> {
        Vec::new()
    }

    /// Nothing tells of an end.
    pub(super) fn ended(&self) -> Vec<ProcessId> {
        Vec::new()
    }

    /// Nor how it was.
    pub(super) fn ending(&self, _: ProcessId, _: Instant) -> Option<String> {
        None
    }

    /// Nobody was watched.
    pub(super) fn let_go(&self, _: &[ProcessId]) {}

    /// None.
    pub(super) fn watched(&self) -> usize {
        0
    }

    /// Waits until `wake`, or until `due`.
    pub(super) fn wait(&self, wake: &Wake, _: Option<&Writes>, due: Instant) -> io::Result<()> {
        wake.wait(due.saturating_duration_since(Instant::now())).map(drop)
    }
}
