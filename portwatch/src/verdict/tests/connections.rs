//! The prediction beside connections, and by the kernel's settings: real connections, real errnos. Connections come
//! from sock_diag as they do in the product; the options that it does not tell are filled in by who set them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use netlink_sys::{Socket as Netlink, SocketAddr as NetlinkAddress, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, accept, bind, connect, getsockname,
        listen, socket,
    },
};

use super::{
    super::{BindRequest, Cause, Doubt, Outcome, Party, Verdict, World, would_bind_in},
    kernel::{as_known, predicted, really_bind, requests},
    rules::{request, socket_at},
};
use crate::{
    model::{
        BindRules, Connection, Interface, Local, Netns, Owner, Phase, Port, Protocol, Sharing, Socket,
        SocketOptions, TcpState,
    },
    source::{diag::Diag, rules::Rules},
};

/// Runs in a thread with a network namespace of its own, `lo` up. `false` where that is not permitted.
fn in_own_namespace(test: impl FnOnce(&[u32]) + Send) -> bool {
    thread::scope(|scope| {
        let inside = || {
            if unshare(CloneFlags::CLONE_NEWNET).is_err() {
                return false;
            }
            set_loopback(true);
            let own = nix::unistd::Uid::current().as_raw();
            test(&[own, own + 1]);
            true
        };
        match scope.spawn(inside).join() {
            Ok(ran) => ran,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A test that cannot run says so, and fails where the run declares that it can.
fn ran(ran: bool) {
    let required = std::env::var("PORTWATCH_REQUIRE").unwrap_or_default();
    let declared = required.split(',').any(|word| word == "netns" || word == "ebpf");
    assert!(ran || !declared, "PORTWATCH_REQUIRE={required}, and network namespaces cannot be made here");
    if !ran {
        eprintln!("SKIPPED {}: no network namespace", thread::current().name().unwrap_or("a test"));
    }
}

/// Switches `lo`, which has the index 1, by RTM_NEWLINK.
fn set_loopback(up: bool) {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_ACK: u16 = 1 | 4;
    let mut message = Vec::new();
    message.extend(32_u32.to_ne_bytes());
    message.extend([RTM_NEWLINK, REQUEST_ACK].map(u16::to_ne_bytes).concat());
    message.extend([0; 8]);
    // struct ifinfomsg: family and type of no interest, index, flags, which flags.
    message.extend([0; 4]);
    message.extend([1_u32, u32::from(up), 1].map(u32::to_ne_bytes).concat());
    let netlink = Netlink::new(NETLINK_ROUTE).unwrap();
    netlink.send_to(&message, &NetlinkAddress::new(0, 0), 0).unwrap();
    let (answer, _) = netlink.recv_from_full().unwrap();
    assert_eq!(answer[16..20], [0; 4], "lo could not be switched");
}

fn place_of(fd: &OwnedFd) -> SocketAddr {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd()).unwrap();
    match (name.as_sockaddr_in(), name.as_sockaddr_in6()) {
        (Some(v4), _) => SocketAddr::from(std::net::SocketAddrV4::from(*v4)),
        (_, Some(v6)) => SocketAddr::from(std::net::SocketAddrV6::from(*v6)),
        _ => panic!("no address"),
    }
}

/// How a connection ends before the test looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both ends are open.
    Open,
    /// The server closed, then the client: the server's port is left in TIME_WAIT.
    ServerFirst,
    /// The client closed, then the server.
    ClientFirst,
    /// The server closed, the client did not: FIN_WAIT2.
    Half,
}

impl End {
    /// Whether a connection with this end has come to it; those of sets before, on the same port of a client, to theirs. On a busy
    /// machine packets to `lo` are taken in by a thread of the kernel's, later than the calls that sent them return.
    const fn is_reached(self, state: TcpState) -> bool {
        match self {
            Self::Open => matches!(state, TcpState::Established | TcpState::TimeWait),
            Self::ServerFirst | Self::ClientFirst => matches!(state, TcpState::TimeWait),
            Self::Half => matches!(state, TcpState::FinWait2 | TcpState::CloseWait | TcpState::TimeWait),
        }
    }
}

/// What is there: descriptors that keep it so, the port of the server and of the client.
struct Set {
    _open: Vec<OwnedFd>,
    listener: Option<OwnedFd>,
    server: Port,
    client: Port,
}

/// A server as asked for, and one client over IPv4 or IPv6.
fn set(server: &BindRequest, end: End, listens_on: bool) -> Option<Set> {
    let listener = really_bind(server).ok()?;
    listen(&listener, Backlog::new(4).unwrap()).unwrap();
    let address = server.place.address;
    let canonical = address.to_canonical();
    // An IPv6 wildcard that takes IPv4 is met over IPv4: its connections have mapped addresses.
    let over_v4 = canonical.is_ipv4() || (canonical.is_unspecified() && !server.v6_only);
    let (family, to): (_, IpAddr) = match (over_v4, canonical.is_unspecified()) {
        (true, true) => (AddressFamily::Inet, "127.0.0.1".parse().unwrap()),
        (true, false) => (AddressFamily::Inet, canonical),
        (false, true) => (AddressFamily::Inet6, "::1".parse().unwrap()),
        (false, false) => (AddressFamily::Inet6, canonical),
    };
    let client = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let to = SocketAddr::new(to, server.place.port.get());
    connect(client.as_raw_fd(), &SockaddrStorage::from(to)).ok()?;
    let client_port = Port::new(place_of(&client).port()).unwrap();
    // SAFETY: accept has just made the descriptor for us alone.
    let accepted = unsafe { std::os::fd::FromRawFd::from_raw_fd(accept(listener.as_raw_fd()).unwrap()) };
    let accepted: OwnedFd = accepted;
    let mut open = Vec::new();
    match end {
        End::Open => open.extend([accepted, client]),
        End::ServerFirst => {
            drop(accepted);
            drop(client);
        }
        End::ClientFirst => {
            drop(client);
            drop(accepted);
        }
        End::Half => {
            drop(accepted);
            open.push(client);
        }
    }
    let listener = listens_on.then_some(listener);
    Some(Set { _open: open, listener, server: server.place.port, client: client_port })
}

/// The connections on a port, as the product knows them where it saw who left them, once all have come to this end.
fn connections(diag: &mut Diag, port: Port, options: SocketOptions, end: End) -> Vec<Connection> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut rows = loop {
        let rows = diag.connections(&TcpState::ALL, &[port]).unwrap();
        if rows.iter().all(|row| end.is_reached(row.state)) {
            break rows;
        }
        assert!(Instant::now() < deadline, "still on their way to {end:?}: {rows:?}");
        thread::yield_now();
    };
    for row in &mut rows {
        row.local.netns = Some(Netns(1));
        row.options = options;
    }
    rows
}

/// It has an address of IPv6 that no IPv4 address is mapped to.
fn is_alone(row: &Connection) -> bool {
    row.local.address.to_canonical().is_ipv6()
}

#[test]
fn beside_connections_and_time_wait_every_bind_fares_as_predicted() {
    ran(in_own_namespace(|users| {
        let mut diag = Diag::open(None).unwrap();
        let rules = BindRules::default();
        let mut outcomes: BTreeMap<Option<Result<(), i32>>, usize> = BTreeMap::new();
        let (mut time_wait, mut next, mut by_listener) = (0, 20_000, 0);
        let any = Port::new(1).unwrap();
        let servers: Vec<_> = requests(Protocol::Tcp, any, users)
            .into_iter()
            // Addresses of other machines take no connections here.
            .filter(|r| {
                let canonical = r.place.address.to_canonical();
                r.uid == Some(users[0]) && (canonical.is_loopback() || canonical.is_unspecified())
            })
            .collect();
        for server in servers {
            for end in [End::Open, End::ServerFirst, End::ClientFirst, End::Half] {
                for listens_on in [true, false] {
                    next += 1;
                    let port = Port::new(next).unwrap();
                    let mut server = server;
                    server.place.port = port;
                    let Some(set) = set(&server, end, listens_on) else { continue };
                    // A bind of an IPv6 address sets IPV6_V6ONLY, and an accepted connection inherits it.
                    let inherited = SocketOptions {
                        reuse_addr: Some(server.reuse_addr),
                        reuse_port: Some(server.reuse_port),
                        v6_only: Some(server.v6_only || !server.place.address.is_unspecified()),
                    };
                    let own = SocketOptions {
                        reuse_addr: Some(false),
                        reuse_port: Some(false),
                        v6_only: Some(false),
                    };
                    for (port, options) in [(set.server, inherited), (set.client, own)] {
                        let rows = connections(&mut diag, port, options, end);
                        time_wait += rows.iter().filter(|row| row.state == TcpState::TimeWait).count();
                        let listener: Vec<Socket> = set
                            .listener
                            .iter()
                            .filter(|_| port == set.server)
                            .map(|_| as_known(&server, Phase::Listening))
                            .collect();
                        let untold: Vec<_> = rows
                            .iter()
                            .cloned()
                            .map(|mut row| {
                                row.options.v6_only = None;
                                row
                            })
                            .collect();
                        let world = World {
                            connections: Some(&rows),
                            rules: &rules,
                            sharing: &Sharing::AsBound,
                            interfaces: None,
                        };
                        for wanted in requests(Protocol::Tcp, port, users) {
                            let Verdict { outcome, .. } = would_bind_in(&wanted, &listener, world);
                            let told = predicted(outcome);
                            let real = really_bind(&wanted).map(drop).map_err(|e| e as i32);
                            match outcome {
                                Outcome::Unknown { why: Doubt::HistoryDecides(_) } => {}
                                // The kernel's stand-in for IPv4 in IPv6 connections: its versions differ.
                                Outcome::Unknown { why: Doubt::V6OnlyUnknown(_) }
                                    if wanted.place.address == IpAddr::from([127, 0, 0, 6]) => {}
                                _ => assert_eq!(
                                    told,
                                    Some(real),
                                    "{wanted:?} beside {end:?} of {server:?} (listens on: {listens_on}), {rows:?}"
                                ),
                            }
                            *outcomes.entry(told).or_default() += 1;
                            // The kernel does not tell the option of a connection.
                            let world = World { connections: Some(&untold), ..world };
                            let Verdict { outcome, caveats } = would_bind_in(&wanted, &listener, world);
                            if let Some(told) = predicted(outcome) {
                                assert_eq!(
                                    told, real,
                                    "{wanted:?} beside {end:?} of {server:?} untold, {caveats:?}"
                                );
                                let any4 = wanted.place.address == IpAddr::from([0, 0, 0, 0]);
                                let known = told.is_ok()
                                    && any4
                                    && !wanted.reuse_addr
                                    && !wanted.reuse_port
                                    && rows.iter().any(is_alone);
                                by_listener += usize::from(known && caveats.is_empty());
                            }
                        }
                    }
                }
            }
        }
        let many = |outcome| outcomes.get(&Some(outcome)).copied().unwrap_or(0) > 5000;
        assert!(by_listener > 0, "no plain bind of 0.0.0.0 was judged by the listener of an address of IPv6");
        assert!(many(Ok(())) && many(Err(98)) && time_wait > 100, "{outcomes:?}, {time_wait} in TIME_WAIT");
    }));
}

#[test]
fn a_connection_is_in_every_answer_also_while_its_remnant_takes_its_place() {
    ran(in_own_namespace(|users| {
        let mut diag = Diag::open(None).unwrap();
        for number in 0..100 {
            let port = Port::new(30_000 + number).unwrap();
            let server = BindRequest { uid: Some(users[0]), ..request(Protocol::Tcp, "127.0.0.1", port) };
            let Set { _open: mut ends, .. } = set(&server, End::Open, false).unwrap();
            // Its client is not closed: the remnant stays in FIN_WAIT2.
            let accepted = ends.remove(0);
            let closing = thread::spawn(move || drop(accepted));
            loop {
                let closed = closing.is_finished();
                let rows = diag.connections(&TcpState::ALL, &[port]).unwrap();
                assert!(!rows.is_empty(), "connection {number} is missing from an answer");
                // Mostly a remnant by now; a socket that was in use when the acknowledgement came stays one.
                if closed && rows.iter().all(|row| row.state == TcpState::FinWait2) {
                    break;
                }
            }
            closing.join().unwrap();
        }
    }));
}

#[test]
fn of_time_wait_the_last_to_go_is_named_with_the_number() {
    ran(in_own_namespace(|users| {
        let port = Port::new(3100).unwrap();
        let server = BindRequest {
            uid: Some(users[0]),
            reuse_addr: true,
            ..request(Protocol::Tcp, "127.0.0.1", port)
        };
        for _ in 0..3 {
            drop(set(&server, End::ServerFirst, false).unwrap());
        }
        let mut diag = Diag::open(None).unwrap();
        let rows = connections(&mut diag, port, SocketOptions::default(), End::ServerFirst);
        let rules = BindRules::default();
        let world =
            World { connections: Some(&rows), rules: &rules, sharing: &Sharing::AsBound, interfaces: None };
        let plain = BindRequest { uid: Some(users[0]), ..request(Protocol::Tcp, "0.0.0.0", port) };
        let Outcome::Fails { errno: 98, because: Cause::TimeWait { count: 3, expires: Some(left), .. } } =
            would_bind_in(&plain, [], world).outcome
        else {
            panic!("{rows:?}")
        };
        assert!((50..=60).contains(&left.as_secs()), "{left:?}");
        assert!(rows.iter().all(|row| row.expires <= Some(left)));
        // Whether the sockets had SO_REUSEADDR is not known from sock_diag alone.
        let shared = would_bind_in(&BindRequest { reuse_addr: true, ..plain }, [], world).outcome;
        assert!(matches!(shared, Outcome::Unknown { why: Doubt::OptionsUnknown(_) }), "{shared:?}");
    }));
}

#[test]
fn an_address_is_here_or_not_as_the_kernel_says() {
    ran(in_own_namespace(|_| {
        let mut rules = Rules::open();
        let proc = Path::new("/proc");
        let addresses = [
            "0.0.0.0",
            "127.0.0.1",
            "127.9.9.9",
            "192.0.2.1",
            "224.0.0.1",
            "::",
            "::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:192.0.2.1",
            "ff02::1",
            "ff05::5",
            "fe80::1",
            "255.255.255.255",
        ]
        .map(|text| text.parse::<IpAddr>().unwrap());
        let (mut here, mut elsewhere) = (0, 0);
        for up in [true, false] {
            set_loopback(up);
            let known = rules.read(proc, &addresses.map(Local::from));
            for address in addresses {
                let port = Port::new(3100).unwrap();
                let wanted = BindRequest::plain(request(Protocol::Udp, &address.to_string(), port).place);
                let world =
                    World { connections: None, rules: &known, sharing: &Sharing::AsBound, interfaces: None };
                let told = predicted(would_bind_in(&wanted, [], world).outcome);
                let real = without_freebind(&wanted);
                assert_eq!(told, Some(real), "{address}, lo up: {up}, {known:?}");
                here += usize::from(real.is_ok());
                elsewhere += usize::from(real == Err(99));
            }
        }
        assert!(here > 8 && elsewhere > 6, "{here} here, {elsewhere} not");
        assert_eq!(rules.read(proc, &[]).unprivileged_from, Some(1024), "of a namespace that is new");
    }));
}

fn without_freebind(wanted: &BindRequest) -> Result<(), i32> {
    let address = wanted.place.address;
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let to = SocketAddr::new(address, wanted.place.port.get());
    bind(fd.as_raw_fd(), &SockaddrStorage::from(to)).map_err(|errno: Errno| errno as i32)
}

fn local(text: &str) -> Local {
    text.parse::<IpAddr>().unwrap().into()
}

#[test]
fn a_port_that_needs_a_privilege_is_refused_before_anything_else_but_the_address() {
    let port = Port::new(80).unwrap();
    let rules = BindRules {
        unprivileged_from: Some(1024),
        addresses: ["192.0.2.1", "2001:db8::1"].map(|text| (local(text), false)).to_vec(),
        ..BindRules::default()
    };
    let world = World { connections: Some(&[]), rules: &rules, sharing: &Sharing::AsBound, interfaces: None };
    let told = |address: &str, privileged| {
        let asked = BindRequest { privileged, ..request(Protocol::Tcp, address, port) };
        predicted(would_bind_in(&asked, [], world).outcome)
    };
    assert_eq!(told("0.0.0.0", Some(false)), Some(Err(13)));
    assert_eq!(told("0.0.0.0", Some(true)), Some(Ok(())));
    assert_eq!(told("192.0.2.1", Some(false)), Some(Err(99)));
    assert_eq!(told("2001:db8::1", Some(false)), Some(Err(13)));
}

#[test]
fn a_port_that_the_system_keeps_back_is_refused_to_everybody_over_its_protocol() {
    let port = Port::new(25_340).unwrap();
    let rules = BindRules { excluded: Some([vec![25_313..=25_412], Vec::new()]), ..BindRules::default() };
    let world = World { connections: Some(&[]), rules: &rules, sharing: &Sharing::AsBound, interfaces: None };
    let outcome = |protocol, privileged| {
        let asked = BindRequest { privileged: Some(privileged), ..request(protocol, "127.0.0.1", port) };
        would_bind_in(&asked, [], world).outcome
    };
    let because = Cause::Excluded { from: 25_313, to: 25_412 };
    assert_eq!(outcome(Protocol::Tcp, true), Outcome::Fails { errno: 13, because });
    assert_eq!(predicted(outcome(Protocol::Udp, true)), Some(Ok(())));
}

#[test]
fn where_overlaps_are_shared_only_the_same_address_without_an_option_is_certainly_refused() {
    let port = Port::new(25_340).unwrap();
    let rules = BindRules { shares_overlaps: true, ..BindRules::default() };
    let world = World { connections: Some(&[]), rules: &rules, sharing: &Sharing::AsBound, interfaces: None };
    let known = socket_at(request(Protocol::Tcp, "127.0.0.1", port).place, Phase::Listening);
    let outcome = |address, reuse_addr| {
        let asked = BindRequest { reuse_addr, ..request(Protocol::Tcp, address, port) };
        would_bind_in(&asked, [&known], world).outcome
    };
    assert!(matches!(outcome("127.0.0.1", false), Outcome::Fails { because: Cause::InUse { .. }, .. }));
    let unknown = Outcome::Unknown { why: Doubt::AloneUnknown(Party::Socket(&known)) };
    assert_eq!(outcome("127.0.0.1", true), unknown);
    assert_eq!((outcome("0.0.0.0", false), outcome("::", false)), (unknown, unknown));
    assert_eq!(predicted(outcome("127.0.0.2", false)), Some(Ok(())));
}

#[test]
fn connections_by_the_ten_thousand_cost_no_walk_over_all_of_them_for_each() {
    let port = Port::new(3100).unwrap();
    let place = |address| request(Protocol::Tcp, address, port).place;
    let row = Connection {
        local: place("::1"),
        peer: "::1".parse().unwrap(),
        peer_port: None,
        state: TcpState::Established,
        expires: None,
        is_remnant: false,
        key: None,
        inode: None,
        uid: None,
        options: SocketOptions::default(),
        interface: Interface::Any,
        holders: Vec::new(),
        owner: Owner::Unknown,
    };
    // They came in by a listener on all addresses, so none of them is explained by one on its own.
    let rows = vec![row; 100_000];
    let rules = BindRules::default();
    let world =
        World { connections: Some(&rows), rules: &rules, sharing: &Sharing::AsBound, interfaces: None };
    let begun = Instant::now();
    let told = would_bind_in(&request(Protocol::Tcp, "0.0.0.0", port), [], world);
    // Each compared with each would take half a minute.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(matches!(told.outcome, Outcome::Unknown { why: Doubt::V6OnlyUnknown(_) }), "{:?}", told.outcome);
}
