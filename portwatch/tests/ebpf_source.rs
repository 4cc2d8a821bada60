//! The eBPF source on the real kernel. Where BPF is not to be had these tests say so and pass, unless
//! `PORTWATCH_REQUIRE=ebpf` declares that it is.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "ebpf/ends.rs"]
mod ends;
mod support;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

use nix::libc;
use portwatch::{
    model::{AskedPort, BindRefused, Bound, ExitStatus, Listening, Phase, Port, Protocol, Seen, SocketKey},
    source::{Source as _, ebpf::LoadOptions},
};
use support::{Watch, child, me};

fn bound_on(seen: &Seen, port: u16) -> Option<&Bound> {
    match seen {
        Seen::Bound(b) if b.socket.endpoint.port.get() == port => Some(b),
        _ => None,
    }
}

fn closed(seen: &Seen, key: SocketKey) -> bool {
    matches!(seen, Seen::Closed(c) if c.key == key)
}

/// A socket that the standard library would not make.
fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> OwnedFd {
    // SAFETY: no pointers; the result is checked and owned by nobody else.
    unsafe {
        let fd = libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

fn bind4(fd: &OwnedFd, address: Ipv4Addr, port: u16) -> std::io::Result<()> {
    let name = nix::sys::socket::SockaddrIn::from(std::net::SocketAddrV4::new(address, port));
    Ok(nix::sys::socket::bind(fd.as_raw_fd(), &name)?)
}

fn listen(fd: &OwnedFd) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::listen(fd.as_raw_fd(), 1) }, 0);
}

fn port_of(fd: &OwnedFd) -> u16 {
    nix::sys::socket::getsockname::<nix::sys::socket::SockaddrIn>(fd.as_raw_fd()).unwrap().port()
}

#[test]
fn every_hook_of_the_stable_family_attaches() {
    let Some(watch) = Watch::start() else { return };
    let degradations = watch.source.degradations();
    assert!(degradations.is_empty(), "{degradations:#?}");
    assert!(watch.source.coverage().iter().all(|c| c.hook.is_some()), "{:#?}", watch.source.coverage());
}

#[test]
fn a_listener_is_seen_from_bind_to_close() {
    let Some(mut watch) = Watch::start() else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let bound = watch.find(|s| bound_on(s, port).cloned());
    assert_eq!(bound.socket.endpoint.protocol, Protocol::Tcp);
    assert_eq!(bound.socket.endpoint.address, Ipv4Addr::LOCALHOST);
    assert_eq!(bound.socket.endpoint.netns.map(|n| u64::from(n.0)), Some(support::own_netns()));
    assert_eq!(bound.socket.asked, AskedPort::KernelChosen);
    assert_eq!(bound.socket.options.reuse_addr, Some(true), "the standard library sets it");
    assert_eq!(bound.socket.options.reuse_port, Some(false));
    assert_eq!(bound.by.map(|p| p.pid), Some(me()));
    let key = bound.socket.key;
    let listening = watch.find(|s| listening(s, key));
    assert_eq!(listening.socket.endpoint, bound.socket.endpoint);
    assert_eq!(listening.socket.phase, Phase::Listening);
    assert_eq!(listening.by, bound.by);
    watch.until(|s| matches!(s, Seen::Closed(c) if c.key == key && c.by == bound.by));
}

fn listening(seen: &Seen, key: SocketKey) -> Option<Listening> {
    match seen {
        Seen::Listening(l) if l.socket.key == key => Some(l.clone()),
        _ => None,
    }
}

#[test]
fn an_ipv6_listener_is_seen_with_its_address() {
    let Some(mut watch) = Watch::start() else { return };
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let bound = watch.find(|s| bound_on(s, port).cloned());
    assert_eq!(bound.socket.endpoint.address, Ipv6Addr::LOCALHOST);
    // The kernel itself confines a socket with a v6 address of its own; only the wildcard takes IPv4 too.
    assert_eq!(bound.socket.options.v6_only, Some(true));
    let heard = watch.find(|s| listening(s, bound.socket.key));
    assert_eq!(heard.socket.endpoint, bound.socket.endpoint);
}

#[test]
fn a_udp_socket_is_seen_bound_and_closed_with_the_port_it_asked_for() {
    let Some(mut watch) = Watch::start() else { return };
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let first = watch.find(|s| bound_on(s, free).cloned());
    watch.until(|s| closed(s, first.socket.key));
    watch.seen.clear();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, free)).unwrap();
    let bound = watch.find(|s| bound_on(s, free).cloned());
    assert_eq!(bound.socket.endpoint.protocol, Protocol::Udp);
    assert_eq!(bound.socket.asked, AskedPort::Explicit(Port::new(free).unwrap()));
    drop(socket);
    watch.until(|s| closed(s, bound.socket.key));
}

#[test]
fn a_listen_without_bind_has_its_port_and_is_known_as_kernel_chosen() {
    let Some(mut watch) = Watch::start() else { return };
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0);
    listen(&fd);
    let port = port_of(&fd);
    let heard = watch.find(|s| match s {
        Seen::Listening(l) if l.socket.endpoint.port.get() == port => Some(l.clone()),
        _ => None,
    });
    assert_eq!(heard.socket.asked, AskedPort::KernelChosen);
    assert_eq!(heard.by.map(|p| p.pid), Some(me()));
    assert_eq!(heard.socket.endpoint.netns.map(|n| u64::from(n.0)), Some(support::own_netns()));
    drop(fd);
    watch.until(|s| closed(s, heard.socket.key));
}

#[test]
fn a_listener_that_is_shut_down_is_unlistened_and_closed_later() {
    let Some(mut watch) = Watch::start() else { return };
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0);
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap();
    listen(&fd);
    let bound = watch.find({
        let port = port_of(&fd);
        move |s| bound_on(s, port).cloned()
    });
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) }, 0);
    watch.until(|s| matches!(s, Seen::Unlistened(u) if u.key == bound.socket.key));
    assert!(!watch.seen.iter().any(|s| closed(s, bound.socket.key)));
    drop(fd);
    watch.until(|s| closed(s, bound.socket.key));
}

fn refused(seen: &Seen, errno: i32) -> Option<BindRefused> {
    match seen {
        Seen::Refused(r) if r.errno == errno && r.by.is_some_and(|p| p.pid == me()) => Some(r.clone()),
        _ => None,
    }
}

#[test]
fn a_bind_to_a_taken_port_is_seen_refused() {
    let Some(mut watch) = Watch::start() else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap_err();
    let seen = watch.find(|s| refused(s, libc::EADDRINUSE).filter(|r| r.port == Port::new(port)));
    assert_eq!(seen.address, IpAddr::from(Ipv4Addr::LOCALHOST));
    assert_eq!(seen.protocol, Some(Protocol::Tcp));
    assert_eq!(seen.netns.map(|n| u64::from(n.0)), Some(support::own_netns()));
}

#[test]
fn a_bind_to_a_foreign_address_is_seen_refused() {
    let Some(mut watch) = Watch::start() else { return };
    let foreign = Ipv4Addr::new(192, 0, 2, 77);
    UdpSocket::bind((foreign, 4000)).unwrap_err();
    let seen = watch.find(|s| refused(s, libc::EADDRNOTAVAIL));
    assert_eq!((seen.address, seen.port), (IpAddr::from(foreign), Port::new(4000)));
    assert_eq!(seen.protocol, Some(Protocol::Udp));
}

#[test]
fn a_second_bind_of_one_socket_is_seen_refused() {
    let Some(mut watch) = Watch::start() else { return };
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0);
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap();
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap_err();
    let seen = watch.find(|s| refused(s, libc::EINVAL));
    assert_eq!(seen.port, None, "any port was asked for");
}

#[test]
fn failures_that_are_not_about_ports_are_no_refusals() {
    let Some(mut watch) = Watch::start() else { return };
    // A bind that succeeded leaves its note behind; it must not be taken for these.
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0);
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap();
    let unix = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
    let name = nix::sys::socket::UnixAddr::new("/nonexistent/folder/socket").unwrap();
    nix::sys::socket::bind(unix.as_raw_fd(), &name).unwrap_err();
    let last = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    watch.until(|s| bound_on(s, last).is_some());
    let mine = |s: &&Seen| matches!(s, Seen::Refused(r) if r.by.is_some_and(|p| p.pid == me()) && r.errno == libc::ENOENT);
    assert_eq!(watch.seen.iter().find(mine), None);
}

#[test]
fn an_mptcp_listener_is_one_tcp_listener_and_its_close_is_seen() {
    let Some(mut watch) = Watch::start() else { return };
    // SAFETY: no pointers.
    let raw =
        unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_MPTCP) };
    if raw < 0 {
        support::skip("MPTCP is not there or switched off");
        return;
    }
    // SAFETY: just made, owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap();
    listen(&fd);
    let port = port_of(&fd);
    let bound = watch.find(|s| bound_on(s, port).cloned());
    assert_eq!(bound.socket.endpoint.protocol, Protocol::Tcp);
    watch.find(|s| listening(s, bound.socket.key));
    drop(fd);
    watch.until(|s| closed(s, bound.socket.key));
    assert_eq!(watch.seen.iter().filter(|s| bound_on(s, port).is_some()).count(), 1);
}

#[test]
fn a_process_that_is_gone_at_once_is_known_with_its_command_line_and_exit_code() {
    let Some(mut watch) = Watch::start() else { return };
    let mut gone = child("bind_and_exit_7");
    let pid = gone.id();
    gone.wait().unwrap();
    let process = watch.find(|s| match s {
        Seen::Process(p) if p.id.pid == pid => Some(p.clone()),
        _ => None,
    });
    let command = process.command.unwrap();
    assert!(command.args.iter().any(|a| a == "bind_and_exit_7"), "{command:?}");
    assert_eq!(process.parent_pid, me());
    assert!(process.id.start_ticks > 0);
    let exit = watch.find(|s| match s {
        Seen::Exited(e) if e.process == process.id => Some(*e),
        _ => None,
    });
    assert_eq!(exit.status, Some(ExitStatus { code: Some(7), signal: None, core_dumped: false, sent: None }));
    let position = |wanted: &dyn Fn(&Seen) -> bool| watch.seen.iter().position(wanted).unwrap();
    let by = |s: &Seen| matches!(s, Seen::Bound(b) if b.by == Some(process.id));
    assert!(position(&|s| matches!(s, Seen::Process(p) if p.id == process.id)) < position(&by));
}

const TURNS: u64 = 2000;

#[test]
fn what_is_lost_is_counted_exactly_and_followed_by_the_truth() {
    let Some(cgroup) = support::OwnCgroup::new() else { return };
    let cgroup_path = Some(cgroup.path.clone());
    let options = LoadOptions { ring_bytes: 4096, cgroup: cgroup_path, ..LoadOptions::default() };
    let Some(mut watch) = Watch::with(&options) else { return };
    let mut busy = cgroup.child("bind_often");
    assert!(busy.wait().unwrap().success());
    let pid = busy.id();
    // Told when it was not lost itself; the buffer is emptied by then at any rate.
    for _ in 0..20 {
        watch.take(Duration::from_millis(5));
    }
    let (mut binds, mut listens, mut closes, mut exits, mut gaps) = (0, 0, 0, 0, 0);
    for (at, seen) in watch.seen.iter().enumerate() {
        match seen {
            Seen::Bound(_) => binds += 1,
            Seen::Listening(_) => listens += 1,
            Seen::Closed(_) => closes += 1,
            Seen::Exited(e) if e.process.pid == pid => exits += 1,
            Seen::Gap { lost, .. } => {
                gaps += 1;
                binds += lost.bind;
                listens += lost.listen;
                closes += lost.close;
                exits += lost.exit;
                let next = watch.seen.iter().skip(at).find(|s| matches!(s, Seen::Snapshot(_)));
                assert!(next.is_some(), "a gap is followed by a snapshot");
            }
            _ => {}
        }
    }
    assert!(gaps > 0, "a page holds a few records only");
    assert_eq!((binds, listens, closes), (TURNS, TURNS, TURNS));
    assert!(exits <= 1);
}

/// Not a test of its own: what [`support::OwnCgroup::child`] runs.
#[test]
fn bind_often() {
    if std::env::var_os(support::CHILD).is_some() {
        support::enter_cgroup();
        for _ in 0..TURNS {
            drop(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        }
    }
}

#[test]
fn nothing_is_said_while_nothing_happens_to_ports() {
    let Some(mut watch) = Watch::start() else { return };
    let before = watch.source.counters().received;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..50 {
        let client = std::net::TcpStream::connect(address).unwrap();
        drop(listener.accept().unwrap());
        drop(client);
    }
    drop(listener);
    watch.until(|s| matches!(s, Seen::Closed(c) if c.by.is_some_and(|p| p.pid == me())));
    watch.take(Duration::from_millis(5));
    let mine =
        watch.seen.iter().filter(|s| matches!(s, Seen::Closed(c) if c.by.is_some_and(|p| p.pid == me())));
    assert!(mine.count() < 50, "accepted connections are no events");
    assert!(watch.source.counters().received > before);
}

/// Not a test of its own: what [`child`] runs.
#[test]
fn bind_and_exit_7() {
    if std::env::var_os(support::CHILD).is_some() {
        drop(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        std::process::exit(7);
    }
}
