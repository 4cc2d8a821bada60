//! Ending exactly one process: the handle is opened first, and whether it is the right process, by the moment of its start, is
//! asked after. A pid passes on only after its process is gone for ever: if the process that has it then began when the right one
//! did, the handle is its.

use std::{io, time::Duration};

use super::{Image, Member, held};
use crate::{
    model::ProcessId,
    platform::ending::{Running, Signal, is_gone},
    source::process::{Absent, Processes},
};

/// A process that stays the same one whoever gets its pid later (Linux), whose pid nobody else gets while this is open (Windows), or
/// whose end is not missed (macOS).
#[derive(Debug)]
pub(super) struct Handle {
    running: Running,
    id: ProcessId,
}

/// Why there is no handle, or nothing was ended.
#[derive(Debug)]
pub(super) enum Missed {
    /// The process is gone, or its pid is another's by now.
    NotTheSame,
    /// It does not hold the socket any more.
    LetGo,
    /// It runs this other program by now.
    Another(String),
    /// The system refused.
    Refused(io::Error),
}

impl Handle {
    /// Opens it, and checks that it is `id`.
    pub(super) fn open(id: ProcessId) -> Result<Self, Missed> {
        let running = Running::open(id.pid);
        let found = identify(id.pid);
        match (running, found) {
            (Ok(running), Ok(found)) if found == id => Ok(Self { running, id }),
            // It is there, and cannot be taken hold of.
            (Err(error), Ok(found)) if found == id && !is_gone(&error) => Err(Missed::Refused(error)),
            (_, Ok(_) | Err(Absent::Gone)) => Err(Missed::NotTheSame),
            (Err(error), _) => Err(Missed::Refused(error)),
            (Ok(_), Err(_)) => Err(Missed::Refused(io::ErrorKind::PermissionDenied.into())),
        }
    }

    fn is_the_same(&self) -> bool {
        identify(self.id.pid) == Ok(self.id)
    }

    /// Whoever has its pid holds one of the sockets for whose sake it is ended.
    pub(super) fn holds(&self, member: &Member) -> io::Result<bool> {
        held::holds(self.id, member)
    }

    /// Signals it, if it is the same, still holds one of these sockets and (where that is asked) runs the same program.
    pub(super) fn signal_holder(
        &self,
        signal: Signal,
        member: &Member,
        image: Option<&Image>,
    ) -> Result<(), Missed> {
        match self.holds(member) {
            Ok(true) => {}
            Ok(false) => return Err(if self.is_the_same() { Missed::LetGo } else { Missed::NotTheSame }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Missed::NotTheSame),
            Err(error) => return Err(Missed::Refused(error)),
        }
        if let Some(other) = image.and_then(|image| image.other_now(self.id.pid)) {
            return Err(if self.is_the_same() { Missed::Another(other) } else { Missed::NotTheSame });
        }
        // What holds the socket was found by its pid: it was this process if it is still the same.
        if !self.is_the_same() {
            return Err(Missed::NotTheSame);
        }
        match self.running.signal(signal) {
            Ok(()) => Ok(()),
            Err(_) if self.ended(Duration::ZERO) => Err(Missed::NotTheSame),
            Err(error) => Err(Missed::Refused(error)),
        }
    }

    /// Waits for its end, at most so long; `true` when it has ended.
    pub(super) fn ended(&self, timeout: Duration) -> bool {
        self.running.wait(timeout).unwrap_or(false)
    }
}

fn identify(pid: u32) -> Result<ProcessId, Absent> {
    Processes::open().map_err(|_| Absent::NotPermitted)?.identify(pid)
}
