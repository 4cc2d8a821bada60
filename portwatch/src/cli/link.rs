//! `fe80::1%eth0`: which interface is meant. It becomes a number here, in the caller's own network namespace; a daemon may run in another one.

use super::failure::Failure;
use crate::{access::AccessError, wire::Target};

/// The target with the number of its interface. `here`: the caller's own namespace is meant, in which names are looked up.
pub(super) fn numbered(target: Target, here: bool) -> Result<Target, Failure> {
    match target {
        Target::Port { address, localhost, zone: Some(zone), port, protocol } => {
            let zone = Some(number(&zone, here)?.to_string());
            Ok(Target::Port { address, localhost, zone, port, protocol })
        }
        other => Ok(other),
    }
}

/// A name goes before a number, as with `getaddrinfo`: an interface may be called `7`.
pub(super) fn number(zone: &str, here: bool) -> Result<u32, Failure> {
    let usage = |what: String| Failure::from(AccessError::Usage(what));
    if here && let Some(number) = named(zone) {
        return Ok(number);
    }
    match zone.parse() {
        Ok(number) if number > 0 && zone.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ if here => Err(usage(format!("there is no interface '{zone}' here; {SHOWS}"))),
        _ => Err(usage(format!(
            "'{zone}' is not the number of an interface, and names are those of this network namespace; \
             `ip link` there shows numbers"
        ))),
    }
}

/// What shows interfaces and their numbers.
const SHOWS: &str = if cfg!(windows) {
    "netsh interface ipv6 show interfaces lists them"
} else if cfg!(target_os = "linux") {
    "ip link shows them"
} else {
    "ifconfig -l shows them"
};

#[cfg(unix)]
fn named(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

/// There a zone is a number.
#[cfg(windows)]
fn named(_: &str) -> Option<u32> {
    None
}
