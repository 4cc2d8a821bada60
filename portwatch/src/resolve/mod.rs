//! Getting a port, and getting one back: claiming it, waiting for it, freeing it, running a program on it; and binds
//! that are really tried.
//!
//! What is done to others is done by the caller's process with the caller's own rights; the daemon gives out claims,
//! and otherwise only tells what it sees.
//!
//! Never: act without a fresh identity check.

mod bind;
mod bindable;
mod claim;
mod error;
pub mod free;
mod healthy;
mod place;
mod probe;
pub mod run;
mod stir;
mod terms;
mod trial;
mod wait;

pub use bind::obstacle;
pub use bindable::{Bindable, bindable};
pub use claim::{Order, claim, claim_all, give_back};
pub use error::ResolveError;
pub use place::{Place, PlaceError};
pub use probe::{Attempt, Fate, Spot, probe};
pub use stir::{Stir, StirKind, Stirs, Teller, stirs};
pub use terms::terms;
pub use wait::{Condition, Standing, WaitRequest, wait};

use crate::source::{
    SourceError,
    negotiate::{self, SourceChoice},
    scan,
};

/// What the machine is looked at with here: the best table that it has.
fn look() -> Result<Box<dyn scan::Look>, SourceError> {
    negotiate::look(&SourceChoice::Auto, &scan::Roots::default()).map_err(|(_, error)| error)
}
