//! Signals to exactly one process: the handle is opened first, and whether it is the right process is asked after.

use std::{fs, io, os::fd::AsFd, path::Path, time::Duration};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Image;
use crate::{model::ProcessId, source::procfs::ProcFs};

/// A process that stays the same one, whoever gets its pid later.
#[derive(Debug)]
pub(super) struct Handle {
    fd: std::os::fd::OwnedFd,
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
        let pid = i32::try_from(id.pid).ok().and_then(Pid::from_raw).ok_or(Missed::NotTheSame)?;
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Err(Missed::NotTheSame),
            Err(error) => return Err(Missed::Refused(error.into())),
        };
        let handle = Self { fd, id };
        if handle.is_the_same() { Ok(handle) } else { Err(Missed::NotTheSame) }
    }

    /// The process with this pid now began when `id` did. The handle was opened before, so if that process is the
    /// right one, the handle is its: a pid passes on only after its process is gone, for ever.
    fn is_the_same(&self) -> bool {
        ProcFs::open(Path::new("/proc")).ok().and_then(|mut procfs| procfs.identify(self.id.pid))
            == Some(self.id)
    }

    /// It still holds one of these sockets.
    pub(super) fn holds(&self, inodes: &[u64]) -> io::Result<bool> {
        let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
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
        inodes: &[u64],
        image: Option<&Image>,
    ) -> Result<(), Missed> {
        match self.holds(inodes) {
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
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::SRCH) => Err(Missed::NotTheSame),
            Err(error) => Err(Missed::Refused(error.into())),
        }
    }

    /// Waits for its end, at most so long; `true` when it has ended.
    pub(super) fn ended(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout.as_millis()).unwrap_or(PollTimeout::MAX);
        poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
    }
}
