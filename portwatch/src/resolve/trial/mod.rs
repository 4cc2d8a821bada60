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
    net::{IpAddr, SocketAddr, SocketAddrV6},
};

use crate::model::{Local, Port, Protocol};

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
pub(super) fn trial(
    host: impl Into<Local>,
    port: Port,
    protocol: Protocol,
    reuse: bool,
) -> Result<(), Refused> {
    system::bind(socket_address(host.into(), port), protocol, reuse)
}

/// With the interface of an address of a link.
pub(super) fn socket_address(local: Local, port: Port) -> SocketAddr {
    let zone = local.zone.map_or(0, |zone| zone.0.get());
    match local.address {
        IpAddr::V4(v4) => (v4, port.get()).into(),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port.get(), 0, zone).into(),
    }
}
