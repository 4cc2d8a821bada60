//! By a pidfd.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};

use super::posix::posix;

/// A handle of a process: whoever has its pid later is not meant.
#[derive(Debug)]
pub struct Running(OwnedFd);

impl Running {
    /// Of whoever has the pid now: compare its start afterwards. `pidfd_open(2)`, Linux 5.3.
    pub fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: the call takes two integers and touches no memory of ours.
        let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Asks a portwatch to end (SIGTERM), and one that is stopped to go on for that (SIGCONT).
    pub fn ask(&self) -> io::Result<()> {
        self.signal(super::Signal::Term)?;
        // It may have ended by now, and nothing else needs it.
        let _ = self.send(Signal::SIGCONT);
        Ok(())
    }

    /// Signals it. `pidfd_send_signal(2)`, Linux 5.1.
    pub fn signal(&self, signal: super::Signal) -> io::Result<()> {
        self.send(posix(signal))
    }

    fn send(&self, signal: Signal) -> io::Result<()> {
        let null = std::ptr::null::<nix::libc::siginfo_t>();
        let signal = signal as i32;
        // SAFETY: the descriptor is open; a null siginfo means the one that kill(2) would make.
        let result = unsafe {
            nix::libc::syscall(nix::libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, null, 0)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until it has ended; `false` when the time passes before.
    pub fn wait(&self, time: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        Ok(poll(&mut fds, timeout)? > 0)
    }
}
