//! Where a program listens: by looking at its processes' sockets.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
mod table;
#[cfg(not(target_os = "linux"))]
use table as system;

use std::net::IpAddr;

pub(super) use self::system::Family;
use crate::model::Port;

/// A place where the program is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) address: IpAddr,
    pub(super) port: Port,
    pub(super) v6_only: bool,
}
