//! Signals to exactly one process: the handle is opened first, and whether it is the right process is asked after.

use std::{fs, io, path::Path, time::Duration};

use nix::libc::ESRCH;

use super::{Image, Member};
use crate::{
    model::ProcessId,
    platform::ending::{Running, Signal},
    source::procfs::ProcFs,
};

/// A process that stays the same one, whoever gets its pid later.
#[derive(Debug)]
pub(super) struct Handle {
    running: Running,
    id: ProcessId,
}

/// Why there is no handle or no signal.
#[derive(Debug)]
pub(super) enum Missed {
    /// The process is gone, or its pid is another's by now.
    NotTheSame,
    /// It does not hold the socket any more.
    LetGo,
    /// It runs this other program by now.
    Another(String),
    /// The kernel refused.
    Refused(io::Error),
}

impl Handle {
    /// Opens it, and checks that it is `id`.
    pub(super) fn open(id: ProcessId) -> Result<Self, Missed> {
        let running = match Running::open(id.pid) {
            Ok(running) => running,
            Err(error) if error.raw_os_error() == Some(ESRCH) => return Err(Missed::NotTheSame),
            Err(error) => return Err(Missed::Refused(error)),
        };
        let handle = Self { running, id };
        if handle.is_the_same() { Ok(handle) } else { Err(Missed::NotTheSame) }
    }

    /// The process with this pid now began when `id` did. The handle was opened before, so if that process is the
    /// right one, the handle is its: a pid passes on only after its process is gone, for ever.
    fn is_the_same(&self) -> bool {
        ProcFs::open(Path::new("/proc")).ok().and_then(|mut procfs| procfs.identify(self.id.pid))
            == Some(self.id)
    }

    /// It still holds one of these sockets.
    pub(super) fn holds(&self, member: &Member) -> io::Result<bool> {
        let wanted: Vec<String> = member.inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.id.pid))? {
            if let Ok(target) = fs::read_link(entry?.path())
                && wanted.iter().any(|wanted| target.as_os_str() == wanted.as_str())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Signals it, if it is the same, still holds one of these sockets and (where that is asked) runs the same program.
    pub(super) fn signal_holder(
        &self,
        signal: Signal,
        member: &Member,
        image: Option<&Image>,
    ) -> Result<(), Missed> {
        match self.holds(member) {
            Ok(true) => {}
            Ok(false) => return Err(if self.is_the_same() { Missed::LetGo } else { Missed::NotTheSame }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Missed::NotTheSame),
            Err(error) => return Err(Missed::Refused(error)),
        }
        if let Some(other) = image.and_then(|image| image.other_now(self.id.pid)) {
            return Err(if self.is_the_same() { Missed::Another(other) } else { Missed::NotTheSame });
        }
        // Those descriptors were read by pid: they were this process's if it is still the same.
        if !self.is_the_same() {
            return Err(Missed::NotTheSame);
        }
        match self.running.signal(signal) {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(ESRCH) => Err(Missed::NotTheSame),
            Err(error) => Err(Missed::Refused(error)),
        }
    }

    /// Waits for its end, at most so long; `true` when it has ended.
    pub(super) fn ended(&self, timeout: Duration) -> bool {
        self.running.wait(timeout).unwrap_or(false)
    }
}
