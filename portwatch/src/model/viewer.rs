//! Who is asking, and what of a foreign process they may be shown: what `/proc` would show them, no more.

use super::Process;

/// The asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Viewer {
    /// This process itself, or root: nothing is withheld.
    #[default]
    Unrestricted,
    /// A peer of the daemon.
    User {
        /// Its uid, from the socket's peer credentials.
        uid: u32,
        /// `/proc` is mounted with `hidepid` of 1 or more: foreign `/proc/PID` cannot be entered.
        hidepid: bool,
    },
}

/// How much of a process is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// Pid, comm and user only: `/proc/PID` is closed to this viewer.
    Identity,
    /// What is world-readable in `/proc/PID`: command line, cgroup and parents, but not `exe` and `cwd`,
    /// which the kernel shows to the owner and to root (proc(5), "ptrace access mode").
    Public,
    /// Everything.
    Full,
}

impl Viewer {
    /// Something may be withheld.
    pub const fn is_restricted(self) -> bool {
        !matches!(self, Self::Unrestricted | Self::User { uid: 0, .. })
    }

    /// How much of `process` this viewer is shown. A process of unknown owner counts as foreign.
    pub fn sight(&self, process: &Process) -> Sight {
        match *self {
            Self::Unrestricted | Self::User { uid: 0, .. } => Sight::Full,
            Self::User { uid, .. } if process.uid == Some(uid) => Sight::Full,
            Self::User { hidepid: true, .. } => Sight::Identity,
            Self::User { .. } => Sight::Public,
        }
    }
}
