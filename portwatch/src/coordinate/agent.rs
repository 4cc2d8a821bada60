//! Agents: programs that work for somebody, say what for, and give a sign of life now and then.

use std::time::Duration;

use super::User;
use crate::model::{ProcessId, Timestamp};

/// Silent for longer than this, an agent is stale.
pub const STALE: Duration = Duration::from_mins(10);
/// Silent for longer than this, it counts as dead.
pub const DEAD: Duration = Duration::from_mins(20);

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vitality {
    /// It gave a sign of life lately.
    Active,
    /// It did not for [`STALE`].
    Stale,
    /// It did not for [`DEAD`], or its process has ended.
    Dead,
    /// It was unregistered.
    Ended,
}

impl Vitality {
    /// The word used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Stale => "stale",
            Self::Dead => "dead",
            Self::Ended => "ended",
        }
    }
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name: one user's.
    pub name: String,
    /// Whose it is.
    pub user: User,
    /// What it works on.
    pub purpose: Option<String>,
    /// What it is, as it says itself: `project:stack:context`, a model, a role.
    pub identity: Option<String>,
    /// It dies with this process.
    pub process: Option<ProcessId>,
    /// Since when it is known.
    pub registered: Timestamp,
    /// Its last sign of life: a heartbeat, or any command in its name.
    pub seen: Timestamp,
    /// When its process ended.
    pub died: Option<Timestamp>,
    /// How that ended.
    pub cause: Option<String>,
    /// When it was unregistered.
    pub ended: Option<Timestamp>,
    /// What the log was told last of how it is.
    pub told: String,
    /// Which agent took its work over.
    pub salvaged_by: Option<String>,
    /// When.
    pub salvaged: Option<Timestamp>,
}

impl Agent {
    /// How it is.
    pub fn vitality(&self, now: Timestamp) -> Vitality {
        let silent = u128::try_from(self.silent_ms(now)).unwrap_or(0);
        if self.ended.is_some() {
            Vitality::Ended
        } else if self.died.is_some() || silent > DEAD.as_millis() {
            Vitality::Dead
        } else if silent > STALE.as_millis() {
            Vitality::Stale
        } else {
            Vitality::Active
        }
    }

    /// Its process is gone, and it was not told yet.
    pub fn is_orphaned(&self, alive: &dyn Fn(ProcessId) -> bool) -> bool {
        self.died.is_none() && self.ended.is_none() && self.process.is_some_and(|process| !alive(process))
    }

    /// Milliseconds since its last sign of life.
    pub fn silent_ms(&self, now: Timestamp) -> i64 {
        now.as_millisecond().saturating_sub(self.seen.as_millisecond())
    }

    /// Its work can be taken over: it is dead, and nobody has done so.
    pub fn can_be_salvaged(&self, now: Timestamp) -> bool {
        self.vitality(now) == Vitality::Dead && self.salvaged.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_stale_and_then_dead_and_the_end_of_the_process_makes_dead_at_once() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut agent = Agent {
            name: "a".to_owned(),
            user: User { uid: 1, name: None },
            purpose: None,
            identity: None,
            process: None,
            registered: at(0),
            seen: at(0),
            died: None,
            cause: None,
            ended: None,
            told: "active".to_owned(),
            salvaged_by: None,
            salvaged: None,
        };
        for (second, expected) in [
            (600, Vitality::Active),
            (601, Vitality::Stale),
            (1200, Vitality::Stale),
            (1201, Vitality::Dead),
            (-50, Vitality::Active),
        ] {
            assert_eq!(agent.vitality(at(second)), expected, "{second}");
        }
        agent.died = Some(at(5));
        assert_eq!(agent.vitality(at(6)), Vitality::Dead);
        assert!(agent.can_be_salvaged(at(6)));
        agent.salvaged = Some(at(7));
        assert!(!agent.can_be_salvaged(at(8)));
    }
}
