//! Processes by pidfd (Linux 5.3): each tells of its end at once.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{ending, writes::Writes};
use crate::{model::ProcessId, query::coordinate::alive, source::Wake};

/// So many processes are watched; a daemon has 1024 descriptors at the least. Others are looked at every second.
const MOST: usize = 512;

type Watched = HashMap<ProcessId, Arc<OwnedFd>>;

/// The processes that are watched; each clone is of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Handles(Arc<Mutex<Watched>>);

impl Handles {
    /// It is whole between any two statements, so a panic elsewhere does not spoil it. Nobody waits while having it.
    fn watch(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<(ProcessId, Arc<OwnedFd>)> {
        self.watch().iter().map(|(process, fd)| (*process, Arc::clone(fd))).collect()
    }

    /// Watches the first of the wanted ones, as many as may be, and no others. Those that are gone already.
    pub(super) fn follow(&self, wanted: &[ProcessId]) -> Vec<ProcessId> {
        let wanted = wanted.get(..MOST).unwrap_or(wanted);
        let those: HashSet<ProcessId> = wanted.iter().copied().collect();
        let mut watched = self.watch();
        watched.retain(|process, _| those.contains(process));
        let mut gone = Vec::new();
        for &process in wanted {
            if watched.contains_key(&process) {
                continue;
            }
            match open(process) {
                Ok(fd) => {
                    watched.insert(process, Arc::new(fd));
                }
                Err(rustix::io::Errno::SRCH) => gone.push(process),
                // Out of descriptors, or a kernel without pidfds: it is looked at every second.
                Err(error) => tracing::debug!(%error, pid = process.pid, "no pidfd"),
            }
        }
        gone
    }

    /// Those that have ended. They are kept until they are let go of: meanwhile others may ask how they ended.
    pub(super) fn ended(&self) -> Vec<ProcessId> {
        let all = self.all();
        let mut fds: Vec<PollFd<'_>> =
            all.iter().map(|(_, fd)| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        if poll(&mut fds, PollTimeout::ZERO).unwrap_or(0) <= 0 {
            return Vec::new();
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        all.iter().zip(fds).filter(|(_, fd)| ready(fd)).map(|((process, _), _)| *process).collect()
    }

    /// How a process ended, as far as it is known until `deadline`.
    pub(super) fn ending(&self, process: ProcessId, deadline: Instant) -> Option<String> {
        let fd = self.watch().get(&process).cloned();
        ending::words(process, fd.as_ref().map(AsFd::as_fd), deadline)
    }

    /// Watches these no more.
    pub(super) fn let_go(&self, processes: &[ProcessId]) {
        let mut watched = self.watch();
        for process in processes {
            watched.remove(process);
        }
    }

    /// How many are watched.
    pub(super) fn watched(&self) -> usize {
        self.watch().len()
    }

    /// Waits until one has ended, until `wake`, until somebody writes, or until `due`.
    pub(super) fn wait(&self, wake: &Wake, writes: Option<&Writes>, due: Instant) -> io::Result<()> {
        let all = self.all();
        let mut fds = vec![PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        fds.extend(writes.map(|writes| PollFd::new(writes.as_fd(), PollFlags::POLLIN)));
        fds.extend(all.iter().map(|(_, fd)| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
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
