//! Which program a process runs, where the system tells no more of it than its file.

use std::path::PathBuf;

use crate::{model::Process, source::process::Processes};

/// The program of a process, as far as it may be known. On Windows it stays the same for as long as the process lives;
/// elsewhere exec(2) changes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image(Option<PathBuf>);

impl Image {
    /// What the process ran when it was shown.
    pub(super) fn of(process: &Process) -> Self {
        Self(process.exe.clone())
    }

    /// The program that a process runs now, if it is another one than then.
    pub(super) fn other_now(&self, pid: u32) -> Option<String> {
        let mut processes = Processes::open().ok()?;
        let id = processes.identify(pid).ok()?;
        let now = processes.extras(id)?.exe?;
        let then = self.0.as_ref()?;
        (*then != now).then(|| now.display().to_string())
    }
}
