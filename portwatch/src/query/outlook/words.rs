//! The sentences of a verdict.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use super::Scene;
use crate::{
    model::{BindRules, Connection, Evidence, Owner, Phase, Port, ProcessId, Protocol, Socket, TcpState},
    verdict::{BindRequest, Cause, Caveat, Doubt, Outcome, Overlap, Party},
};

/// What a program of this system is given: Winsock's names on Windows.
const IN_USE: &str = if cfg!(windows) { "WSAEADDRINUSE" } else { "EADDRINUSE" };
const NOT_HERE: &str = if cfg!(windows) { "WSAEADDRNOTAVAIL" } else { "EADDRNOTAVAIL" };
const WRONG: &str = if cfg!(windows) { "WSAEINVAL" } else { "EINVAL" };

/// The whole answer to one request.
pub(super) fn sentence(
    request: &BindRequest,
    scene: &Scene<'_>,
    outcome: Outcome<'_>,
    caveats: &[Caveat],
) -> String {
    let bind = format!("bind of {}", asked(request, scene));
    let bind = match request.place.protocol {
        Protocol::Tcp => bind,
        Protocol::Udp => format!("UDP {bind}"),
    };
    match (outcome, scene.completeness.missing(Some(request.place.protocol))) {
        (Outcome::Fails { because, .. }, _) => fails(&bind, request, scene, because),
        (Outcome::Unknown { why }, _) => {
            format!("Whether a {bind} would succeed is not known: {}.", doubt(why, scene))
        }
        (Outcome::Succeeds, Some(_)) => format!(
            "Whether a {bind} would succeed cannot be known: nothing seen is in its way, but not everything could \
             be seen."
        ),
        (Outcome::Succeeds, None) => format!("A {bind} would succeed{}.", unless(caveats, scene)),
    }
}

fn fails(bind: &str, request: &BindRequest, scene: &Scene<'_>, because: Cause<'_>) -> String {
    match because {
        Cause::InUse { blocker, overlap, .. } => format!(
            "A {bind} would fail with {IN_USE}: {}.{}",
            holds(blocker, overlap, scene),
            way_in(request, blocker, scene)
        ),
        Cause::TimeWait { count, expires, .. } => time_wait(bind, request, scene, count, expires),
        Cause::Privileged { from } => format!(
            "A {bind} would fail with EACCES: ports below {from} need CAP_NET_BIND_SERVICE \
             (net.ipv4.ip_unprivileged_port_start)."
        ),
        Cause::Excluded { from, to } => format!(
            "A {bind} would fail with WSAEACCES: Windows keeps {from}-{to} back (netsh interface ipv4 show \
             excludedportrange {}; what Hyper-V, WSL or containers took is often given back by: net stop winnat).",
            request.place.protocol
        ),
        Cause::AddressNotHere => {
            if request.zone.is_some() {
                return format!(
                    "A {bind} would fail with {NOT_HERE}: that interface does not have the address."
                );
            }
            let all = if request.place.address.is_ipv4() { "0.0.0.0" } else { "::" };
            format!(
                "A {bind} would fail with {NOT_HERE}: {} does not have the address; {all} means every one that it has.",
                scene.whose.words()
            )
        }
        Cause::MappedButV6Only => {
            format!("A {bind} would fail with {WRONG}: the address is IPv4, the socket IPv6 only.")
        }
        Cause::NeedsInterface => format!(
            "A {bind} would fail with {WRONG}: an address of a link is bound together with an interface \
             (sin6_scope_id or SO_BINDTODEVICE). Ask with one: {}.",
            zoned(request.place.address, "INTERFACE", request.place.port)
        ),
        Cause::NoInterface => {
            format!("A {bind} would fail with ENODEV: there is no such interface in this network namespace.")
        }
        Cause::MulticastOverTcp => {
            format!("A {bind} would fail with {WRONG}: TCP does not take an IPv6 multicast address.")
        }
    }
}

/// Connections in TIME_WAIT and nothing else in the way.
fn time_wait(
    bind: &str,
    request: &BindRequest,
    scene: &Scene<'_>,
    count: usize,
    expires: Option<Duration>,
) -> String {
    let left = expires.map_or_else(|| "a while".to_owned(), seconds);
    let by = left_by(scene);
    let shared = BindRequest { reuse_addr: true, ..*request };
    match scene.fares(&shared) {
        Some(true) => format!(
            "A {bind} would succeed with SO_REUSEADDR{}; without it in {left} ({count} in TIME_WAIT, {by}).",
            unless(&scene.verdict(&shared).caveats, scene)
        ),
        Some(false) => format!(
            "A {bind} would fail with {IN_USE} for {left}, with SO_REUSEADDR too: {count} in TIME_WAIT, {by}, \
             of a socket that was without it."
        ),
        None => format!(
            "A {bind} would fail with {IN_USE} for {left} ({count} in TIME_WAIT, {by}). With SO_REUSEADDR it \
             would succeed if the socket that left them had it too, which nobody saw."
        ),
    }
}

/// `left by node (48291)`
fn left_by(scene: &Scene<'_>) -> String {
    let rows = scene.traffic.map_or(&[][..], |t| t.rows.as_slice());
    let mut owners: Vec<ProcessId> = Vec::new();
    let mut unknown = false;
    for row in rows.iter().filter(|row| row.state == TcpState::TimeWait) {
        match row.holders.first() {
            Some(holder) if owners.contains(&holder.process) => {}
            Some(holder) => owners.push(holder.process),
            None => unknown = true,
        }
    }
    match (owners.as_slice(), unknown) {
        ([], _) => "nobody saw who left them".to_owned(),
        ([one], false) => format!("left by {}", process(*one, scene)),
        ([one], true) => format!("left by {} and others that nobody saw", process(*one, scene)),
        ([one, rest @ ..], _) => format!("left by {} and {} more", process(*one, scene), rest.len()),
    }
}

/// What stands in the way of certainty, as the end of a sentence.
fn unless(caveats: &[Caveat], scene: &Scene<'_>) -> String {
    let mut text = String::new();
    let mut not_looked = Vec::new();
    for caveat in caveats {
        match caveat {
            Caveat::Connections => not_looked.push("a connection still uses the port".to_owned()),
            Caveat::OlderConnection => {
                not_looked
                    .push("a connection over IPv6 is older than the listener on its address".to_owned());
            }
            Caveat::AddressNotChecked => {
                not_looked.push(format!("{} lacks the address", scene.whose.words()));
            }
            Caveat::Privileged { from: Some(from) } => {
                let _ = write!(
                    text,
                    " for root and whoever has CAP_NET_BIND_SERVICE, and fail with EACCES for others: ports below \
                     {from} need it (net.ipv4.ip_unprivileged_port_start)"
                );
            }
            Caveat::Privileged { from: None } => {
                not_looked.push("it needs a privilege (port below 1024)".to_owned());
            }
        }
    }
    if !not_looked.is_empty() {
        let _ =
            write!(text, " as far as it was looked at, unless {} (not looked at)", not_looked.join(" or "));
    }
    text
}

/// Whether the kernel may lend the port to somebody else meanwhile.
pub(super) fn chosen_by_the_kernel(port: Port, protocol: Protocol, rules: &BindRules) -> Option<String> {
    let range = rules.ephemeral.as_ref()?;
    if !range.contains(&port.get()) {
        return None;
    }
    let taker = match protocol {
        Protocol::Tcp => "outgoing connections",
        Protocol::Udp => "whoever asks for any port",
    };
    Some(if rules.is_reserved(port)? {
        format!(
            "The port is reserved (net.ipv4.ip_local_reserved_ports): the kernel does not lend it to {taker}."
        )
    } else {
        format!("The kernel may lend the port to {taker} at any time ({}-{}).", range.start(), range.end())
    })
}

/// `node (48291) listens there`
fn holds(blocker: Party<'_>, overlap: Overlap, scene: &Scene<'_>) -> String {
    let socket = match blocker {
        Party::Socket(socket) => socket,
        Party::Connection(connection) => return connected(connection, scene),
    };
    let seen = &socket.seen;
    let there = match overlap {
        Overlap::Same => "there".to_owned(),
        Overlap::TheirDualStack => {
            format!("on {}, which takes IPv4 too", place(seen.endpoint.address, seen.endpoint.port))
        }
        Overlap::TheirWildcard
        | Overlap::OurWildcard
        | Overlap::OurDualStack
        | Overlap::TheirIpv6Connection => {
            format!("on {}", place(seen.endpoint.address, seen.endpoint.port))
        }
    };
    let who = of_socket(socket, scene);
    match (seen.phase, seen.endpoint.protocol) {
        (Phase::Listening, _) => format!("{who} listens {there}"),
        (Phase::Bound, Protocol::Udp) => format!("{who} receives {there}"),
        (Phase::Bound, Protocol::Tcp) if overlap == Overlap::Same => {
            format!("{who} is bound there without listening")
        }
        (Phase::Bound, Protocol::Tcp) => format!("{who} is bound, without listening, {there}"),
    }
}

/// `curl (812) has a connection from 127.0.0.1:3100 to 127.0.0.1:80`
fn connected(connection: &Connection, scene: &Scene<'_>) -> String {
    let peer = connection.peer_port.map_or_else(
        || connection.peer.to_canonical().to_string(),
        |port| place(connection.peer.to_canonical(), port),
    );
    let from = place(connection.local.address.to_canonical(), connection.local.port);
    let others = scene
        .traffic
        .map_or(0, |t| t.rows.iter().filter(|row| row.state != TcpState::TimeWait).count().saturating_sub(1));
    let more = if others == 0 { String::new() } else { format!(", and {others} more") };
    let what = if connection.inode.is_some() {
        format!("has a connection from {from} to {peer}{more}")
    } else {
        format!(
            "closed a connection from {from} to {peer} that is not over yet ({}){more}",
            connection.state.as_str()
        )
    };
    format!("{} {what}", of_connection(connection, scene))
}

/// What a request with a sharing option would come to, where that differs.
fn way_in(request: &BindRequest, blocker: Party<'_>, scene: &Scene<'_>) -> String {
    let succeeds = |request: BindRequest| scene.fares(&request) == Some(true);
    let mut text = String::new();
    let shared = BindRequest { reuse_addr: true, ..*request };
    if succeeds(shared) {
        let _ = write!(
            text,
            " With SO_REUSEADDR it would succeed{}.",
            unless(&scene.verdict(&shared).caveats, scene)
        );
    } else if let Party::Socket(socket) = blocker
        && succeeds(BindRequest { reuse_port: true, uid: blocker.uid(), ..*request })
    {
        let known = scene.sockets.iter().find(|s| s.socket.seen.key == socket.seen.key);
        let _ = match (known.and_then(|s| s.user.as_deref()), blocker.uid()) {
            (Some(user), _) => write!(text, " With SO_REUSEPORT a socket of {user} could join."),
            (None, Some(uid)) => write!(text, " With SO_REUSEPORT a socket of uid {uid} could join."),
            (None, None) => Ok(()),
        };
    }
    text
}

fn doubt(why: Doubt<'_>, scene: &Scene<'_>) -> String {
    let there = |party: Party<'_>| place(party.endpoint().address, party.endpoint().port);
    match why {
        Doubt::V6OnlyUnknown(party) => format!(
            "{} has {}, and whether that takes IPv4 too could not be seen",
            who(party, scene),
            there(party)
        ),
        Doubt::NamespaceUnknown(party) => format!(
            "{} has {}, and whether that is in this network namespace could not be seen",
            who(party, scene),
            there(party)
        ),
        Doubt::InterfaceUnknown(party) => format!(
            "{} has {}, and whether that is on this interface could not be seen",
            who(party, scene),
            there(party)
        ),
        Doubt::OptionsUnknown(party) | Doubt::UserUnknown(party) | Doubt::HistoryDecides(party) => {
            format!(
                "{} has {}, and whether it shares that could not be seen",
                who(party, scene),
                there(party)
            )
        }
        Doubt::AloneUnknown(party) => format!(
            "{} has {}, and Windows lets both have the port unless one of them asked for it alone \
             (SO_EXCLUSIVEADDRUSE), which could not be seen",
            who(party, scene),
            there(party)
        ),
        Doubt::OrderDecides { unwilling } => format!(
            "{} does not share {}, others do, and the kernel asks only one of them",
            who(unwilling, scene),
            there(unwilling)
        ),
    }
}

fn who(party: Party<'_>, scene: &Scene<'_>) -> String {
    match party {
        Party::Socket(socket) => of_socket(socket, scene),
        Party::Connection(connection) => of_connection(connection, scene),
    }
}

fn of_socket(socket: &Socket, scene: &Scene<'_>) -> String {
    let known = scene.sockets.iter().find(|s| s.socket.seen.key == socket.seen.key);
    let name = |id: ProcessId| match known.and_then(|known| known.process(id)) {
        Some(process) => format!("{} ({})", process.comm, id.pid),
        None => format!("process {}", id.pid),
    };
    match (socket.holders.first(), socket.owner, socket.creator) {
        (Some(holder), ..) => name(holder.process),
        (None, Owner::Kernel(_), _) | (None, _, None) => nobody(socket.owner),
        (None, Owner::Known, Some(creator)) => name(creator),
        // Who bound it does not have it any more.
        (None, _, Some(creator)) => format!("{}, bound by {},", nobody(socket.owner), name(creator)),
    }
}

fn of_connection(connection: &Connection, scene: &Scene<'_>) -> String {
    match connection.holders.first() {
        Some(holder) if holder.evidence != Evidence::Unknown => process(holder.process, scene),
        _ => nobody(connection.owner),
    }
}

/// Why no process is named.
fn nobody(owner: Owner) -> String {
    let words = match owner {
        Owner::Kernel(Some(tunnel)) => {
            return format!("the kernel ({} device {})", tunnel.kind, tunnel.name());
        }
        Owner::Kernel(None) => "the kernel",
        Owner::NotPermitted => "a process that may not be looked into here",
        Owner::NoProcess => "a socket that no process has",
        Owner::Known | Owner::Unknown => "a socket without a known process",
    };
    words.to_owned()
}

fn process(id: ProcessId, scene: &Scene<'_>) -> String {
    match scene.traffic.and_then(|t| t.process(id)) {
        Some(process) => format!("{} ({})", process.comm, id.pid),
        None => format!("process {}", id.pid),
    }
}

fn place(address: IpAddr, port: Port) -> String {
    match address {
        IpAddr::V4(a) => format!("{a}:{port}"),
        IpAddr::V6(a) => format!("[{a}]:{port}"),
    }
}

/// The place of a request, its interface by name where that is known.
fn asked(request: &BindRequest, scene: &Scene<'_>) -> String {
    let (address, port) = (request.place.address, request.place.port);
    match request.zone {
        None => place(address, port),
        Some(zone) => match scene.rules.interface(zone) {
            Some(name) => zoned(address, name, port),
            None => zoned(address, &zone.to_string(), port),
        },
    }
}

fn zoned(address: IpAddr, zone: &str, port: Port) -> String {
    format!("[{address}%{zone}]:{port}")
}

/// Rounded up. The kernel's timers of a minute are coarse: a connection stays for up to 5 s after its time.
fn seconds(left: Duration) -> String {
    match left.as_millis().div_ceil(1000) {
        0 => "a few seconds".to_owned(),
        seconds => format!("{seconds}s"),
    }
}
