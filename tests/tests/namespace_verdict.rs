//! Would a bind succeed in a network namespace that is not the daemon's: what is said is held against binds that are made there.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    process::Command,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
        sockopt,
    },
};
use portwatch_tests::{Actor, Netns, Portwatch, require_bpf, require_netns, require_program};
use serde_json::Value;

/// Held where the daemon is; held where it is asked from; kept by a connection there, and by one in TIME_WAIT; addresses that only one
/// of the two has; below where a privilege is needed, and not there; nobody's.
const PLACES: [&str; 10] = [
    "127.0.0.1:3100",
    "0.0.0.0:3100",
    "127.0.0.1:3101",
    "[::]:3101",
    "127.0.0.1:3102",
    "127.0.0.1:3103",
    "10.77.0.1:3104",
    "10.78.0.1:3104",
    "127.0.0.1:80",
    "127.0.0.1:3105",
];

/// A namespace that has this address.
fn namespace(address: &str) -> Netns {
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let done = Command::new("ip").args(["addr", "add", address, "dev", "lo"]).status()?;
            assert!(done.success(), "{address}");
            Ok(())
        })
        .unwrap();
    netns
}

/// How a bind and listen fare in the namespace of this thread.
fn fares(place: &str, reuse: bool) -> Result<(), Errno> {
    let place: SocketAddr = place.parse().unwrap();
    let family = if place.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &reuse)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(place))?;
    listen(&fd, Backlog::new(8).unwrap())
}

/// What keeps ports there.
fn occupied() -> (Vec<TcpListener>, Vec<TcpStream>) {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(local(3101)).unwrap();
    // Without SO_REUSEADDR, from a port of its own: it goes on living, and another is left in TIME_WAIT.
    let connect = |port| {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(fd.as_raw_fd(), &SockaddrStorage::from(local(port))).unwrap();
        nix::sys::socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(local(3101))).unwrap();
        (TcpStream::from(fd), listener.accept().unwrap().0)
    };
    let (living, accepted) = connect(3102);
    let (closed, theirs) = connect(3103);
    drop(closed);
    drop(theirs);
    (vec![listener], vec![living, accepted])
}

/// The answer to each place is what happens in `there`. A look at tables does not see SO_REUSEADDR, and need not know how that fares.
fn compare(there: &Netns, answer: &Value, said_of_all: bool) {
    let inode = there.inode().unwrap();
    for (place, target) in PLACES.iter().zip(answer["targets"].as_array().unwrap()) {
        let [plain, reuse] = there.enter(|| Ok([false, true].map(|reuse| fares(place, reuse)))).unwrap();
        let verdict = &target["verdict"];
        assert_eq!(verdict["netns"], inode, "{place}: {verdict}");
        assert_eq!(verdict["bindable"], plain.is_ok(), "{place}, {plain:?}: {verdict}");
        assert!(
            verdict["with_reuse_addr"].as_bool().is_none_or(|said| said == reuse.is_ok()),
            "{place}, {reuse:?}: {verdict}"
        );
        if let Err(errno) = plain {
            assert_eq!(verdict["errno"], errno as i32, "{place}: {verdict}");
        }
        let sentence = verdict["sentence"].as_str().unwrap();
        let of_which = format!("This is of network namespace {inode}, the asker's own.");
        assert_eq!(sentence.contains(&of_which), said_of_all, "{sentence}");
    }
}

/// Asks from both namespaces, by a daemon of the first and by a look of the asker's own.
fn compare_all((daemons, askers): (&Netns, &Netns), portwatch: &Portwatch) {
    let ask = |from: &Netns, more: &[&str]| {
        let words = [&["who", "--json"][..], &PLACES, more].concat();
        let ran = from.enter(|| portwatch.run(&words)).unwrap();
        ran.json().unwrap_or_else(|error| panic!("{error:#}: {ran:?}"))
    };
    let inode = askers.inode().unwrap().to_string();
    for way in [&[][..], &["--no-daemon"]] {
        compare(askers, &ask(askers, way), false);
        compare(askers, &ask(askers, &[way, &["--all-namespaces"]].concat()), true);
        compare(askers, &ask(daemons, &[way, &["--netns", &inode]].concat()), false);
        compare(daemons, &ask(daemons, &[way, &["--all-namespaces"]].concat()), true);
    }
    // What was done is what was computed, where the daemon is elsewhere.
    for place in PLACES {
        let ran = askers.enter(|| portwatch.run(&["probe", place, "--json"])).unwrap();
        let tried = &ran.json().unwrap_or_else(|error| panic!("{error:#}: {ran:?}"))["addresses"][0];
        assert_eq!(tried["verdict"]["bindable"], ran.code == Some(0), "{place}: {tried}");
    }
}

#[test]
fn a_bind_in_another_network_namespace_fares_as_was_told_of_that_one() {
    if !(require_netns() && require_program("ip")) {
        return;
    }
    let (daemons, askers) = (namespace("10.78.0.1/32"), namespace("10.77.0.1/32"));
    let _here = daemons.enter(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 3100))?)).unwrap();
    for netns in [&daemons, &askers] {
        // To bind below 1024 would depend on who asks, which is not told.
        let anybody = || Ok(std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?);
        netns.enter(anybody).unwrap();
    }
    let mut portwatch = daemons.enter(|| Portwatch::started(&["--source", "scan"])).unwrap();
    // A namespace is found by a process in it.
    let _there = askers.enter(|| Ok((occupied(), Actor::listener("127.0.0.1", 3106)?))).unwrap();
    compare_all((&daemons, &askers), &portwatch);
    if require_bpf() {
        portwatch.stop().unwrap();
        daemons.enter(|| portwatch.start(&[])).unwrap();
        compare_all((&daemons, &askers), &portwatch);
    }
}
