//! Locks, as they are asked for.

use std::time::{Duration, Instant};

use super::{Asker, Bureau, Named, OfficeError, REAPED, asker::is_stopped, living};
use crate::{
    coordinate::{Denial, Lock, Owner, OwnerKind, label},
    journal::{Freed, TakeLock, Taken},
    model::Timestamp,
};

/// Who waits stays with it for so long when the daemon is gone (30 s in the command), and a little longer.
const OUTAGE: Duration = Duration::from_mins(1);

/// The process that a lock ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bind {
    /// The parent of the command that asks, where no agent or session owns the lock; else none.
    #[default]
    Usual,
    /// The command itself.
    Own,
    /// This one.
    Pid(u32),
}

/// For whom something is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whose {
    /// An agent, by name.
    pub agent: Option<String>,
    /// A session, by id.
    pub session: Option<String>,
    /// And the process.
    pub bind: Bind,
}

/// What somebody wants of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOrder {
    /// The lock.
    pub name: String,
    /// For whom.
    pub whose: Whose,
    /// For so long; `None`: until its process ends.
    pub ttl: Option<Duration>,
    /// Get in line where it cannot be had at once.
    pub wait: bool,
    /// The place in the line, when there is one already.
    pub ticket: Option<i64>,
}

impl Bureau {
    /// The owner that is meant. Processes are read of the asker's pid, never taken from the request, unless it names one by
    /// pid: that must be the asker's own. The order itself brings the agent's sign of life along: one that is refused is none.
    pub fn owner(&self, whose: &Whose, asker: &Asker) -> Result<Owner, OfficeError> {
        let process: Option<Named> = match whose.bind {
            Bind::Usual => None,
            Bind::Own => Some(asker.process.clone().ok_or_else(unseen)?),
            Bind::Pid(pid) => Some(asker.own_process(pid)?),
        };
        let user = asker.user.clone();
        let id = process.as_ref().map(|named| named.id);
        if let Some(agent) = &whose.agent {
            let name = label(agent, "an agent")?;
            return Ok(Owner { kind: OwnerKind::Agent, name, user, process: id });
        }
        if let Some(session) = &whose.session {
            let name = label(session, "a session")?;
            self.own_session(&name, asker)?;
            return Ok(Owner { kind: OwnerKind::Session, name, user, process: id });
        }
        let named = process.or_else(|| asker.parent.clone()).ok_or_else(unseen)?;
        Ok(Owner { kind: OwnerKind::Process, name: named.words(), user, process: Some(named.id) })
    }

    /// Every lock; those of processes that are gone were freed just before.
    pub fn locks(&self) -> Result<Vec<Lock>, OfficeError> {
        self.sweep()?;
        self.leave_lines()?;
        Ok(self.store().locks()?)
    }

    /// Takes a lock, or gets in line.
    pub fn lock(&self, order: &LockOrder, asker: &Asker) -> Result<(Taken, Owner), OfficeError> {
        let name = label(&order.name, "a lock")?;
        let owner = self.owner(&order.whose, asker)?;
        if order.ttl.is_none() && owner.process.is_none() {
            return Err(OfficeError::Bad(
                "a lock without an end must belong to a process; give it a time with --ttl".to_owned(),
            ));
        }
        let waiter = match (order.wait, &asker.process) {
            (false, _) => None,
            (true, Some(process)) => Some(process.id),
            (true, None) => {
                return Err(OfficeError::Bad("a process that cannot be seen cannot wait".to_owned()));
            }
        };
        let wanted = TakeLock { name: &name, owner: &owner, ttl: order.ttl, waiter, ticket: order.ticket };
        // The daemon looks again in the name of a request that is open, and a stopped process cannot take what it is given: it
        // is silent.
        if let (Some(waiter), Some(_)) = (waiter, order.ticket)
            && is_stopped(waiter)
            && let Some(silent) = self.store().place(&wanted, &living(), Timestamp::now())?
        {
            return Ok((silent, owner));
        }
        let alive = living();
        // How a holder ended is waited for here: while the order is carried out, nobody else can write.
        let holder = self.store().holder(&name)?.filter(|&holder| !alive(holder));
        let known = holder.map(|holder| (holder, self.ending(holder, Instant::now() + REAPED)));
        let ending = |process| match &known {
            Some((holder, why)) if *holder == process => why.clone(),
            _ => self.ending(process, Instant::now()),
        };
        let (taken, told) = self.store().take(&wanted, (&alive, &ending), Timestamp::now())?;
        self.tell(told);
        Ok((taken, owner))
    }

    /// Keeps the places of those whom the daemon of before left waiting.
    pub fn keep_places(&self) -> Result<(), OfficeError> {
        Ok(self.store().keep_places(OUTAGE, Timestamp::now())?)
    }

    /// Gives a place in a line back.
    pub fn leave_queue(&self, ticket: i64, asker: &Asker) -> Result<(), OfficeError> {
        let Some(process) = &asker.process else { return Err(unseen().into()) };
        self.store().leave_queue(ticket, (process.id, &asker.user), Timestamp::now())?;
        self.stir();
        Ok(())
    }

    /// Gives a lock back.
    pub fn unlock(
        &self,
        name: &str,
        whose: &Whose,
        force: bool,
        asker: &Asker,
    ) -> Result<Freed, OfficeError> {
        let name = label(name, "a lock")?;
        self.sweep()?;
        let owner = self.owner(whose, asker)?;
        let (freed, told) = self.store().unlock(&name, &owner, force, Timestamp::now())?;
        self.tell(told);
        Ok(freed)
    }

    /// Holds a lock for so long from now.
    pub fn extend(
        &self,
        name: &str,
        whose: &Whose,
        ttl: Duration,
        asker: &Asker,
    ) -> Result<Lock, OfficeError> {
        let name = label(name, "a lock")?;
        self.sweep()?;
        self.leave_lines()?;
        let owner = self.owner(whose, asker)?;
        let (lock, told) = self.store().extend(&name, &owner, ttl, Timestamp::now())?;
        self.tell(told);
        Ok(lock)
    }

    /// Lets a child of the asker, which does the work, stand for a lock of the asker's.
    pub fn hand_over(&self, name: &str, whose: &Whose, pid: u32, asker: &Asker) -> Result<(), OfficeError> {
        let name = label(name, "a lock")?;
        let owner = self.owner(whose, asker)?;
        let to = asker.own_process(pid)?;
        let told = self.store().hand_over(&name, &owner, (to.id, &to.words()), Timestamp::now())?;
        self.tell(told);
        self.stir();
        Ok(())
    }
}

fn unseen() -> Denial {
    Denial::Refused {
        what: "the process that asks could not be seen".to_owned(),
        remedy: "name an owner: --owner AGENT".to_owned(),
    }
}
