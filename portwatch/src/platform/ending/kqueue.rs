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

const fn posix(signal: super::Signal) -> Signal {
    match signal {
        super::Signal::Term => Signal::SIGTERM,
        super::Signal::Int => Signal::SIGINT,
        super::Signal::Hup => Signal::SIGHUP,
        super::Signal::Quit => Signal::SIGQUIT,
        super::Signal::Usr1 => Signal::SIGUSR1,
        super::Signal::Usr2 => Signal::SIGUSR2,
        super::Signal::Kill => Signal::SIGKILL,
    }
}

/// The number of a signal.
#[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
pub(super) const fn number(signal: super::Signal) -> Option<i32> {
    Some(posix(signal) as i32)
}

/// Whether the kernel would let this process end the one that has the pid now: signal 0 asks and does nothing.
pub fn may_end(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    pid > 0 && !matches!(kill(Pid::from_raw(pid), None), Err(nix::errno::Errno::EPERM))
}
