//! Would a bind succeed, and if not, who is in the way: computed from the sockets that are known.
//!
//! Computed, because a bind that only tries could take the port from a server that starts at that very moment.
//! The rules are the kernel's: `inet_csk_get_port` and `inet_bind_conflict` (net/ipv4/inet_connection_sock.c) for
//! TCP, `udp_lib_lport_inuse` (net/ipv4/udp.c) for UDP, `inet_rcv_saddr_equal` for addresses. The tests compare
//! them with thousands of real binds.
//!
//! Never: bind anything.

mod meeting;
mod sharing;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use meeting::Overlap;
pub use sharing::Refusal;

use crate::model::{Endpoint, Phase, Protocol, Socket};
use meeting::{Meeting, meeting};
use sharing::{Share, share};

/// Numbers of Linux, whose rules these are.
const EADDRINUSE: i32 = 98;
const EINVAL: i32 = 22;

/// A bind that somebody thinks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindRequest {
    /// Where, and in which namespace.
    pub place: Endpoint,
    /// SO_REUSEADDR would be set.
    pub reuse_addr: bool,
    /// SO_REUSEPORT would be set.
    pub reuse_port: bool,
    /// IPV6_V6ONLY would be set; says nothing for an IPv4 address.
    pub v6_only: bool,
    /// Who would ask; matters for SO_REUSEPORT, which shares among sockets of one user.
    pub uid: Option<u32>,
}

impl BindRequest {
    /// A bind with no option set, by an unknown user.
    pub const fn plain(place: Endpoint) -> Self {
        Self { place, reuse_addr: false, reuse_port: false, v6_only: false, uid: None }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// What would happen, as far as the known sockets go.
    pub outcome: Outcome<'a>,
    /// What could make it otherwise and is not in the known sockets. Empty where the bind fails anyway.
    pub caveats: Vec<Caveat>,
}

/// What would happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// No known socket is in the way. A listen right after would succeed too.
    Succeeds,
    /// The kernel would refuse.
    Fails {
        /// errno, positive.
        errno: i32,
        /// Why.
        because: Cause<'a>,
    },
    /// It depends on something that is not known.
    Unknown {
        /// On what.
        why: Doubt<'a>,
    },
}

/// Why a bind would fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause<'a> {
    /// A socket has the port. Of several the one that listens is named.
    InUse {
        /// That socket; its phase says whether it listens or is only bound.
        blocker: &'a Socket,
        /// How the two places have something in common.
        overlap: Overlap,
        /// Why they cannot share it.
        refusal: Refusal,
    },
    /// A v4-mapped address with IPV6_V6ONLY: IPv4 and not IPv4 at once.
    MappedButV6Only,
}

/// Why it cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt<'a> {
    /// The socket is an IPv6 wildcard, and whether it takes IPv4 too is not known.
    V6OnlyUnknown(&'a Socket),
    /// Both might share the port, but whether that socket has the option is not known.
    OptionsUnknown(&'a Socket),
    /// Both have SO_REUSEPORT, but whether they belong to one user is not known.
    UserUnknown(&'a Socket),
    /// It is not known whether the socket is in the namespace asked about.
    NamespaceUnknown(&'a Socket),
    /// The two do not share, but sockets with SO_REUSEPORT that came before, even if they are gone, may have
    /// opened the port to a request with SO_REUSEPORT (TCP).
    HistoryDecides(&'a Socket),
    /// One socket would share and another would not, and the kernel lets the first one it meets decide
    /// (UDP with SO_REUSEPORT).
    OrderDecides {
        /// The one that would not share.
        unwilling: &'a Socket,
    },
}

/// What the known sockets do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caveat {
    /// Connections and their TIME_WAIT keep their local port, and were not looked at (TCP).
    Connections,
    /// Ports below 1024 may need a privilege (`net.ipv4.ip_unprivileged_port_start`, CAP_NET_BIND_SERVICE).
    Privileged,
    /// Whether this machine has the address was not looked at.
    AddressNotChecked,
}

/// Would this bind succeed? `sockets` may be all there are: those on other ports, protocols and namespaces are
/// left aside.
pub fn would_bind<'a>(request: &BindRequest, sockets: impl IntoIterator<Item = &'a Socket>) -> Verdict<'a> {
    if request.v6_only && is_mapped(request.place.address) {
        return Outcome::Fails { errno: EINVAL, because: Cause::MappedButV6Only }.into();
    }
    let mut tally = Tally::default();
    for socket in sockets {
        let there = &socket.seen.endpoint;
        if there.protocol == request.place.protocol && there.port == request.place.port {
            tally.weigh(request, socket);
        }
    }
    match tally.outcome(request.place.protocol) {
        Outcome::Succeeds => Verdict { outcome: Outcome::Succeeds, caveats: caveats(request) },
        other => other.into(),
    }
}

impl<'a> From<Outcome<'a>> for Verdict<'a> {
    fn from(outcome: Outcome<'a>) -> Self {
        Self { outcome, caveats: Vec::new() }
    }
}

/// What the sockets say, each by itself.
#[derive(Debug, Default)]
struct Tally<'a> {
    /// The worst that certainly refuses.
    refusing: Option<(&'a Socket, Overlap, Refusal)>,
    /// The first of which it is not known.
    doubtful: Option<Doubt<'a>>,
    /// One shares, or might share, by SO_REUSEPORT.
    port_shared: bool,
}

impl<'a> Tally<'a> {
    fn weigh(&mut self, request: &BindRequest, socket: &'a Socket) {
        let same_namespace = match (request.place.netns, socket.seen.endpoint.netns) {
            (Some(ours), Some(theirs)) if ours != theirs => return,
            // On a platform without namespaces nobody has one.
            (ours, theirs) => ours == theirs,
        };
        let (overlap, certain) = match meeting(request, &socket.seen) {
            Meeting::Apart => return,
            Meeting::Overlaps(overlap) => (overlap, true),
            Meeting::Perhaps(overlap) => (overlap, false),
        };
        match share(request, &socket.seen) {
            Share::ByAddress => {}
            Share::ByPort => self.port_shared = true,
            Share::Refused(refusal) if certain && same_namespace => {
                let listens = |s: &Socket| s.seen.phase == Phase::Listening;
                if self.refusing.is_none_or(|(known, ..)| !listens(known) && listens(socket)) {
                    self.refusing = Some((socket, overlap, refusal));
                }
            }
            Share::Refused(_) => {
                let doubt = if same_namespace { Doubt::V6OnlyUnknown } else { Doubt::NamespaceUnknown };
                self.doubtful.get_or_insert(doubt(socket));
            }
            Share::HistoryDecides => {
                self.doubtful.get_or_insert(Doubt::HistoryDecides(socket));
            }
            Share::OptionsUnknown { perhaps_by_port } => {
                self.port_shared |= perhaps_by_port;
                self.doubtful.get_or_insert(Doubt::OptionsUnknown(socket));
            }
            Share::UserUnknown => {
                self.port_shared = true;
                self.doubtful.get_or_insert(Doubt::UserUnknown(socket));
            }
        }
    }

    fn outcome(self, protocol: Protocol) -> Outcome<'a> {
        match (self.refusing, self.doubtful) {
            // TCP asks every socket. UDP lets the first one it meets decide, in an order that is the kernel's own.
            (Some((unwilling, ..)), _) if protocol == Protocol::Udp && self.port_shared => {
                Outcome::Unknown { why: Doubt::OrderDecides { unwilling } }
            }
            (Some((blocker, overlap, refusal)), _) => {
                Outcome::Fails { errno: EADDRINUSE, because: Cause::InUse { blocker, overlap, refusal } }
            }
            (None, Some(why)) => Outcome::Unknown { why },
            (None, None) => Outcome::Succeeds,
        }
    }
}

fn caveats(request: &BindRequest) -> Vec<Caveat> {
    let Endpoint { protocol, address, port, .. } = request.place;
    let address = address.to_canonical();
    let mut caveats = Vec::new();
    if protocol == Protocol::Tcp {
        caveats.push(Caveat::Connections);
    }
    if port.get() < 1024 {
        caveats.push(Caveat::Privileged);
    }
    if !address.is_unspecified() && !address.is_loopback() {
        caveats.push(Caveat::AddressNotChecked);
    }
    caveats
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}
