//! Doing it: the master first, then who is left; SIGKILL after the grace.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    Member, Plan, Role,
    pidfd::{Handle, Missed},
};
use crate::{model::Process, resolve::ResolveError};

/// Between two looks at who is left.
const LOOK: Duration = Duration::from_millis(10);

/// A process that holds the port no more and lives on so long is left to end by itself.
const LET_GO: Duration = Duration::from_millis(500);

/// How to end processes.
#[derive(Debug, Clone, Copy)]
pub struct EndOptions {
    /// The first signal.
    pub signal: Signal,
    /// How long until SIGKILL.
    pub grace: Duration,
}

impl EndOptions {
    /// `TERM`, `SIGTERM` or `15`.
    pub fn signal_of(word: &str) -> Option<Signal> {
        let bare = word.to_ascii_uppercase();
        let bare = bare.strip_prefix("SIG").unwrap_or(&bare);
        let known = [
            ("TERM", Signal::TERM),
            ("INT", Signal::INT),
            ("HUP", Signal::HUP),
            ("QUIT", Signal::QUIT),
            ("KILL", Signal::KILL),
            ("USR1", Signal::USR1),
            ("USR2", Signal::USR2),
        ];
        known
            .into_iter()
            .find(|(name, signal)| *name == bare || signal.as_raw().to_string() == bare)
            .map(|(_, s)| s)
    }

    /// `SIGTERM`
    pub fn name(signal: Signal) -> String {
        nix::sys::signal::Signal::try_from(signal.as_raw())
            .map_or_else(|_| format!("signal {}", signal.as_raw()), |s| s.as_str().to_owned())
    }
}

/// What became of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ended after the first signal.
    Signalled(String),
    /// It did not end in the grace and was killed.
    Killed,
    /// It let the port go after the signal and is still ending.
    LetGo(String),
    /// It ended without a signal of ours: with its master, or by itself.
    EndedByItself,
    /// Its pid belongs to another process by now, or to none; nothing was signalled.
    NotTheSame,
    /// It still lives and holds the port.
    Survived,
}

/// A member and what became of it.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Who.
    pub process: Arc<Process>,
    /// What became of it.
    pub outcome: Outcome,
}

struct Target<'a> {
    member: &'a Member,
    handle: Option<Handle>,
    sent: Option<Signal>,
    let_go: Option<Instant>,
    outcome: Option<Outcome>,
}

/// Ends the members of a plan. Each is checked again right before each signal: the same process, and it still holds the
/// socket.
pub fn end(plan: &Plan, options: EndOptions) -> Result<Vec<Ended>, ResolveError> {
    let mut targets: Vec<Target<'_>> = plan.members.iter().map(Target::open).collect::<Result<_, _>>()?;
    let deadline = Instant::now() + options.grace;
    let leads = |target: &Target<'_>| target.member.role != Role::Worker;
    for target in targets.iter_mut().filter(|t| leads(t)) {
        target.signal(options.signal)?;
    }
    let mut told_workers = false;
    loop {
        for target in &mut targets {
            target.look();
        }
        if targets.iter().all(|t| t.outcome.is_some()) {
            break;
        }
        if !told_workers && targets.iter().filter(|t| leads(t)).all(|t| t.outcome.is_some()) {
            told_workers = true;
            for target in targets.iter_mut().filter(|t| t.outcome.is_none()) {
                target.signal(options.signal)?;
            }
            continue;
        }
        if Instant::now() >= deadline {
            break;
        }
        wait_for_any(&targets);
    }
    for target in targets.iter_mut().filter(|t| t.outcome.is_none()) {
        target.signal(Signal::KILL)?;
    }
    for target in &mut targets {
        target.last_look();
    }
    let ended = targets.into_iter().map(|t| Ended {
        process: Arc::clone(&t.member.process),
        outcome: t.outcome.unwrap_or(Outcome::Survived),
    });
    Ok(ended.collect())
}

fn wait_for_any(targets: &[Target<'_>]) {
    // One handle is enough to be woken early; the others are looked at after the pause.
    match targets.iter().find(|t| t.outcome.is_none()).and_then(|t| t.handle.as_ref()) {
        Some(handle) => {
            handle.ended(LOOK);
        }
        None => std::thread::sleep(LOOK),
    }
}

impl<'a> Target<'a> {
    fn open(member: &'a Member) -> Result<Self, ResolveError> {
        let (handle, outcome) = match Handle::open(member.process.id) {
            Ok(handle) => (Some(handle), None),
            Err(Missed::NotTheSame | Missed::LetGo) => (None, Some(Outcome::NotTheSame)),
            Err(Missed::Refused(error)) => return Err(refused(member, error)),
        };
        Ok(Self { member, handle, sent: None, let_go: None, outcome })
    }

    fn signal(&mut self, signal: Signal) -> Result<(), ResolveError> {
        let Some(handle) = &self.handle else { return Ok(()) };
        match handle.signal_holder(signal, &self.member.inodes) {
            Ok(()) => {
                self.sent = Some(signal);
                Ok(())
            }
            Err(Missed::NotTheSame) => {
                self.outcome = Some(match self.sent {
                    None if handle.ended(Duration::ZERO) => Outcome::EndedByItself,
                    None => Outcome::NotTheSame,
                    Some(signal) => Outcome::Signalled(EndOptions::name(signal)),
                });
                Ok(())
            }
            Err(Missed::LetGo) => {
                self.outcome = Some(self.let_go());
                Ok(())
            }
            Err(Missed::Refused(error)) => Err(refused(self.member, error)),
        }
    }

    fn let_go(&self) -> Outcome {
        self.sent.map_or(Outcome::EndedByItself, |signal| Outcome::LetGo(EndOptions::name(signal)))
    }

    fn look(&mut self) {
        let Some(handle) = &self.handle else { return };
        if self.outcome.is_some() {
            return;
        }
        if handle.ended(Duration::ZERO) {
            self.outcome = Some(match self.sent {
                None => Outcome::EndedByItself,
                Some(Signal::KILL) => Outcome::Killed,
                Some(signal) => Outcome::Signalled(EndOptions::name(signal)),
            });
        } else if self.sent.is_some() && handle.holds(&self.member.inodes).is_ok_and(|holds| !holds) {
            // A server that ends in order closes its socket first; so does one that is just dying.
            let since = *self.let_go.get_or_insert_with(Instant::now);
            if since.elapsed() > LET_GO {
                self.outcome = Some(self.let_go());
            }
        }
    }

    /// After SIGKILL: only a process in the kernel's own sleep takes longer.
    fn last_look(&mut self) {
        if let (Some(handle), None) = (&self.handle, &self.outcome) {
            handle.ended(Duration::from_secs(2));
            self.look();
        }
    }
}

fn refused(member: &Member, error: io::Error) -> ResolveError {
    ResolveError::Io {
        operation: format!("signal {} ({})", member.process.comm, member.process.id.pid),
        error,
    }
}
