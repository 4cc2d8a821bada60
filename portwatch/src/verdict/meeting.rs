//! Whether two local addresses have an address in common (`inet_rcv_saddr_equal` in net/ipv4/inet_connection_sock.c).

use std::net::IpAddr;

use super::BindRequest;
use crate::model::SocketSeen;

/// How two places have an address in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Overlap {
    /// One address.
    Same,
    /// The known socket takes every address of the family.
    TheirWildcard,
    /// The request is for every address of the family.
    OurWildcard,
    /// The known socket is `::` without IPV6_V6ONLY and takes IPv4 too.
    TheirDualStack,
    /// The request is for `::` without IPV6_V6ONLY and would take IPv4 too.
    OurDualStack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    Apart,
    Overlaps(Overlap),
    /// If the other is not V6ONLY.
    Perhaps(Overlap),
}

pub(super) fn meeting(request: &BindRequest, theirs: &SocketSeen) -> Meeting {
    // A v4-mapped address is the IPv4 address it maps, the mapped wildcard included. IPV6_V6ONLY says something for
    // `::` only: the kernel sets it on sockets of every other IPv6 address (inet6_bind).
    let (ours, other) = (request.place.address.to_canonical(), theirs.endpoint.address.to_canonical());
    match (ours, other) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            if ours == other {
                Meeting::Overlaps(Overlap::Same)
            } else if other.is_unspecified() {
                Meeting::Overlaps(Overlap::TheirWildcard)
            } else if ours.is_unspecified() {
                Meeting::Overlaps(Overlap::OurWildcard)
            } else {
                Meeting::Apart
            }
        }
        (IpAddr::V6(_), IpAddr::V4(_)) if ours.is_unspecified() && !request.v6_only => {
            Meeting::Overlaps(Overlap::OurDualStack)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) if other.is_unspecified() => match theirs.options.v6_only {
            Some(true) => Meeting::Apart,
            Some(false) => Meeting::Overlaps(Overlap::TheirDualStack),
            None => Meeting::Perhaps(Overlap::TheirDualStack),
        },
        _ => Meeting::Apart,
    }
}
