//! Asking a process of ours to end, in order: a signal, and on Windows an event. And being asked.
//!
//! Who asks needs the right to it: the kernel checks it, nobody here.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(all(unix, not(target_os = "linux")))]
mod kqueue;
#[cfg(all(unix, not(target_os = "linux")))]
use kqueue as system;
#[cfg(unix)]
mod posix;
#[cfg(unix)]
use posix as signalling;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
use signals as asked;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;
#[cfg(windows)]
use windows as asked;
#[cfg(windows)]
use windows as signalling;

pub use self::asked::{Asked, detach, detached};
pub use self::{
    signalling::{is_gone, may_end},
    system::Running,
};

/// Whether there is a process of this number; `None` where that is not asked. It may have ended and wait for its parent.
pub fn exists(pid: u32) -> Option<bool> {
    #[cfg(unix)]
    {
        use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
        // Numbers from 2^31 on would be groups.
        let Ok(number) = i32::try_from(pid) else { return Some(false) };
        // One that is hidden in /proc (hidepid) is not permitted, and there.
        Some(kill(Pid::from_raw(number), None) != Err(Errno::ESRCH))
    }
    #[cfg(windows)]
    {
        let _ = pid;
        None
    }
}

/// What a process is ended by. Where there are no signals (Windows) each of them ends it at once, as the last one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM
    Term,
    /// SIGINT
    Int,
    /// SIGHUP
    Hup,
    /// SIGQUIT
    Quit,
    /// SIGUSR1
    Usr1,
    /// SIGUSR2
    Usr2,
    /// SIGKILL, which no process can refuse.
    Kill,
}

impl Signal {
    /// Every one.
    const ALL: [Self; 7] = [Self::Term, Self::Int, Self::Hup, Self::Quit, Self::Usr1, Self::Usr2, Self::Kill];

    /// `TERM`, `SIGTERM` or `15`.
    pub fn from_word(word: &str) -> Option<Self> {
        let bare = word.to_ascii_uppercase();
        let bare = bare.strip_prefix("SIG").unwrap_or(&bare);
        let is = |signal: &Self| {
            signal.name().strip_prefix("SIG") == Some(bare)
                || signalling::number(*signal).is_some_and(|number| number.to_string() == bare)
        };
        Self::ALL.into_iter().find(is)
    }

    /// What comes of it here: where there are no signals, the end.
    #[must_use]
    pub const fn here(self) -> Self {
        if cfg!(windows) { Self::Kill } else { self }
    }

    /// `SIGTERM`
    pub const fn name(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Int => "SIGINT",
            Self::Hup => "SIGHUP",
            Self::Quit => "SIGQUIT",
            Self::Usr1 => "SIGUSR1",
            Self::Usr2 => "SIGUSR2",
            Self::Kill => "SIGKILL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Signal;

    #[test]
    fn a_signal_is_known_by_its_name_with_and_without_its_beginning() {
        for word in ["TERM", "term", "SIGTERM"] {
            assert_eq!(Signal::from_word(word), Some(Signal::Term));
        }
        assert_eq!(Signal::from_word("kill"), Some(Signal::Kill));
        for wrong in ["", "SIG", "STOP", "TERMINATE", "-9"] {
            assert_eq!(Signal::from_word(wrong), None);
        }
        if cfg!(unix) {
            assert_eq!(
                (Signal::from_word("15"), Signal::from_word("9")),
                (Some(Signal::Term), Some(Signal::Kill))
            );
        }
    }
}
