//! Locks: one holder at a time, in the order in which they asked.

use std::time::Duration;

use super::Owner;
use crate::model::{ProcessId, Timestamp};

/// A lock that names no time is held so long.
pub const DEFAULT_TTL: Duration = Duration::from_mins(5);

/// A waiter that did not ask again for so long is passed over. Whoever lives asks four times a second.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A lock that is held, or was and nobody has given it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its name.
    pub name: String,
    /// Who holds it.
    pub owner: Owner,
    /// Since when.
    pub since: Timestamp,
    /// When it was extended last.
    pub renewed: Timestamp,
    /// How long it is held from then; `None` ends with its process only.
    pub ttl: Option<Duration>,
    /// When that is over.
    pub expires: Option<Timestamp>,
    /// How many wait for it.
    pub waiting: u64,
}

/// What a lock is to somebody who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the asker's.
    Own,
    /// Its process is gone: it can be taken.
    Gone,
    /// Its time has passed: it can be taken.
    Expired,
    /// Somebody else has it.
    Held,
}

impl Lock {
    /// What it is to `asker`. An asker whose own time has passed has lost it like anybody else.
    pub fn standing(&self, asker: &Owner, alive: &dyn Fn(ProcessId) -> bool, now: Timestamp) -> Standing {
        if self.is_orphaned(alive) {
            Standing::Gone
        } else if self.has_expired(now) {
            Standing::Expired
        } else if self.owner.is(asker) {
            Standing::Own
        } else {
            Standing::Held
        }
    }

    /// Its process is gone.
    pub fn is_orphaned(&self, alive: &dyn Fn(ProcessId) -> bool) -> bool {
        self.owner.process.is_some_and(|process| !alive(process))
    }

    /// Its time has passed.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Somebody in the queue of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// Its place: smaller numbers go first.
    pub ticket: i64,
    /// The lock.
    pub lock: String,
    /// Who waits.
    pub owner: Owner,
    /// The process that asks for it; its place ends with it.
    pub process: ProcessId,
    /// When it asked last.
    pub seen: Timestamp,
}

impl Waiter {
    /// It still waits: it lives and asked a short time ago. Nobody who came later goes before it.
    pub fn waits(&self, alive: &dyn Fn(ProcessId) -> bool, now: Timestamp) -> bool {
        let silent = now.as_millisecond().saturating_sub(self.seen.as_millisecond());
        u128::try_from(silent).unwrap_or(0) <= PATIENCE.as_millis() && alive(self.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinate::{OwnerKind, User};

    fn owner(pid: Option<u32>) -> Owner {
        let process = pid.map(|pid| ProcessId { pid, start_ticks: 1 });
        let user = User { uid: 1000, name: None };
        Owner { kind: OwnerKind::Agent, name: "a".to_owned(), user, process }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_lock_is_its_holders_until_its_time_or_its_process_ends() {
        let lock = Lock {
            name: "x".to_owned(),
            owner: owner(Some(5)),
            since: at(0),
            renewed: at(0),
            ttl: Some(Duration::from_secs(10)),
            expires: Some(at(10)),
            waiting: 0,
        };
        let (living, dead) = (&|_| true, &|_| false);
        assert_eq!(lock.standing(&owner(Some(5)), living, at(9)), Standing::Own);
        assert_eq!(lock.standing(&owner(Some(6)), living, at(9)), Standing::Held);
        assert_eq!(lock.standing(&owner(Some(5)), living, at(10)), Standing::Expired);
        assert_eq!(lock.standing(&owner(Some(6)), dead, at(1)), Standing::Gone);
    }

    #[test]
    fn a_waiter_keeps_its_place_while_it_lives_and_asks() {
        let waiter = Waiter {
            ticket: 1,
            lock: "x".to_owned(),
            owner: owner(None),
            process: ProcessId { pid: 5, start_ticks: 1 },
            seen: at(100),
        };
        assert!(waiter.waits(&|_| true, at(105)));
        assert!(!waiter.waits(&|_| true, at(106)), "it did not ask any more");
        assert!(!waiter.waits(&|_| false, at(100)), "it is gone");
        assert!(waiter.waits(&|_| true, at(90)), "a clock that was set back takes nobody's place");
    }
}
