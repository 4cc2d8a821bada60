//! What only some families see, and that none of them tells a thing twice.
#![expect(clippy::unwrap_used, reason = "a scenario asserts")]

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{
        IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket,
    },
    os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd},
    process::Stdio,
};

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};
use portwatch::{
    model::{
        AskedPort, Connection, ConnectionScope, Evidence, Phase, Port, Protocol, Seen, SocketKey, TcpState,
    },
    source::{
        Source as _,
        ebpf::{HookChoice, LoadOptions},
    },
};

use crate::{
    DEADLINE,
    kernel::{
        Outcome, Watch,
        child::{Role, heard},
        io_uring,
        sockets::{bind4, listen, port_of, tcp, try_socket},
        watch::{bound_on, closed, listening, me, own_netns, refused},
    },
    wait_until,
};

fn udp(fd: OwnedFd) -> UdpSocket {
    // SAFETY: a descriptor that is given away.
    unsafe { UdpSocket::from_raw_fd(fd.into_raw_fd()) }
}

pub(super) fn a_udp_socket_that_sends_without_a_bind_is_seen_with_its_port(watch: &mut Watch) -> Outcome {
    for (family, target) in
        [(libc::AF_INET, IpAddr::from(Ipv4Addr::LOCALHOST)), (libc::AF_INET6, Ipv6Addr::LOCALHOST.into())]
    {
        let socket = udp(try_socket(family, libc::SOCK_DGRAM, 0).unwrap());
        socket.send_to(b"x", SocketAddr::new(target, 9)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let bound = watch.find(|s| bound_on(s, port).cloned());
        assert_eq!(bound.socket.endpoint.protocol, Protocol::Udp);
        assert_eq!(bound.socket.asked, AskedPort::KernelChosen);
        assert_eq!(bound.by.map(|p| p.pid), Some(me()));
        drop(socket);
        watch.until(|s| closed(s, bound.socket.key));
        watch.seen.clear();
    }
    Outcome::Held
}

/// Whether the kernel knows binds through io_uring (6.11), and lets us.
fn no_io_uring(result: &io::Result<()>) -> Option<String> {
    let code = result.as_ref().err().and_then(io::Error::raw_os_error)?;
    [libc::EINVAL, libc::ENOSYS, libc::EPERM]
        .contains(&code)
        .then(|| format!("no bind through io_uring: {}", io::Error::from_raw_os_error(code)))
}

pub(super) fn a_bind_and_a_listen_through_io_uring_are_seen(watch: &mut Watch) -> Outcome {
    let fd = tcp();
    let result = io_uring::bind(&fd, Ipv4Addr::LOCALHOST, 0);
    if let Some(why) = no_io_uring(&result) {
        return Outcome::NotHere(why);
    }
    result.unwrap();
    io_uring::listen(&fd).unwrap();
    let port = port_of(&fd);
    let bound = watch.find(|s| bound_on(s, port).cloned());
    assert_eq!(bound.socket.asked, AskedPort::KernelChosen);
    assert_eq!(bound.by.map(|p| p.pid), Some(me()));
    let heard = watch.find(|s| listening(s, bound.socket.key));
    assert_eq!(heard.by, bound.by);
    drop(fd);
    watch.until(|s| closed(s, bound.socket.key));
    Outcome::Held
}

pub(super) fn a_bind_through_io_uring_that_is_refused_is_seen(watch: &mut Watch) -> Outcome {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    let result = io_uring::bind(&tcp(), Ipv4Addr::LOCALHOST, port);
    if let Some(why) = no_io_uring(&result) {
        return Outcome::NotHere(why);
    }
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
    let seen = watch.find(|s| refused(s, libc::EADDRINUSE).filter(|r| r.port == Port::new(port)));
    assert_eq!(seen.address, IpAddr::from(Ipv4Addr::LOCALHOST));
    Outcome::Held
}

pub(super) fn an_ipv6_bind_to_a_taken_port_is_seen_refused_with_its_address(watch: &mut Watch) -> Outcome {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap_err();
    let seen = watch.find(|s| refused(s, libc::EADDRINUSE).filter(|r| r.port == Port::new(port)));
    assert_eq!(seen.address, IpAddr::from(Ipv6Addr::LOCALHOST));
    assert_eq!(seen.protocol, Some(Protocol::Tcp));
    assert_eq!(seen.netns.map(|n| u64::from(n.0)), Some(own_netns()));
    Outcome::Held
}

pub(super) fn an_mptcp_bind_to_a_taken_port_is_seen_refused_once(watch: &mut Watch) -> Outcome {
    let fd = match try_socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) {
        Ok(fd) => fd,
        Err(error) => return Outcome::NotHere(format!("no MPTCP: {error}")),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    bind4(&fd, Ipv4Addr::LOCALHOST, port).unwrap_err();
    let ours = |s: &Seen| refused(s, libc::EADDRINUSE).filter(|r| r.port == Port::new(port));
    let seen = watch.find(ours);
    assert_eq!((seen.address, seen.protocol), (Ipv4Addr::LOCALHOST.into(), Some(Protocol::Tcp)));
    watch.settle();
    assert_eq!(watch.seen.iter().filter(|s| ours(s).is_some()).count(), 1);
    Outcome::Held
}

pub(super) fn an_mptcp_socket_that_was_bound_and_never_listened_is_seen_closed(watch: &mut Watch) -> Outcome {
    let fd = match try_socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) {
        Ok(fd) => fd,
        Err(error) => return Outcome::NotHere(format!("no MPTCP: {error}")),
    };
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap();
    let port = port_of(&fd);
    let bound = watch.find(|s| bound_on(s, port).cloned());
    drop(fd);
    watch.until(|s| closed(s, bound.socket.key));
    Outcome::Held
}

/// A connection that this process served, closed first, and left in TIME_WAIT.
fn left_one(watch: &mut Watch) -> (u16, Connection) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    drop(listener.accept().unwrap());
    drop(client);
    drop(listener);
    let ports = vec![Port::new(address.port()).unwrap()];
    let scope = ConnectionScope::Ports { ports, netns: None, holders: false, interfaces: Vec::new() };
    let left = || {
        let found = watch.source.connections(&scope).unwrap().unwrap();
        found.rows.into_iter().find(|row| row.state == TcpState::TimeWait)
    };
    (address.port(), wait_until("a connection in TIME_WAIT", DEADLINE, left).unwrap())
}

pub(super) fn who_left_a_connection_in_time_wait_is_known(watch: &mut Watch) -> Outcome {
    let (_, row) = left_one(watch);
    assert_eq!(
        row.holders.first().map(|h| (h.process.pid, h.evidence)),
        Some((me(), Evidence::Kernel)),
        "{row:?}"
    );
    Outcome::Held
}

/// More than a processor notes in one piece.
pub(super) fn who_left_many_connections_is_known_of_each(watch: &mut Watch) -> Outcome {
    const MANY: usize = 200;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..MANY {
        let client = TcpStream::connect(address).unwrap();
        drop(listener.accept().unwrap());
        drop(client);
    }
    drop(listener);
    let ports = vec![Port::new(address.port()).unwrap()];
    let scope = ConnectionScope::Ports { ports, netns: None, holders: false, interfaces: Vec::new() };
    let all = || {
        let mut rows = watch.source.connections(&scope).unwrap().unwrap().rows;
        rows.retain(|row| row.state == TcpState::TimeWait);
        (rows.len() == MANY).then_some(rows)
    };
    let rows = wait_until("all connections in TIME_WAIT", DEADLINE, all).unwrap();
    let named = rows.iter().filter(|row| row.holders.first().map(|h| h.process.pid) == Some(me())).count();
    assert_eq!(named, MANY);
    Outcome::Held
}

/// How many connections were left on a port since the counts were told last.
fn left_on(watch: &mut Watch, port: u16) -> u64 {
    let mut out = Vec::new();
    watch.source.finish(&mut out);
    let counted = |o: &portwatch::model::Observation| match &o.seen {
        Seen::ConnectionsLeft(left) if left.port == Port::new(port) => Some(left.count),
        _ => None,
    };
    out.iter().filter_map(counted).sum()
}

pub(super) fn a_connection_that_is_shut_down_is_left_and_one_that_is_reset_is_not(
    watch: &mut Watch,
) -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let connected = || {
        let client = TcpStream::connect(address).unwrap();
        (listener.accept().unwrap().0, client)
    };
    assert_eq!(left_on(watch, address.port()), 0);

    // Shut down, and not closed while it is looked at.
    let (server, client) = connected();
    server.shutdown(Shutdown::Write).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let borrowed = client.local_addr().unwrap().port();
    drop(client);
    let ports = vec![Port::new(address.port()).unwrap()];
    let scope = ConnectionScope::Ports { ports, netns: None, holders: false, interfaces: Vec::new() };
    let left = || {
        let found = watch.source.connections(&scope).unwrap().unwrap();
        found.rows.into_iter().find(|row| {
            row.state == TcpState::TimeWait && row.peer_port.is_some_and(|port| port.get() == borrowed)
        })
    };
    let row = wait_until("a connection in TIME_WAIT", DEADLINE, left).unwrap();
    assert_eq!(row.holders.first().map(|h| h.process.pid), Some(me()), "{row:?}");
    drop(server);
    assert_eq!(left_on(watch, address.port()), 1, "left once, by the shutdown");

    // The client leaves it: this side has nothing in TIME_WAIT.
    let (server, client) = connected();
    drop(client);
    assert_eq!(server.peek(&mut [0]).unwrap(), 0, "the client's FIN");
    drop(server);
    // What was not read is reset.
    let (server, mut client) = connected();
    client.write_all(b"unread").unwrap();
    assert_eq!(server.peek(&mut [0]).unwrap(), 1, "the first byte of what was sent");
    drop((server, client));
    // So is what lingers for no time.
    let (server, client) = connected();
    setsockopt(&server, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop((server, client));
    assert_eq!(left_on(watch, address.port()), 0, "connections that the peer left, or that were reset");
    Outcome::Held
}

/// They are completed together, and each has its own errno; which one the stable family may not know.
pub(super) fn binds_of_one_batch_of_io_uring_are_not_taken_for_each_other(watch: &mut Watch) -> Outcome {
    /// TEST-NET-3, which is nobody's.
    const NOT_HERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 5), 9090);
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = holder.local_addr().unwrap().port();
    let (one, other) = (tcp(), tcp());
    let both =
        io_uring::bind_both([(&one, SocketAddrV4::new(Ipv4Addr::LOCALHOST, taken)), (&other, NOT_HERE)]);
    let [first, second] = match both {
        Ok(results) => results,
        Err(error) => [Err(error), Ok(())],
    };
    if let Some(why) = no_io_uring(&first) {
        return Outcome::NotHere(why);
    }
    assert_eq!(first.unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
    assert_eq!(second.unwrap_err().raw_os_error(), Some(libc::EADDRNOTAVAIL));
    watch.until(|s| refused(s, libc::EADDRNOTAVAIL).is_some_and(|r| r.port == Port::new(NOT_HERE.port())));
    // Nor is what is no socket at all.
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let both = io_uring::bind_both([(&file, NOT_HERE), (&tcp(), NOT_HERE)]).unwrap();
    assert_eq!(
        both.map(|r| r.unwrap_err().raw_os_error()),
        [Some(libc::ENOTSOCK), Some(libc::EADDRNOTAVAIL)]
    );
    watch.settle();
    let errors = |port: u16| -> Vec<i32> {
        let of_port = |s: &Seen| match s {
            Seen::Refused(r) if r.port == Port::new(port) => Some(r.errno),
            _ => None,
        };
        watch.seen.iter().filter_map(of_port).collect()
    };
    assert_eq!(errors(NOT_HERE.port()), [libc::EADDRNOTAVAIL; 2]);
    assert!(errors(taken).iter().all(|&errno| errno == libc::EADDRINUSE), "{:?}", watch.seen);
    Outcome::Held
}

/// A listener, and a connection: neither passes a system call of its own.
pub(super) fn what_is_shut_down_through_io_uring_is_seen(watch: &mut Watch) -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let server = OwnedFd::from(listener.accept().unwrap().0);
    let result = io_uring::shutdown(&server, libc::SHUT_WR);
    if let Some(why) = no_io_uring(&result) {
        return Outcome::NotHere(why);
    }
    result.unwrap();
    drop(client);
    let ports = vec![Port::new(address.port()).unwrap()];
    let scope = ConnectionScope::Ports { ports, netns: None, holders: false, interfaces: Vec::new() };
    let left = || {
        let found = watch.source.connections(&scope).unwrap().unwrap();
        found.rows.into_iter().find(|row| row.state == TcpState::TimeWait)
    };
    let row = wait_until("a connection in TIME_WAIT", DEADLINE, left).unwrap();
    assert_eq!(row.holders.first().map(|h| h.process.pid), Some(me()), "{row:?}");
    drop(server);
    assert_eq!(left_on(watch, address.port()), 1, "left once, by the shutdown");

    let bound = watch.find(|s| bound_on(s, address.port()).cloned());
    let listener = OwnedFd::from(listener);
    io_uring::shutdown(&listener, libc::SHUT_RDWR).unwrap();
    watch.until(|s| matches!(s, Seen::Unlistened(u) if u.key == bound.socket.key));
    drop(listener);
    watch.until(|s| closed(s, bound.socket.key));
    Outcome::Held
}

/// A descriptor of the one socket that a process has.
fn only_socket_of(pid: u32) -> OwnedFd {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap);
    let mut sockets = open.filter(|fd| {
        std::fs::read_link(fd.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    let number: i32 = sockets.next().unwrap().file_name().to_str().unwrap().parse().unwrap();
    // SAFETY: no pointers; both descriptors are new, and nobody else's.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(process >= 0, "{}", io::Error::last_os_error());
        let process = OwnedFd::from_raw_fd(i32::try_from(process).unwrap());
        let socket = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        assert!(socket >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(i32::try_from(socket).unwrap())
    }
}

/// The first one has the programs attached that see such listens, where others serve until then.
pub(super) fn a_listener_by_calls_of_32_bits_is_found_and_the_next_one_seen(watch: &mut Watch) -> Outcome {
    for first in [true, false] {
        let mut child = Role::ListenBy32Bits.command(0).unwrap();
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.map(|line| heard(&line.unwrap()).unwrap()).find_map(|number| number);
        let Some(port) = said.and_then(|number| u16::try_from(number).ok()) else {
            // One that says why it cannot waits for this.
            drop(input);
            let ended = child.wait().unwrap();
            return Outcome::NotHere(format!("no system calls of 32 bits: {said:?}, {ended}"));
        };
        let bound = watch.find(|s| bound_on(s, port).cloned());
        let (key, pid) = (bound.socket.key, child.id());
        assert_eq!(bound.by.map(|p| p.pid), Some(pid));
        if first {
            watch.until(|s| match s {
                Seen::Snapshot(now) => {
                    now.sockets.iter().any(|s| s.socket.key == key && s.socket.phase == Phase::Listening)
                }
                _ => listening(s, key).is_some(),
            });
        } else {
            assert_eq!(watch.find(|s| listening(s, key)).by.map(|p| p.pid), Some(pid));
        }
        // By one that tells its system calls, here.
        // SAFETY: no pointers.
        let ended = unsafe { libc::shutdown(only_socket_of(pid).as_raw_fd(), libc::SHUT_RDWR) };
        assert_eq!(ended, 0);
        watch.until(|s| matches!(s, Seen::Unlistened(u) if u.key == key));
        drop(input);
        child.wait().unwrap();
        watch.until(|s| closed(s, key));
    }
    // With what was attached meanwhile beside what was before.
    once(watch);
    Outcome::Held
}

/// How often a bind, a listen, a close of a socket, and refusals of its port were told.
fn times(watch: &Watch, key: SocketKey, port: u16) -> (usize, usize, usize, usize) {
    let count = |of: &dyn Fn(&Seen) -> bool| watch.seen.iter().filter(|s| of(s)).count();
    (
        count(&|s| matches!(s, Seen::Bound(b) if b.socket.key == key)),
        count(&|s| matches!(s, Seen::Listening(l) if l.socket.key == key)),
        count(&|s| matches!(s, Seen::Closed(c) if c.key == key)),
        count(&|s| refused(s, libc::EADDRINUSE).is_some_and(|r| r.port == Port::new(port))),
    )
}

/// A listener's life with a rival, and a connection that is left: each is told once.
fn once(watch: &mut Watch) {
    watch.begin();
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpListener::bind((address, port)).unwrap_err();
        drop(listener);
        let bound = watch.find(|s| bound_on(s, port).cloned());
        watch.until(|s| closed(s, bound.socket.key));
        watch.settle();
        assert_eq!(times(watch, bound.socket.key, port), (1, 1, 1, 1), "of {address}: {:#?}", watch.seen);
        let unlistened = |s: &&Seen| matches!(s, Seen::Unlistened(u) if u.key == bound.socket.key);
        assert_eq!(watch.seen.iter().filter(unlistened).count(), 0, "a close is no shutdown");
    }
    super::refusal::a_listen_that_another_was_first_to_is_seen_refused(watch);
    let (port, row) = left_one(watch);
    assert_eq!(row.holders.first().map(|h| h.process.pid), Some(me()), "{row:?}");
    assert_eq!(left_on(watch, port), 1, "connections left on {port}");
    // A shut-down listener stops listening once.
    let fd = tcp();
    bind4(&fd, Ipv4Addr::LOCALHOST, 0).unwrap();
    listen(&fd);
    let port = port_of(&fd);
    let bound = watch.find(|s| bound_on(s, port).cloned());
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) }, 0);
    drop(fd);
    watch.until(|s| closed(s, bound.socket.key));
    watch.settle();
    let unlistened = |s: &&Seen| matches!(s, Seen::Unlistened(u) if u.key == bound.socket.key);
    assert_eq!(watch.seen.iter().filter(unlistened).count(), 1);
    assert_eq!(times(watch, bound.socket.key, port), (1, 1, 1, 0));
}

pub(super) fn each_event_is_told_once(watch: &mut Watch) -> Outcome {
    once(watch);
    Outcome::Held
}

/// Programs that are taken for refused, so that facts come to be served by different families.
const MIXES: [&[&str]; 9] = [
    // Binds by cgroup hooks, all else by kernel functions.
    &["exit_bind6"],
    // Refusals by kprobes where there are any, …
    &["exit_refused4"],
    // … by system calls, and by the state tracepoint.
    &["exit_refused6", "probe_bind"],
    &["exit_refused6", "probe_bind", "listen_exit"],
    // Listens by system calls, and by sockops.
    &["exit_listen"],
    &["exit_listen", "listen_exit"],
    // Closes by system calls, and by the state tracepoint, which serves nothing else then.
    &["entry_release"],
    &["entry_release", "shutdown_exit"],
    // Who leaves connections by the state tracepoint alone.
    &["entry_send_fin", "shutdown_exit"],
];

pub(super) fn facts_that_different_families_serve_are_told_once(hooks: HookChoice) -> Outcome {
    for mix in MIXES {
        let options = LoadOptions { hooks, without: mix.to_vec(), ..LoadOptions::default() };
        let mut watch = Watch::with(&options);
        let unserved: Vec<_> =
            watch.source.coverage().into_iter().filter(|c| c.hook.is_none()).map(|c| c.fact).collect();
        assert!(unserved.is_empty(), "without {mix:?} nothing serves {unserved:?}");
        once(&mut watch);
    }
    Outcome::Held
}
