//! Against the real kernel, in a network namespace of the test's own.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, listen, setsockopt,
        socket, sockopt,
    },
};

use super::{HolderSearch, Roots, Scanner};
use crate::model::{Owner, Phase, Port, Protocol, Snapshot, SnapshotSocket};

/// Runs `body` on a thread in a new network namespace with `lo` down, which is enough to bind and listen.
/// Without the right to make one it says so and does not run.
fn in_own_netns(body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => body(),
        Err(error) => {
            assert!(
                std::env::var_os("PORTWATCH_REQUIRE").is_none(),
                "cannot make a network namespace: {error}"
            );
            eprintln!("SKIPPED: a network namespace needs CAP_SYS_ADMIN: {error}");
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn scanner() -> Scanner {
    Scanner::new(&Roots::default()).unwrap()
}

fn tcp(address: IpAddr, port: u16, v6_only: bool, reuse_port: bool) -> OwnedFd {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &v6_only).unwrap();
    }
    setsockopt(&fd, sockopt::ReusePort, &reuse_port).unwrap();
    bind_to(&fd, SocketAddr::new(address, port)).unwrap();
    fd
}

fn bind_to(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let address: Box<dyn SockaddrLike> = match address {
        SocketAddr::V4(a) => Box::new(SockaddrIn::from(a)),
        SocketAddr::V6(a) => Box::new(SockaddrIn6::from(a)),
    };
    Ok(bind(fd.as_raw_fd(), &*address)?)
}

fn listening(fd: OwnedFd) -> OwnedFd {
    listen(&fd, nix::sys::socket::Backlog::new(16).unwrap()).unwrap();
    fd
}

const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

fn on(snapshot: &Snapshot, port: u16) -> Vec<&SnapshotSocket> {
    snapshot.sockets.iter().filter(|s| s.socket.endpoint.port.get() == port).collect()
}

fn one(snapshot: &Snapshot, port: u16) -> &SnapshotSocket {
    let found = on(snapshot, port);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

#[test]
fn what_was_opened_is_what_is_seen() {
    in_own_netns(|| {
        let _four = listening(tcp(ANY4, 3001, false, false));
        let _dual = listening(tcp(ANY6, 3002, false, false));
        let _six = listening(tcp(ANY6, 3003, true, false));
        let _bound = tcp(ANY4, 3004, false, false);
        let _bound6 = tcp(ANY6, 3005, true, false);
        let _group = [listening(tcp(ANY4, 3006, false, true)), listening(tcp(ANY4, 3006, false, true))];
        let _udp = UdpSocket::bind((ANY4, 3007)).unwrap();
        let _udp6 = UdpSocket::bind((ANY6, 3008)).unwrap();

        let mut scanner = scanner();
        let snapshot = scanner.snapshot(HolderSearch::All).unwrap();

        assert_eq!(snapshot.sockets.len(), 9, "{:#?}", snapshot.sockets);
        assert_eq!(snapshot.protocols, [Protocol::Tcp, Protocol::Udp]);
        assert_eq!(snapshot.namespaces, Vec::from_iter(scanner.netns()));
        assert_eq!(snapshot.ports, []);
        assert!(snapshot.bound_included);

        let facts = |port| {
            let s = &one(&snapshot, port).socket;
            (s.endpoint.protocol, s.endpoint.address, s.phase, s.options.v6_only)
        };
        assert_eq!(facts(3001), (Protocol::Tcp, ANY4, Phase::Listening, None));
        assert_eq!(facts(3002), (Protocol::Tcp, ANY6, Phase::Listening, Some(false)));
        assert_eq!(facts(3003), (Protocol::Tcp, ANY6, Phase::Listening, Some(true)));
        assert_eq!(facts(3004), (Protocol::Tcp, ANY4, Phase::Bound, None));
        assert_eq!(facts(3005), (Protocol::Tcp, ANY6, Phase::Bound, Some(true)));
        assert_eq!(facts(3007), (Protocol::Udp, ANY4, Phase::Bound, None));
        assert_eq!(facts(3008), (Protocol::Udp, ANY6, Phase::Bound, Some(false)));
        let group = on(&snapshot, 3006);
        assert_eq!(group.len(), 2);
        assert_ne!(group[0].socket.key, group[1].socket.key);

        for socket in &snapshot.sockets {
            assert_eq!(socket.owner, Owner::Known, "{socket:?}");
            let pids: Vec<u32> = socket.holders.iter().map(|h| h.process.pid).collect();
            assert_eq!(pids, [std::process::id()]);
            assert_eq!(socket.socket.uid, Some(nix::unistd::getuid().as_raw()));
            assert!(socket.socket.cgroup_id.is_some());
        }
        assert_eq!(snapshot.processes.len(), 1);
        let own = &snapshot.processes[0];
        assert_eq!(own.id.pid, std::process::id());
        assert_eq!(own.parent_pid, std::os::unix::process::parent_id());
        assert_eq!(own.uid, Some(nix::unistd::getuid().as_raw()));
        let args: Vec<String> = std::env::args().collect();
        assert_eq!(own.command.as_ref().unwrap().args, args);
    });
}

#[test]
fn one_port_is_looked_up_alone() {
    in_own_netns(|| {
        let _other = listening(tcp(ANY4, 3001, false, false));
        let _bound = tcp(ANY4, 3004, false, false);
        let _listener = listening(tcp(ANY6, 3003, true, false));
        let _udp = UdpSocket::bind((ANY4, 3003)).unwrap();
        let port = |n| Port::new(n).unwrap();
        let mut scanner = scanner();
        let snapshot = scanner.snapshot_ports(&[port(3003)], HolderSearch::First).unwrap();
        assert_eq!(snapshot.ports, [port(3003)]);
        assert_eq!(snapshot.sockets.len(), 2, "{:#?}", snapshot.sockets);
        assert!(snapshot.sockets.iter().all(|s| s.owner == Owner::Known));
        let snapshot = scanner.snapshot_ports(&[port(3004)], HolderSearch::None).unwrap();
        assert_eq!(one(&snapshot, 3004).socket.phase, Phase::Bound);
        assert_eq!(one(&snapshot, 3004).owner, Owner::Unknown);
        let snapshot = scanner.snapshot_ports(&[port(3005)], HolderSearch::None).unwrap();
        assert_eq!(snapshot.sockets, []);
        assert_eq!(snapshot.protocols, [Protocol::Tcp, Protocol::Udp], "looked for, and not there");
    });
}

#[test]
fn a_listener_on_one_address_keeps_its_address() {
    in_own_netns(|| {
        bring_up_loopback();
        let _listener = TcpListener::bind("127.0.0.1:3001").unwrap();
        let _six = TcpListener::bind("[::1]:3001").unwrap();
        let snapshot = scanner().snapshot(HolderSearch::First).unwrap();
        let mut addresses: Vec<IpAddr> =
            on(&snapshot, 3001).iter().map(|s| s.socket.endpoint.address).collect();
        addresses.sort();
        assert_eq!(addresses, [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    });
}

fn bring_up_loopback() {
    let done = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
    assert!(done.success());
}
