//! What all Unix systems have of signals.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The signal as this system has it.
pub(super) const fn posix(signal: super::Signal) -> Signal {
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

/// Whether the error says that there is no such process (any more).
pub fn is_gone(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32)
}
