//! Who is behind a pid: command line, program, directory, user, lineage, control group, project.
//!
//! Facts from an event are merged with what the machine still says: `/proc` on Linux, the table of processes elsewhere.
//! A process is looked at once and remembered by `ProcessId`; the environment of a process is never read.
//!
//! Never: guess.

#[cfg(target_os = "linux")]
mod addresses;
mod bound;
#[cfg(target_os = "linux")]
mod cgroup;
mod command;
#[cfg(target_os = "linux")]
mod lineage;
#[cfg(target_os = "linux")]
mod own;
#[cfg(target_os = "linux")]
mod pid;
#[cfg(target_os = "linux")]
mod placement;
#[cfg(target_os = "linux")]
mod procfs;
mod project;
mod redact;
#[cfg(not(target_os = "linux"))]
mod table;
mod user;

use std::path::PathBuf;

#[cfg(target_os = "linux")]
pub use self::procfs::Attributor;
pub use self::project::{is_planted, is_shared, text_of_another};
pub use self::redact::{MARK, Redaction, RedactionError};
#[cfg(not(target_os = "linux"))]
pub use self::table::Attributor;
use crate::model::{Process, ProcessSeen};

/// Of a file of a project's or of a user's no more is read, in bytes; a larger one says nothing.
pub const PROJECT_FILE_LIMIT: usize = 64 * 1024;

/// How many processes are remembered. About 2 kB each with lineage.
const REMEMBERED: usize = 2048;

/// Where the kernel's trees are, on systems that have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`
    pub proc: PathBuf,
    /// `/sys/fs/cgroup`
    pub cgroup: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into() }
    }
}

/// Whether an event tells nothing that is not remembered.
fn adds_nothing(seen: &ProcessSeen, known: &Process) -> bool {
    let same_command = match (&seen.command, &known.command) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(seen), Some(known)) => command::continues(seen, known),
    };
    seen.comm == known.comm && same_command
}
