//! `who`: one answer for one thing asked.

use std::{fmt::Write as _, net::IpAddr, sync::Arc};

use super::{
    Around, Asked, Holding, KnownSocket, Space, TargetAnswer, Traffic,
    outlook::{Place, Scene, Whose, outlook},
};
use crate::model::{Completeness, Interface, Local, Netns, Port, Protocol, addresses_overlap};

/// Who has a port. `sockets` are those on the port in every namespace, `space` says which are meant.
///
/// Of `completeness` the first is about the namespaces that are meant, the second about the one that the verdict is of.
///
/// A socket in another namespace is told apart and does not make the port held here: a container's 3000 and the
/// host's are two places.
pub(super) fn port(
    (address, localhost, port, protocol): (Option<Local>, bool, Port, Option<Protocol>),
    sockets: Vec<KnownSocket>,
    (space, own): (Space, Option<Netns>),
    (completeness, there): (&Completeness, &Completeness),
    (traffic, around): (Option<Arc<Traffic>>, &Around),
) -> TargetAnswer {
    let place = Place { address, localhost, port, protocol, netns: space.one(own) };
    let Around { rules, sharing, connections, .. } = around;
    let interfaces = connections.as_ref().map(|found| &found.interfaces);
    let scene = Scene {
        sockets: &sockets,
        traffic: traffic.as_deref(),
        rules,
        sharing,
        interfaces,
        completeness: there,
        whose: if space.other(own).is_some() { Whose::Namespace } else { Whose::Machine },
    };
    let mut outlook = outlook(place, scene);
    if let (Space::All { from }, Some(netns)) = (space, place.netns) {
        let whose = if from.is_some() { "the asker's own" } else { "the observer's own" };
        let _ = write!(outlook.sentence, " This is of network namespace {netns}, {whose}.");
    }
    let traffic = traffic.filter(|_| protocol != Some(Protocol::Udp));
    let (sockets, other_addresses): (Vec<_>, Vec<_>) = sockets
        .into_iter()
        .filter(|s| s.socket.seen.endpoint.port == port)
        .filter(|s| protocol.is_none_or(|p| p == s.socket.seen.endpoint.protocol))
        .partition(|s| {
            let seen = &s.socket.seen;
            let there = (seen.endpoint.address, seen.options.v6_only);
            address.is_none_or(|a| {
                covers(there, interfaces.map_or(Interface::Unknown, |known| known.of(seen.key)), a)
            })
        });
    let as_now = |mut known: KnownSocket| {
        let seen = &mut known.socket.seen;
        seen.options = sharing.newest(seen.inode, seen.options);
        known
    };
    let other_addresses: Vec<_> = other_addresses
        .into_iter()
        .filter(|s| space.holds(s.socket.seen.endpoint.netns, own))
        .map(as_now)
        .collect();
    let (sockets, elsewhere): (Vec<_>, Vec<_>) =
        sockets.into_iter().map(as_now).partition(|s| space.holds(s.socket.seen.endpoint.netns, own));
    let asked = Asked::Port { address, localhost, port, protocol };
    let (state, reason) = match completeness.missing(protocol) {
        _ if !sockets.is_empty() => (Holding::Held, None),
        // An outgoing connection that borrowed the port, or one that outlived its listener.
        _ if traffic.as_deref().is_some_and(|t| lives(t, &asked)) => (Holding::Held, None),
        None if sockets.is_empty() => (Holding::Free, None),
        None => (Holding::Free, Some("here; the sockets above are in other network namespaces".to_owned())),
        // A trial is made from here.
        Some(why) if !space.is_beyond(own) => {
            (Holding::Unknown, Some(format!("{why}; {} really tries", trial(&asked))))
        }
        Some(why) => (Holding::Unknown, Some(why.to_owned())),
    };
    TargetAnswer {
        asked,
        state,
        reason,
        sockets,
        other_addresses,
        elsewhere,
        published: Vec::new(),
        last: Vec::new(),
        refused: Vec::new(),
        refused_before: false,
        traffic,
        claim: None,
        verdict: Some(outlook),
    }
}

/// The command that binds what was asked for.
fn trial(asked: &Asked) -> String {
    let place = asked.to_string();
    // To a Unix shell brackets are a pattern.
    let quote = if cfg!(unix) && place.starts_with('[') { "'" } else { "" };
    format!("portwatch probe {quote}{place}{quote}")
}

/// What a process has open.
pub(super) fn pid(
    pid: u32,
    (sockets, traffic): (Vec<KnownSocket>, Option<Arc<Traffic>>),
    completeness: &Completeness,
    exists: Option<bool>,
) -> TargetAnswer {
    let asked = Asked::Pid(pid);
    let has_any = !sockets.is_empty() || traffic.as_deref().is_some_and(|t| lives(t, &asked));
    let (state, reason) = match (!has_any, completeness.missing(None)) {
        (false, _) => (Holding::Held, None),
        (true, _) if exists == Some(false) => (Holding::Free, Some(format!("there is no process {pid}"))),
        (true, None) => (Holding::Free, None),
        (true, Some(why)) => (Holding::Unknown, Some(why.to_owned())),
    };
    TargetAnswer {
        asked,
        state,
        reason,
        sockets,
        other_addresses: Vec::new(),
        elsewhere: Vec::new(),
        published: Vec::new(),
        last: Vec::new(),
        refused: Vec::new(),
        refused_before: false,
        traffic,
        claim: None,
        verdict: None,
    }
}

/// A name that nothing is claimed as. A claim's name stands for its ports, and does not get here.
pub(super) fn claim(name: &str) -> TargetAnswer {
    TargetAnswer {
        asked: Asked::Claim(name.to_owned()),
        state: Holding::Free,
        reason: Some(format!("nothing is claimed as {name}; portwatch find shows every claim")),
        sockets: Vec::new(),
        other_addresses: Vec::new(),
        elsewhere: Vec::new(),
        published: Vec::new(),
        last: Vec::new(),
        refused: Vec::new(),
        refused_before: false,
        traffic: None,
        claim: None,
        verdict: None,
    }
}

/// A process has one of these: what was asked about is in use, whatever its sockets.
fn lives(traffic: &Traffic, asked: &Asked) -> bool {
    traffic.rows_of(asked).any(|row| row.inode.is_some())
}

/// Whether a socket takes what is sent to `local`, or a bind of `local` would meet it, as far as its interface is known.
pub(super) fn covers(there: (IpAddr, Option<bool>), interface: Interface, local: Local) -> bool {
    let is_elsewhere = matches!((interface, local.zone), (Interface::One(on), Some(zone)) if on != zone);
    addresses_overlap(there, (local.address, None)) && !is_elsewhere
}
