//! What the kernel side counts, per CPU.

use crate::record::kind;

/// One per CPU, indexed by record kind and by the constants below.
pub type Counters = [u64; END];

/// A socket could not be put into the map of bound sockets: its close will not be seen.
pub const BOUND_FULL: usize = kind::END as usize;
/// A process could not be put into the map of named processes: its exit will not be seen.
pub const PROCESSES_FULL: usize = BOUND_FULL + 1;
/// No loss: a socket was bound whose listen, or whose end, only the programs tell that are attached at need.
pub const NEED: usize = PROCESSES_FULL + 1;
/// Number of counters. The first [`kind::END`] count records lost because the buffer was full.
pub const END: usize = 32;

const _: () = assert!(NEED < END);
