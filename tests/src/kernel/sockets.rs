//! Sockets that the standard library would not make.
#![expect(clippy::unwrap_used, reason = "a scenario asserts")]

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use nix::{
    libc,
    sys::socket::{SockaddrIn, bind, getsockname},
};

/// A socket; fails where the kernel has no such protocol.
pub(super) fn try_socket(
    family: libc::c_int,
    kind: libc::c_int,
    protocol: libc::c_int,
) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked and owned by nobody else.
    unsafe {
        let fd = libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// A TCP socket, IPv4.
pub(super) fn tcp() -> OwnedFd {
    try_socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap()
}

/// Binds it.
pub(super) fn bind4(fd: &OwnedFd, address: Ipv4Addr, port: u16) -> io::Result<()> {
    Ok(bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, port)))?)
}

/// Listens on it.
pub(super) fn listen(fd: &OwnedFd) {
    try_listen(fd).unwrap();
}

/// The same, where it may be refused.
pub(super) fn try_listen(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: no pointers.
    if unsafe { libc::listen(fd.as_raw_fd(), 1) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Its local port.
pub(super) fn port_of(fd: &OwnedFd) -> u16 {
    getsockname::<SockaddrIn>(fd.as_raw_fd()).unwrap().port()
}
