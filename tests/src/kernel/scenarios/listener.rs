//! Listeners and other bound sockets, from bind to close.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a scenario asserts")]

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use nix::{
    libc,
    sys::socket::{
        setsockopt,
        sockopt::{ReuseAddr, ReusePort},
    },
};
use portwatch::{
    model::{AskedPort, Phase, Port, ProcessId, Protocol, Seen, Sharing},
    source::Source as _,
};

use crate::kernel::{
    Outcome, Watch,
    sockets::{bind4, listen, port_of, tcp, try_socket},
    watch::{bound_on, closed, listening, me, own_netns},
};

/// Where the best hook is not to be had, a degradation says so; with one family forced that is so by intent. Kernels
/// before 5.12 let no tracing program give a socket its cookie, and what else does it sees less.
pub(super) fn every_fact_has_a_hook(watch: &mut Watch) -> Outcome {
    let mut degradations = watch.source.degradations();
    if release() < (5, 12) {
        degradations.retain(|d| d.name != "weaker-hook" || !d.what.contains(": cookie_"));
    }
    if release() < (5, 19) {
        degradations.retain(|d| d.name != "weaker-hook" || !d.what.contains("io_uring keeps no result"));
    }
    let coverage = watch.source.coverage();
    let unserved: Vec<_> = coverage.iter().filter(|c| c.hook.is_none()).map(|c| c.fact).collect();
    assert!(unserved.is_empty() && degradations.is_empty(), "{unserved:?} {degradations:#?}");
    Outcome::Held
}

/// This kernel's version.
pub(super) fn release() -> (u32, u32) {
    let name = nix::sys::utsname::uname().unwrap();
    let mut numbers = name.release().to_str().unwrap().split('.').map_while(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

pub(super) fn a_listener_is_seen_from_bind_to_close(watch: &mut Watch) -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let bound = watch.find(|s| bound_on(s, port).cloned());
    assert_eq!(bound.socket.endpoint.protocol, Protocol::Tcp);
    assert_eq!(bound.socket.endpoint.address, Ipv4Addr::LOCALHOST);
    assert_eq!(bound.socket.endpoint.netns.map(|n| u64::from(n.0)), Some(own_netns()));
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
    Outcome::Held
}

pub(super) fn an_ipv6_listener_is_seen_with_its_address(watch: &mut Watch) -> Outcome {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let bound = watch.find(|s| bound_on(s, port).cloned());
    assert_eq!(bound.socket.endpoint.address, Ipv6Addr::LOCALHOST);
    // The kernel itself confines a socket with a v6 address of its own; only the wildcard takes IPv4 too.
    assert_eq!(bound.socket.options.v6_only, Some(true));
    let heard = watch.find(|s| listening(s, bound.socket.key));
    assert_eq!(heard.socket.endpoint, bound.socket.endpoint);
    Outcome::Held
}

pub(super) fn a_udp_socket_is_seen_bound_and_closed_with_the_port_it_asked_for(watch: &mut Watch) -> Outcome {
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
    Outcome::Held
}

pub(super) fn a_listen_without_bind_has_its_port_and_is_known_as_kernel_chosen(watch: &mut Watch) -> Outcome {
    let fd = tcp();
    listen(&fd);
    let port = port_of(&fd);
    let heard = watch.find(|s| match s {
        Seen::Listening(l) if l.socket.endpoint.port.get() == port => Some(l.clone()),
        _ => None,
    });
    assert_eq!(heard.socket.asked, AskedPort::KernelChosen);
    assert_eq!(heard.by.map(|p| p.pid), Some(me()));
    assert_eq!(heard.socket.endpoint.netns.map(|n| u64::from(n.0)), Some(own_netns()));
    drop(fd);
    watch.until(|s| closed(s, heard.socket.key));
    Outcome::Held
}

pub(super) fn a_listener_that_is_shut_down_is_unlistened_and_closed_later(watch: &mut Watch) -> Outcome {
    let fd = tcp();
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
    Outcome::Held
}

pub(super) fn an_mptcp_listener_is_one_tcp_listener_and_its_close_is_seen(watch: &mut Watch) -> Outcome {
    let fd = match try_socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) {
        Ok(fd) => fd,
        Err(error) => return Outcome::NotHere(format!("no MPTCP: {error}")),
    };
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap();
    listen(&fd);
    let port = port_of(&fd);
    let bound = watch.find(|s| bound_on(s, port).cloned());
    assert_eq!(bound.socket.endpoint.protocol, Protocol::Tcp);
    watch.find(|s| listening(s, bound.socket.key));
    drop(fd);
    watch.until(|s| closed(s, bound.socket.key));
    assert_eq!(watch.seen.iter().filter(|s| bound_on(s, port).is_some()).count(), 1);
    Outcome::Held
}

/// It keeps its port: whoever took it for closed would call the port free.
pub(super) fn an_mptcp_listener_that_is_shut_down_is_unlistened_and_not_closed(watch: &mut Watch) -> Outcome {
    /// Nobody else uses it. A port that was not asked for is given up with the listening, so it is asked for.
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 85, 170, 2);
    let fd = match try_socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) {
        Ok(fd) => fd,
        Err(error) => return Outcome::NotHere(format!("no MPTCP: {error}")),
    };
    let some = tcp();
    bind4(&some, ADDRESS, 0).unwrap();
    let port = port_of(&some);
    drop(some);
    watch.settle();
    watch.begin();
    bind4(&fd, ADDRESS, port).unwrap();
    listen(&fd);
    let bound = watch.find(|s| bound_on(s, port).cloned());
    watch.find(|s| listening(s, bound.socket.key));
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) }, 0);
    watch.until(|s| matches!(s, Seen::Unlistened(u) if u.key == bound.socket.key));
    watch.settle();
    assert!(!watch.seen.iter().any(|s| closed(s, bound.socket.key)));
    let taken = bind4(&tcp(), ADDRESS, port).unwrap_err();
    assert_eq!(taken.raw_os_error(), Some(libc::EADDRINUSE));
    Outcome::Held
}

/// No hook tells of `setsockopt`: what holds is read when somebody asks.
pub(super) fn options_that_were_set_after_the_bind_are_read_from_the_sockets(watch: &mut Watch) -> Outcome {
    let mut made = vec![tcp(), try_socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap()];
    // Without MPTCP there are two kinds.
    made.extend(try_socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP));
    for fd in &made {
        bind4(fd, Ipv4Addr::LOCALHOST, 0).unwrap();
    }
    let inode = |fd: &OwnedFd| nix::sys::stat::fstat(fd).unwrap().st_ino;
    let me = ProcessId { pid: me(), start_ticks: 0 };
    let wanted: Vec<_> = made.iter().map(|fd| (me, inode(fd))).collect();
    for (reuse_addr, reuse_port) in [(false, true), (true, false), (true, true), (false, false)] {
        for fd in &made {
            setsockopt(fd, ReuseAddr, &reuse_addr).unwrap();
            setsockopt(fd, ReusePort, &reuse_port).unwrap();
        }
        let Sharing::Read(found) = watch.source.sharing(&wanted) else { panic!("nobody looked") };
        if release() < (6, 1) && found.is_empty() {
            return Outcome::NotHere(
                "all descriptors are walked, and took longer than a question may".to_owned(),
            );
        }
        for fd in &made {
            let now = found.get(&inode(fd)).unwrap();
            assert_eq!((now.reuse_addr, now.reuse_port), (Some(reuse_addr), Some(reuse_port)));
        }
    }
    // Of others nothing is said, and one who is gone is no failure.
    let gone = ProcessId { pid: u32::MAX >> 1, start_ticks: 0 };
    assert_eq!(watch.source.sharing(&[]), Sharing::Read(HashMap::new()));
    let Sharing::Read(found) = watch.source.sharing(&[&[(gone, 1)], &*wanted].concat()) else {
        panic!("nobody looked")
    };
    assert_eq!(found.len(), made.len());
    Outcome::Held
}

/// `SO_REUSEPORT`: each socket of the group is one of its own.
pub(super) fn two_listeners_that_share_a_port_are_seen_as_two(watch: &mut Watch) -> Outcome {
    let group = [tcp(), tcp()];
    for fd in &group {
        setsockopt(fd, ReusePort, &true).unwrap();
    }
    let [first, second] = group;
    bind4(&first, Ipv4Addr::LOCALHOST, 0).unwrap();
    let port = port_of(&first);
    bind4(&second, Ipv4Addr::LOCALHOST, port).unwrap();
    listen(&first);
    listen(&second);
    let keys = |watch: &Watch| -> Vec<_> {
        watch.seen.iter().filter_map(|s| bound_on(s, port)).map(|b| b.socket.key).collect()
    };
    watch.settle();
    let [one, two] = keys(watch)[..] else { panic!("not two binds: {:#?}", watch.seen) };
    assert_ne!(one, two);
    for (key, asked) in [(one, AskedPort::KernelChosen), (two, AskedPort::Explicit(Port::new(port).unwrap()))]
    {
        let bound = watch.find(|s| bound_on(s, port).filter(|b| b.socket.key == key).cloned());
        assert_eq!((bound.socket.asked, bound.by.map(|p| p.pid)), (asked, Some(me())));
        assert_eq!(bound.socket.options.reuse_port, Some(true));
        assert_eq!(watch.find(|s| listening(s, key)).socket.options.reuse_port, Some(true));
    }
    drop(first);
    watch.until(|s| closed(s, one));
    watch.settle();
    assert!(!watch.seen.iter().any(|s| closed(s, two)), "the other one still listens");
    drop(second);
    watch.until(|s| closed(s, two));
    Outcome::Held
}

pub(super) fn nothing_is_said_while_nothing_happens_to_ports(watch: &mut Watch) -> Outcome {
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
    Outcome::Held
}
