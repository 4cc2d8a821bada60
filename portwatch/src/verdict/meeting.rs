//! Whether two local addresses have an address in common (`inet_rcv_saddr_equal` in net/ipv4/inet_connection_sock.c).

use std::net::{IpAddr, Ipv4Addr};

use super::{BindRequest, Party};
use crate::model::Protocol;

/// What the kernel gives a connection over IPv6 for an IPv4 address, so that the two families can be compared.
/// Binding an IPv6 address sets IPV6_V6ONLY, which keeps the two apart; connecting or accepting without does not.
const LOOPBACK4_IPV6: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

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
    /// The request is for every IPv4 address, and the other has an IPv6 address from a connect, and its
    /// socket was not IPV6_V6ONLY: the kernel counts it as one that might have IPv4.
    TheirIpv6Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    Apart,
    Overlaps(Overlap),
    /// If the other is not V6ONLY.
    Perhaps(Overlap),
}

pub(super) fn meeting(request: &BindRequest, theirs: Party<'_>) -> Meeting {
    // A v4-mapped address is the IPv4 address it maps, the mapped wildcard included. IPV6_V6ONLY says something for
    // `::` only: the kernel sets it on sockets of every other IPv6 address (inet6_bind).
    let (ours, other) = (request.place.address.to_canonical(), theirs.endpoint().address.to_canonical());
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
        (IpAddr::V4(_), IpAddr::V6(_)) if other.is_unspecified() => match theirs.options().v6_only {
            Some(true) => Meeting::Apart,
            Some(false) => Meeting::Overlaps(Overlap::TheirDualStack),
            None => Meeting::Perhaps(Overlap::TheirDualStack),
        },
        (IpAddr::V4(v4), IpAddr::V6(_))
            if is_connected(theirs)
                && request.place.address.is_ipv4()
                && (v4.is_unspecified() || v4 == LOOPBACK4_IPV6) =>
        {
            match theirs.options().v6_only {
                Some(true) => Meeting::Apart,
                // Kernels that look sockets up by address (TCP from 6.1 on, UDP where a place of the table has more than ten) do not find
                // it under this one.
                Some(false) if !v4.is_unspecified() => Meeting::Perhaps(Overlap::TheirIpv6Connection),
                Some(false) => Meeting::Overlaps(Overlap::TheirIpv6Connection),
                None => Meeting::Perhaps(Overlap::TheirIpv6Connection),
            }
        }
        _ => Meeting::Apart,
    }
}

/// An IPv6 address without IPV6_V6ONLY is from a connect, also from one that was refused: a bind would have set the option. (Linux; other
/// systems set none.) Of a UDP socket that is connected sock_diag does not tell the option (`inet_diag_msg_attrs_fill`), so that it may be one.
fn is_connected(theirs: Party<'_>) -> bool {
    match theirs {
        Party::Connection(_) => true,
        Party::Socket(socket) => {
            let alone =
                matches!(socket.seen.endpoint.address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none());
            let may_be = match socket.seen.options.v6_only {
                Some(v6_only) => !v6_only,
                None => socket.seen.endpoint.protocol == Protocol::Udp,
            };
            cfg!(target_os = "linux") && alone && may_be
        }
    }
}
