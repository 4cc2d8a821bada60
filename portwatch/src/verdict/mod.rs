//! Would a bind succeed, and if not, who is in the way: computed from the sockets and connections that are known, and
//! from the kernel's settings.
//!
//! Computed, because a bind that only tries could take the port from a server that starts at that very moment.
//! The rules are the kernel's: `inet_csk_get_port` and `inet_bind_conflict` (net/ipv4/inet_connection_sock.c) for
//! TCP, `udp_lib_lport_inuse` (net/ipv4/udp.c) for UDP, `inet_rcv_saddr_equal` for addresses. The tests compare
//! them with thousands of real binds.
//!
//! Never: bind anything.

mod answer;
mod meeting;
mod party;
mod rule;
mod sharing;
mod tally;
#[cfg(test)]
mod tests;

pub use answer::{Cause, Caveat, Doubt, Outcome, Verdict};
pub use meeting::Overlap;
pub use party::Party;
pub use sharing::Refusal;

use std::collections::HashMap;

use crate::model::{
    BindRules, Connection, Endpoint, Interface, Interfaces, Local, Phase, Protocol, Sharing, Socket,
    SocketOptions, Zone,
};
use meeting::Meeting;
use rule::refused_by_rule;
use sharing::Now;
use tally::Tally;

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
    let listeners = listeners(&parties);
    let mut tally = Tally::default();
    let mut may_be_older = false;
    for &party in &parties {
        if let Some(inherited) = inherited(request, party, &listeners) {
            may_be_older |= inherited == Inherited::UnlessOlder;
            continue;
        }
        let now = party.options_now(world.sharing);
        let meets = meets_by_interface(request, party.interface(world.interfaces));
        if meets != Some(false) {
            let certain = meets.is_some();
            tally.weigh(request, (party, Now { options: now, shut }), (certain, world.rules.shares_overlaps));
        }
    }
    match tally.outcome(request.place.protocol) {
        Outcome::Succeeds => {
            let mut caveats = caveats(request, world);
            caveats.extend(may_be_older.then_some(Caveat::OlderConnection));
            Verdict { outcome: Outcome::Succeeds, caveats }
        }
        other => other.into(),
    }
}

/// How sure it is that a connection has IPV6_V6ONLY from its listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inherited {
    Certainly,
    UnlessOlder,
}

/// Whether a connection over IPv6 is kept apart from IPv4 by its listener: of connections sock_diag does not tell IPV6_V6ONLY
/// (`inet_diag_msg_attrs_fill`), but the bind of an address that is not `::` sets it (`inet6_bind`), and what is accepted there has it too. One
/// that `::` accepted has it not, and may be older than a listener on its address, where both share by an option; without one the listener's bind
/// would have failed beside it, and the kernel lends the port to no connection while somebody is bound to it (`__inet_hash_connect`).
fn inherited(
    request: &BindRequest,
    party: Party<'_>,
    listeners: &HashMap<Endpoint, SocketOptions>,
) -> Option<Inherited> {
    let Party::Connection(connection) = party else { return None };
    if !matches!(meeting::meeting(request, party), Meeting::Perhaps(Overlap::TheirIpv6Connection))
        || connection.options.v6_only.is_some()
    {
        return None;
    }
    let options = listeners.get(&connection.local)?;
    let shares_nothing = options.reuse_addr == Some(false) && options.reuse_port == Some(false);
    Some(if shares_nothing { Inherited::Certainly } else { Inherited::UnlessOlder })
}

/// The options of who listens, by its place: a port can have as many connections as its maker likes.
fn listeners(parties: &[Party<'_>]) -> HashMap<Endpoint, SocketOptions> {
    let mut all = HashMap::new();
    for party in parties {
        if let Party::Socket(socket) = party
            && socket.seen.phase == Phase::Listening
        {
            // Of several in one place each shares it.
            all.entry(socket.seen.endpoint).or_insert(socket.seen.options);
        }
    }
    all
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
