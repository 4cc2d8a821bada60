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

use super::{HolderSearch, Roots, ScanSource, Scanner};
use crate::{
    model::{
        ConnectionScope, Observation, Owner, Phase, Port, ProcessId, Protocol, Seen, Snapshot, SnapshotSocket,
    },
    source::{Progress, Source, Wake},
};

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

/// A child process made by fork; ended and reaped when dropped.
struct Child(nix::unistd::Pid);

impl Child {
    /// Runs `body` in a child, which then waits to be killed. `body` must be async-signal-safe: other test
    /// threads may have held any lock at the fork.
    fn start(body: impl FnOnce()) -> Self {
        // SAFETY: the child only makes system calls before it is killed.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Parent { child } => Self(child),
            nix::unistd::ForkResult::Child => {
                // A failed test must not leave it behind: it ends with the thread that made it.
                let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
                body();
                loop {
                    nix::unistd::pause();
                }
            }
        }
    }

    fn pid(&self) -> u32 {
        self.0.as_raw().unsigned_abs()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(self.0, None).unwrap();
    }
}

fn holder_pids(snapshot: &Snapshot, port: u16) -> Vec<u32> {
    one(snapshot, port).holders.iter().map(|h| h.process.pid).collect()
}

/// Asks until `wanted` says yes, at most 10 s.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(std::time::Instant::now() < end, "not within 10 s");
        std::thread::yield_now();
    }
}

#[test]
fn a_forked_child_holds_the_socket_too() {
    in_own_netns(|| {
        let _listener = listening(tcp(ANY4, 3001, false, false));
        let child = Child::start(|| ());
        let mut both = [std::process::id(), child.pid()];
        both.sort_unstable();
        for search in [HolderSearch::First, HolderSearch::All] {
            let mut pids = holder_pids(&scanner().snapshot(search).unwrap(), 3001);
            pids.sort_unstable();
            assert_eq!(pids, both, "{search:?}");
        }
    });
}

#[test]
fn a_child_forked_after_the_first_look_is_found_by_the_second() {
    in_own_netns(|| {
        let _listener = listening(tcp(ANY4, 3001, false, false));
        let mut scanner = scanner();
        let port = Port::new(3001).unwrap();
        assert_eq!(holder_pids(&scanner.snapshot(HolderSearch::First).unwrap(), 3001).len(), 1);
        let child = Child::start(|| ());
        let again = scanner.snapshot_ports(&[port], HolderSearch::First).unwrap();
        assert!(holder_pids(&again, 3001).contains(&child.pid()));
    });
}

#[test]
fn a_heir_whose_binder_is_gone_is_the_holder() {
    in_own_netns(|| {
        let listener = listening(tcp(ANY4, 3001, false, false));
        let mut scanner = scanner();
        assert_eq!(holder_pids(&scanner.snapshot(HolderSearch::First).unwrap(), 3001), [std::process::id()]);
        let child = Child::start(|| ());
        drop(listener);
        let snapshot = scanner.snapshot(HolderSearch::First).unwrap();
        assert_eq!(holder_pids(&snapshot, 3001), [child.pid()]);
    });
}

#[test]
fn a_descriptor_in_flight_has_a_socket_and_no_process() {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    in_own_netns(|| {
        let listener = listening(tcp(ANY4, 3001, false, false));
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let descriptors = [listener.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(near.as_raw_fd(), &[io::IoSlice::new(b"x")], &message, MsgFlags::empty(), None)
            .unwrap();
        drop(listener);
        let snapshot = scanner().snapshot(HolderSearch::First).unwrap();
        // Some machines keep pid 1 closed even to root. Then it could be the holder, and the answer says so.
        let closed =
            std::fs::read_link("/proc/1/fd/0").is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
        let owner = if closed { Owner::NotPermitted } else { Owner::NoProcess };
        assert_eq!(one(&snapshot, 3001).owner, owner);
        assert_eq!(one(&snapshot, 3001).holders, []);
    });
}

#[test]
fn a_hostile_process_name_changes_nothing() {
    in_own_netns(|| {
        let _listener = listening(tcp(ANY4, 3001, false, false));
        let name = c"a) R 1\n2 (b";
        let child = Child::start(|| {
            let _ = nix::sys::prctl::set_name(name);
        });
        let facts = until(|| {
            let snapshot = scanner().snapshot(HolderSearch::All).unwrap();
            snapshot.processes.into_iter().find(|p| p.id.pid == child.pid() && p.comm.starts_with("a)"))
        });
        assert_eq!(facts.comm.as_bytes(), name.to_bytes());
        assert_eq!(facts.parent_pid, std::process::id());
        assert_ne!(facts.id.start_ticks, 0);
    });
}

#[test]
fn another_users_process_is_not_permitted_rather_than_absent() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: needs root to become another user");
        return;
    }
    in_own_netns(|| {
        let listener = listening(tcp(ANY4, 3001, false, false));
        let _holder = Child::start(|| ());
        drop(listener);
        // The raw call changes the credentials of one thread alone, which ends with the look.
        let look = std::thread::spawn(|| {
            // SAFETY: setresuid has no memory effects.
            let done = unsafe { nix::libc::syscall(nix::libc::SYS_setresuid, 65534, 65534, 65534) };
            assert_eq!(done, 0);
            scanner().snapshot(HolderSearch::First).unwrap()
        });
        let snapshot = look.join().unwrap();
        assert_eq!(one(&snapshot, 3001).owner, Owner::NotPermitted);
        assert_eq!(one(&snapshot, 3001).socket.uid, Some(0), "sock_diag tells any user");
    });
}

/// What a source delivers until `wanted` finds its answer in the last snapshot.
fn polled<T>(source: &mut ScanSource, mut wanted: impl FnMut(&[Observation]) -> Option<T>) -> T {
    let mut all = Vec::new();
    until(|| {
        let progress = source.poll(std::time::Duration::from_millis(300), &mut all).unwrap();
        assert_eq!(progress, Progress::Open);
        wanted(&all)
    })
}

fn snapshots(all: &[Observation]) -> Vec<&Snapshot> {
    all.iter().filter_map(|o| if let Seen::Snapshot(s) = &o.seen { Some(&**s) } else { None }).collect()
}

#[test]
fn the_poll_source_reports_what_comes_and_goes_and_is_silent_between() {
    in_own_netns(|| {
        let mut source = ScanSource::new(scanner(), Wake::new().unwrap(), Vec::new());
        // The first look goes everywhere; here is nothing.
        let own = scanner().netns();
        let here =
            |snapshot: &Snapshot| snapshot.sockets.iter().filter(|s| s.socket.endpoint.netns == own).count();
        let first = polled(&mut source, |all| Some(here(snapshots(all).first()?)));
        assert_eq!(first, 0);

        let listener = listening(tcp(ANY4, 3001, false, false));
        let child = Child::start(|| ());
        let heir = child.pid();
        drop(listener);
        let holders = polled(&mut source, |all| Some(holder_pids(snapshots(all).first()?, 3001)));
        assert_eq!(holders, [heir]);

        let mut quiet = Vec::new();
        for _ in 0..3 {
            source.poll(std::time::Duration::from_millis(400), &mut quiet).unwrap();
        }
        assert_eq!(quiet, []);

        drop(child);
        polled(&mut source, |all| {
            let exited = all.iter().position(
                |o| matches!(&o.seen, Seen::Exited(e) if e.process.pid == heir && e.status.is_none()),
            )?;
            let empty = all.iter().position(|o| matches!(&o.seen, Seen::Snapshot(s) if here(s) == 0))?;
            assert!(exited < empty, "the exit explains the close");
            Some(())
        });
    });
}

#[test]
fn a_wake_ends_the_wait() {
    let wake = Wake::new().unwrap();
    let mut source = ScanSource::new(scanner(), wake.clone(), Vec::new());
    source.poll(std::time::Duration::ZERO, &mut Vec::new()).unwrap();
    wake.wake();
    let begun = std::time::Instant::now();
    source.poll(std::time::Duration::from_mins(1), &mut Vec::new()).unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn a_pid_with_another_start_time_is_another_process() {
    let mut procfs = crate::source::procfs::ProcFs::open(std::path::Path::new("/proc")).unwrap();
    let own = procfs.identify(std::process::id()).unwrap();
    assert!(procfs.process(own).is_some());
    let other = ProcessId { start_ticks: own.start_ticks + 1, ..own };
    assert_eq!(procfs.process(other), None);
    assert_eq!(procfs.identify(u32::MAX), None);
}

#[test]
fn a_port_that_is_named_twice_is_looked_at_once() {
    in_own_netns(|| {
        bring_up_loopback();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 3009)).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _server = listener.accept().unwrap();
        let port = |n| Port::new(n).unwrap();
        let mut scanner = scanner();
        let twice = [port(3009), port(3010), port(3009)];
        assert_eq!(scanner.snapshot_ports(&twice, HolderSearch::None).unwrap().sockets.len(), 1);
        let scope = ConnectionScope::Ports {
            ports: twice.into(),
            netns: None,
            holders: false,
            interfaces: twice.into(),
        };
        let rows = scanner.connections(&scope).unwrap().unwrap().rows;
        let ends: Vec<_> = rows.iter().map(|row| row.peer_port.map(Port::get)).collect();
        assert_eq!(ends, [Some(client.local_addr().unwrap().port())]);
    });
}

#[test]
fn processes_that_there_is_no_time_for_are_not_said_to_have_no_connection() {
    in_own_netns(|| {
        let mut scanner = scanner();
        let pids = [std::process::id()];
        let scope = ConnectionScope::Processes { pids: pids.into() };
        let now = std::time::Instant::now();
        let mut look = |until| scanner.of_processes(&scope, &pids, until).unwrap().of_processes;
        let own = look(now + std::time::Duration::from_mins(1));
        assert_eq!((own.len(), own[0].process.pid), (1, pids[0]));
        assert_eq!(look(now), []);
    });
}

fn bring_up_loopback() {
    let done = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
    assert!(done.success());
}
