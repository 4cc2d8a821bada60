//! Would a server get this place: tried by a real bind, closed at once.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, setsockopt, socket,
        sockopt,
    },
};

use super::{Place, ResolveError};
use crate::model::{Port, Protocol};

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
        let tried = match place.protocol {
            Protocol::Tcp => one(address, place, true),
            // Two UDP sockets with SO_REUSEADDR would share the port, and each datagram reach one of them.
            Protocol::Udp => one(address, place, false),
        };
        match tried {
            Ok(()) => families += 1,
            Err(Errno::EADDRINUSE) => return Ok(Bindable::InUse),
            // A machine without IPv6; it has the other family.
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) if addresses.len() > 1 => continue,
            Err(errno) => return Err(refused(place, address, errno)),
        }
        if place.protocol == Protocol::Tcp && one(address, place, false) == Err(Errno::EADDRINUSE) {
            result = Bindable::WithReuse;
        }
    }
    match addresses.first() {
        Some(&address) if families == 0 => Err(refused(place, address, Errno::EADDRNOTAVAIL)),
        _ => Ok(result),
    }
}

fn one(address: IpAddr, place: &Place, reuse: bool) -> Result<(), Errno> {
    let kind = match place.protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let port = place.port;
    match address {
        IpAddr::V4(address) => try_bind(
            AddressFamily::Inet,
            kind,
            &SockaddrIn::from(SocketAddrV4::new(address, port.get())),
            reuse,
        ),
        IpAddr::V6(address) => try_v6(address, port, kind, reuse),
    }
}

fn try_v6(address: Ipv6Addr, port: Port, kind: SockType, reuse: bool) -> Result<(), Errno> {
    let place = SockaddrIn6::from(SocketAddrV6::new(address, port.get(), 0, 0));
    try_bind(AddressFamily::Inet6, kind, &place, reuse)
}

fn try_bind(
    family: AddressFamily,
    kind: SockType,
    address: &dyn SockaddrLike,
    reuse: bool,
) -> Result<(), Errno> {
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if family == AddressFamily::Inet6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    }
    setsockopt(&fd, sockopt::ReuseAddr, &reuse)?;
    bind(fd.as_raw_fd(), address)
}

fn refused(place: &Place, address: IpAddr, errno: Errno) -> ResolveError {
    match errno {
        Errno::EACCES => ResolveError::Privileged { place: place.to_string(), port: place.port },
        Errno::EADDRNOTAVAIL => ResolveError::Address { address },
        errno => ResolveError::Bind { place: place.to_string(), error: errno.into() },
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
