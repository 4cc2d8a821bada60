//! By Winsock, exclusively: see `trial`.

use std::net::{IpAddr, Ipv6Addr};

use windows_sys::Win32::Networking::WinSock::{WSAEACCES, WSAEADDRINUSE, WSAEADDRNOTAVAIL, WSAEAFNOSUPPORT};

use super::{Fate, Spot};
use crate::resolve::trial::{Refused, trial};

pub(super) fn attempt(place: Spot, reuse_addr: bool) -> Fate {
    if reuse_addr {
        return Fate::NotTried;
    }
    match trial(place.local(), place.port, place.protocol, false) {
        Ok(()) => Fate::Bound,
        Err(Refused::InUse) => Fate::Refused(WSAEADDRINUSE),
        Err(Refused::NotPermitted) => Fate::Refused(WSAEACCES),
        Err(Refused::NoFamily) => Fate::NoFamily(WSAEAFNOSUPPORT),
        // IPv6 is there and switched off on every interface.
        Err(Refused::NoAddress) if place.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            Fate::NoFamily(WSAEADDRNOTAVAIL)
        }
        Err(Refused::NoAddress) => Fate::Refused(WSAEADDRNOTAVAIL),
        Err(Refused::Other(error)) => Fate::Refused(error.raw_os_error().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::model::{Port, Protocol};

    #[test]
    fn a_held_port_is_refused_by_its_winsock_code_and_sharing_is_not_tried() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Port::new(holder.local_addr().unwrap().port()).unwrap();
        let spot = Spot { address: IpAddr::from([127, 0, 0, 1]), zone: None, port, protocol: Protocol::Tcp };
        assert_eq!(attempt(spot, false), Fate::Refused(WSAEADDRINUSE));
        assert_eq!(attempt(spot, true), Fate::NotTried);
        drop(holder);
        assert_eq!(attempt(spot, false), Fate::Bound);
    }
}
