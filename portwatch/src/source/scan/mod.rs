//! Polled sources. On Linux sock_diag and procfs, which need no kernel program and no privilege; elsewhere, or where
//! it is asked for, a tool or an API that lists the sockets.

#[cfg(windows)]
mod iphelper;
#[cfg(target_os = "linux")]
mod kernel;
mod look;
mod poll;
#[cfg(target_os = "linux")]
mod scanner;
mod table;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
mod tool;

#[cfg(windows)]
pub use self::iphelper::{IpHelper, iphelper};
pub use self::look::{HolderSearch, Look, Pace, Tables};
pub use self::poll::{FASTEST, SLOWEST, ScanSource};
#[cfg(target_os = "linux")]
pub use self::scanner::{Roots, Scanner};
pub use self::table::{Reading, Table, TableScanner};
pub use self::tool::{lsof, netstat};

/// Where the trees are, on systems that have them.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roots {
    /// Nothing is there.
    pub proc: std::path::PathBuf,
}
