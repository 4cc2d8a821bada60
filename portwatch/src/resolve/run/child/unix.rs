//! Its own process group, the terminal, signals passed on.

use std::{
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpgrp, getpid, getppid, getsid, setpgid, tcsetpgrp},
};

use super::{End, Lived, Program, failed, hear, look, terminal::Terminal};
use crate::{
    model::Port,
    resolve::{
        ResolveError, Stirs,
        run::{Caller, Signals, life::Life},
    },
};

/// How long a program that was not ready has to end.
const GRACE: Duration = Duration::from_secs(5);

/// Starts it and stays with it to its end. `started` is given its pid, and makes what is watched of its life.
pub(in crate::resolve::run) fn supervise<'a>(
    program: &Program,
    signals: &Signals,
    stirs: Option<&Stirs>,
    caller: &mut dyn Caller,
    started: &mut dyn FnMut(u32) -> Result<Option<Life<'a>>, ResolveError>,
) -> Result<Lived, ResolveError> {
    let begun = Instant::now();
    let mut terminal = Terminal::open();
    let lend = terminal.is_the_programs() && program.lends_terminal;
    let pid = match spawn(program, signals, terminal.raw().filter(|_| lend)) {
        Ok(pid) => pid,
        Err(error) => {
            if lend {
                terminal.lend(getpgrp());
            }
            return Err(error);
        }
    };
    // The program does the same: whoever comes first, it is done before anything else happens.
    let _ = setpgid(pid, pid);
    if lend {
        terminal.lend(pid);
    }
    let child = u32::try_from(pid.as_raw()).unwrap_or(0);
    let mut supervised = Supervised {
        pid,
        terminal,
        life: started(child)?,
        begun,
        moved: None,
        kill_at: None,
        not_ready: false,
    };
    caller.started();
    let ended = loop {
        supervised.pass_on(signals);
        match supervised.reap()? {
            Some(end) => break end,
            None => supervised.observe(stirs, caller)?,
        }
        supervised.sleep(signals, stirs)?;
    };
    // What it did last is not here yet; what it did before is.
    hear(&mut supervised.life, stirs);
    Ok(supervised.lived(child, ended))
}

struct Supervised<'a> {
    pid: Pid,
    terminal: Terminal,
    life: Option<Life<'a>>,
    begun: Instant,
    moved: Option<Port>,
    kill_at: Option<Instant>,
    not_ready: bool,
}

#[derive(Clone, Copy)]
struct Ended {
    end: End,
    lent: bool,
}

impl Supervised<'_> {
    fn pass_on(&self, signals: &Signals) {
        while let Some(signal) = signals.next() {
            if signal != Signal::SIGCHLD {
                // The group may be gone already; its end is read next.
                let _ = killpg(self.pid, signal);
                // A stopped program gets it when it is continued.
                if matches!(signal, Signal::SIGTERM | Signal::SIGHUP) {
                    let _ = killpg(self.pid, Signal::SIGCONT);
                }
            }
        }
    }

    /// How it ended, if it has.
    fn reap(&mut self) -> Result<Option<Ended>, ResolveError> {
        let lent = self.terminal.is_lent();
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(_, code)) => {
                self.terminal.take_back();
                Ok(Some(Ended { end: End::Code(code), lent }))
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                self.terminal.take_back_from_killed(signal);
                Ok(Some(Ended { end: End::Signal(signal as i32), lent }))
            }
            Ok(WaitStatus::Stopped(_, signal)) => {
                self.stopped(signal);
                Ok(None)
            }
            Ok(_) | Err(nix::Error::EINTR) => Ok(None),
            Err(error) => {
                self.terminal.take_back();
                Err(failed("wait for the program", error.into()))
            }
        }
    }

    fn stopped(&mut self, signal: Signal) {
        let wants_terminal = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        if wants_terminal && self.terminal.is_ours() {
            self.terminal.lend(self.pid);
        } else if self.terminal.is_there() && !has_a_shell() {
            // Nobody could continue the job (`ssh -t host portwatch run …`): it is not stopped, as the program alone
            // would not be (POSIX, orphaned process groups).
        } else if self.terminal.is_there() {
            self.terminal.take_back();
            // The shell sees a stopped job; this comes back when it is continued.
            let _ = kill(getpid(), Signal::SIGSTOP);
            if self.terminal.is_the_programs() {
                self.terminal.lend(self.pid);
            }
        } else {
            // No terminal, no job control: whoever stopped it continues it.
            return;
        }
        let _ = killpg(self.pid, Signal::SIGCONT);
    }

    fn observe(&mut self, stirs: Option<&Stirs>, caller: &mut dyn Caller) -> Result<(), ResolveError> {
        hear(&mut self.life, stirs);
        if look(&mut self.life, self.begun.elapsed(), caller, &mut self.moved)? {
            self.not_ready = true;
            self.kill_at = Some(Instant::now() + GRACE);
            let _ = killpg(self.pid, Signal::SIGTERM);
            let _ = killpg(self.pid, Signal::SIGCONT);
        }
        if self.kill_at.is_some_and(|at| Instant::now() >= at) {
            self.kill_at = None;
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        Ok(())
    }

    /// Until something happens, or it is time to look.
    fn sleep(&self, signals: &Signals, stirs: Option<&Stirs>) -> Result<(), ResolveError> {
        let due = self.life.as_ref().and_then(Life::due).into_iter().chain(self.kill_at).min();
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            let left = due.saturating_duration_since(Instant::now());
            // Rounded up: a wait of less than a millisecond would be a spin.
            PollTimeout::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
        });
        let wakes = stirs.map(Stirs::wake).into_iter().chain(self.life.as_ref().and_then(Life::wake));
        let fds: Vec<BorrowedFd<'_>> =
            std::iter::once(signals.as_fd()).chain(wakes.map(|w| w.as_fd())).collect();
        let mut fds: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(failed("wait for signals", error.into())),
        }
    }

    fn lived(self, child: u32, ended: Ended) -> Lived {
        let interrupted = [Signal::SIGINT, Signal::SIGQUIT].map(|s| End::Signal(s as i32));
        let by_hand = interrupted.contains(&ended.end) || ended.end == End::Code(128 + Signal::SIGINT as i32);
        let end = match ended.end {
            _ if self.not_ready => End::NotReady,
            End::Signal(signal) if ended.lent && signal == Signal::SIGINT as i32 => End::Interrupted,
            end => end,
        };
        Lived {
            child,
            end,
            listened: self.life.as_ref().is_some_and(Life::listened),
            moved: self.moved,
            took: self.begun.elapsed(),
            was_asked_to_end: ended.lent && by_hand,
        }
    }
}

/// Somebody above is of this session and not of this process group: a shell with job control.
fn has_a_shell() -> bool {
    let (session, parent) = (getsid(None), getppid());
    session.is_ok_and(|session| session != getpgrp() && getsid(Some(parent)) == Ok(session))
}

fn spawn(what: &Program, signals: &Signals, terminal: Option<i32>) -> Result<Pid, ResolveError> {
    let Some((program, arguments)) = what.words.split_first() else {
        return Err(failed("run nothing", io::ErrorKind::InvalidInput.into()));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(what.variables.iter().map(|(name, value)| (name, value)));
    let mask = signals.before();
    #[cfg(target_os = "linux")]
    let (runner, ends_with_us) = (getpid(), what.ends_with_us);
    // SAFETY: between fork and exec only calls that are safe there (async-signal-safe, no allocation): setpgid, tcsetpgrp,
    // prctl, getppid, sigprocmask.
    unsafe {
        command.pre_exec(move || {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            if let Some(terminal) = terminal {
                // SAFETY: the descriptor is the parent's terminal, open until exec closes it.
                let terminal = BorrowedFd::borrow_raw(terminal);
                // SIGTTOU is blocked here, so this does not stop a process that is in the background.
                let _ = tcsetpgrp(terminal, getpid());
            }
            #[cfg(target_os = "linux")]
            if ends_with_us {
                // A runner that is killed cannot pass its end on; the kernel does.
                nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
                if getppid() != runner {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
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
