//! Would a bind succeed: the verdict on the binds that a question about a port means, in a sentence.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Completeness, KnownSocket, Outlook};
use crate::{
    model::{Endpoint, Netns, Owner, Phase, Port, Protocol, Socket},
    verdict::{BindRequest, Cause, Caveat, Doubt, Outcome, Overlap, Verdict, would_bind},
};

/// What was asked about: address, port, protocol; and the namespace that is meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) address: Option<IpAddr>,
    pub(super) port: Port,
    pub(super) protocol: Option<Protocol>,
    pub(super) netns: Option<Netns>,
}

/// `sockets` are those on the port, whatever their address and namespace.
pub(super) fn outlook(place: Place, sockets: &[KnownSocket], completeness: &Completeness) -> Outlook {
    let mentioned = |p| sockets.iter().any(|s| s.socket.seen.endpoint.protocol == p);
    let only_udp = mentioned(Protocol::Udp) && !mentioned(Protocol::Tcp);
    let protocol = place.protocol.unwrap_or(if only_udp { Protocol::Udp } else { Protocol::Tcp });
    let ask =
        |address| BindRequest::plain(Endpoint { netns: place.netns, protocol, address, port: place.port });
    let requests = if let Some(address) = place.address {
        vec![ask(address)]
    } else {
        // Most servers bind one of these two; where they fare the same, one is enough.
        let (v4, both) = (ask(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), ask(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        if fares(&v4, sockets) == fares(&both, sockets) { vec![v4] } else { vec![both, v4] }
    };
    let answers: Vec<_> = requests.iter().map(|r| answer(r, sockets, completeness)).collect();
    let bindable = if answers.iter().any(|a| a.bindable == Some(false)) {
        Some(false)
    } else if answers.iter().all(|a| a.bindable == Some(true)) {
        Some(true)
    } else {
        None
    };
    let sentences: Vec<_> = answers.into_iter().map(|a| a.sentence).collect();
    Outlook { bindable, sentence: sentences.join(" ") }
}

fn verdict<'a>(request: &BindRequest, sockets: &'a [KnownSocket]) -> Verdict<'a> {
    would_bind(request, sockets.iter().map(|s| &s.socket))
}

fn fares(request: &BindRequest, sockets: &[KnownSocket]) -> Option<bool> {
    match verdict(request, sockets).outcome {
        Outcome::Succeeds => Some(true),
        Outcome::Fails { .. } => Some(false),
        Outcome::Unknown { .. } => None,
    }
}

fn answer(request: &BindRequest, sockets: &[KnownSocket], completeness: &Completeness) -> Outlook {
    let bind = format!("bind of {}", address(request.place.address, request.place.port));
    let bind = match request.place.protocol {
        Protocol::Tcp => bind,
        Protocol::Udp => format!("UDP {bind}"),
    };
    let Verdict { outcome, caveats } = verdict(request, sockets);
    match (outcome, completeness) {
        (Outcome::Fails { because: Cause::InUse { blocker, overlap, .. }, .. }, _) => Outlook {
            bindable: Some(false),
            sentence: format!(
                "A {bind} would fail with EADDRINUSE: {}.{}",
                holds(blocker, overlap, sockets),
                way_in(request, blocker, sockets)
            ),
        },
        (Outcome::Fails { because: Cause::MappedButV6Only, .. }, _) => Outlook {
            bindable: Some(false),
            sentence: format!("A {bind} would fail with EINVAL: the address is IPv4, the socket IPv6 only."),
        },
        (Outcome::Unknown { why }, _) => Outlook {
            bindable: None,
            sentence: format!("Whether a {bind} would succeed is not known: {}.", doubt(why, sockets)),
        },
        (Outcome::Succeeds, Completeness::Partial(_)) => Outlook {
            bindable: None,
            sentence: format!(
                "Whether a {bind} would succeed cannot be known: nothing seen is in its way, but not everything \
                 could be seen."
            ),
        },
        (Outcome::Succeeds, Completeness::Complete) => Outlook {
            bindable: caveats.is_empty().then_some(true),
            sentence: format!("A {bind} would succeed{}.", unless(&caveats)),
        },
    }
}

/// What was not looked at, as the end of a sentence.
fn unless(caveats: &[Caveat]) -> String {
    let mut text = String::new();
    for (index, caveat) in caveats.iter().enumerate() {
        text.push_str(if index == 0 { " as far as sockets go, unless " } else { " or " });
        text.push_str(match caveat {
            Caveat::Connections => "a connection still uses the port",
            Caveat::Privileged => "it needs a privilege (port below 1024)",
            Caveat::AddressNotChecked => "this machine lacks the address",
        });
    }
    if !caveats.is_empty() {
        text.push_str(" (not looked at)");
    }
    text
}

/// `node (48291) listens there`
fn holds(blocker: &Socket, overlap: Overlap, sockets: &[KnownSocket]) -> String {
    let seen = &blocker.seen;
    let place = match overlap {
        Overlap::Same => "there".to_owned(),
        Overlap::TheirDualStack => {
            format!("on {}, which takes IPv4 too", address(seen.endpoint.address, seen.endpoint.port))
        }
        Overlap::TheirWildcard | Overlap::OurWildcard | Overlap::OurDualStack => {
            format!("on {}", address(seen.endpoint.address, seen.endpoint.port))
        }
    };
    let who = who(blocker, sockets);
    match (seen.phase, seen.endpoint.protocol) {
        (Phase::Listening, _) => format!("{who} listens {place}"),
        (Phase::Bound, Protocol::Udp) => format!("{who} receives {place}"),
        (Phase::Bound, Protocol::Tcp) => format!("{who} is bound {place} without listening"),
    }
}

/// What a request with a sharing option would come to, where that differs.
fn way_in(request: &BindRequest, blocker: &Socket, sockets: &[KnownSocket]) -> String {
    let succeeds = |request: BindRequest| fares(&request, sockets) == Some(true);
    let mut text = String::new();
    if succeeds(BindRequest { reuse_addr: true, ..*request }) {
        text.push_str(" With SO_REUSEADDR it would succeed.");
    } else if succeeds(BindRequest { reuse_port: true, uid: blocker.seen.uid, ..*request }) {
        let user =
            sockets.iter().find(|s| s.socket.seen.key == blocker.seen.key).and_then(|s| s.user.as_deref());
        let _ = match (user, blocker.seen.uid) {
            (Some(user), _) => write!(text, " With SO_REUSEPORT a socket of {user} could join."),
            (None, Some(uid)) => write!(text, " With SO_REUSEPORT a socket of uid {uid} could join."),
            (None, None) => Ok(()),
        };
    }
    text
}

fn doubt(why: Doubt<'_>, sockets: &[KnownSocket]) -> String {
    let place = |s: &Socket| address(s.seen.endpoint.address, s.seen.endpoint.port);
    match why {
        Doubt::V6OnlyUnknown(s) => {
            format!("{} has {}, and whether that takes IPv4 too could not be seen", who(s, sockets), place(s))
        }
        Doubt::NamespaceUnknown(s) => format!(
            "{} has {}, and whether that is in this network namespace could not be seen",
            who(s, sockets),
            place(s)
        ),
        Doubt::OptionsUnknown(s) | Doubt::UserUnknown(s) | Doubt::HistoryDecides(s) => {
            format!("{} has {}, and whether it shares that could not be seen", who(s, sockets), place(s))
        }
        Doubt::OrderDecides { unwilling } => format!(
            "{} does not share {}, others do, and the kernel asks only one of them",
            who(unwilling, sockets),
            place(unwilling)
        ),
    }
}

fn who(socket: &Socket, sockets: &[KnownSocket]) -> String {
    let known = sockets.iter().find(|s| s.socket.seen.key == socket.seen.key);
    match known.and_then(|k| k.first().map(|id| (k, id))) {
        Some((known, id)) => match known.process(id) {
            Some(process) => format!("{} ({})", process.comm, id.pid),
            None => format!("process {}", id.pid),
        },
        None => match socket.owner {
            Owner::Kernel => "the kernel",
            Owner::NotPermitted => "a process that may not be looked into here",
            Owner::Known | Owner::NoProcess | Owner::Unknown => "a socket without a known process",
        }
        .to_owned(),
    }
}

fn address(address: IpAddr, port: Port) -> String {
    match address {
        IpAddr::V4(a) => format!("{a}:{port}"),
        IpAddr::V6(a) => format!("[{a}]:{port}"),
    }
}

#[cfg(test)]
mod tests;
