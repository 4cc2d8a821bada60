//! A bind that is really tried, with and without SO_REUSEADDR, and given back at once.
//!
//! For the moment between bind and close the port is taken, some microseconds long: a server that binds it in that
//! very moment fails. That is why `who` computes its verdict instead.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt::ReuseAddr,
    },
};

use crate::model::{Port, Protocol};

/// Where to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Port,
    /// The protocol.
    pub protocol: Protocol,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was bound, and is free again.
    Bound,
    /// The kernel refused, with this errno (positive).
    Refused(i32),
    /// The machine has no such family (IPv6 is switched off): nothing was tried. The errno of the socket call.
    NoFamily(i32),
}

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Where.
    pub place: Spot,
    /// With SO_REUSEADDR.
    pub reuse_addr: bool,
    /// What became of it.
    pub fate: Fate,
}

/// Tries every place, without SO_REUSEADDR and with it. Other options are as a new socket has them, so that `::`
/// takes IPv4 too unless `net.ipv6.bindv6only` is set.
pub fn probe(places: &[Spot]) -> Vec<Attempt> {
    let both = |&place: &Spot| {
        [false, true].map(|reuse_addr| Attempt { place, reuse_addr, fate: attempt(place, reuse_addr) })
    };
    places.iter().flat_map(both).collect()
}

fn attempt(place: Spot, reuse_addr: bool) -> Fate {
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
    let to = SocketAddr::new(place.address, place.port.get());
    match bind(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) => Fate::Bound,
        // IPv6 is there and switched off on every interface (net.ipv6.conf.all.disable_ipv6).
        Err(errno @ Errno::EADDRNOTAVAIL) if place.address == IpAddr::from([0_u16; 8]) => {
            Fate::NoFamily(errno as i32)
        }
        Err(errno) => Fate::Refused(errno as i32),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn place(address: &str, port: u16, protocol: Protocol) -> Spot {
        Spot { address: address.parse().unwrap(), port: Port::new(port).unwrap(), protocol }
    }

    #[test]
    fn a_held_port_is_refused_and_free_again_when_its_holder_goes() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let places = [place("127.0.0.1", port, Protocol::Tcp)];
        let fates =
            |places: &[Spot]| probe(places).iter().map(|a| (a.reuse_addr, a.fate)).collect::<Vec<_>>();
        assert_eq!(fates(&places), [(false, Fate::Refused(98)), (true, Fate::Refused(98))]);
        // The other protocol and another address are other places.
        let beside = [place("127.0.0.1", port, Protocol::Udp), place("127.0.0.7", port, Protocol::Tcp)];
        assert!(fates(&beside).iter().all(|(_, fate)| *fate == Fate::Bound));
        drop(holder);
        assert_eq!(fates(&places), [(false, Fate::Bound), (true, Fate::Bound)]);
        // It gave the port back.
        TcpListener::bind(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn an_address_of_somebody_else_is_refused_as_such() {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let attempts = probe(&[place("192.0.2.1", port, Protocol::Udp)]);
        assert!(attempts.iter().all(|a| a.fate == Fate::Refused(99)), "{attempts:?}");
    }
}
