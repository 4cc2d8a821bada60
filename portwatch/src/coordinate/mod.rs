//! Keeping out of each other's way: locks, agents, sessions, notes, salvage, channels. The rules, apart from where it is
//! all stored.
//!
//! An owner is an agent, a session or a process, always of one user. Whether a process lives is told by the caller.
//!
//! Never: look at processes itself, store anything, read a clock.

mod agent;
mod channel;
mod claimants;
mod denial;
mod label;
mod lock;
mod owner;
mod session;
mod span;

pub use agent::{Agent, DEAD, STALE, Vitality};
pub use channel::{Channel, Channels, LONGEST_MESSAGE, Message, may_use, message};
pub use claimants::claimants;
pub use denial::{Denial, DenialKind};
pub use label::{LONGEST_LABEL, label, text};
pub use lock::{DEFAULT_TTL, Lock, PATIENCE, Standing, Waiter};
pub use owner::{EARLIER_BOOT, Owner, OwnerKind, User, may_act};
pub use session::{MOST_ORDERED, NOTE_KINDS, Note, Session, SessionState, fit, mine, overlap, path};
pub use span::{spell, spell_bytes};
