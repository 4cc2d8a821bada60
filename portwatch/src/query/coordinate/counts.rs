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
    /// Agents that are taken for dead, were not unregistered, and whose work nobody has taken over.
    pub agents_dead: u64,
    /// Sessions that have not ended.
    pub sessions_active: u64,
    /// Channels.
    pub channels: u64,
    /// Channels that somebody follows; `None` without a daemon: then nobody knows.
    pub channels_followed: Option<u64>,
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
        let (agents, sessions, channels) = {
            let store = self.store();
            // Their numbers alone: nothing of them is read.
            (store.agents()?, store.sessions(Timestamp::MAX, 0)?.1, store.channels(0, 0)?.1)
        };
        for agent in &agents {
            match agent.vitality(now) {
                Vitality::Active => counts.agents_active += 1,
                Vitality::Stale => counts.agents_stale += 1,
                Vitality::Dead if agent.salvaged.is_none() => counts.agents_dead += 1,
                Vitality::Dead | Vitality::Ended => {}
            }
        }
        counts.sessions_active = sessions;
        counts.channels = channels;
        counts.channels_followed = self.followed()?;
        Ok(counts)
    }
}
