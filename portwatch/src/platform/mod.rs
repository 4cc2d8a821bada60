//! What operating systems do differently, each thing behind one face: users, streams between processes of the machine,
//! files of one's own, how a process is asked to end, what the clock and the memory say.
//!
//! Elsewhere a `cfg` is the exception; here it is the rule, one file a system.
//!
//! Never: know what a port is.

pub mod ending;
pub mod files;
pub mod local;
pub mod standstill;
pub mod user;
pub mod vitals;
#[cfg(windows)]
pub(crate) mod windows;
