//! Names for ports, true by observation: the rules, apart from where claims are stored.
//!
//! A name (`project:stack[:context]`) is claimed, gets a port that will work, and from then on what the machine
//! shows decides what the claim is worth: live, ghost, squatted or idle.
//!
//! Never: look at processes itself, store anything, read a clock.

mod allocate;
mod auto;
mod claim;
mod config;
mod duration;
mod import;
mod name;
mod pattern;
mod policy;
mod range;
mod reserve;
mod rogue;
mod state;
mod suggest;

pub use allocate::{Asked, Exhausted, Obstacle, Terms, allocate};
pub use auto::{WHOLE, auto_name};
pub use claim::{Claim, ClaimPort, Kind, PORTS_PER_USER, may_change};
pub use config::{Health, ProjectConfig, ProjectConfigError, Stack, header, within};
pub use duration::{DurationError, duration};
pub use import::{FOREIGN, Imported, Wish, import};
pub use name::{Name, NameError, slug};
pub use pattern::{Pattern, PatternError, glob};
pub use policy::UserPolicy;
pub use range::{DEFAULT_RANGE, PortRange, PortSet, RangeError};
pub use reserve::{Reservation, reservation};
pub use rogue::{Facts, Rule, Standing, explain};
pub use state::{Occupant, State, Tie, tie};
pub use suggest::nearest;
