//! `who`: one answer for one thing asked.

use std::net::{IpAddr, Ipv4Addr};

use super::{Asked, Completeness, Holding, KnownSocket, Outlook, TargetAnswer};
use crate::model::{Netns, Owner, Phase, Port, Protocol};

/// Who has a port. `sockets` are those on the port, `own` the namespace the asker means.
///
/// A socket in another namespace is shown and does not make the port held here: a container's 3000 and the
/// host's are two places.
pub(super) fn port(
    (address, port, protocol): (Option<IpAddr>, Port, Option<Protocol>),
    sockets: Vec<KnownSocket>,
    own: Option<Netns>,
    completeness: &Completeness,
) -> TargetAnswer {
    let sockets: Vec<_> = sockets
        .into_iter()
        .filter(|s| s.socket.seen.endpoint.port == port)
        .filter(|s| protocol.is_none_or(|p| p == s.socket.seen.endpoint.protocol))
        .filter(|s| address.is_none_or(|a| covers(s, a)))
        .collect();
    let here: Vec<_> = sockets.iter().filter(|s| is_here(s, own)).collect();
    let (state, reason) = if here.is_empty() {
        match completeness {
            Completeness::Complete => (Holding::Free, None),
            Completeness::Partial(why) => (Holding::Unknown, Some(why.clone())),
        }
    } else {
        (Holding::Held, None)
    };
    let verdict = Some(outlook(address, port, protocol, &here, state, sockets.len() - here.len()));
    let asked = Asked::Port { address, port, protocol };
    TargetAnswer { asked, state, reason, sockets, last: Vec::new(), refused: Vec::new(), verdict }
}

/// What a process has open.
pub(super) fn pid(pid: u32, sockets: Vec<KnownSocket>, completeness: &Completeness) -> TargetAnswer {
    let (state, reason) = match (sockets.is_empty(), completeness) {
        (false, _) => (Holding::Held, None),
        (true, Completeness::Complete) => (Holding::Free, None),
        (true, Completeness::Partial(why)) => (Holding::Unknown, Some(why.clone())),
    };
    TargetAnswer {
        asked: Asked::Pid(pid),
        state,
        reason,
        sockets,
        last: Vec::new(),
        refused: Vec::new(),
        verdict: None,
    }
}

/// A claim name, while no registry holds claims: nothing is found under any name.
pub(super) fn claim(name: &str) -> TargetAnswer {
    TargetAnswer {
        asked: Asked::Claim(name.to_owned()),
        state: Holding::Free,
        reason: Some(format!("no claim is named {name}; ask by port (3100), host:port or pid:N")),
        sockets: Vec::new(),
        last: Vec::new(),
        refused: Vec::new(),
        verdict: None,
    }
}

fn is_here(known: &KnownSocket, own: Option<Netns>) -> bool {
    match (known.socket.seen.endpoint.netns, own) {
        (Some(there), Some(own)) => there == own,
        // What cannot be told apart counts as here: "free" must be certain.
        _ => true,
    }
}

/// Whether the socket takes what is sent to `address`, or a bind of `address` would meet it.
fn covers(known: &KnownSocket, address: IpAddr) -> bool {
    let seen = &known.socket.seen;
    let bound = seen.endpoint.address.to_canonical();
    let asked = address.to_canonical();
    match (bound, asked) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            bound == asked || bound.is_unspecified() || asked.is_unspecified()
        }
        // A wildcard IPv6 socket takes IPv4 too unless IPV6_V6ONLY is set (ipv6(7)); unknown counts as not set.
        (IpAddr::V6(v6), IpAddr::V4(_)) => v6.is_unspecified() && seen.options.v6_only != Some(true),
        (IpAddr::V4(_), IpAddr::V6(v6)) => v6.is_unspecified(),
    }
}

fn outlook(
    address: Option<IpAddr>,
    port: Port,
    protocol: Option<Protocol>,
    here: &[&KnownSocket],
    state: Holding,
    elsewhere: usize,
) -> Outlook {
    let place = match address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
        IpAddr::V4(a) => format!("{a}:{port}"),
        IpAddr::V6(a) => format!("[{a}]:{port}"),
    };
    match state {
        Holding::Unknown => Outlook {
            bindable: None,
            sentence: format!(
                "Whether a bind of {place} would succeed cannot be known: not everything could be seen."
            ),
        },
        Holding::Free => Outlook {
            bindable: None,
            sentence: if elsewhere == 0 {
                format!(
                    "No socket is bound to {place}; connections that still use the port were not looked for."
                )
            } else {
                format!("No socket is bound to {place} here; what is shown is in another network namespace.")
            },
        },
        Holding::Held => {
            let wanted = protocol.unwrap_or(Protocol::Tcp);
            // A wildcard bind of IPv4 does not meet an IPv6 socket that takes IPv6 only or one IPv6 address.
            let asked = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let blocker = here
                .iter()
                .filter(|s| s.socket.seen.endpoint.protocol == wanted && covers(s, asked))
                .max_by_key(|s| s.socket.seen.phase);
            match blocker {
                Some(blocker) => Outlook { bindable: Some(false), sentence: blocked(&place, blocker) },
                None => Outlook {
                    bindable: None,
                    sentence: format!("A {wanted} bind of {place} does not meet the sockets shown."),
                },
            }
        }
    }
}

fn blocked(place: &str, blocker: &KnownSocket) -> String {
    let who = blocker.first().map_or_else(
        || match blocker.socket.owner {
            Owner::Kernel => "the kernel".to_owned(),
            Owner::NotPermitted => "a process that may not be looked into here".to_owned(),
            Owner::Known | Owner::NoProcess | Owner::Unknown => "a socket without a known process".to_owned(),
        },
        |id| match blocker.process(id) {
            Some(process) => format!("{} ({})", process.comm, id.pid),
            None => format!("process {}", id.pid),
        },
    );
    match blocker.socket.seen.phase {
        Phase::Listening => format!("A bind of {place} would fail with EADDRINUSE: {who} listens there."),
        Phase::Bound if blocker.socket.seen.endpoint.protocol == Protocol::Udp => {
            format!("A bind of {place} would fail with EADDRINUSE unless both share the port: {who} has it.")
        }
        Phase::Bound => {
            format!(
                "A plain bind of {place} would fail with EADDRINUSE: {who} has it bound without listening."
            )
        }
    }
}
