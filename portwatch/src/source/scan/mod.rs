//! The scan source: sock_diag and procfs, polled. It needs no kernel program and no privilege.

mod poll;
mod scanner;
#[cfg(test)]
mod tests;

pub use self::poll::{FASTEST, SLOWEST, ScanSource};
pub use self::scanner::{Roots, Scanner};
pub use super::procfs::HolderSearch;
