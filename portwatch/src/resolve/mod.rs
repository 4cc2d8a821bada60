//! Getting a port, and getting one back: claiming it, waiting for it, freeing it, running a program on it; and binds
//! that are really tried.
//!
//! What is done to others is done by the caller's process with the caller's own rights; the daemon gives out claims,
//! and otherwise only tells what it sees.
//!
//! Never: act without a fresh identity check.

mod bind;
#[cfg(target_os = "linux")]
mod bindable;
mod claim;
mod error;
#[cfg(target_os = "linux")]
pub mod free;
#[cfg(target_os = "linux")]
mod healthy;
mod place;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
pub mod run;
#[cfg(target_os = "linux")]
mod stir;
mod terms;
mod trial;
#[cfg(target_os = "linux")]
mod wait;

pub use bind::obstacle;
#[cfg(target_os = "linux")]
pub use bindable::{Bindable, bindable};
pub use claim::{Order, claim, claim_all, give_back};
pub use error::ResolveError;
pub use place::{Place, PlaceError};
#[cfg(target_os = "linux")]
pub use probe::{Attempt, Fate, Spot, probe};
#[cfg(target_os = "linux")]
pub use stir::{Stir, StirKind, Stirs, Teller, stirs};
pub use terms::terms;
#[cfg(target_os = "linux")]
pub use wait::{Condition, Standing, WaitRequest, wait};
