//! Blocked, and read where they are waited for.

use std::{
    cell::Cell,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SigSet, SigmaskHow, Signal, raise},
};

use super::queue::Queue;
use crate::resolve::ResolveError;

/// Passed on to the program, all but the first.
const READ: [Signal; 9] = [
    Signal::SIGCHLD,
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
    queue: Queue,
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
        let mut blocked = SigSet::from_iter(READ);
        // The terminal is taken back from the program while it is in the background.
        blocked.add(Signal::SIGTTOU);
        let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|e| io("block signals", e))?;
        let queue = Queue::open(&READ)
            .map_err(|error| ResolveError::Io { operation: "read signals".to_owned(), error })?;
        Ok(Self { queue, before, ended: Cell::new(false) })
    }

    /// Lets the SIGINT through that was kept back: it ends this process, unless it was ignored from the start. A shell that is only
    /// told the code 130 takes Ctrl-C for dealt with, and goes on with its loop or script.
    pub fn let_interrupt_through() {
        let _ = SigSet::from(Signal::SIGINT).thread_unblock();
        // Where a thread waits for signals, it has taken it.
        let _ = raise(Signal::SIGINT);
    }

    /// The mask to give to the program.
    pub(in crate::resolve::run) const fn before(&self) -> SigSet {
        self.before
    }

    pub(in crate::resolve::run) fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    /// The next signal that came.
    pub(in crate::resolve::run) fn next(&self) -> Option<Signal> {
        let signal = self.queue.read()?;
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
            let mut fds = [PollFd::new(self.queue.as_fd(), PollFlags::POLLIN)];
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
