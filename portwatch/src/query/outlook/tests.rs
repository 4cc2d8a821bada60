use std::{sync::Arc, time::Duration};

use super::*;
use crate::model::{
    AskedPort, Completeness, Connection, Evidence, Holder, Interface, Owner, Phase, Process, ProcessId,
    Socket, SocketKey, SocketOptions, SocketSeen, TcpState, Timestamp, Tunnel,
};

/// What Windows' names of errors begin with, and those of others.
const WINSOCK: (&str, &str) = ("WSAEADDR", "EADDR");
const NODE: ProcessId = ProcessId { pid: 48291, start_ticks: 1 };

fn node() -> Process {
    Process {
        id: NODE,
        started: None,
        comm: "node".to_owned(),
        command: None,
        exe: None,
        cwd: None,
        uid: Some(1000),
        user: Some("erich".to_owned()),
        cgroup: None,
        unit: None,
        container: None,
        unproven: None,
        lineage: Vec::new(),
        project: None,
        evidence: Evidence::Scan,
    }
}

fn held(protocol: Protocol, address: &str, phase: Phase) -> KnownSocket {
    let endpoint =
        Endpoint { netns: None, protocol, address: address.parse().unwrap(), port: Port::new(3100).unwrap() };
    // A bind of an IPv6 address that is none for all sets the third.
    let alone = endpoint.address.is_ipv6() && !endpoint.address.is_unspecified();
    let options = SocketOptions { reuse_addr: Some(false), reuse_port: Some(false), v6_only: Some(alone) };
    let seen = SocketSeen {
        key: SocketKey::Cookie(1),
        inode: None,
        endpoint,
        phase,
        asked: AskedPort::Unknown,
        options,
        uid: Some(1000),
        cgroup_id: None,
        attached: crate::model::Attached::Unknown,
    };
    let socket = Socket {
        seen,
        creator: Some(NODE),
        holders: vec![Holder { process: NODE, evidence: Evidence::Scan }],
        owner: Owner::Known,
        since: Timestamp::UNIX_EPOCH,
        listening_since: None,
        evidence: Evidence::Kernel,
    };
    KnownSocket {
        socket,
        processes: vec![Arc::new(node())],
        user: Some("erich".to_owned()),
        noise: false,
        standing: None,
        netns_name: None,
        forward: None,
    }
}

fn listener(address: &str) -> KnownSocket {
    held(Protocol::Tcp, address, Phase::Listening)
}

fn asked(address: Option<&str>) -> Place {
    let address = address.map(|a| a.parse::<IpAddr>().unwrap().into());
    Place { address, localhost: false, port: Port::new(3100).unwrap(), protocol: None, netns: None }
}

/// As where nobody looked at connections, settings and addresses.
fn seen(place: Place, sockets: &[KnownSocket], completeness: &Completeness) -> Outlook {
    let rules = &BindRules { shares_overlaps: false, ..BindRules::default() };
    outlook(
        place,
        Scene {
            sockets,
            traffic: None,
            rules,
            sharing: &Sharing::AsBound,
            interfaces: None,
            completeness,
            whose: Whose::Machine,
        },
    )
}

fn told(address: Option<&str>, sockets: &[KnownSocket]) -> (Option<bool>, String) {
    let Outlook { bindable, sentence, .. } = seen(asked(address), sockets, &Completeness::Complete);
    (bindable, sentence.replace(WINSOCK.0, WINSOCK.1))
}

/// As where everything was looked at.
fn known(address: Option<&str>, rows: Vec<Connection>, rules: &BindRules) -> Outlook {
    let traffic = Traffic { rows, processes: vec![Arc::new(node())], ..Traffic::default() };
    let completeness = &Completeness::Complete;
    let told = outlook(
        asked(address),
        Scene {
            sockets: &[],
            traffic: Some(&traffic),
            rules,
            sharing: &Sharing::AsBound,
            interfaces: None,
            completeness,
            whose: Whose::Machine,
        },
    );
    Outlook { sentence: told.sentence.replace(WINSOCK.0, WINSOCK.1), ..told }
}

fn rules() -> BindRules {
    BindRules {
        unprivileged_from: Some(1024),
        ephemeral: Some(32_768..=60_999),
        reserved: Some(Vec::new()),
        shares_overlaps: false,
        ..BindRules::default()
    }
}

#[test]
fn where_overlapping_addresses_are_shared_unless_asked_for_alone_it_is_not_known_and_one_address_is_refused()
{
    let rules = BindRules { shares_overlaps: true, ..rules() };
    let sockets = [listener("127.0.0.1")];
    let completeness = &Completeness::Complete;
    let told = |address| {
        outlook(
            asked(address),
            Scene {
                sockets: &sockets,
                traffic: None,
                rules: &rules,
                sharing: &Sharing::AsBound,
                interfaces: None,
                completeness,
                whose: Whose::Machine,
            },
        )
    };
    let any = told(None);
    assert_eq!(any.bindable, None, "{any:?}");
    assert!(any.sentence.starts_with("Whether a bind of 0.0.0.0:3100 would succeed is not known: node (48291) has 127.0.0.1:3100, and Windows lets both"), "{any:?}");
    let same = told(Some("127.0.0.1"));
    assert_eq!(same.bindable, Some(false), "{same:?}");
    assert!(!same.sentence.contains("SO_REUSEADDR"), "{same:?}");
}

fn connection(state: TcpState) -> Connection {
    let local = Endpoint {
        netns: None,
        protocol: Protocol::Tcp,
        address: "127.0.0.1".parse().unwrap(),
        port: Port::new(3100).unwrap(),
    };
    Connection {
        local,
        peer: "127.0.0.1".parse().unwrap(),
        peer_port: Port::new(80),
        state,
        expires: None,
        is_remnant: false,
        key: None,
        inode: Some(1),
        uid: Some(1000),
        options: SocketOptions::default(),
        holders: vec![Holder { process: NODE, evidence: Evidence::Scan }],
        owner: Owner::Known,
        interface: Interface::Any,
    }
}

fn time_wait(left: u64, reuse_addr: Option<bool>) -> Connection {
    Connection {
        expires: Some(Duration::from_millis(left)),
        is_remnant: true,
        key: None,
        inode: None,
        uid: None,
        options: SocketOptions { reuse_addr, ..SocketOptions::default() },
        ..connection(TcpState::TimeWait)
    }
}

#[test]
fn the_holder_is_named_with_its_place() {
    for (ours, theirs, sentence) in [
        (None, "0.0.0.0", "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) listens there."),
        (
            None,
            "127.0.0.1",
            "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) listens on 127.0.0.1:3100.",
        ),
        (
            Some("127.0.0.1"),
            "::",
            "A bind of 127.0.0.1:3100 would fail with EADDRINUSE: node (48291) listens on [::]:3100, which takes \
             IPv4 too.",
        ),
        (
            Some("::1"),
            "::",
            "A bind of [::1]:3100 would fail with EADDRINUSE: node (48291) listens on [::]:3100.",
        ),
    ] {
        assert_eq!(told(ours, &[listener(theirs)]), (Some(false), sentence.to_owned()));
    }
}

#[test]
fn where_ipv4_and_both_families_fare_differently_both_are_told() {
    let (bindable, sentence) = told(None, &[listener("::1")]);
    assert_eq!(bindable, Some(false));
    assert_eq!(
        sentence,
        "A bind of [::]:3100 would fail with EADDRINUSE: node (48291) listens on [::1]:3100. \
         A bind of 0.0.0.0:3100 would succeed as far as it was looked at, unless a connection still uses the port \
         (not looked at)."
    );
}

#[test]
fn what_an_option_would_come_to_is_no_more_certain_than_what_was_looked_at() {
    let mut wide = held(Protocol::Udp, "::", Phase::Bound);
    wide.socket.seen.options =
        SocketOptions { reuse_addr: Some(true), reuse_port: Some(false), v6_only: Some(false) };
    let sockets = [wide];
    let asked = |address: &str| {
        let place = Place { protocol: Some(Protocol::Udp), ..asked(Some(address)) };
        seen(place, &sockets, &Completeness::Complete)
    };
    // Whether that address is here was not asked.
    let told = asked("10.77.0.1");
    assert_eq!((told.bindable, told.with_reuse_addr), (Some(false), None), "{told:?}");
    let words = "With SO_REUSEADDR it would succeed as far as it was looked at, unless this machine lacks the address";
    assert!(told.sentence.contains(words), "{told:?}");
    let told = asked("127.0.0.1");
    assert_eq!((told.bindable, told.with_reuse_addr), (Some(false), Some(true)), "{told:?}");
    assert!(told.sentence.ends_with("With SO_REUSEADDR it would succeed."), "{told:?}");
}

#[test]
fn an_option_that_would_help_is_named() {
    let mut bound = held(Protocol::Tcp, "0.0.0.0", Phase::Bound);
    bound.socket.seen.options.reuse_addr = Some(true);
    assert_eq!(
        told(None, &[bound]).1,
        "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) is bound there without listening. \
         With SO_REUSEADDR it would succeed as far as it was looked at, unless a connection still uses the port \
         (not looked at)."
    );
    let mut group = listener("0.0.0.0");
    group.socket.seen.options.reuse_port = Some(true);
    assert_eq!(
        told(Some("0.0.0.0"), &[group]).1,
        "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) listens there. \
         With SO_REUSEPORT a socket of erich could join."
    );
}

#[test]
fn one_that_is_bound_elsewhere_without_listening_is_told_in_order() {
    let mut socket = held(Protocol::Tcp, "::", Phase::Bound);
    socket.socket.seen.options.v6_only = Some(false);
    let sentence = told(Some("0.0.0.0"), &[socket]).1;
    let words = "node (48291) is bound, without listening, on [::]:3100, which takes IPv4 too.";
    assert!(sentence.contains(words), "{sentence}");
}

#[test]
fn localhost_is_judged_by_both_of_its_addresses() {
    let localhost = Place { localhost: true, ..asked(None) };
    let completeness = &Completeness::Complete;
    let outlook = seen(localhost, &[listener("::1")], completeness);
    assert_eq!((outlook.bindable, outlook.cause), (Some(false), Some("listening")));
    let (v4, v6) = ("A bind of 127.0.0.1:3100 would succeed", "A bind of [::1]:3100 would fail with ");
    assert!(outlook.sentence.starts_with(v4) && outlook.sentence.contains(v6), "{outlook:?}");
    // A listener elsewhere is in the way of neither.
    let outlook = seen(localhost, &[listener("192.0.2.7")], completeness);
    assert!(!outlook.sentence.contains("would fail"), "{outlook:?}");
    // What holds for both is said once.
    let rules =
        &BindRules { ephemeral: Some(1024..=65_535), reserved: Some(Vec::new()), ..BindRules::default() };
    let scene = Scene {
        sockets: &[],
        traffic: None,
        rules,
        sharing: &Sharing::AsBound,
        interfaces: None,
        completeness,
        whose: Whose::Machine,
    };
    let sentence = super::outlook(localhost, scene).sentence;
    assert_eq!(sentence.matches("The kernel may lend").count(), 1, "{sentence}");
}

#[test]
fn a_port_that_only_udp_has_is_judged_for_udp_and_then_for_tcp() {
    let sockets = [held(Protocol::Udp, "0.0.0.0", Phase::Bound)];
    let (bindable, sentence) = told(None, &sockets);
    let udp = "A UDP bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) receives there. ";
    let after = sentence.strip_prefix(udp).unwrap_or_else(|| panic!("{sentence}"));
    assert!(after.starts_with("A bind of 0.0.0.0:3100 would succeed"), "{sentence}");
    assert_eq!(bindable, Some(false), "it is that of what is there");
    let tcp = Place { protocol: Some(Protocol::Tcp), ..asked(None) };
    let outlook = seen(tcp, &sockets, &Completeness::Complete);
    assert!(outlook.sentence.starts_with("A bind of 0.0.0.0:3100 would succeed"), "{outlook:?}");
}

#[test]
fn success_is_certain_only_where_everything_was_looked_at() {
    let udp = Place { protocol: Some(Protocol::Udp), ..asked(None) };
    let certain = seen(udp, &[], &Completeness::Complete);
    assert_eq!(certain.sentence, "A UDP bind of 0.0.0.0:3100 would succeed.");
    assert_eq!(certain.bindable, Some(true));
    // TCP connections and their TIME_WAIT were not looked at.
    assert_eq!(told(None, &[]).0, None);
    let partly = seen(udp, &[], &Completeness::Partial("no permission".to_owned()));
    assert_eq!(partly.bindable, None);
    assert!(partly.sentence.contains("not everything could be seen"), "{partly:?}");
    // Where only TCP sockets may be missing, a UDP bind meets what was seen and nothing else.
    let tcp = Completeness::PartialTcp("bound ones are not shown".to_owned());
    assert_eq!(seen(udp, &[], &tcp), certain);
    assert_eq!(seen(asked(None), &[], &tcp).bindable, None);
    // What is seen is in the way all the same.
    let partly = seen(asked(None), &[listener("0.0.0.0")], &Completeness::Partial(String::new()));
    assert_eq!(partly.bindable, Some(false));
}

#[test]
fn a_holder_that_is_not_known_is_not_invented() {
    for (owner, sentence) in [
        (Owner::Kernel(None), "the kernel listens there"),
        (Owner::Kernel(Some(Tunnel::new("vxlan", b"vx0"))), "the kernel (vxlan device vx0) listens there"),
        (Owner::NotPermitted, "a process that may not be looked into here listens there"),
        (Owner::NoProcess, "a socket that no process has listens there"),
        (Owner::Unknown, "a socket without a known process listens there"),
    ] {
        let mut known = listener("0.0.0.0");
        known.socket.owner = owner;
        known.socket.creator = None;
        known.socket.holders.clear();
        let (_, told) = told(None, &[known]);
        assert!(told.contains(sentence), "{told}");
    }
}

#[test]
fn a_doubt_is_told_with_its_reason() {
    let mut known = listener("::");
    known.socket.seen.options.v6_only = None;
    assert_eq!(
        told(Some("127.0.0.1"), &[known]),
        (
            None,
            "Whether a bind of 127.0.0.1:3100 would succeed is not known: node (48291) has [::]:3100, and whether \
             that takes IPv4 too could not be seen."
                .to_owned()
        )
    );
}

#[test]
#[cfg_attr(windows, ignore = "numbers of errors are of Unix here")]
fn time_wait_is_told_with_its_owner_and_what_would_help() {
    let told = known(None, vec![time_wait(37_200, Some(true)), time_wait(3000, Some(true))], &rules());
    assert_eq!(
        told.sentence,
        "A bind of 0.0.0.0:3100 would succeed with SO_REUSEADDR; without it in 38s (2 in TIME_WAIT, left by node \
         (48291))."
    );
    assert_eq!((told.bindable, told.with_reuse_addr), (Some(false), Some(true)));
    assert_eq!((told.cause, told.errno), (Some("time-wait"), Some(98)));
    assert_eq!(told.free_in, Some(Duration::from_millis(37_200)));

    let without = known(None, vec![time_wait(37_200, Some(false))], &rules());
    assert!(without.sentence.contains("for 38s, with SO_REUSEADDR too"), "{without:?}");
    assert_eq!(without.with_reuse_addr, Some(false));

    // Its time is over, and the kernel has not got to it yet.
    let over = known(None, vec![time_wait(0, Some(true))], &rules());
    assert!(over.sentence.contains("without it in a few seconds (1 in TIME_WAIT"), "{over:?}");

    let mut unseen = time_wait(37_200, None);
    unseen.holders.clear();
    let unseen = known(None, vec![unseen], &rules());
    assert!(unseen.sentence.contains("(1 in TIME_WAIT, nobody saw who left them)"), "{unseen:?}");
    assert!(
        unseen.sentence.ends_with("if the socket that left them had it too, which nobody saw."),
        "{unseen:?}"
    );
    assert_eq!((unseen.bindable, unseen.with_reuse_addr), (Some(false), None));
}

#[test]
fn an_outgoing_connection_that_borrowed_the_port_is_named() {
    let told = known(None, vec![connection(TcpState::Established)], &rules());
    assert_eq!(
        told.sentence,
        "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) has a connection from 127.0.0.1:3100 to \
         127.0.0.1:80."
    );
    assert_eq!(told.cause, Some("connected"));
    // Of another address it takes nothing.
    let beside = known(Some("127.0.0.2"), vec![connection(TcpState::Established)], &rules());
    assert_eq!(beside.bindable, Some(true), "{beside:?}");
}

#[test]
fn where_everything_was_looked_at_nothing_is_hedged() {
    let told = known(None, Vec::new(), &rules());
    assert_eq!(told.sentence, "A bind of 0.0.0.0:3100 would succeed.");
    assert_eq!((told.bindable, told.with_reuse_addr), (Some(true), Some(true)));
}

#[test]
#[cfg_attr(windows, ignore = "numbers of errors are of Unix here")]
fn privilege_range_and_address_are_told() {
    let low = BindRules { unprivileged_from: Some(4000), ..rules() };
    let told = known(None, Vec::new(), &low);
    assert_eq!(
        told.sentence,
        "A bind of 0.0.0.0:3100 would succeed for root and whoever has CAP_NET_BIND_SERVICE, and fail with EACCES for \
         others: ports below 4000 need it (net.ipv4.ip_unprivileged_port_start)."
    );
    assert_eq!(told.bindable, None, "it depends on who asks");
    let lent = BindRules { ephemeral: Some(3000..=4000), ..rules() };
    let told = known(None, Vec::new(), &lent).sentence;
    assert!(
        told.ends_with("The kernel may lend the port to outgoing connections at any time (3000-4000)."),
        "{told}"
    );
    let reserved = BindRules { reserved: Some(vec![3100..=3100]), ..lent };
    let told = known(None, Vec::new(), &reserved).sentence;
    assert!(told.contains("The port is reserved (net.ipv4.ip_local_reserved_ports)"), "{told}");

    let kept_back = BindRules { excluded: Some([vec![3000..=3199], Vec::new()]), ..rules() };
    let told = known(None, Vec::new(), &kept_back);
    assert!(told.sentence.contains("would fail with WSAEACCES: Windows keeps 3000-3199 back"), "{told:?}");
    assert_eq!((told.bindable, told.errno), (Some(false), Some(13)));

    let address: IpAddr = "192.0.2.7".parse().unwrap();
    let elsewhere = BindRules { addresses: vec![(address.into(), false)], ..rules() };
    let told = known(Some("192.0.2.7"), Vec::new(), &elsewhere);
    assert_eq!(
        told.sentence,
        "A bind of 192.0.2.7:3100 would fail with EADDRNOTAVAIL: this machine does not have the address; \
         0.0.0.0 means every one that it has."
    );
    assert_eq!((told.bindable, told.errno), (Some(false), Some(99)));
}
