//! Processes by pidfd (Linux 5.3): each tells of its end at once.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{ending, writes::Writes};
use crate::{model::ProcessId, query::coordinate::alive, source::Wake};

/// So many processes are watched; a daemon has 1024 descriptors at the least. Others are looked at every second.
const MOST: usize = 512;

/// The processes that are watched.
#[derive(Debug, Default)]
pub(super) struct Handles(HashMap<ProcessId, OwnedFd>);

impl Handles {
    /// Watches the first of the wanted ones, as many as may be, and no others. Those that are gone already.
    pub(super) fn follow(&mut self, wanted: &[ProcessId]) -> Vec<ProcessId> {
        let wanted = wanted.get(..MOST).unwrap_or(wanted);
        let those: HashSet<ProcessId> = wanted.iter().copied().collect();
        self.0.retain(|process, _| those.contains(process));
        let mut gone = Vec::new();
        for &process in wanted {
            if self.0.contains_key(&process) {
                continue;
            }
            match open(process) {
                Ok(fd) => {
                    self.0.insert(process, fd);
                }
                Err(rustix::io::Errno::SRCH) => gone.push(process),
                // Out of descriptors, or a kernel without pidfds: it is looked at every second.
                Err(error) => tracing::debug!(%error, pid = process.pid, "no pidfd"),
            }
        }
        gone
    }

    /// Those that have ended, and how; they are watched no more.
    pub(super) fn ended(&mut self) -> Vec<(ProcessId, String)> {
        let (processes, mut fds): (Vec<ProcessId>, Vec<PollFd<'_>>) =
            self.0.iter().map(|(process, fd)| (*process, PollFd::new(fd.as_fd(), PollFlags::POLLIN))).unzip();
        if poll(&mut fds, PollTimeout::ZERO).unwrap_or(0) <= 0 {
            return Vec::new();
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let ended: Vec<ProcessId> =
            processes.into_iter().zip(fds).filter(|(_, fd)| ready(fd)).map(|(process, _)| process).collect();
        // One for all of them: who ends many at once does not keep the others waiting.
        let deadline = Instant::now() + ending::REAPED;
        let tell = |process| {
            let fd = self.0.remove(&process);
            (process, ending::words(process, fd.as_ref().map(AsFd::as_fd), deadline))
        };
        ended.into_iter().map(tell).collect()
    }

    /// How many are watched.
    pub(super) fn watched(&self) -> usize {
        self.0.len()
    }

    /// Waits until one has ended, until `wake`, until somebody writes, or until `due`.
    pub(super) fn wait(&self, wake: &Wake, writes: Option<&Writes>, due: Instant) -> io::Result<()> {
        let mut fds = vec![PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        fds.extend(writes.map(|writes| PollFd::new(writes.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.0.values().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        let left = due.saturating_duration_since(Instant::now()).as_millis() + 1;
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A handle of exactly this process: the handle comes first, and who has the pid is asked after.
pub(super) fn open(process: ProcessId) -> Result<OwnedFd, rustix::io::Errno> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH)?;
    let fd = pidfd_open(pid, PidfdFlags::empty())?;
    if alive(process) { Ok(fd) } else { Err(rustix::io::Errno::SRCH) }
}
