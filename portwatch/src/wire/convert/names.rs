//! The system's names for its numbers.

#[cfg(unix)]
pub(super) fn errno_name(errno: i32) -> Option<String> {
    match nix::errno::Errno::from_raw(errno) {
        nix::errno::Errno::UnknownErrno => None,
        known => Some(format!("{known:?}")),
    }
}

/// Winsock's, as far as a bind gives them.
#[cfg(not(unix))]
pub(super) fn errno_name(errno: i32) -> Option<String> {
    let name = match errno {
        10_013 => "WSAEACCES",
        10_022 => "WSAEINVAL",
        10_047 => "WSAEAFNOSUPPORT",
        10_048 => "WSAEADDRINUSE",
        10_049 => "WSAEADDRNOTAVAIL",
        10_055 => "WSAENOBUFS",
        _ => return None,
    };
    Some(name.to_owned())
}

/// Real-time signals (above 31) have no names of their own.
#[cfg(unix)]
pub(super) fn signal_name(signal: u8) -> Option<String> {
    nix::sys::signal::Signal::try_from(i32::from(signal)).ok().map(|s| s.as_str().to_owned())
}

#[cfg(not(unix))]
pub(super) fn signal_name(_: u8) -> Option<String> {
    None
}
