//! Ending TIME_WAIT: the kernel is asked to forget connections that wait for stray packets.

use crate::{
    model::{Connection, Interface},
    resolve::{Place, ResolveError},
};

/// Has the kernel forget the connections in TIME_WAIT at a place, and no others; gives their number.
#[cfg(target_os = "linux")]
pub fn destroy(place: &Place) -> Result<u64, ResolveError> {
    use nix::libc::{EACCES, EINVAL, EOPNOTSUPP, EPERM};

    use crate::source::{SourceError, diag::Diag};

    let unread = |error: crate::source::diag::DiagError| SourceError::Read {
        what: format!("sock_diag, {}", error.table),
        error: error.error,
    };
    let mut diag = Diag::open(None).map_err(unread)?;
    diag.forget_time_wait(place.port, &|connection| concerns(place, connection)).map_err(|error| {
        let remedy = match error.raw_os_error() {
            Some(EPERM | EACCES) => "CAP_NET_ADMIN is needed, do it as root; or wait",
            Some(EOPNOTSUPP | EINVAL) => "this kernel cannot (CONFIG_INET_DIAG_DESTROY); wait",
            _ => "wait",
        };
        ResolveError::TimeWait { error, remedy }
    })
}

/// Only Linux can be asked to.
#[cfg(not(target_os = "linux"))]
pub fn destroy(_: &Place) -> Result<u64, ResolveError> {
    Err(ResolveError::TimeWait { error: std::io::ErrorKind::Unsupported.into(), remedy: "wait" })
}

/// Whether a bind of the place would meet it.
pub(super) fn concerns(place: &Place, connection: &Connection) -> bool {
    let here = |host: &std::net::IpAddr| {
        host.is_unspecified() || host.to_canonical() == connection.local.address.to_canonical()
    };
    let is_elsewhere =
        matches!((connection.interface, place.zone), (Interface::One(on), Some(ours)) if on != ours);
    connection.local.port == place.port
        && !is_elsewhere
        && (place.hosts.is_empty() || place.hosts.iter().any(here))
}
