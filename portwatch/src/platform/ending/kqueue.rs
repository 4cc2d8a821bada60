//! By kqueue, which tells that a process has ended, and kill(2), which names it by its pid alone.

use std::{io, time::Duration};

use nix::{
    libc::timespec,
    sys::{
        event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue},
        signal::{Signal, kill},
    },
    unistd::Pid,
};

use super::posix::posix;

/// A process whose end is watched.
#[derive(Debug)]
pub struct Running {
    queue: Kqueue,
    pid: i32,
}

impl Running {
    /// Of whoever has the pid now: compare its start afterwards. From here on its end is not missed, so that its pid
    /// cannot become another's unnoticed.
    pub fn open(pid: u32) -> io::Result<Self> {
        let queue = Kqueue::new()?;
        let number = usize::try_from(pid).map_err(io::Error::other)?;
        let flags = EvFlags::EV_ADD | EvFlags::EV_ONESHOT;
        let exit = KEvent::new(number, EventFilter::EVFILT_PROC, flags, FilterFlag::NOTE_EXIT, 0, 0);
        queue.kevent(&[exit], &mut [], None)?;
        Ok(Self { queue, pid: i32::try_from(pid).map_err(io::Error::other)? })
    }

    /// Asks a portwatch to end (SIGTERM), and one that is stopped to go on for that (SIGCONT).
    pub fn ask(&self) -> io::Result<()> {
        self.signal(super::Signal::Term)?;
        // It may have ended by now, and nothing else needs it.
        let _ = self.send(Signal::SIGCONT);
        Ok(())
    }

    /// Signals it. Between its end and the signal its pid could become another's, for as long as the two calls lie apart.
    pub fn signal(&self, signal: super::Signal) -> io::Result<()> {
        self.send(posix(signal))
    }

    fn send(&self, signal: Signal) -> io::Result<()> {
        if self.wait(Duration::ZERO)? {
            return Err(nix::errno::Errno::ESRCH.into());
        }
        Ok(kill(Pid::from_raw(self.pid), signal)?)
    }

    /// Waits until it has ended; `false` when the time passes before.
    pub fn wait(&self, time: Duration) -> io::Result<bool> {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let limit = timespec { tv_sec: seconds, tv_nsec: i64::from(time.subsec_nanos()) };
        let none = KEvent::new(0, EventFilter::EVFILT_PROC, EvFlags::empty(), FilterFlag::empty(), 0, 0);
        let mut events = [none];
        Ok(self.queue.kevent(&[], &mut events, Some(limit))? > 0)
    }
}
