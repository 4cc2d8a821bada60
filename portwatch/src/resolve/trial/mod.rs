//! A real bind, given back at once, by each system's calls: the standard library's own sets options that would hide
//! what is in the way.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use crate::model::{Port, Protocol};

/// Why a bind was refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// Something has the port (EADDRINUSE).
    InUse,
    /// It needs a right (EACCES).
    NotPermitted,
    /// The address is none of this machine (EADDRNOTAVAIL).
    NoAddress,
    /// The machine has no such protocol family (EAFNOSUPPORT).
    NoFamily,
    /// Anything else.
    Other(io::Error),
}

/// Binds `host`:`port` and closes it. An IPv6 wildcard takes IPv4 too. With `reuse` as servers bind that set SO_REUSEADDR
/// (where they do: on Windows the option means something else, and they do not).
pub(super) fn trial(host: IpAddr, port: Port, protocol: Protocol, reuse: bool) -> Result<(), Refused> {
    system::bind(SocketAddr::new(host, port.get()), protocol, reuse)
}
