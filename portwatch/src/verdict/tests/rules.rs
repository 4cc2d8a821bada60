//! The rules one by one: what is said, and about which socket.

use std::net::IpAddr;

use crate::model::{
    AskedPort, BindRules, Endpoint, Evidence, Netns, Owner, Phase, Port, Protocol, Sharing, Socket,
    SocketKey, SocketOptions, SocketSeen, Timestamp, addresses_overlap,
};
use crate::verdict::{
    BindRequest, Cause, Caveat, Doubt, Outcome, Overlap, Party, Refusal, World, would_bind, would_bind_in,
};

pub(super) fn request(protocol: Protocol, address: &str, port: Port) -> BindRequest {
    let address = address.parse().unwrap();
    BindRequest::plain(Endpoint { netns: Some(Netns(1)), protocol, address, port })
}

/// A socket whose options and user are not known.
pub(super) fn socket_at(endpoint: Endpoint, phase: Phase) -> Socket {
    Socket {
        seen: SocketSeen {
            key: SocketKey::Cookie(1),
            inode: None,
            endpoint,
            phase,
            asked: AskedPort::Unknown,
            options: SocketOptions::default(),
            uid: None,
            cgroup_id: None,
            attached: crate::model::Attached::Unknown,
        },
        creator: None,
        holders: Vec::new(),
        owner: Owner::Unknown,
        since: Timestamp::UNIX_EPOCH,
        listening_since: None,
        evidence: Evidence::Kernel,
    }
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn tcp(address: &str) -> BindRequest {
    request(Protocol::Tcp, address, port(3100))
}

fn listener(address: &str) -> Socket {
    socket_at(tcp(address).place, Phase::Listening)
}

#[test]
#[cfg_attr(windows, ignore = "numbers of errors are of Unix here")]
fn the_cause_names_the_socket_and_how_the_places_meet() {
    for (ours, theirs, expected) in [
        ("127.0.0.1", "127.0.0.1", Overlap::Same),
        ("127.0.0.1", "::ffff:127.0.0.1", Overlap::Same),
        ("127.0.0.1", "0.0.0.0", Overlap::TheirWildcard),
        ("0.0.0.0", "127.0.0.1", Overlap::OurWildcard),
        ("0.0.0.0", "::", Overlap::TheirDualStack),
        ("::", "127.0.0.1", Overlap::OurDualStack),
        ("::1", "::", Overlap::TheirWildcard),
    ] {
        let mut socket = listener(theirs);
        socket.seen.options.v6_only = Some(false);
        let verdict = would_bind(&tcp(ours), [&socket]);
        let Outcome::Fails { errno: 98, because: Cause::InUse { blocker, overlap, refusal } } =
            verdict.outcome
        else {
            panic!("{ours} beside {theirs}: {verdict:?}");
        };
        assert_eq!((blocker, overlap, refusal), (Party::Socket(&socket), expected, Refusal::NotShared));
        assert_eq!(verdict.caveats, [], "what fails anyway has no caveats");
    }
}

#[test]
fn of_several_blockers_the_one_that_listens_is_named() {
    let (bound, listening) = (socket_at(tcp("127.0.0.1").place, Phase::Bound), listener("127.0.0.2"));
    for sockets in [[&bound, &listening], [&listening, &bound]] {
        let verdict = would_bind(&tcp("0.0.0.0"), sockets);
        let Outcome::Fails { because: Cause::InUse { blocker, .. }, .. } = verdict.outcome else {
            panic!("{verdict:?}")
        };
        assert_eq!(blocker, Party::Socket(&listening));
    }
}

#[test]
fn why_a_port_is_not_shared_is_told_apart() {
    let refusal = |request: BindRequest, socket: &Socket| match would_bind(&request, [socket]).outcome {
        Outcome::Fails { because: Cause::InUse { refusal, .. }, .. } => refusal,
        other => panic!("{other:?}"),
    };
    let mut socket = listener("0.0.0.0");
    socket.seen.options = SocketOptions { reuse_addr: Some(true), reuse_port: Some(true), v6_only: None };
    socket.seen.uid = Some(1000);
    assert_eq!(refusal(tcp("0.0.0.0"), &socket), Refusal::NotShared);
    assert_eq!(refusal(BindRequest { reuse_addr: true, ..tcp("0.0.0.0") }, &socket), Refusal::Listens);
    let other_user = BindRequest { reuse_port: true, uid: Some(0), ..tcp("0.0.0.0") };
    assert_eq!(refusal(other_user, &socket), Refusal::OtherUser, "not even root shares");
}

#[test]
#[cfg_attr(windows, ignore = "numbers of errors are of Unix here")]
fn what_is_not_known_is_named_instead_of_guessed() {
    let doubt = |request: BindRequest, socket: &Socket| match would_bind(&request, [socket]).outcome {
        Outcome::Unknown { why } => format!("{why:?}").split('(').next().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    let bound = socket_at(tcp("0.0.0.0").place, Phase::Bound);
    let reuse_addr = BindRequest { reuse_addr: true, ..tcp("0.0.0.0") };
    let reuse_port = BindRequest { reuse_port: true, uid: Some(0), ..tcp("0.0.0.0") };
    assert_eq!(doubt(reuse_addr, &bound), "OptionsUnknown");
    assert_eq!(doubt(reuse_port, &bound), "OptionsUnknown");
    assert_eq!(doubt(tcp("127.0.0.1"), &listener("::")), "V6OnlyUnknown");
    let mut shared = bound.clone();
    shared.seen.options.reuse_port = Some(true);
    assert_eq!(doubt(reuse_port, &shared), "UserUnknown");
    let mut elsewhere = bound.clone();
    elsewhere.seen.endpoint.netns = None;
    assert_eq!(doubt(tcp("0.0.0.0"), &elsewhere), "NamespaceUnknown");

    // A doubt about one socket does not hide what is certain about another.
    let listening = listener("0.0.0.0");
    let verdict = would_bind(&reuse_addr, [&bound, &listening]);
    assert!(matches!(verdict.outcome, Outcome::Fails { errno: 98, .. }), "{verdict:?}");
}

#[test]
fn a_udp_port_shared_by_some_and_not_by_others_is_unknown() {
    let asked =
        BindRequest { reuse_port: true, uid: Some(0), ..request(Protocol::Udp, "0.0.0.0", port(5353)) };
    let mut sharing = socket_at(request(Protocol::Udp, "127.0.0.1", port(5353)).place, Phase::Bound);
    let mut unwilling = socket_at(request(Protocol::Udp, "127.0.0.2", port(5353)).place, Phase::Bound);
    for (socket, reuse_port) in [(&mut sharing, true), (&mut unwilling, false)] {
        socket.seen.uid = Some(0);
        socket.seen.options.reuse_addr = Some(false);
        socket.seen.options.reuse_port = Some(reuse_port);
    }
    for sockets in [[&sharing, &unwilling], [&unwilling, &sharing]] {
        let verdict = would_bind(&asked, sockets);
        assert_eq!(
            verdict.outcome,
            Outcome::Unknown { why: Doubt::OrderDecides { unwilling: Party::Socket(&unwilling) } }
        );
    }
}

#[test]
fn sockets_elsewhere_are_left_aside() {
    let mut other_namespace = listener("0.0.0.0");
    other_namespace.seen.endpoint.netns = Some(Netns(2));
    let other_port = socket_at(request(Protocol::Tcp, "0.0.0.0", port(3101)).place, Phase::Listening);
    let verdict = would_bind(&tcp("0.0.0.0"), [&other_namespace, &other_port]);
    assert_eq!(verdict.outcome, Outcome::Succeeds);
}

#[test]
fn without_namespaces_every_socket_is_here() {
    let mut asked = tcp("0.0.0.0");
    asked.place.netns = None;
    let mut socket = listener("0.0.0.0");
    socket.seen.endpoint.netns = None;
    assert!(matches!(would_bind(&asked, [&socket]).outcome, Outcome::Fails { .. }));
}

#[test]
fn success_says_what_was_not_looked_at() {
    let caveats =
        |protocol, address, number| would_bind(&request(protocol, address, port(number)), []).caveats;
    assert_eq!(caveats(Protocol::Tcp, "0.0.0.0", 3100), [Caveat::Connections]);
    assert_eq!(caveats(Protocol::Udp, "::1", 3100), []);
    assert_eq!(
        caveats(Protocol::Tcp, "192.0.2.1", 80),
        [Caveat::Connections, Caveat::Privileged { from: None }, Caveat::AddressNotChecked]
    );
}

#[test]
fn the_live_tables_idea_of_overlap_is_the_same() {
    let addresses = ["0.0.0.0", "127.0.0.1", "::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0"];
    for (ours, theirs) in addresses.iter().flat_map(|a| addresses.iter().map(move |b| (a, b))) {
        for (our_v6_only, their_v6_only) in [(false, false), (true, false), (false, true), (true, true)] {
            let asked = BindRequest { v6_only: our_v6_only, ..tcp(ours) };
            let mut socket = listener(theirs);
            socket.seen.options.v6_only = Some(their_v6_only);
            if *theirs == "::1" && !their_v6_only {
                // No bind leaves a socket so: it is from a connect, and what it receives is another question.
                continue;
            }
            let meets = match would_bind(&asked, [&socket]).outcome {
                Outcome::Succeeds => false,
                Outcome::Fails { errno: 98, .. } => true,
                _ => continue,
            };
            let place = |text: &str| -> IpAddr { text.parse().unwrap() };
            assert_eq!(
                addresses_overlap((place(ours), Some(our_v6_only)), (place(theirs), Some(their_v6_only))),
                meets,
                "{ours} {our_v6_only}, {theirs} {their_v6_only}"
            );
        }
    }
}

/// A bind with SO_REUSEADDR of 0.0.0.0:3100 beside a socket that was bound with the option or without, and has it now or not.
fn beside(mut socket: Socket, then: Option<bool>, now: Option<bool>, others: &[Socket]) -> &'static str {
    let request =
        BindRequest { reuse_addr: true, ..request(socket.seen.endpoint.protocol, "0.0.0.0", port(3100)) };
    socket.seen.inode = Some(7);
    socket.seen.options.reuse_addr = then;
    let options = SocketOptions { reuse_addr: now, reuse_port: Some(false), v6_only: None };
    let sharing = Sharing::Read(now.map(|_| (7, options)).into_iter().collect());
    let rules = BindRules { shares_overlaps: false, ..BindRules::default() };
    let world = World { connections: Some(&[]), rules: &rules, sharing: &sharing, interfaces: None };
    match would_bind_in(&request, others.iter().chain([&socket]), world).outcome {
        Outcome::Succeeds => "succeeds",
        Outcome::Fails { .. } => "fails",
        Outcome::Unknown { why: Doubt::HistoryDecides(_) } => "history",
        Outcome::Unknown { why: Doubt::OptionsUnknown(_) } => "unknown",
        Outcome::Unknown { why } => panic!("{why:?}"),
    }
}

#[test]
fn an_option_counts_as_it_is_now_and_the_port_as_it_was_opened() {
    let (on, off) = (Some(true), Some(false));
    let udp = || socket_at(request(Protocol::Udp, "127.0.0.1", port(3100)).place, Phase::Bound);
    for (then, now, expected) in [
        (on, off, "fails"),
        (off, on, "succeeds"),
        (None, on, "succeeds"),
        (None, off, "fails"),
        (on, None, "unknown"),
        (off, None, "unknown"),
    ] {
        assert_eq!(beside(udp(), then, now, &[]), expected, "UDP {then:?} {now:?}");
    }
    let bound = || socket_at(tcp("127.0.0.1").place, Phase::Bound);
    for (then, now, expected) in [
        // The kernel may remember that everybody on the port had it, until somebody without it has joined.
        (on, off, "history"),
        (None, off, "history"),
        (off, off, "fails"),
        (off, on, "succeeds"),
        (on, on, "succeeds"),
        (on, None, "unknown"),
    ] {
        assert_eq!(beside(bound(), then, now, &[]), expected, "bound {then:?} {now:?}");
        // On another address one that listens has set the port back for all of them.
        let elsewhere = socket_at(tcp("::1").place, Phase::Listening);
        let expected = if expected == "history" { "fails" } else { expected };
        assert_eq!(beside(bound(), then, now, &[elsewhere]), expected, "beside a listener {then:?} {now:?}");
        assert_eq!(beside(listener("127.0.0.1"), then, now, &[]), "fails", "listening {then:?} {now:?}");
    }
}

#[test]
fn what_nobody_looked_at_is_not_known_and_a_socket_of_the_kernel_stays_as_it_was_bound() {
    let unseen = |sharing: &Sharing, owner: Owner| {
        let mut socket = socket_at(request(Protocol::Udp, "127.0.0.1", port(3100)).place, Phase::Bound);
        socket.seen.options.reuse_addr = Some(false);
        socket.owner = owner;
        // Which options were set decides where overlaps are not shared anyway.
        let rules = BindRules { shares_overlaps: false, ..BindRules::default() };
        let world = World { connections: None, rules: &rules, sharing, interfaces: None };
        let request = BindRequest { reuse_addr: true, ..request(Protocol::Udp, "127.0.0.1", port(3100)) };
        matches!(would_bind_in(&request, [&socket], world).outcome, Outcome::Fails { .. })
    };
    let nothing = Sharing::Read(std::collections::HashMap::new());
    assert!(!unseen(&Sharing::Unseen, Owner::Known));
    assert!(!unseen(&nothing, Owner::Known));
    assert!(unseen(&nothing, Owner::Kernel(None)));
    assert!(unseen(&Sharing::AsBound, Owner::Known));
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "other systems do not set IPV6_V6ONLY at a bind")]
fn an_ipv6_address_from_a_connect_may_have_ipv4_too() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut socket = socket_at(request(protocol, "::1", port(3100)).place, Phase::Bound);
        for (v6_only, expected) in [(true, false), (false, true)] {
            socket.seen.options.v6_only = Some(v6_only);
            let refused = |address: &str| {
                !matches!(
                    would_bind(&request(protocol, address, port(3100)), [&socket]).outcome,
                    Outcome::Succeeds
                )
            };
            assert_eq!(refused("0.0.0.0"), expected);
            assert_eq!(refused("127.0.0.6"), expected);
            assert!(!refused("127.0.0.1"));
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn two_sockets_meet_on_one_interface_or_where_one_of_them_is_on_all() {
    use crate::model::{Interface, Interfaces, Zone};

    let zone = |number| Zone::new(number).unwrap();
    let rules = BindRules {
        interfaces: vec![(zone(3), Some("va".to_owned())), (zone(9), None)],
        ..BindRules::default()
    };
    let told = |theirs: &str, interface: Option<Interface>, ours: Option<u32>| {
        let there = request(Protocol::Tcp, theirs, port(3100)).place;
        let mut socket = socket_at(there, Phase::Listening);
        socket.seen.options =
            SocketOptions { reuse_addr: Some(false), reuse_port: Some(false), v6_only: Some(true) };
        let mut interfaces = Interfaces::default();
        if let Some(interface) = interface {
            interfaces.add(socket.seen.key, interface);
        }
        let asked =
            BindRequest { zone: ours.and_then(Zone::new), ..request(Protocol::Tcp, "fe80::1", port(3100)) };
        let world = World {
            connections: Some(&[]),
            rules: &rules,
            sharing: &Sharing::AsBound,
            interfaces: Some(&interfaces),
        };
        match would_bind_in(&asked, [&socket], world).outcome {
            Outcome::Succeeds => "succeeds",
            Outcome::Fails { errno: 98, because: Cause::InUse { .. } } => "in use",
            Outcome::Fails { errno: 22, because: Cause::NeedsInterface } => "needs one",
            Outcome::Fails { errno: 19, because: Cause::NoInterface } => "none",
            Outcome::Unknown { why: Doubt::InterfaceUnknown(_) } => "not known",
            other => panic!("{other:?}"),
        }
    };
    let one = |number| Some(Interface::One(zone(number)));
    assert_eq!(told("fe80::1", one(3), Some(3)), "in use");
    assert_eq!(told("fe80::1", one(4), Some(3)), "succeeds");
    assert_eq!(told("fe80::1", None, Some(3)), "not known");
    assert_eq!(told("fe80::2", None, Some(3)), "succeeds");
    assert_eq!(told("::", Some(Interface::Any), Some(3)), "in use");
    assert_eq!(told("::", one(4), Some(3)), "succeeds");
    assert_eq!(told("::", None, Some(3)), "not known");
    assert_eq!(told("fe80::1", one(3), None), "needs one");
    assert_eq!(told("fe80::1", one(9), Some(9)), "none");
}

#[test]
#[cfg(target_os = "linux")]
fn a_udp_socket_that_may_have_its_ipv6_address_from_a_connect_may_be_in_the_way_of_every_ipv4_address() {
    let told = |protocol, v6_only| {
        let mut socket = socket_at(request(protocol, "::1", port(3100)).place, Phase::Bound);
        socket.seen.options = SocketOptions { reuse_addr: Some(false), reuse_port: Some(false), v6_only };
        match would_bind(&request(protocol, "0.0.0.0", port(3100)), [&socket]).outcome {
            Outcome::Succeeds => Some(true),
            Outcome::Fails { .. } => Some(false),
            Outcome::Unknown { why: Doubt::V6OnlyUnknown(_) } => None,
            Outcome::Unknown { why } => panic!("{why:?}"),
        }
    };
    assert_eq!(
        [Some(true), Some(false), None].map(|v6_only| told(Protocol::Udp, v6_only)),
        [Some(true), Some(false), None]
    );
    // A bind of it sets the option, and a connection is none of the sockets.
    assert_eq!(told(Protocol::Tcp, None), Some(true));
}
