//! One life of the program: its own process group, the terminal, signals passed on.

use std::{
    ffi::OsString,
    io,
    os::{fd::AsFd, unix::process::CommandExt as _},
    process::Command,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpgrp, getpid, setpgid, tcgetpgrp, tcsetpgrp},
};

use super::Signals;
use crate::resolve::{ResolveError, Stir, Stirs};

/// What is started.
pub(super) struct Program<'a> {
    /// The program and its arguments.
    pub(super) words: &'a [OsString],
    /// Variables to set.
    pub(super) variables: &'a [(String, String)],
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl End {
    /// As a shell has it.
    pub const fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// Starts it and stays with it to its end. Gives its pid and how it ended.
pub(super) fn supervise(
    program: &Program<'_>,
    signals: &Signals,
    stirs: Option<&Stirs>,
    on_stir: &mut dyn FnMut(&Stir, u32),
    started: &mut dyn FnMut(u32),
) -> Result<(u32, End), ResolveError> {
    let stdin = io::stdin();
    let foreground = || tcgetpgrp(stdin.as_fd()).is_ok_and(|group| group == getpgrp());
    let has_terminal = foreground();
    let pid = spawn(program, signals, has_terminal)?;
    let raw = u32::try_from(pid.as_raw()).unwrap_or(0);
    started(raw);
    // The program does the same: whoever comes first, it is done before anything else happens.
    let _ = setpgid(pid, pid);
    if has_terminal {
        let _ = tcsetpgrp(stdin.as_fd(), pid);
    }
    let give_back = || {
        if has_terminal {
            let _ = tcsetpgrp(stdin.as_fd(), getpgrp());
        }
    };
    loop {
        while let Some(signal) = signals.next() {
            if signal != Signal::SIGCHLD {
                // The group may be gone already; its end is read next.
                let _ = killpg(pid, signal);
            }
        }
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        match waitpid(pid, Some(flags)) {
            Ok(WaitStatus::Exited(_, code)) => {
                give_back();
                return Ok((raw, End::Code(code)));
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                give_back();
                return Ok((raw, End::Signal(signal as i32)));
            }
            Ok(WaitStatus::Stopped(..)) => {
                give_back();
                // The shell sees a stopped job; this comes back when it is continued.
                let _ = kill(getpid(), Signal::SIGSTOP);
                if has_terminal && foreground() {
                    let _ = tcsetpgrp(stdin.as_fd(), pid);
                }
                let _ = killpg(pid, Signal::SIGCONT);
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => {
                give_back();
                return Err(failed("wait for the program", error.into()));
            }
        }
        for stir in stirs.map(Stirs::take).unwrap_or_default() {
            on_stir(&stir, raw);
        }
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(stirs.map(|stirs| PollFd::new(stirs.wake().as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(failed("wait for signals", error.into())),
        }
    }
}

fn spawn(what: &Program<'_>, signals: &Signals, terminal: bool) -> Result<Pid, ResolveError> {
    let Some((program, arguments)) = what.words.split_first() else {
        return Err(failed("run nothing", io::ErrorKind::InvalidInput.into()));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(what.variables.iter().map(|(name, value)| (name, value)));
    let mask = signals.before();
    // SAFETY: between fork and exec only calls that are safe there (async-signal-safe, no allocation): setpgid, tcsetpgrp,
    // sigprocmask.
    unsafe {
        command.pre_exec(move || {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            if terminal {
                // SIGTTOU is blocked here, so this does not stop a process that is in the background.
                let _ = tcsetpgrp(io::stdin().as_fd(), getpid());
            }
            mask.thread_set_mask()?;
            Ok(())
        });
    }
    let child = command
        .spawn()
        .map_err(|error| ResolveError::Start { program: program.to_string_lossy().into_owned(), error })?;
    // Reaped by pid in `supervise`; dropping the handle does nothing.
    i32::try_from(child.id()).map(Pid::from_raw).map_err(|error| failed("run it", io::Error::other(error)))
}

fn failed(operation: &str, error: io::Error) -> ResolveError {
    ResolveError::Io { operation: operation.to_owned(), error }
}
