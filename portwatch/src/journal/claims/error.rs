//! Why a claim was not made or given back.

use crate::{
    journal::JournalError,
    model::Port,
    registry::{Exhausted, Name, Obstacle},
};

/// Why. Every sentence names what is in the way.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The database.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It is another user's.
    #[error("{name} belongs to {}", user(*owner, owner_name.as_deref()))]
    NotOwner {
        /// The claim.
        name: Name,
        /// Its owner.
        owner: u32,
        /// The owner's name.
        owner_name: Option<String>,
    },
    /// It has another port than the one asked for.
    #[error("{name} has port {has}, not {asked}")]
    OtherPort {
        /// The claim.
        name: Name,
        /// Its port.
        has: Port,
        /// The port asked for.
        asked: Port,
    },
    /// The port asked for is another's.
    #[error("port {port} is claimed by {by} of {}", user(*owner, owner_name.as_deref()))]
    Claimed {
        /// The port.
        port: Port,
        /// Whose it is.
        by: Name,
        /// Owner of that claim.
        owner: u32,
        /// The owner's name.
        owner_name: Option<String>,
    },
    /// The port asked for would not work.
    #[error("port {port} is {}", obstacle.as_str())]
    Obstacle {
        /// The port.
        port: Port,
        /// Why.
        obstacle: Obstacle,
    },
    /// No port of the range is left.
    #[error("{}", exhausted(.0))]
    Exhausted(Exhausted),
    /// Its owner has as many ports claimed as one user may have.
    #[error("you have {has} ports claimed and want {more} more; one user may have {limit}")]
    TooMany {
        /// How many there are.
        has: i64,
        /// How many more were asked for.
        more: u16,
        /// How many one user may have.
        limit: u32,
    },
    /// Nothing is claimed under this name, pattern or port.
    #[error("nothing is claimed as {0}")]
    Nothing(String),
}

fn user(uid: u32, name: Option<&str>) -> String {
    name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

fn exhausted(exhausted: &Exhausted) -> String {
    let counts: Vec<String> =
        exhausted.counts.iter().map(|(obstacle, count)| format!("{count} {}", obstacle.as_str())).collect();
    format!("no port of {} is free: {}", exhausted.range, counts.join(", "))
}
