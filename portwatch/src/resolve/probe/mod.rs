//! A bind that is really tried, with and without SO_REUSEADDR, and given back at once.
//!
//! For the moment between bind and close the port is taken, some microseconds long: a server that binds it in that
//! very moment fails. That is why `who` computes its verdict instead.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use std::net::IpAddr;

use crate::model::{Local, Port, Protocol, Zone};

/// Where to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The address.
    pub address: IpAddr,
    /// The interface, for an address of a link.
    pub zone: Option<Zone>,
    /// The port.
    pub port: Port,
    /// The protocol.
    pub protocol: Protocol,
}

impl Spot {
    /// The address with its interface.
    pub fn local(&self) -> Local {
        Local { address: self.address, zone: self.zone }
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was bound, and is free again.
    Bound,
    /// The kernel refused, with this errno (positive; on Windows the code of Winsock).
    Refused(i32),
    /// The machine has no such family (IPv6 is switched off): nothing was tried. The errno of the socket call.
    NoFamily(i32),
    /// The option means something else on this system, so it was not tried.
    NotTried,
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

/// Tries every place, without SO_REUSEADDR and with it. Other options are as a new socket has them, so that on Linux
/// `::` takes IPv4 too unless `net.ipv6.bindv6only` is set. On Windows the option lets a socket share a port with whoever
/// has it: there the bind is an exclusive one, which meets everybody, and is tried once.
pub fn probe(places: &[Spot]) -> Vec<Attempt> {
    let both = |&place: &Spot| {
        [false, true].map(|reuse_addr| Attempt {
            place,
            reuse_addr,
            fate: system::attempt(place, reuse_addr),
        })
    };
    places.iter().flat_map(both).collect()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use nix::errno::Errno;

    use super::*;

    const IN_USE: Fate = Fate::Refused(Errno::EADDRINUSE as i32);
    const NOT_HERE: Fate = Fate::Refused(Errno::EADDRNOTAVAIL as i32);

    fn place(address: &str, port: u16, protocol: Protocol) -> Spot {
        Spot { address: address.parse().unwrap(), zone: None, port: Port::new(port).unwrap(), protocol }
    }

    #[test]
    fn a_held_port_is_refused_and_free_again_when_its_holder_goes() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let places = [place("127.0.0.1", port, Protocol::Tcp)];
        let fates =
            |places: &[Spot]| probe(places).iter().map(|a| (a.reuse_addr, a.fate)).collect::<Vec<_>>();
        assert_eq!(fates(&places), [(false, IN_USE), (true, IN_USE)]);
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
        assert!(attempts.iter().all(|a| a.fate == NOT_HERE), "{attempts:?}");
    }
}
