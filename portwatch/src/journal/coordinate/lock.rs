//! Locks and their queues.

mod queue;
mod rows;

use std::time::Duration;

use rusqlite::params;

use super::{Alive, CoordinateError, Coordination, Ending, Told, Turn, Voice, owner::columns};
use crate::{
    coordinate::{Denial, EARLIER_BOOT, Lock, Owner, OwnerKind, Standing, may_act, spell},
    model::{ProcessId, Timestamp},
};
use queue::{ahead, enqueue, leave, unanswered};
use rows::{all, by_name, existing, free, insert, renew};

pub(super) use queue::{forget, leave_for, places};
pub(super) use rows::{free_ended, free_where};

/// What somebody wants.
#[derive(Debug, Clone)]
pub struct TakeLock<'a> {
    /// The lock.
    pub name: &'a str,
    /// For whom.
    pub owner: &'a Owner,
    /// For so long; `None`: until its process ends.
    pub ttl: Option<Duration>,
    /// The process that waits for it where it cannot be had at once; `None` does not wait.
    pub waiter: Option<ProcessId>,
    /// Its place in the queue, when it knows of one.
    pub ticket: Option<i64>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// It is the asker's.
    Yours {
        /// The lock.
        lock: Lock,
        /// It was taken now; otherwise it was the asker's already and is extended.
        fresh: bool,
        /// Who had it and lost it, and why.
        from: Option<Box<Freed>>,
    },
    /// In the queue.
    Waiting {
        /// The place.
        ticket: i64,
        /// So many are before.
        ahead: usize,
        /// Who has it, where somebody has.
        lock: Option<Lock>,
    },
}

/// A lock that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freed {
    /// As it was.
    pub lock: Lock,
    /// Why.
    pub why: String,
}

/// In whose name an owner speaks.
fn voice(owner: &Owner) -> Option<Voice<'_>> {
    (owner.kind == OwnerKind::Agent).then_some(Voice { agent: &owner.name, user: &owner.user })
}

impl Coordination {
    /// Every lock, by name.
    pub fn locks(&self) -> Result<Vec<Lock>, CoordinateError> {
        self.read(all)
    }

    /// The process that a lock ends with, where it is held until one ends.
    pub fn holder(&self, name: &str) -> Result<Option<ProcessId>, CoordinateError> {
        self.read(|tables| Ok(by_name(tables, name)?.and_then(|lock| lock.owner.process)))
    }

    /// Takes a lock, extends one's own, or gets in line. The log says of a holder that is found dead how it ended, as `ending`
    /// has it; that is asked while others wait to write.
    pub fn take(
        &mut self,
        wanted: &TakeLock<'_>,
        (alive, ending): (&Alive<'_>, &Ending<'_>),
        now: Timestamp,
    ) -> Result<(Taken, Told), CoordinateError> {
        // Most looks of a waiter find nothing new: they only read.
        if let Some((place, true)) = self.look(wanted, alive, now)? {
            return Ok((place, Told::new()));
        }
        self.change(voice(wanted.owner), now, |turn| {
            let wanted = &TakeLock { ticket: wanted.ticket.or(unanswered(turn, wanted)?), ..wanted.clone() };
            let mut from = None;
            let mut found = by_name(turn, wanted.name)?;
            match found.as_ref().map(|lock| lock.standing(wanted.owner, alive, turn.now)) {
                Some(Standing::Own) => {
                    let lock = renew(turn, wanted.name, wanted.owner, wanted.ttl)?;
                    leave(turn, wanted.ticket, wanted.waiter)?;
                    return Ok(Taken::Yours { lock, fresh: false, from: None });
                }
                Some(ended @ (Standing::Gone | Standing::Expired)) => {
                    let why = match (ended, found.as_ref().and_then(|lock| lock.owner.process)) {
                        (Standing::Gone, Some(process)) => ending(process),
                        _ => "its time had passed".to_owned(),
                    };
                    from = found.take().map(|lock| Box::new(Freed { lock, why }));
                    if let Some(freed) = &from {
                        free(turn, freed)?;
                    }
                }
                Some(Standing::Held) | None => {}
            }
            let ahead = ahead(turn, wanted, alive)?;
            if found.is_none() && ahead == 0 {
                let lock = insert(turn, wanted)?;
                leave(turn, wanted.ticket, wanted.waiter)?;
                return Ok(Taken::Yours { lock, fresh: true, from });
            }
            let Some(waiter) = wanted.waiter else {
                return Err(match found {
                    Some(lock) => held(&lock, turn.now),
                    None => Denial::Queue { name: wanted.name.to_owned(), count: ahead },
                }
                .into());
            };
            let ticket = enqueue(turn, wanted, waiter)?;
            Ok(Taken::Waiting { ticket, ahead, lock: found })
        })
    }

    /// Gives a lock back. With `force` whatever holds it, as long as it is of the same user, or the asker is root.
    pub fn unlock(
        &mut self,
        name: &str,
        asker: &Owner,
        force: bool,
        now: Timestamp,
    ) -> Result<(Freed, Told), CoordinateError> {
        self.change(voice(asker), now, |turn| {
            let lock = existing(turn, name)?;
            let own = asker.speaks_for(&lock.owner);
            if !own {
                if !may_act(lock.owner.user.uid, asker.user.uid) {
                    return Err(foreign(&lock).into());
                }
                if !force {
                    return Err(not_holder(&lock, asker).into());
                }
            }
            let why = if own { String::new() } else { format!("forced by {}", asker.user) };
            let freed = Freed { lock, why };
            free(turn, &freed)?;
            Ok(freed)
        })
    }

    /// Holds a lock for so long from now.
    pub fn extend(
        &mut self,
        name: &str,
        asker: &Owner,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<(Lock, Told), CoordinateError> {
        self.change(voice(asker), now, |turn| {
            let lock = existing(turn, name)?;
            if !asker.speaks_for(&lock.owner) {
                return Err(if may_act(lock.owner.user.uid, asker.user.uid) {
                    not_holder(&lock, asker)
                } else {
                    foreign(&lock)
                }
                .into());
            }
            if lock.has_expired(turn.now) && lock.waiting > 0 {
                return Err(Denial::Refused {
                    what: format!("the time of {name} has passed, and {} wait for it", lock.waiting),
                    remedy: format!("take it again: portwatch lock {name} --wait 1m"),
                }
                .into());
            }
            renew(turn, name, &lock.owner, Some(ttl))
        })
    }

    /// Lets another process stand for a lock: the one that does the work.
    pub fn hand_over(
        &mut self,
        name: &str,
        asker: &Owner,
        (to, words): (ProcessId, &str),
        now: Timestamp,
    ) -> Result<Told, CoordinateError> {
        let pass = |turn: &mut Turn<'_>| {
            let lock = existing(turn, name)?;
            // An order whose answer was lost is given again.
            if lock.owner.process == Some(to) {
                return Ok(());
            }
            if !asker.is(&lock.owner) {
                return Err(not_holder(&lock, asker).into());
            }
            let (pid, ticks, boot) = columns(Some(to), turn.boot);
            turn.execute(
                "UPDATE lock SET pid = ?2, start_ticks = ?3, boot = ?4,
                     owner = CASE kind WHEN 'process' THEN ?5 ELSE owner END WHERE name = ?1",
                params![name, pid, ticks, boot, words],
            )?;
            Ok(())
        };
        Ok(self.change(voice(asker), now, pass)?.1)
    }
}

/// The process ended, and nobody saw how.
pub fn gone(process: ProcessId) -> String {
    if process.start_ticks == EARLIER_BOOT {
        "the machine was started again".to_owned()
    } else {
        format!("its process {} is gone", process.pid)
    }
}

fn held(lock: &Lock, now: Timestamp) -> Denial {
    let left = match lock.expires {
        Some(expires) => {
            let ms = expires.as_millisecond().saturating_sub(now.as_millisecond()).max(0);
            format!("expires in {}", spell(Duration::from_millis(ms.unsigned_abs())))
        }
        None => "until it ends".to_owned(),
    };
    let owner = lock.owner.name.clone();
    Denial::Held { name: lock.name.clone(), owner, user: lock.owner.user.clone(), left }
}

fn foreign(lock: &Lock) -> Denial {
    let what = format!("{}, held by {},", lock.name, lock.owner.name);
    Denial::Foreign { what, user: lock.owner.user.clone() }
}

fn not_holder(lock: &Lock, asker: &Owner) -> Denial {
    let of = &lock.owner.user;
    let user = (of.uid != asker.user.uid).then(|| of.clone());
    let owner = lock.owner.name.clone();
    Denial::NotHolder { name: lock.name.clone(), owner, user, asker: asker.name.clone() }
}
