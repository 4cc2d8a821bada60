//! The controlling terminal: whose it is while the program runs.

use std::{
    fs::File,
    io::{self, IsTerminal as _},
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        termios::{SetArg, Termios, tcgetattr, tcsetattr},
    },
    unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp},
};

/// The terminal, if there is one.
#[derive(Debug)]
pub(super) struct Terminal {
    tty: Option<File>,
    modes: Option<Termios>,
    /// The program's group is in the foreground by our doing.
    lent: bool,
}

impl Terminal {
    /// The controlling terminal, whatever stdin is.
    pub(super) fn open() -> Self {
        let tty = File::options().read(true).write(true).open("/dev/tty").ok();
        let modes = tty.as_ref().and_then(|tty| tcgetattr(tty).ok());
        Self { tty, modes, lent: false }
    }

    /// There is one: somebody can stop and continue jobs.
    pub(super) const fn is_there(&self) -> bool {
        self.tty.is_some()
    }

    /// It is the program's by our doing.
    pub(super) const fn is_lent(&self) -> bool {
        self.lent
    }

    /// This process is in the foreground.
    pub(super) fn is_ours(&self) -> bool {
        self.tty.as_ref().is_some_and(|tty| tcgetpgrp(tty.as_fd()).is_ok_and(|group| group == getpgrp()))
    }

    /// The program should have it from the start. Not where others of the same job are at it, as in `run … | less`:
    /// they would be stopped when they read from it. There the program gets it when it wants it.
    pub(super) fn is_the_programs(&self) -> bool {
        self.is_ours() && io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// For use between fork and exec.
    pub(super) fn raw(&self) -> Option<RawFd> {
        self.tty.as_ref().map(|tty| tty.as_fd().as_raw_fd())
    }

    /// Gives it to the program's group.
    pub(super) fn lend(&mut self, group: Pid) {
        if let Some(tty) = &self.tty {
            self.lent |= tcsetpgrp(tty.as_fd(), group).is_ok();
        }
    }

    /// Takes it back, if it was lent.
    pub(super) fn take_back(&mut self) {
        if let (Some(tty), true) = (&self.tty, self.lent) {
            let _ = tcsetpgrp(tty.as_fd(), getpgrp());
        }
        self.lent = false;
    }

    /// Takes it back from a program that a signal ended: as it was before, and with the signal for whoever else would have
    /// had it, had the program not been in a group of its own.
    pub(super) fn take_back_from_killed(&mut self, by: Signal) {
        let lent = self.lent;
        self.take_back();
        if let (Some(tty), Some(modes)) = (&self.tty, &self.modes)
            && self.is_ours()
        {
            let _ = tcsetattr(tty, SetArg::TCSADRAIN, modes);
        }
        if lent && matches!(by, Signal::SIGINT | Signal::SIGQUIT) {
            // A script that runs us ends by it. Here it is blocked, and kept until everything is done (`Signals`).
            let _ = killpg(getpgrp(), by);
        }
    }
}
