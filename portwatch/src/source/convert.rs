//! From decoded kernel records to observations.

use portwatch_common::decode::{
    Actor, Close, Exec, Exit, Fork, Killed, Options, Process, Protocol as Wire, Record, Refused, SentFrom,
    Socket,
};

use crate::model::{
    AskedPort, Attached, BindRefused, Bound, Closed, CommandLine, Endpoint, Evidence, Execed, ExitStatus,
    Exited, Forked, Listening, Netns, Observation, Phase, Port, ProcessId, ProcessSeen, Protocol, Seen,
    SignalOrigin, SignalSent, SocketKey, SocketOptions, SocketSeen, Timestamp, Unlistened,
};

/// Nanoseconds in a tick of [`ProcessId::start_ticks`]: `USER_HZ` is 100 on every Linux there is.
pub(super) const NS_PER_TICK: u64 = 10_000_000;

/// Turns the kernel's time since boot into moments.
///
/// The wall clock is set and slewed while the machine runs, so a clock is read anew for each batch of
/// records. Records of one batch then keep their distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootClock {
    /// Wall clock minus boot clock, ns.
    offset_ns: i64,
}

impl BootClock {
    /// A clock with a known distance from boot to wall time, CLOCK_REALTIME − CLOCK_BOOTTIME, in ns.
    pub const fn from_offset_ns(offset_ns: i64) -> Self {
        Self { offset_ns }
    }

    /// Reads both clocks.
    #[cfg(target_os = "linux")]
    pub fn now() -> nix::Result<Self> {
        Self::read().map(|(_, clock)| clock)
    }

    /// Reads both clocks; gives the boot clock too, ns.
    #[cfg(target_os = "linux")]
    pub(super) fn read() -> nix::Result<(u64, Self)> {
        let (boot_ns, offset_ns) = crate::platform::vitals::clocks().ok_or(nix::Error::EINVAL)?;
        Ok((boot_ns, Self::from_offset_ns(offset_ns)))
    }

    /// How far ahead of another one its wall clock is.
    pub const fn since(self, other: Self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_nanos(self.offset_ns.saturating_sub(other.offset_ns))
    }

    /// Wall clock minus boot clock, ns.
    pub const fn offset_ns(self) -> i64 {
        self.offset_ns
    }

    /// The moment that lies `boot_ns` after boot.
    pub fn at(self, boot_ns: u64) -> Timestamp {
        let ns = i128::from(boot_ns) + i128::from(self.offset_ns);
        // An i64 and a u64 of nanoseconds stay between the years 1677 and 2846, all of them timestamps.
        Timestamp::from_nanosecond(ns).unwrap_or(Timestamp::MAX)
    }
}

/// What a record says. `None` when its whole subject is a process (facts, exit) whose start time was not
/// readable: a pid alone is not an identity, so nothing could be told of it that holds. And `None` of a socket whose ports are
/// not those of TCP or UDP.
pub fn observation(record: &Record, clock: BootClock) -> Option<Observation> {
    let seen = match record {
        Record::Process(r) => Seen::Process(process_seen(r)?),
        Record::Bind(r) => Seen::Bound(Bound { socket: socket_seen(r, Phase::Bound)?, by: by(r.actor) }),
        Record::Listen(r) => {
            Seen::Listening(Listening { socket: socket_seen(r, Phase::Listening)?, by: by(r.actor) })
        }
        Record::Refused(r) => Seen::Refused(bind_refused(r)?),
        Record::Unlisten(Close { cookie, .. }) => {
            Seen::Unlistened(Unlistened { key: SocketKey::Cookie(cookie.get()) })
        }
        Record::Close(Close { cookie, actor, .. }) => {
            Seen::Closed(Closed { key: SocketKey::Cookie(cookie.get()), by: by(*actor) })
        }
        Record::Exit(r) => Seen::Exited(exited(r)?),
        Record::Killed(r) => Seen::Exited(killed(r)?),
        Record::Fork(r) => Seen::Forked(forked(r)?),
        Record::Exec(Exec { actor, .. }) => Seen::Execed(Execed { process: process_id(actor)? }),
    };
    Some(Observation::new(clock.at(record.boot_ns()), Evidence::Kernel, seen))
}

/// The process's identity; `None` when its start time was not readable.
pub fn process_id(actor: &Actor) -> Option<ProcessId> {
    // The first process starts before the clock does, and its pid is never another's.
    let start_ticks = match actor.start_ns {
        Some(start_ns) => start_ns.get() / NS_PER_TICK,
        None if actor.pid.get() == 1 => 0,
        None => return None,
    };
    Some(ProcessId { pid: actor.pid.get(), start_ticks })
}

fn by(actor: Option<Actor>) -> Option<ProcessId> {
    process_id(&actor?)
}

fn process_seen(r: &Process) -> Option<ProcessSeen> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let some_text = |bytes: &[u8]| (!bytes.is_empty()).then(|| text(bytes));
    let command = r.command.as_bytes();
    Some(ProcessSeen {
        id: process_id(&r.actor)?,
        parent_pid: r.parent_pid.map_or(0, Into::into),
        parent_comm: some_text(r.parent_comm.as_bytes()),
        uid: Some(r.actor.uid),
        gid: Some(r.actor.gid),
        comm: text(r.comm.as_bytes()),
        command: (!command.is_empty())
            .then(|| CommandLine::from_nul_separated(command, r.command.is_truncated())),
        cgroup_id: r.cgroup_id.map(Into::into),
        evidence: Evidence::Kernel,
    })
}

fn socket_seen(r: &Socket, phase: Phase) -> Option<SocketSeen> {
    Some(SocketSeen {
        key: SocketKey::Cookie(r.cookie.get()),
        inode: None,
        endpoint: Endpoint {
            netns: r.netns.map(|inode| Netns(inode.get())),
            protocol: protocol(r.protocol)?,
            // An IPv4-mapped address stays an IPv6 one: the socket is an IPv6 socket, and what blocks it
            // depends on that.
            address: r.address,
            port: r.port.into(),
        },
        phase,
        asked: asked(r.asked_port),
        options: options(r.options),
        // The caller's uid is not the socket's: `sk_uid` is the file-system uid of whoever made it.
        uid: None,
        cgroup_id: r.cgroup_id.map(Into::into),
        attached: Attached::Unknown,
    })
}

fn bind_refused(r: &Refused) -> Option<BindRefused> {
    let protocol = match r.protocol {
        Some(number) => Some(protocol(number)?),
        None => None,
    };
    Some(BindRefused {
        key: r.cookie.map(|cookie| SocketKey::Cookie(cookie.get())),
        listen: r.listen,
        netns: r.netns.map(|inode| Netns(inode.get())),
        protocol,
        address: r.address,
        port: r.asked_port.and_then(Port::new),
        errno: i32::from(r.errno.get().cast_signed()),
        by: by(r.actor),
    })
}

fn exited(r: &Exit) -> Option<Exited> {
    let status = r.exit_code.map(ExitStatus::from_wait_status);
    Some(Exited { process: process_id(&r.actor)?, status, sender: None })
}

fn killed(r: &Killed) -> Option<Exited> {
    let (by, sender) = match &r.from {
        SentFrom::Process(sender) => (SignalOrigin::Process, process_id(sender)),
        SentFrom::Kernel => (SignalOrigin::Kernel, None),
        SentFrom::OutOfMemory => (SignalOrigin::OutOfMemory, None),
    };
    let sent = Some(SignalSent { signal: r.signal, by, again: r.again });
    let status = ExitStatus { sent, ..ExitStatus::from_wait_status(r.exit_code) };
    Some(Exited { process: process_id(&r.actor)?, status: Some(status), sender })
}

fn forked(r: &Fork) -> Option<Forked> {
    let child = ProcessId { pid: r.child_pid.get(), start_ticks: r.child_start_ns?.get() / NS_PER_TICK };
    Some(Forked { parent: process_id(&r.actor)?, child })
}

/// Whose ports a socket has. `None` for UDP-Lite, which has ports of its own (`udplite_table`): no UDP socket meets them.
const fn protocol(protocol: Wire) -> Option<Protocol> {
    match protocol {
        Wire::Tcp | Wire::Mptcp => Some(Protocol::Tcp),
        Wire::Udp => Some(Protocol::Udp),
        Wire::UdpLite => None,
    }
}

fn asked(port: Option<u16>) -> AskedPort {
    match port.map(Port::new) {
        None => AskedPort::Unknown,
        Some(None) => AskedPort::KernelChosen,
        Some(Some(port)) => AskedPort::Explicit(port),
    }
}

fn options(options: Option<Options>) -> SocketOptions {
    SocketOptions {
        reuse_addr: options.map(|o| o.reuse_addr),
        reuse_port: options.map(|o| o.reuse_port),
        v6_only: options.map(|o| o.v6_only),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};

    use portwatch_common::decode::{Comm, Command};

    use super::*;

    const CLOCK: BootClock = BootClock::from_offset_ns(1_000_000_000_000_000_000);

    fn actor() -> Actor {
        Actor {
            pid: NonZeroU32::new(4242).unwrap(),
            tid: 4243,
            uid: 1000,
            gid: 1001,
            start_ns: NonZeroU64::new(12_345_678_901),
        }
    }

    fn id() -> ProcessId {
        ProcessId { pid: 4242, start_ticks: 1234 }
    }

    fn socket() -> Socket {
        Socket {
            boot_ns: 5,
            actor: Some(actor()),
            cookie: NonZeroU64::new(77).unwrap(),
            cgroup_id: NonZeroU64::new(9),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            netns: NonZeroU32::new(4_026_531_840),
            port: NonZeroU16::new(3100).unwrap(),
            asked_port: Some(3100),
            protocol: Wire::Tcp,
            options: Some(Options { reuse_addr: true, reuse_port: false, v6_only: false }),
        }
    }

    fn seen(record: &Record) -> Seen {
        observation(record, CLOCK).unwrap().seen
    }

    fn bound(socket: Socket) -> Bound {
        let Seen::Bound(bound) = seen(&Record::Bind(socket)) else { panic!("not a bind") };
        bound
    }

    #[test]
    fn time_since_boot_becomes_a_moment() {
        let at = observation(&Record::Bind(socket()), CLOCK).unwrap().at;
        assert_eq!(at.as_nanosecond(), 1_000_000_000_000_000_005);
        assert_eq!(BootClock::from_offset_ns(i64::MIN).at(0).as_nanosecond(), i128::from(i64::MIN));
        let latest = i128::from(i64::MAX) + i128::from(u64::MAX);
        assert_eq!(BootClock::from_offset_ns(i64::MAX).at(u64::MAX).as_nanosecond(), latest);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_clock_read_now_puts_the_present_uptime_at_the_present() {
        let uptime = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
        let boot_ns = std::time::Duration::from(uptime).as_nanos().try_into().unwrap();
        let distance = BootClock::now().unwrap().at(boot_ns).duration_until(Timestamp::now());
        assert!(distance.abs() < jiff::SignedDuration::from_secs(5), "{distance}");
    }

    #[test]
    fn a_bind_keeps_every_fact() {
        let bound = bound(socket());
        assert_eq!(bound.by, Some(id()));
        assert_eq!(bound.socket.key, SocketKey::Cookie(77));
        assert_eq!(bound.socket.endpoint.to_string(), "127.0.0.1:3100/tcp");
        assert_eq!(bound.socket.endpoint.netns, Some(Netns(4_026_531_840)));
        assert_eq!(bound.socket.phase, Phase::Bound);
        assert_eq!(bound.socket.asked, AskedPort::Explicit(Port::new(3100).unwrap()));
        assert_eq!(
            bound.socket.options,
            SocketOptions { reuse_addr: Some(true), reuse_port: Some(false), v6_only: Some(false) }
        );
        assert_eq!(bound.socket.cgroup_id, Some(9));
    }

    #[test]
    fn a_port_asked_for_as_0_was_chosen_by_the_kernel_and_an_unseen_one_is_unknown() {
        assert_eq!(bound(Socket { asked_port: Some(0), ..socket() }).socket.asked, AskedPort::KernelChosen);
        assert_eq!(bound(Socket { asked_port: None, ..socket() }).socket.asked, AskedPort::Unknown);
    }

    #[test]
    fn options_nobody_read_are_unknown_not_off() {
        assert_eq!(bound(Socket { options: None, ..socket() }).socket.options, SocketOptions::default());
    }

    #[test]
    fn mptcp_is_tcp_and_udp_lite_is_none() {
        let mptcp = bound(Socket { protocol: Wire::Mptcp, ..socket() });
        assert_eq!(mptcp.socket.endpoint.protocol, Protocol::Tcp);
        let lite = Record::Bind(Socket { protocol: Wire::UdpLite, ..socket() });
        assert_eq!(observation(&lite, CLOCK), None);
    }

    #[test]
    fn a_mapped_address_stays_ipv6() {
        let address = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        assert_eq!(bound(Socket { address, ..socket() }).socket.endpoint.address, address);
    }

    #[test]
    fn a_pid_without_a_start_time_is_nobody() {
        let actor = Actor { start_ns: None, ..actor() };
        assert_eq!(bound(Socket { actor: Some(actor), ..socket() }).by, None);
        assert_eq!(bound(Socket { actor: None, ..socket() }).by, None);
        let exit = Record::Exit(Exit { boot_ns: 1, actor, exit_code: Some(0) });
        assert_eq!(observation(&exit, CLOCK), None);
    }

    #[test]
    fn a_refused_bind_to_any_port_has_no_port() {
        let refused = Refused {
            boot_ns: 1,
            actor: Some(actor()),
            cookie: None,
            cgroup_id: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            netns: None,
            errno: NonZeroU16::new(98).unwrap(),
            asked_port: Some(0),
            listen: false,
            protocol: None,
            options: None,
        };
        let Seen::Refused(seen) = seen(&Record::Refused(refused)) else { panic!("not refused") };
        assert_eq!((seen.port, seen.errno, seen.by, seen.endpoint()), (None, 98, Some(id()), None));
    }

    #[test]
    fn a_process_that_could_not_be_read_fully_has_no_empty_facts() {
        let process = Process {
            boot_ns: 1,
            actor: actor(),
            cgroup_id: None,
            parent_pid: None,
            comm: Comm::from_kernel(*b"no\xffde\0\0\0\0\0\0\0\0\0\0\0").unwrap(),
            parent_comm: Comm::default(),
            command: Command::new(b"", false),
        };
        let Seen::Process(seen) = seen(&Record::Process(process)) else { panic!("not a process") };
        assert_eq!(seen.comm, "no\u{fffd}de");
        assert_eq!((seen.parent_pid, seen.parent_comm, seen.command, seen.cgroup_id), (0, None, None, None));
    }

    #[test]
    fn an_exit_by_signal_is_told_from_an_exit_by_code() {
        let exit = |code| {
            let record = Record::Exit(Exit { boot_ns: 1, actor: actor(), exit_code: code });
            let Seen::Exited(exited) = seen(&record) else { panic!("not an exit") };
            exited.status
        };
        assert_eq!(exit(Some(9)).unwrap().signal, Some(9));
        assert_eq!(exit(Some(3 << 8)).unwrap().code, Some(3));
        assert_eq!(exit(None), None);
    }
}
