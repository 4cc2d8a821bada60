//! By POSIX calls, with no option but the one that was asked for.

use std::{net::IpAddr, os::fd::AsRawFd as _};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt::ReuseAddr,
    },
};

use super::{Fate, Spot};
use crate::{model::Protocol, resolve::trial::socket_address};

pub(super) fn attempt(place: Spot, reuse_addr: bool) -> Fate {
    let family = if place.address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = match place.protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let fd = match socket(family, kind, SockFlag::empty(), None) {
        Ok(fd) => fd,
        Err(errno @ (Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT)) => return Fate::NoFamily(errno as i32),
        Err(errno) => return Fate::Refused(errno as i32),
    };
    if reuse_addr && let Err(errno) = setsockopt(&fd, ReuseAddr, &true) {
        return Fate::Refused(errno as i32);
    }
    let to = socket_address(place.local(), place.port);
    match bind(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) => Fate::Bound,
        // IPv6 is there and switched off on every interface (net.ipv6.conf.all.disable_ipv6).
        Err(errno @ Errno::EADDRNOTAVAIL) if place.address == IpAddr::from([0_u16; 8]) => {
            Fate::NoFamily(errno as i32)
        }
        Err(errno) => Fate::Refused(errno as i32),
    }
}
