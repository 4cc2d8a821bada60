//! The prediction against the kernel: real sockets, real errnos.
//!
//! As root each run has a network namespace of its own and two users; else it runs on a port that nobody has here.
//! IP_FREEBIND lets any address be bound, whether this machine has it or not.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
        sockopt,
    },
    unistd::{Uid, setfsuid},
};

use super::super::{BindRequest, Doubt, Outcome, would_bind};
use super::rules::{request, socket_at};
use crate::model::{Phase, Port, Protocol, Socket, SocketOptions};

/// (address, IPV6_V6ONLY)
const PLACES: [(&str, bool); 13] = [
    ("0.0.0.0", false),
    ("127.0.0.1", false),
    // What an IPv6 socket has for an IPv4 address inside the kernel (LOOPBACK4_IPV6).
    ("127.0.0.6", false),
    ("192.0.2.1", false),
    ("::", false),
    ("::", true),
    ("::1", false),
    ("::1", true),
    ("2001:db8::1", false),
    ("::ffff:127.0.0.1", false),
    ("::ffff:127.0.0.1", true),
    ("::ffff:0.0.0.0", false),
    ("::ffff:192.0.2.1", false),
];
const SHARING: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// Every request there is here.
pub(super) fn requests(protocol: Protocol, port: Port, users: &[u32]) -> Vec<BindRequest> {
    let mut all = Vec::new();
    for &uid in users {
        for (reuse_addr, reuse_port) in SHARING {
            for (address, v6_only) in PLACES {
                let place = request(protocol, address, port).place;
                all.push(BindRequest {
                    place,
                    zone: None,
                    reuse_addr,
                    reuse_port,
                    v6_only,
                    uid: Some(uid),
                    privileged: None,
                });
            }
        }
    }
    all
}

/// What the kernel makes of a request; the socket if it agrees.
pub(super) fn really_bind(request: &BindRequest) -> Result<OwnedFd, Errno> {
    let (address, port) = (request.place.address, request.place.port.get());
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = if request.place.protocol == Protocol::Tcp { SockType::Stream } else { SockType::Datagram };
    // The socket's user is the file-system user of the thread that makes it.
    let before = setfsuid(Uid::from_raw(request.uid.unwrap()));
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None);
    setfsuid(before);
    let fd = fd.unwrap();
    setsockopt(&fd, sockopt::ReuseAddr, &request.reuse_addr).unwrap();
    setsockopt(&fd, sockopt::ReusePort, &request.reuse_port).unwrap();
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &request.v6_only).unwrap();
    }
    setsockopt(&fd, sockopt::IpFreebind, &true).unwrap();
    let to = match address {
        IpAddr::V4(_) => SocketAddr::new(address, port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, 0).into(),
    };
    bind(fd.as_raw_fd(), &SockaddrStorage::from(to)).map(|()| fd)
}

pub(super) fn as_known(request: &BindRequest, phase: Phase) -> Socket {
    let mut socket = socket_at(request.place, phase);
    socket.seen.uid = request.uid;
    socket.seen.options = SocketOptions {
        reuse_addr: Some(request.reuse_addr),
        reuse_port: Some(request.reuse_port),
        // The kernel sets it for an address that is neither the wildcard nor IPv4 (inet6_bind).
        v6_only: request
            .place
            .address
            .is_ipv6()
            .then_some(request.v6_only || is_ipv6_alone(request.place.address)),
    };
    socket
}

fn is_ipv6_alone(address: IpAddr) -> bool {
    address.to_canonical().is_ipv6() && !address.is_unspecified()
}

/// Runs with a port that nobody else uses and the users that sockets may be made for.
fn with_a_port_of_our_own(test: impl FnOnce(Port, &[u32]) + Send + 'static) {
    let inside = || {
        let own = Uid::current().as_raw();
        if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
            test(Port::new(3100).unwrap(), &[own, own + 1]);
        } else {
            test(unused_port(own), &[own]);
        }
    };
    // Namespace and file-system user are a thread's, and this one ends.
    if let Err(panic) = thread::spawn(inside).join() {
        std::panic::resume_unwind(panic);
    }
}

fn unused_port(uid: u32) -> Port {
    let unused = |port: &Port| {
        [Protocol::Tcp, Protocol::Udp].into_iter().all(|protocol| {
            let plain = request(protocol, "::", *port);
            really_bind(&BindRequest { uid: Some(uid), ..plain }).is_ok()
        })
    };
    // Below the kernel's own choices.
    (20_000..32_000).filter_map(Port::new).find(unused).expect("an unused port")
}

pub(super) fn predicted(outcome: Outcome<'_>) -> Option<Result<(), i32>> {
    match outcome {
        Outcome::Succeeds => Some(Ok(())),
        Outcome::Fails { errno, .. } => Some(Err(errno)),
        Outcome::Unknown { .. } => None,
    }
}

#[test]
fn every_pair_of_sockets_meets_as_predicted() {
    with_a_port_of_our_own(|port, users| {
        let mut outcomes: BTreeMap<Option<Result<(), i32>>, usize> = BTreeMap::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let phases: &[_] = match protocol {
                Protocol::Tcp => &[Phase::Bound, Phase::Listening],
                Protocol::Udp => &[Phase::Bound],
            };
            for first in requests(protocol, port, users).iter().filter(|r| r.uid == Some(users[0])) {
                for &phase in phases {
                    let Ok(fd) = really_bind(first) else { continue };
                    if phase == Phase::Listening {
                        listen(&fd, Backlog::new(1).unwrap()).unwrap();
                    }
                    let known = [as_known(first, phase)];
                    for second in requests(protocol, port, users) {
                        let outcome = would_bind(&second, &known).outcome;
                        let told = predicted(outcome);
                        let second_fd = really_bind(&second);
                        let real = second_fd.as_ref().map(|_| ()).map_err(|&e| e as i32);
                        match outcome {
                            // Sockets that came and went beside the first have left their mark.
                            Outcome::Unknown { why: Doubt::HistoryDecides(_) } => {}
                            _ => assert_eq!(told, Some(real), "{second:?} beside {:?}", known[0].seen),
                        }
                        *outcomes.entry(told).or_default() += 1;
                        if let (Protocol::Tcp, Ok(second_fd)) = (protocol, second_fd) {
                            let heard = listen(&second_fd, Backlog::new(1).unwrap());
                            assert_eq!(heard, Ok(()), "listen of {second:?} beside {:?}", known[0].seen);
                        }
                    }
                }
            }
        }
        // Enough of each, or the test tested nothing.
        let many = |outcome| outcomes.get(&Some(outcome)).copied().unwrap_or(0) > 500;
        assert!(many(Ok(())) && many(Err(98)) && many(Err(22)), "{outcomes:?}");
    });
}

#[test]
fn udp_and_tcp_do_not_meet() {
    with_a_port_of_our_own(|port, users| {
        for (ours, theirs) in [(Protocol::Tcp, Protocol::Udp), (Protocol::Udp, Protocol::Tcp)] {
            let first = BindRequest { uid: Some(users[0]), ..request(theirs, "::", port) };
            let second = BindRequest { uid: Some(users[0]), ..request(ours, "::", port) };
            let _held = really_bind(&first).unwrap();
            let known = [as_known(&first, Phase::Bound)];
            assert_eq!(would_bind(&second, &known).outcome, Outcome::Succeeds);
            really_bind(&second).unwrap();
        }
    });
}

/// Numbers that look random and are the same in each run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }
}

/// Sockets come, listen and go in any order, up to six at once; half of them with facts that are not known.
#[test]
fn among_many_sockets_the_verdict_is_right_or_unknown() {
    with_a_port_of_our_own(|port, users| {
        let mut dice = Dice(0x5eed);
        let (mut certain, mut unknown) = (0, 0);
        for round in 0..4_000 {
            let protocol = [Protocol::Tcp, Protocol::Udp][round % 2];
            let all = requests(protocol, port, users);
            let mut held: Vec<(OwnedFd, Socket)> = Vec::new();
            for _ in 0..8 {
                let wanted = all[dice.below(all.len())];
                let told = predicted(would_bind(&wanted, held.iter().map(|(_, s)| s)).outcome);
                let blurred: Vec<_> = held.iter().map(|(_, s)| blur(s, &mut dice)).collect();
                let told_blurred = predicted(would_bind(&wanted, &blurred).outcome);
                let fd = really_bind(&wanted);
                let real = fd.as_ref().map(|_| ()).map_err(|&e| e as i32);
                for (told, beside) in [(told, None), (told_blurred, Some(&blurred))] {
                    match told {
                        Some(told) => {
                            assert_eq!(
                                told, real,
                                "round {round}: {wanted:?} beside {held:?}, known as {beside:?}"
                            );
                            certain += 1;
                        }
                        None => unknown += 1,
                    }
                }
                if let Ok(fd) = fd {
                    held.push((fd, as_known(&wanted, Phase::Bound)));
                }
                // Whether a socket may begin to listen is another question; here it only matters that it did.
                if !held.is_empty() && protocol == Protocol::Tcp && dice.below(3) == 0 {
                    let which = dice.below(held.len());
                    let (fd, socket) = held.get_mut(which).unwrap();
                    if listen(fd, Backlog::new(1).unwrap()).is_ok() {
                        socket.seen.phase = Phase::Listening;
                    }
                }
                if held.len() == 6 || (!held.is_empty() && dice.below(5) == 0) {
                    let gone = dice.below(held.len());
                    held.swap_remove(gone);
                }
            }
        }
        assert!(certain > 20_000 && unknown > 1000, "certain {certain}, unknown {unknown}");
    });
}

/// As a source might know it that does not see everything.
fn blur(socket: &Socket, dice: &mut Dice) -> Socket {
    let mut socket = socket.clone();
    let options = &mut socket.seen.options;
    for option in [&mut options.reuse_addr, &mut options.reuse_port, &mut options.v6_only] {
        if dice.below(3) == 0 {
            *option = None;
        }
    }
    if dice.below(3) == 0 {
        socket.seen.uid = None;
    }
    socket
}
