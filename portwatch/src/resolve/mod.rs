//! Getting a port back: waiting for it, freeing it, running a program on it.
//!
//! Everything here is done by the caller's process with the caller's own rights; the daemon only tells what it sees.
//!
//! Never: act without a fresh identity check.

mod bindable;
mod error;
mod healthy;
mod place;
mod stir;
mod wait;

pub use bindable::{Bindable, bindable};
pub use error::ResolveError;
pub use healthy::{Health, HealthCheck};
pub use place::{Place, PlaceError};
pub use stir::{Stir, StirKind, Stirs, Teller, stirs};
pub use wait::{Condition, Standing, WaitRequest, wait};
