//! By Winsock, with SO_EXCLUSIVEADDRUSE: without it a bind of every address succeeds beside a server that has one of
//! them, and the server gets the connections.

use std::{io, mem, net::SocketAddr, sync::OnceLock};

use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, INVALID_SOCKET, IPPROTO_IPV6, IPV6_V6ONLY, SO_EXCLUSIVEADDRUSE, SOCK_DGRAM,
    SOCK_STREAM, SOCKADDR_IN, SOCKADDR_IN6, SOCKET, SOL_SOCKET, WSA_FLAG_NO_HANDLE_INHERIT,
    WSA_FLAG_OVERLAPPED, WSADATA, WSAEACCES, WSAEADDRINUSE, WSAEADDRNOTAVAIL, WSAEAFNOSUPPORT,
    WSAGetLastError, WSASocketW, WSAStartup, bind as bind_to, closesocket, setsockopt,
};

use super::Refused;
use crate::model::Protocol;

/// What binds of Windows know of SO_REUSEADDR is not what other systems mean, so `reuse` changes nothing.
pub(super) fn bind(place: SocketAddr, protocol: Protocol, _: bool) -> Result<(), Refused> {
    attempt(place, protocol).map_err(|code| match code {
        WSAEADDRINUSE => Refused::InUse,
        // Of an excluded range, or of a socket that was bound exclusively.
        WSAEACCES => Refused::NotPermitted,
        WSAEADDRNOTAVAIL => Refused::NoAddress,
        WSAEAFNOSUPPORT => Refused::NoFamily,
        code => Refused::Other(io::Error::from_raw_os_error(code)),
    })
}

/// A socket that is closed with this value.
struct Socket(SOCKET);

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: the socket is ours and closed nowhere else.
        unsafe { closesocket(self.0) };
    }
}

fn started() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        // SAFETY: all zero is a valid value of it.
        let mut data: WSADATA = unsafe { mem::zeroed() };
        // A failure shows at the first socket. Version 2.2.
        // SAFETY: the data is written to.
        unsafe { WSAStartup(0x0202, &raw mut data) };
    });
}

fn attempt(place: SocketAddr, protocol: Protocol) -> Result<(), i32> {
    started();
    let kind = match protocol {
        Protocol::Tcp => SOCK_STREAM,
        Protocol::Udp => SOCK_DGRAM,
    };
    let family = if place.is_ipv4() { AF_INET } else { AF_INET6 };
    let flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
    // SAFETY: the call takes no memory of ours.
    let socket = unsafe { WSASocketW(i32::from(family), kind, 0, std::ptr::null(), 0, flags) };
    if socket == INVALID_SOCKET {
        return Err(last());
    }
    let socket = Socket(socket);
    if place.is_ipv6() {
        option(&socket, IPPROTO_IPV6, IPV6_V6ONLY, 0)?;
    }
    option(&socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1)?;
    let result = match place {
        SocketAddr::V4(place) => {
            // SAFETY: all zero is a valid value of it.
            let mut address: SOCKADDR_IN = unsafe { mem::zeroed() };
            address.sin_family = AF_INET;
            address.sin_port = place.port().to_be();
            address.sin_addr.S_un.S_addr = u32::from_ne_bytes(place.ip().octets());
            // SAFETY: the address lives until the call returns and is as long as is said.
            unsafe { bind_to(socket.0, (&raw const address).cast(), length::<SOCKADDR_IN>()) }
        }
        SocketAddr::V6(place) => {
            // SAFETY: all zero is a valid value of it.
            let mut address: SOCKADDR_IN6 = unsafe { mem::zeroed() };
            address.sin6_family = AF_INET6;
            address.sin6_port = place.port().to_be();
            address.sin6_addr.u.Byte = place.ip().octets();
            address.Anonymous.sin6_scope_id = place.scope_id();
            // SAFETY: as above.
            unsafe { bind_to(socket.0, (&raw const address).cast(), length::<SOCKADDR_IN6>()) }
        }
    };
    if result == 0 { Ok(()) } else { Err(last()) }
}

fn length<T>() -> i32 {
    i32::try_from(size_of::<T>()).unwrap_or(0)
}

fn option(socket: &Socket, level: i32, name: i32, value: i32) -> Result<(), i32> {
    let bytes = value.to_ne_bytes();
    // SAFETY: the value is as long as is said.
    let set = unsafe { setsockopt(socket.0, level, name, bytes.as_ptr(), length::<i32>()) };
    if set == 0 { Ok(()) } else { Err(last()) }
}

fn last() -> i32 {
    // SAFETY: the call takes nothing.
    unsafe { WSAGetLastError() }
}
