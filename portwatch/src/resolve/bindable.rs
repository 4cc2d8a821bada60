//! Would a server get this place: tried by a real bind, closed at once.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    Place, ResolveError,
    trial::{Refused, trial},
};
use crate::model::Protocol;

/// What a real bind came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bindable {
    /// With and without SO_REUSEADDR.
    Yes,
    /// With SO_REUSEADDR, which most servers set, and not without: connections of an earlier server wait for their
    /// end.
    WithReuse,
    /// No: EADDRINUSE.
    InUse,
}

/// Tries it. Call it when no listener or binder is known there: while the trial lasts, a bind without SO_REUSEADDR by
/// somebody else would be refused.
///
/// What is no question of time is an error: a port that needs a privilege, an address that is not here.
pub fn bindable(place: &Place) -> Result<Bindable, ResolveError> {
    let mut result = Bindable::Yes;
    let addresses: &[IpAddr] = match place.hosts.as_slice() {
        // The dual-stack wildcard meets everything that either wildcard meets.
        [] => &[IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
        hosts => hosts,
    };
    let mut families = 0;
    for &address in addresses {
        let one = |reuse| trial(place.local(address), place.port, place.protocol, reuse);
        let tried = match place.protocol {
            Protocol::Tcp => one(true),
            // Two UDP sockets with SO_REUSEADDR would share the port, and each datagram reach one of them.
            Protocol::Udp => one(false),
        };
        match tried {
            Ok(()) => families += 1,
            Err(Refused::InUse) => return Ok(Bindable::InUse),
            // A machine without IPv6; it has the other family.
            Err(Refused::NoFamily | Refused::NoAddress) if addresses.len() > 1 => continue,
            Err(why) => return Err(refused(place, address, why)),
        }
        if place.protocol == Protocol::Tcp && matches!(one(false), Err(Refused::InUse)) {
            result = Bindable::WithReuse;
        }
    }
    match addresses.first() {
        Some(&address) if families == 0 => Err(refused(place, address, Refused::NoAddress)),
        _ => Ok(result),
    }
}

fn refused(place: &Place, address: IpAddr, why: Refused) -> ResolveError {
    let bind = |error| ResolveError::Bind { place: place.to_string(), error };
    match why {
        Refused::NotPermitted if cfg!(windows) => bind(io::Error::other(
            "it is not permitted: the port lies in an excluded range (netsh interface ipv4 show excludedportrange \
             tcp), or somebody has it exclusively",
        )),
        Refused::NotPermitted => ResolveError::Privileged { place: place.to_string(), port: place.port },
        Refused::NoAddress => ResolveError::Address { address },
        Refused::NoFamily => bind(io::Error::other("this machine has no such addresses")),
        Refused::InUse => bind(io::ErrorKind::AddrInUse.into()),
        Refused::Other(error) => bind(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{Bindable, bindable};
    use crate::resolve::{Place, ResolveError};

    fn tried(text: &str) -> Bindable {
        bindable(&text.parse::<Place>().unwrap()).unwrap()
    }

    #[test]
    fn a_listener_is_in_the_way_on_its_address_and_on_every_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["", "127.0.0.1:", "localhost:", "0.0.0.0:", "[::]:"] {
            assert_eq!(tried(&format!("{host}{port}")), Bindable::InUse, "{host}");
        }
        assert_ne!(tried(&format!("127.0.0.2:{port}")), Bindable::InUse);
        drop(listener);
        assert_eq!(tried(&port.to_string()), Bindable::Yes);
    }

    #[test]
    #[cfg_attr(windows, ignore = "there a bind passes over connections in TIME_WAIT")]
    fn a_connection_that_waits_for_its_end_is_in_the_way_without_reuse_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let client = TcpStream::connect(place).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        // The side that closes first has the TIME_WAIT.
        drop(accepted);
        drop(client);
        drop(listener);
        assert_eq!(tried(&place.to_string()), Bindable::WithReuse);
    }

    #[test]
    fn an_address_that_is_not_here_is_no_question_of_time() {
        // TEST-NET-1 (RFC 5737) is nobody's address.
        let error = bindable(&"192.0.2.1:3100".parse().unwrap()).unwrap_err();
        assert!(matches!(error, ResolveError::Address { .. }), "{error}");
    }
}
