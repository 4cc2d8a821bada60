//! A claim.

use std::path::PathBuf;

use super::Name;
use crate::model::{Port, Protocol, Timestamp};

/// How a claim came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody asked for it. It stays until it is released.
    Explicit,
    /// A listener of a known project was there. It ends with the listener.
    Auto,
}

impl Kind {
    /// The word used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Auto => "auto",
        }
    }

    /// The inverse of [`Kind::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Explicit, Self::Auto].into_iter().find(|k| k.as_str() == word)
    }
}

/// One port of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimPort {
    /// Which of the name's ports, from 0. A pair (TCP and UDP on one number) has one slot.
    pub slot: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: Port,
}

/// A name and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Row id.
    pub id: i64,
    /// Its name.
    pub name: Name,
    /// How it came about.
    pub kind: Kind,
    /// Uid of whoever claimed it, from the peer credentials; for an automatic one, of the listener.
    pub owner: u32,
    /// User name of `owner`.
    pub owner_name: Option<String>,
    /// Agent that claimed it, as it named itself.
    pub agent: Option<String>,
    /// Session it belongs to, as it was named.
    pub session: Option<String>,
    /// Directory of the project it was claimed in.
    pub root: Option<PathBuf>,
    /// Git worktree of that project.
    pub worktree: Option<String>,
    /// Its ports, by slot and protocol.
    pub ports: Vec<ClaimPort>,
    /// When it was claimed first.
    pub created: Timestamp,
    /// When it was claimed again last.
    pub renewed: Timestamp,
    /// When it ends unless it is claimed again or live.
    pub expires: Option<Timestamp>,
    /// When a program of its own was last seen listening.
    pub seen: Option<Timestamp>,
}

impl Claim {
    /// Its first port.
    pub fn port(&self) -> Option<Port> {
        self.ports.first().map(|p| p.port)
    }

    /// Whether it has this port, for this protocol.
    pub fn has(&self, protocol: Protocol, port: Port) -> bool {
        self.ports.iter().any(|p| p.protocol == protocol && p.port == port)
    }

    /// Its time has passed.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// The same ports by slot: number, and whether UDP and TCP are meant.
    pub fn slots(&self) -> Vec<(u16, Port)> {
        let mut slots: Vec<(u16, Port)> = self.ports.iter().map(|p| (p.slot, p.port)).collect();
        slots.dedup_by_key(|(slot, _)| *slot);
        slots
    }
}

/// So many ports a user other than root may have claimed, unless the daemon's settings say otherwise. The default range has
/// seven times as many: one user leaves room for others.
pub const PORTS_PER_USER: u32 = 1000;

/// Whether a user may release, renew or change a claim of `owner`: the owner may, and root.
pub const fn may_change(owner: u32, user: u32) -> bool {
    user == owner || user == 0
}
