//! What refuses a bind before any socket is looked at, and the numbers that it is refused with.

use std::net::IpAddr;

use super::{BindRequest, Cause};
use crate::model::{BindRules, Endpoint, Local, Protocol, needs_zone};

/// The rules are Linux's but for what [`BindRules`] say; the numbers are those that a program of this system is given (Winsock's on Windows).
const EACCES: i32 = if cfg!(windows) { 10_013 } else { 13 };
const ENODEV: i32 = 19;
const EINVAL: i32 = if cfg!(windows) { 10_022 } else { 22 };
pub(super) const EADDRINUSE: i32 = on(98, 48, 10_048);
const EADDRNOTAVAIL: i32 = on(99, 49, 10_049);

const fn on(linux: i32, bsd: i32, windows: i32) -> i32 {
    if cfg!(windows) {
        windows
    } else if cfg!(target_os = "linux") {
        linux
    } else {
        bsd
    }
}

/// What the kernel asks before it looks at sockets, in its order: `__inet_bind` asks for the address first,
/// `__inet6_bind` for the privilege.
pub(super) fn refused_by_rule<'a>(request: &BindRequest, rules: &BindRules) -> Option<(i32, Cause<'a>)> {
    let Endpoint { address, port, protocol, .. } = request.place;
    if let Some(range) = rules.excludes(protocol, port) {
        return Some((EACCES, Cause::Excluded { from: *range.start(), to: *range.end() }));
    }
    let privilege = match (rules.unprivileged_from, request.privileged) {
        (Some(from), Some(false)) if port.get() < from => Some((EACCES, Cause::Privileged { from })),
        _ => None,
    };
    let mapped = (request.v6_only && is_mapped(address)).then_some((EINVAL, Cause::MappedButV6Only));
    let local = Local { address, zone: request.zone };
    let absent = (rules.has_address(local) == Some(false)).then_some((EADDRNOTAVAIL, Cause::AddressNotHere));
    let IpAddr::V6(v6) = address else { return absent.or(privilege) };
    // Other systems have errors of their own for these.
    let linux = cfg!(target_os = "linux");
    let multicast = (linux && v6.is_multicast() && protocol == Protocol::Tcp)
        .then_some((EINVAL, Cause::MulticastOverTcp));
    let interface = match request.zone {
        _ if !linux => None,
        None => needs_zone(v6).then_some((EINVAL, Cause::NeedsInterface)),
        Some(zone) => (rules.has_interface(zone) == Some(false)).then_some((ENODEV, Cause::NoInterface)),
    };
    multicast.or(privilege).or(mapped).or(interface).or(absent)
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}
