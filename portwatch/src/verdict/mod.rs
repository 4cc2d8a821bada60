//! Would a bind succeed, and if not, who is in the way: computed from the sockets and connections that are known, and
//! from the kernel's settings.
//!
//! Computed, because a bind that only tries could take the port from a server that starts at that very moment.
//! The rules are the kernel's: `inet_csk_get_port` and `inet_bind_conflict` (net/ipv4/inet_connection_sock.c) for
//! TCP, `udp_lib_lport_inuse` (net/ipv4/udp.c) for UDP, `inet_rcv_saddr_equal` for addresses. The tests compare
//! them with thousands of real binds.
//!
//! Never: bind anything.

mod meeting;
mod party;
mod sharing;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, time::Duration};

pub use meeting::Overlap;
pub use party::Party;
pub use sharing::Refusal;

use crate::model::{
    BindRules, Connection, Endpoint, Interface, Interfaces, Local, Protocol, Sharing, Socket, TcpState, Zone,
    needs_zone,
};
use meeting::{Meeting, meeting};
use party::Standing;
use sharing::{Now, Share, share};

/// The rules are Linux's but for what [`BindRules`] say; the numbers are those that a program of this system is given (Winsock's on Windows).
const EACCES: i32 = if cfg!(windows) { 10_013 } else { 13 };
const ENODEV: i32 = 19;
const EINVAL: i32 = if cfg!(windows) { 10_022 } else { 22 };
const EADDRINUSE: i32 = on(98, 48, 10_048);
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

/// A bind that somebody thinks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindRequest {
    /// Where, and in which namespace.
    pub place: Endpoint,
    /// The interface that the address is one of, for an address of a link.
    pub zone: Option<Zone>,
    /// SO_REUSEADDR would be set.
    pub reuse_addr: bool,
    /// SO_REUSEPORT would be set.
    pub reuse_port: bool,
    /// IPV6_V6ONLY would be set; says nothing for an IPv4 address.
    pub v6_only: bool,
    /// Who would ask; matters for SO_REUSEPORT, which shares among sockets of one user.
    pub uid: Option<u32>,
    /// The asker has CAP_NET_BIND_SERVICE; matters below `net.ipv4.ip_unprivileged_port_start`.
    pub privileged: Option<bool>,
}

/// What is known of a network namespace.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// TCP connections; `None` when nobody looked.
    pub connections: Option<&'a [Connection]>,
    /// Settings and addresses.
    pub rules: &'a BindRules,
    /// Options of sockets as they are now.
    pub sharing: &'a Sharing,
    /// The interfaces that sockets are bound to, which matter for a request that has one; `None` when nobody looked.
    pub interfaces: Option<&'a Interfaces>,
}

impl BindRequest {
    /// A bind with no option set, by an unknown user.
    pub const fn plain(place: Endpoint) -> Self {
        Self {
            place,
            zone: None,
            reuse_addr: false,
            reuse_port: false,
            v6_only: false,
            uid: None,
            privileged: None,
        }
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
    /// Somebody has the port. Of several one that listens is named, else one that is bound, else one that is
    /// connected.
    InUse {
        /// That one.
        blocker: Party<'a>,
        /// How the two places have something in common.
        overlap: Overlap,
        /// Why they cannot share it.
        refusal: Refusal,
    },
    /// Nobody has the port any more, but connections in TIME_WAIT keep it.
    TimeWait {
        /// The one that stays longest.
        longest: &'a Connection,
        /// How many are in the way.
        count: usize,
        /// When the last of them goes, at the latest.
        expires: Option<Duration>,
        /// Why the port cannot be shared with `longest`.
        refusal: Refusal,
    },
    /// The port needs CAP_NET_BIND_SERVICE, which the asker lacks.
    Privileged {
        /// `net.ipv4.ip_unprivileged_port_start`: the first port that does not.
        from: u16,
    },
    /// The system keeps the port back, in a range with others (Windows).
    Excluded {
        /// The first of them.
        from: u16,
        /// The last.
        to: u16,
    },
    /// The machine does not have the address.
    AddressNotHere,
    /// A v4-mapped address with IPV6_V6ONLY: IPv4 and not IPv4 at once.
    MappedButV6Only,
    /// An address of a link, which is one only together with an interface, and none was named.
    NeedsInterface,
    /// There is no such interface.
    NoInterface,
    /// TCP on an IPv6 multicast address.
    MulticastOverTcp,
}

/// Why it cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt<'a> {
    /// The socket is an IPv6 wildcard, and whether it takes IPv4 too is not known.
    V6OnlyUnknown(Party<'a>),
    /// Both might share the port, but whether that one has the option is not known.
    OptionsUnknown(Party<'a>),
    /// Both have SO_REUSEPORT, but whether they belong to one user is not known.
    UserUnknown(Party<'a>),
    /// It is not known whether the socket is in the namespace asked about.
    NamespaceUnknown(Party<'a>),
    /// It is not known whether the socket is bound to the interface asked about, or to another one.
    InterfaceUnknown(Party<'a>),
    /// The two do not share, but sockets with SO_REUSEPORT that came before, even if they are gone, may have
    /// opened the port to a request with SO_REUSEPORT (TCP).
    HistoryDecides(Party<'a>),
    /// Both may have the port unless one of them was asked for alone, which nobody sees: whether their addresses only overlap, or the request
    /// would share (Windows: learn.microsoft.com/windows/win32/winsock/using-so-reuseaddr-and-so-exclusiveaddruse).
    AloneUnknown(Party<'a>),
    /// One socket would share and another would not, and the kernel lets the first one it meets decide
    /// (UDP with SO_REUSEPORT).
    OrderDecides {
        /// The one that would not share.
        unwilling: Party<'a>,
    },
}

/// What the known sockets do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caveat {
    /// Connections and their TIME_WAIT keep their local port, and were not looked at (TCP).
    Connections,
    /// The port needs CAP_NET_BIND_SERVICE, and whether the asker has it is not known.
    Privileged {
        /// `net.ipv4.ip_unprivileged_port_start`; `None` when that could not be read either.
        from: Option<u16>,
    },
    /// Whether this machine has the address was not looked at.
    AddressNotChecked,
}

/// Would this bind succeed, as far as sockets go, if they have the options that they were bound with? `sockets` may be all there
/// are: those on other ports, protocols and namespaces are left aside.
pub fn would_bind<'a>(request: &BindRequest, sockets: impl IntoIterator<Item = &'a Socket>) -> Verdict<'a> {
    const UNKNOWN: &BindRules = &BindRules {
        unprivileged_from: None,
        ephemeral: None,
        reserved: None,
        excluded: None,
        v6_only: None,
        shares_overlaps: false,
        addresses: Vec::new(),
        interfaces: Vec::new(),
    };
    let world = World { connections: None, rules: UNKNOWN, sharing: &Sharing::AsBound, interfaces: None };
    would_bind_in(request, sockets, world)
}

/// Would this bind succeed in this world?
pub fn would_bind_in<'a>(
    request: &BindRequest,
    sockets: impl IntoIterator<Item = &'a Socket>,
    world: World<'a>,
) -> Verdict<'a> {
    if let Some((errno, because)) = refused_by_rule(request, world.rules) {
        return Outcome::Fails { errno, because }.into();
    }
    let connections = world.connections.unwrap_or_default();
    let parties = sockets.into_iter().map(Party::Socket).chain(connections.iter().map(Party::Connection));
    let parties: Vec<Party<'_>> = parties
        .filter(|party| {
            let there = party.endpoint();
            there.protocol == request.place.protocol && there.port == request.place.port
        })
        .collect();
    let shut = parties.iter().any(|party| {
        let here = request.place.netns == party.endpoint().netns;
        here && party.shuts()
    });
    let mut tally = Tally::default();
    for party in parties {
        let now = party.options_now(world.sharing);
        let meets = meets_by_interface(request, party.interface(world.interfaces));
        if meets != Some(false) {
            let certain = meets.is_some();
            tally.weigh(request, (party, Now { options: now, shut }), (certain, world.rules.shares_overlaps));
        }
    }
    match tally.outcome(request.place.protocol) {
        Outcome::Succeeds => Verdict { outcome: Outcome::Succeeds, caveats: caveats(request, world) },
        other => other.into(),
    }
}

/// What the kernel asks before it looks at sockets, in its order: `__inet_bind` asks for the address first,
/// `__inet6_bind` for the privilege.
fn refused_by_rule<'a>(request: &BindRequest, rules: &BindRules) -> Option<(i32, Cause<'a>)> {
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

/// Whether two sockets on one port can meet by the interfaces they are bound to (`inet_bind_conflict`, `udp_lib_lport_inuse`): one that is
/// bound to none meets all. `None` when that of the other is not known.
fn meets_by_interface(request: &BindRequest, theirs: Interface) -> Option<bool> {
    match (request.zone, theirs) {
        (None, _) | (Some(_), Interface::Any) => Some(true),
        (Some(ours), Interface::One(other)) => Some(ours == other),
        (Some(_), Interface::Unknown) => None,
    }
}

impl<'a> From<Outcome<'a>> for Verdict<'a> {
    fn from(outcome: Outcome<'a>) -> Self {
        Self { outcome, caveats: Vec::new() }
    }
}

/// What the parties say, each by itself.
#[derive(Debug, Default)]
struct Tally<'a> {
    /// The worst that certainly refuses.
    refusing: Option<(Party<'a>, Overlap, Refusal)>,
    /// How many in TIME_WAIT certainly refuse.
    time_wait: usize,
    /// The first of which it is not known.
    doubtful: Option<Doubt<'a>>,
    /// One shares, or might share, by SO_REUSEPORT.
    port_shared: bool,
}

impl<'a> Tally<'a> {
    fn weigh(
        &mut self,
        request: &BindRequest,
        (party, now): (Party<'a>, Now),
        (same_interface, shares_overlaps): (bool, bool),
    ) {
        let same_namespace = match (request.place.netns, party.endpoint().netns) {
            (Some(ours), Some(theirs)) if ours != theirs => return,
            // On a platform without namespaces nobody has one.
            (ours, theirs) => ours == theirs,
        };
        let (overlap, certain) = match meeting(request, party) {
            Meeting::Apart => return,
            Meeting::Overlaps(overlap) => (overlap, true),
            Meeting::Perhaps(overlap) => (overlap, false),
        };
        if shares_overlaps && (overlap != Overlap::Same || request.reuse_addr) {
            self.doubtful.get_or_insert(Doubt::AloneUnknown(party));
            return;
        }
        match share(request, party, now) {
            Share::ByAddress => {}
            Share::ByPort => self.port_shared = true,
            Share::Refused(refusal) if certain && same_namespace && same_interface => {
                self.refuse(party, overlap, refusal);
            }
            Share::Refused(_) => {
                let doubt = match (same_namespace, certain) {
                    (false, _) => Doubt::NamespaceUnknown,
                    (true, false) => Doubt::V6OnlyUnknown,
                    (true, true) => Doubt::InterfaceUnknown,
                };
                self.doubtful.get_or_insert(doubt(party));
            }
            Share::HistoryDecides => {
                self.doubtful.get_or_insert(Doubt::HistoryDecides(party));
            }
            Share::OptionsUnknown { perhaps_by_port } => {
                self.port_shared |= perhaps_by_port;
                self.doubtful.get_or_insert(Doubt::OptionsUnknown(party));
            }
            Share::UserUnknown => {
                self.port_shared = true;
                self.doubtful.get_or_insert(Doubt::UserUnknown(party));
            }
        }
    }

    fn refuse(&mut self, party: Party<'a>, overlap: Overlap, refusal: Refusal) {
        self.time_wait += usize::from(party.standing() == Standing::TimeWait);
        let worse = |known: Party<'_>| match (known, party) {
            (Party::Connection(known), Party::Connection(new))
                if known.state == TcpState::TimeWait && new.state == known.state =>
            {
                new.expires > known.expires
            }
            _ => party.standing() > known.standing(),
        };
        if self.refusing.is_none_or(|(known, ..)| worse(known)) {
            self.refusing = Some((party, overlap, refusal));
        }
    }

    fn outcome(self, protocol: Protocol) -> Outcome<'a> {
        match (self.refusing, self.doubtful) {
            // TCP asks every socket. UDP lets the first one it meets decide, in an order that is the kernel's own.
            (Some((unwilling, ..)), _) if protocol == Protocol::Udp && self.port_shared => {
                Outcome::Unknown { why: Doubt::OrderDecides { unwilling } }
            }
            (Some((Party::Connection(longest), _, refusal)), _) if longest.state == TcpState::TimeWait => {
                let (count, expires) = (self.time_wait, longest.expires);
                Outcome::Fails {
                    errno: EADDRINUSE,
                    because: Cause::TimeWait { longest, count, expires, refusal },
                }
            }
            (Some((blocker, overlap, refusal)), _) => {
                Outcome::Fails { errno: EADDRINUSE, because: Cause::InUse { blocker, overlap, refusal } }
            }
            (None, Some(why)) => Outcome::Unknown { why },
            (None, None) => Outcome::Succeeds,
        }
    }
}

fn caveats(request: &BindRequest, world: World<'_>) -> Vec<Caveat> {
    let Endpoint { protocol, address, port, .. } = request.place;
    let plain = address.to_canonical();
    let mut caveats = Vec::new();
    if protocol == Protocol::Tcp && world.connections.is_none() {
        caveats.push(Caveat::Connections);
    }
    let from = world.rules.unprivileged_from;
    // 1024 unless it was changed.
    if request.privileged != Some(true) && port.get() < from.unwrap_or(1024) {
        caveats.push(Caveat::Privileged { from });
    }
    let local = Local { address, zone: request.zone };
    if world.rules.has_address(local).is_none() && !plain.is_unspecified() && !plain.is_loopback() {
        caveats.push(Caveat::AddressNotChecked);
    }
    caveats
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}
