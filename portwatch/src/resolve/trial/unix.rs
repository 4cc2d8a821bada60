//! By POSIX calls.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind as bind_to, setsockopt, socket, sockopt,
    },
};

use super::Refused;
use crate::model::Protocol;

pub(super) fn bind(place: SocketAddr, protocol: Protocol, reuse: bool) -> Result<(), Refused> {
    attempt(place, protocol, reuse).map_err(|errno| match errno {
        Errno::EADDRINUSE => Refused::InUse,
        Errno::EACCES => Refused::NotPermitted,
        Errno::EADDRNOTAVAIL => Refused::NoAddress,
        Errno::EAFNOSUPPORT => Refused::NoFamily,
        errno => Refused::Other(errno.into()),
    })
}

fn attempt(place: SocketAddr, protocol: Protocol, reuse: bool) -> Result<(), Errno> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let family = if place.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = open(family, kind)?;
    if place.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    }
    setsockopt(&fd, sockopt::ReuseAddr, &reuse)?;
    bind_to(fd.as_raw_fd(), &SockaddrStorage::from(place))
}

#[cfg(target_os = "linux")]
fn open(family: AddressFamily, kind: SockType) -> Result<OwnedFd, Errno> {
    socket(family, kind, SockFlag::SOCK_CLOEXEC, None)
}

/// There is no flag for it: a program started at this very moment inherits it for as long as the bind takes.
#[cfg(not(target_os = "linux"))]
fn open(family: AddressFamily, kind: SockType) -> Result<OwnedFd, Errno> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let fd = socket(family, kind, SockFlag::empty(), None)?;
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(fd)
}
