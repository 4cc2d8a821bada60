//! Processes by pid, on each platform by its own means and with one interface: who has this pid, and what is it.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(any(test, target_os = "macos"))]
mod procargs;
#[cfg(target_os = "macos")]
use macos as platform;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;
#[cfg(any(test, windows))]
mod words;
#[cfg(windows)]
use words::words;

pub use self::platform::{Processes, now, own_netns};
use crate::model::Owner;

/// What a table of processes says of a living one besides [`ProcessSeen`](crate::model::ProcessSeen), as far as this
/// user may see it.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extras {
    /// The program's file.
    pub exe: Option<std::path::PathBuf>,
    /// Its working directory.
    pub cwd: Option<std::path::PathBuf>,
    /// Its user's name, where that is not to be had by its uid.
    pub user: Option<String>,
}

/// This process and its ancestors, as far as they can be seen.
pub fn own_ancestors() -> Vec<u32> {
    let mut up = Vec::new();
    let Ok(mut processes) = Processes::open() else { return vec![std::process::id()] };
    let (mut pid, mut born) = (std::process::id(), u64::MAX);
    while pid != 0 && !up.contains(&pid) {
        up.push(pid);
        // A process that began after its child has the pid of somebody who is gone.
        let Ok(id) = processes.identify(pid) else { break };
        let Some(seen) = processes.process(id).filter(|_| id.start_ticks <= born) else { break };
        (pid, born) = (seen.parent_pid, id.start_ticks);
    }
    up
}

/// Why a pid has no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// There is no such process (any more).
    Gone,
    /// This observer may not look at it.
    NotPermitted,
    /// The kernel itself.
    Kernel,
}

impl From<Absent> for Owner {
    fn from(absent: Absent) -> Self {
        match absent {
            // It ended after the table was made: who holds the socket now, a later look will tell.
            Absent::Gone => Self::Unknown,
            Absent::NotPermitted => Self::NotPermitted,
            Absent::Kernel => Self::Kernel(None),
        }
    }
}
