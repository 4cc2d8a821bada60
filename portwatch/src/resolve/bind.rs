//! Would it work? A real bind, given back at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::trial::{Refused, trial};
use crate::{
    model::{Port, Protocol},
    registry::Obstacle,
};

/// What a bind of `port` on `host` meets, without SO_REUSEADDR: so a connection in TIME_WAIT counts, too. Without a
/// host it is a bind of every address of both families, which meets whatever has the port anywhere.
///
/// The answer is true for the moment of the bind. Who binds the port between it and the program it is meant for,
/// wins; for that reason the port is given back at once and not held.
pub fn obstacle(port: Port, protocols: &[Protocol], host: Option<IpAddr>) -> Option<Obstacle> {
    protocols.iter().find_map(|&protocol| {
        let tried = |host| trial(host, port, protocol, false);
        let result = match host {
            Some(host) => tried(host),
            None => match tried(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) {
                // A machine without IPv6.
                Err(Refused::NoFamily | Refused::NoAddress) => tried(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                other => other,
            },
        };
        match result {
            Ok(()) => None,
            Err(Refused::InUse) => Some(Obstacle::InUse),
            // There no port needs a privilege: it lies in an excluded range, or is held exclusively.
            Err(Refused::NotPermitted) if cfg!(windows) => Some(Obstacle::Refused),
            Err(Refused::NotPermitted) => Some(Obstacle::Privileged),
            Err(Refused::NoAddress | Refused::NoFamily) => Some(Obstacle::NoAddress),
            Err(_) => Some(Obstacle::Refused),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::obstacle;
    use crate::{
        model::{Port, Protocol},
        registry::Obstacle,
    };

    const TCP: &[Protocol] = &[Protocol::Tcp];

    fn port_of(listener: &TcpListener) -> Port {
        Port::new(listener.local_addr().unwrap().port()).unwrap()
    }

    #[test]
    fn a_listener_on_one_address_stands_in_the_way_of_all() {
        for host in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            assert_eq!(obstacle(port_of(&listener), TCP, None), Some(Obstacle::InUse), "{host}");
        }
    }

    #[test]
    fn only_the_asked_for_address_counts_when_one_is() {
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        let at = |host: &str| obstacle(port_of(&listener), TCP, Some(host.parse().unwrap()));
        assert_eq!(at("127.0.0.2"), Some(Obstacle::InUse));
        assert_eq!(at("127.0.0.3"), None);
        assert_eq!(at("192.0.2.1"), Some(Obstacle::NoAddress), "not an address of this machine");
    }

    #[test]
    #[cfg_attr(windows, ignore = "there a bind passes over connections in TIME_WAIT")]
    fn a_connection_that_waits_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port_of(&listener);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(listener);
        // The side that closes first waits: here the server's, which has the port.
        drop(server);
        drop(client);
        assert_eq!(obstacle(port, TCP, None), Some(Obstacle::InUse));
    }

    #[test]
    fn a_pair_needs_both_protocols() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = Port::new(taken.local_addr().unwrap().port()).unwrap();
        assert_eq!(obstacle(port, TCP, None), None);
        assert_eq!(obstacle(port, &[Protocol::Tcp, Protocol::Udp], None), Some(Obstacle::InUse));
    }
}
