//! How much of everything there is.

use super::{Bureau, OfficeError};
use crate::{coordinate::Vitality, model::Timestamp};

/// Numbers of the bureau.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Locks that are held.
    pub locks_held: u64,
    /// Locks whose time is over and that nobody gave back.
    pub locks_expired: u64,
    /// Who waits for a lock.
    pub lock_waiters: u64,
    /// Agents that gave a sign of life lately.
    pub agents_active: u64,
    /// Agents that did not for a while.
    pub agents_stale: u64,
    /// Agents that are taken for dead and were not unregistered.
    pub agents_dead: u64,
    /// Sessions that have not ended.
    pub sessions_active: u64,
}

impl Bureau {
    /// How much of everything there is now.
    pub fn counts(&self) -> Result<Counts, OfficeError> {
        let locks = self.locks()?;
        let now = Timestamp::now();
        let mut counts = Counts::default();
        for lock in &locks {
            *if lock.has_expired(now) { &mut counts.locks_expired } else { &mut counts.locks_held } += 1;
            counts.lock_waiters += lock.waiting;
        }
        let (agents, sessions) = {
            let store = self.store();
            (store.agents()?, store.sessions(Timestamp::MAX)?)
        };
        for agent in &agents {
            match agent.vitality(now) {
                Vitality::Active => counts.agents_active += 1,
                Vitality::Stale => counts.agents_stale += 1,
                Vitality::Dead => counts.agents_dead += 1,
                Vitality::Ended => {}
            }
        }
        counts.sessions_active = u64::try_from(sessions.len()).unwrap_or(u64::MAX);
        Ok(counts)
    }
}
