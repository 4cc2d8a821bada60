//! Binds that the kernel refuses.
#![expect(clippy::unwrap_used, reason = "a scenario asserts")]

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    os::fd::AsRawFd as _,
};

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt::ReuseAddr},
};
use portwatch::model::{Port, Protocol, Seen};

use crate::kernel::{
    Outcome, Watch,
    sockets::{bind4, listen, port_of, tcp, try_listen, try_socket},
    watch::{bound_on, closed, listening, me, own_netns, refused},
};

pub(super) fn a_bind_to_a_taken_port_is_seen_refused(watch: &mut Watch) -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap_err();
    let seen = watch.find(|s| refused(s, libc::EADDRINUSE).filter(|r| r.port == Port::new(port)));
    assert_eq!(seen.address, IpAddr::from(Ipv4Addr::LOCALHOST));
    assert_eq!(seen.protocol, Some(Protocol::Tcp));
    assert_eq!(seen.netns.map(|n| u64::from(n.0)), Some(own_netns()));
    Outcome::Held
}

pub(super) fn a_bind_to_a_foreign_address_is_seen_refused(watch: &mut Watch) -> Outcome {
    let foreign = Ipv4Addr::new(192, 0, 2, 77);
    UdpSocket::bind((foreign, 4000)).unwrap_err();
    let seen = watch.find(|s| refused(s, libc::EADDRNOTAVAIL));
    assert_eq!((seen.address, seen.port), (IpAddr::from(foreign), Port::new(4000)));
    assert_eq!(seen.protocol, Some(Protocol::Udp));
    Outcome::Held
}

pub(super) fn a_second_bind_of_one_socket_is_seen_refused(watch: &mut Watch) -> Outcome {
    let fd = tcp();
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap();
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap_err();
    let seen = watch.find(|s| refused(s, libc::EINVAL));
    assert_eq!(seen.port, None, "any port was asked for");
    Outcome::Held
}

pub(super) fn failures_that_are_not_about_ports_are_no_refusals(watch: &mut Watch) -> Outcome {
    // A bind that succeeded leaves its note behind; it must not be taken for these.
    let fd = tcp();
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap();
    let unix = try_socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
    let name = nix::sys::socket::UnixAddr::new("/nonexistent/folder/socket").unwrap();
    nix::sys::socket::bind(unix.as_raw_fd(), &name).unwrap_err();
    let last = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    watch.until(|s| bound_on(s, last).is_some());
    let mine = |s: &&Seen| matches!(s, Seen::Refused(r) if r.by.is_some_and(|p| p.pid == me()) && r.errno == libc::ENOENT);
    assert_eq!(watch.seen.iter().find(mine), None);
    Outcome::Held
}

pub(super) fn a_listen_that_another_was_first_to_is_seen_refused(watch: &mut Watch) -> Outcome {
    let mut sharing = |port: u16| {
        let fd = tcp();
        setsockopt(&fd, ReuseAddr, &true).unwrap();
        bind4(&fd, Ipv4Addr::LOCALHOST, port).unwrap();
        let port = port_of(&fd);
        watch.seen.clear();
        let key = watch.find(|s| bound_on(s, port).map(|bound| bound.socket.key));
        (fd, port, key)
    };
    let (winner, port, winner_key) = sharing(0);
    let (loser, _, loser_key) = sharing(port);
    listen(&winner);
    assert_eq!(try_listen(&loser).unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
    let seen = watch.find(|s| refused(s, libc::EADDRINUSE).filter(|r| r.port == Port::new(port)));
    assert!(seen.listen, "{seen:?}");
    assert_eq!(seen.key, Some(loser_key));
    assert_eq!((seen.address, seen.protocol), (Ipv4Addr::LOCALHOST.into(), Some(Protocol::Tcp)));
    assert_eq!(seen.netns.map(|n| u64::from(n.0)), Some(own_netns()));
    // It stays bound, and may try again.
    drop(winner);
    watch.until(|s| closed(s, winner_key));
    assert!(!watch.seen.iter().any(|s| closed(s, loser_key)));
    listen(&loser);
    watch.find(|s| listening(s, loser_key));
    drop(loser);
    watch.until(|s| closed(s, loser_key));
    watch.settle();
    let told = |s: &&Seen| matches!(s, Seen::Unlistened(u) if u.key == loser_key || u.key == winner_key);
    assert_eq!(watch.seen.iter().find(told), None);
    let refusals = |s: &&Seen| refused(s, libc::EADDRINUSE).is_some_and(|r| r.port == Port::new(port));
    assert_eq!(watch.seen.iter().filter(refusals).count(), 1);
    Outcome::Held
}
