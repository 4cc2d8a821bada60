//! By a signalfd.

use std::{
    cell::Cell,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, SigmaskHow, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

use crate::resolve::ResolveError;

/// Passed on to the program.
const FORWARDED: [Signal; 8] = [
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];

/// Signals that are blocked and read.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
    ended: Cell<bool>,
}

impl Signals {
    /// Blocks them in this thread, and so in every thread it starts from here on.
    pub fn block() -> Result<Self, ResolveError> {
        let io = |operation: &str, error: nix::Error| ResolveError::Io {
            operation: operation.to_owned(),
            error: error.into(),
        };
        let mut set = SigSet::from_iter(FORWARDED);
        set.add(Signal::SIGCHLD);
        // The terminal is taken back from the program while it is in the background.
        let mut blocked = set;
        blocked.add(Signal::SIGTTOU);
        let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|e| io("block signals", e))?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|e| io("read signals", e))?;
        Ok(Self { fd, before, ended: Cell::new(false) })
    }

    /// Lets the SIGINT through that was kept back: it ends this process, unless it was ignored from the start. A shell that is only
    /// told the code 130 takes Ctrl-C for dealt with, and goes on with its loop or script.
    pub fn let_interrupt_through() {
        let _ = SigSet::from(Signal::SIGINT).thread_unblock();
    }

    /// The mask to give to the program.
    pub(in crate::resolve::run) const fn before(&self) -> SigSet {
        self.before
    }

    pub(in crate::resolve::run) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next signal that came.
    pub(in crate::resolve::run) fn next(&self) -> Option<Signal> {
        let info = self.fd.read_signal().ok()??;
        let signal = Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()?;
        if matches!(signal, Signal::SIGTERM | Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT) {
            self.ended.set(true);
        }
        Some(signal)
    }

    /// A signal came that asks to end.
    pub(in crate::resolve::run) fn was_asked_to_end(&self) -> bool {
        self.ended.get()
    }

    /// Waits for such a signal while no program runs.
    pub(in crate::resolve::run) fn wait_for_end(&self, timeout: Duration) -> Result<bool, ResolveError> {
        let end = std::time::Instant::now() + timeout;
        loop {
            while let Some(signal) = self.next() {
                if signal == Signal::SIGTSTP {
                    // As the terminal's default is; back when it is continued.
                    let _ = nix::sys::signal::kill(nix::unistd::getpid(), Signal::SIGSTOP);
                }
            }
            let left = end.saturating_duration_since(std::time::Instant::now());
            if self.ended.get() || left.is_zero() {
                return Ok(self.ended.get());
            }
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => {
                    let operation = "wait for signals".to_owned();
                    return Err(ResolveError::Io { operation, error: error.into() });
                }
            }
        }
    }
}
