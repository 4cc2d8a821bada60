//! Doing it: the master first, then who is left; SIGKILL after the grace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Member, Plan, Role,
    handle::{Handle, Missed},
};
use crate::{model::Process, platform::ending::Signal, resolve::ResolveError};

/// Between two looks at who is left.
const LOOK: Duration = Duration::from_millis(10);

/// A process that holds the port no more and lives on so long is left to end by itself.
const LET_GO: Duration = Duration::from_millis(500);

/// So long all of them together may take to die of SIGKILL: only a process in the kernel's own sleep takes longer.
const DYING: Duration = Duration::from_secs(2);

/// How to end processes.
#[derive(Debug, Clone, Copy)]
pub struct EndOptions {
    /// The first signal.
    pub signal: Signal,
    /// How long until SIGKILL.
    pub grace: Duration,
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
    /// It runs another program than the one that was shown, this one; it was not signalled.
    Another(String),
    /// The kernel refused the signal, and why.
    Refused(String),
    /// Its master could not be ended and would start it again: it was not signalled.
    LeftAlone,
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
/// socket; before the first one also that it runs the program that was shown. Once the first signal is sent there are no
/// errors any more, only outcomes: what was done is told.
pub fn end(plan: &Plan, options: EndOptions) -> Result<Vec<Ended>, ResolveError> {
    let mut targets: Vec<Target<'_>> = plan.members.iter().map(Target::open).collect::<Result<_, _>>()?;
    let deadline = Instant::now() + options.grace;
    let leads = |target: &Target<'_>| target.member.role != Role::Worker;
    for target in targets.iter_mut().filter(|t| leads(t)) {
        target.signal(options.signal);
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
            let stays = |t: &Target<'_>| matches!(t.outcome, Some(Outcome::Another(_) | Outcome::Refused(_)));
            let stays = targets.iter().any(stays);
            for target in targets.iter_mut().filter(|t| t.outcome.is_none()) {
                if stays {
                    target.outcome = Some(Outcome::LeftAlone);
                } else {
                    target.signal(options.signal);
                }
            }
            continue;
        }
        if Instant::now() >= deadline {
            break;
        }
        wait_for_any(&targets);
    }
    for target in targets.iter_mut().filter(|t| t.outcome.is_none()) {
        target.signal(Signal::Kill);
    }
    let last = Instant::now() + DYING;
    for target in &mut targets {
        target.last_look(last);
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
            Err(Missed::NotTheSame | Missed::LetGo | Missed::Another(_)) => (None, Some(Outcome::NotTheSame)),
            Err(Missed::Refused(error)) => {
                let operation = format!("signal {} ({})", member.process.comm, member.process.id.pid);
                return Err(ResolveError::Io { operation, error });
            }
        };
        Ok(Self { member, handle, sent: None, let_go: None, outcome })
    }

    fn signal(&mut self, signal: Signal) {
        let Some(handle) = &self.handle else { return };
        // What it does with a signal is its own: a server may begin anew in place.
        let image = self.sent.is_none().then_some(&self.member.image);
        let missed = match handle.signal_holder(signal, self.member, image) {
            Ok(()) => {
                self.sent = Some(signal);
                return;
            }
            Err(missed) => missed,
        };
        self.outcome = Some(match missed {
            Missed::NotTheSame => match self.sent {
                None if handle.ended(Duration::ZERO) => Outcome::EndedByItself,
                None => Outcome::NotTheSame,
                Some(signal) => Outcome::Signalled(signal.name().to_owned()),
            },
            Missed::LetGo => self.let_go(),
            Missed::Another(program) => Outcome::Another(program),
            Missed::Refused(error) => Outcome::Refused(error.to_string()),
        });
    }

    fn let_go(&self) -> Outcome {
        self.sent.map_or(Outcome::EndedByItself, |signal| Outcome::LetGo(signal.name().to_owned()))
    }

    fn look(&mut self) {
        let Some(handle) = &self.handle else { return };
        if self.outcome.is_some() {
            return;
        }
        if handle.ended(Duration::ZERO) {
            self.outcome = Some(match self.sent {
                None => Outcome::EndedByItself,
                Some(Signal::Kill) => Outcome::Killed,
                Some(signal) => Outcome::Signalled(signal.name().to_owned()),
            });
        } else if self.sent.is_some() && handle.holds(self.member).is_ok_and(|holds| !holds) {
            // A server that ends in order closes its socket first; so does one that is just dying.
            let since = *self.let_go.get_or_insert_with(Instant::now);
            if since.elapsed() > LET_GO {
                self.outcome = Some(self.let_go());
            }
        }
    }

    fn last_look(&mut self, last: Instant) {
        if let (Some(handle), None) = (&self.handle, &self.outcome) {
            handle.ended(last.saturating_duration_since(Instant::now()));
            self.look();
        }
    }
}
