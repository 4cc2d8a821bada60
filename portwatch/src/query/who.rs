//! `who`: one answer for one thing asked.

use std::{fmt::Write as _, net::IpAddr, sync::Arc};

use super::{
    Around, Asked, Holding, KnownSocket, Space, TargetAnswer, Traffic,
    outlook::{Place, Scene, Whose, outlook},
    rows::Shares,
};
use crate::model::{Completeness, Interface, Local, Netns, Port, Protocol, addresses_overlap};

/// Who has a port. `sockets` are those on the port in every namespace, of which the answer has `most` at most; `space` says which are
/// meant.
///
/// Of `completeness` the first is about the namespaces that are meant, the second about the one that the verdict is of.
///
/// A socket in another namespace is told apart and does not make the port held here: a container's 3000 and the
/// host's are two places.
pub(super) fn port(
    (address, localhost, port, protocol): (Option<Local>, bool, Port, Option<Protocol>),
    (sockets, most): (&[KnownSocket], usize),
    (space, own): (Space, Option<Netns>),
    (completeness, there): (&Completeness, &Completeness),
    (traffic, around): (Option<Arc<Traffic>>, &Around),
) -> TargetAnswer {
    let place = Place { address, localhost, port, protocol, netns: space.one(own) };
    let Around { rules, sharing, connections, .. } = around;
    let interfaces = connections.as_ref().map(|found| &found.interfaces);
    let scene = Scene {
        sockets,
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
    let on_port = |s: &&KnownSocket| {
        let there = s.socket.seen.endpoint;
        there.port == port && protocol.is_none_or(|p| p == there.protocol)
    };
    let is_asked = |s: &KnownSocket| {
        let seen = &s.socket.seen;
        let there = (seen.endpoint.address, seen.options.v6_only);
        address.is_none_or(|a| {
            covers(there, interfaces.map_or(Interface::Unknown, |known| known.of(seen.key)), a)
        })
    };
    let is_meant = |s: &KnownSocket| space.holds(s.socket.seen.endpoint.netns, own);
    let those = |wanted: &dyn Fn(&KnownSocket) -> bool| -> Vec<&KnownSocket> {
        sockets.iter().filter(on_port).filter(|s| wanted(s)).collect()
    };
    // What is asked about comes first.
    let all = [
        those(&|s| is_asked(s) && is_meant(s)),
        those(&|s| !is_asked(s) && is_meant(s)),
        those(&|s| is_asked(s) && !is_meant(s)),
    ];
    let holds = |p: Protocol| all[0].iter().any(|s| s.socket.seen.endpoint.protocol == p);
    let held = [Protocol::Tcp, Protocol::Udp].into_iter().filter(|&p| holds(p)).collect();
    let mut shares = Shares::default();
    all.iter().flatten().for_each(|known| shares.count(known));
    let (mut room, count) = (shares.room(most), all.iter().map(Vec::len).sum::<usize>());
    let [sockets, other_addresses, elsewhere] = all.map(|those| {
        let kept = those.into_iter().filter(|known| room.admits(known)).cloned();
        let as_now = |mut known: KnownSocket| {
            let seen = &mut known.socket.seen;
            seen.options = sharing.newest(seen.inode, seen.options);
            known
        };
        kept.map(as_now).collect::<Vec<_>>()
    });
    let left_out = (count - sockets.len() - other_addresses.len() - elsewhere.len()) as u64;
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
        state,
        reason,
        sockets,
        other_addresses,
        elsewhere,
        left_out,
        held,
        traffic,
        verdict: Some(outlook),
        ..nothing(asked)
    }
}

/// The command that binds what was asked for.
fn trial(asked: &Asked) -> String {
    let place = asked.to_string();
    // To a Unix shell brackets are a pattern.
    let quote = if cfg!(unix) && place.starts_with('[') { "'" } else { "" };
    format!("portwatch probe {quote}{place}{quote}")
}

/// Finding out about what was asked before it took as long as a question may.
pub(super) fn too_long(asked: Asked) -> TargetAnswer {
    let reason = "the others took so long that there was no time for this; ask for it alone";
    TargetAnswer { state: Holding::Unknown, reason: Some(reason.to_owned()), ..nothing(asked) }
}

/// What a process has open, and how many sockets more than are here.
pub(super) fn pid(
    pid: u32,
    (sockets, left_out, traffic): (Vec<KnownSocket>, u64, Option<Arc<Traffic>>),
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
    TargetAnswer { state, reason, sockets, left_out, traffic, ..nothing(asked) }
}

/// A name that nothing is claimed as. A claim's name stands for its ports, and does not get here.
pub(super) fn claim(name: &str) -> TargetAnswer {
    let reason = format!("nothing is claimed as {name}; portwatch find shows every claim");
    TargetAnswer { reason: Some(reason), ..nothing(Asked::Claim(name.to_owned())) }
}

/// Nothing was found.
const fn nothing(asked: Asked) -> TargetAnswer {
    TargetAnswer {
        asked,
        state: Holding::Free,
        reason: None,
        sockets: Vec::new(),
        other_addresses: Vec::new(),
        elsewhere: Vec::new(),
        left_out: 0,
        held: Vec::new(),
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
