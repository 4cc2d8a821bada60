//! Tight loops over the calls that the kernel programs are attached to, timed in chunks: the median of many chunks
//! does not see what else the machine did.

use std::{
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::{
    errno::Errno,
    sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind as bind_socket, listen, setsockopt,
        socket, sockopt::ReuseAddr,
    },
    time::{ClockId, clock_gettime},
    unistd::{Pid, getppid},
};
use serde::{Deserialize, Serialize};

#[derive(Args)]
pub(super) struct Arguments {
    /// How many chunks.
    #[arg(long)]
    chunks: usize,
    /// Turns in a chunk.
    #[arg(long)]
    turns: usize,
}

/// How long it took.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Turned {
    /// Turns in each chunk.
    pub(crate) turns: usize,
    /// Wall clock of each chunk, ns.
    pub(crate) wall: Vec<u64>,
    /// Processor time of the thread in each chunk, ns.
    pub(crate) cpu: Vec<u64>,
    /// Binds that met the socket of the turn before (EADDRINUSE), and the longest until it was gone, ns.
    pub(crate) met: (u64, u64),
    /// It ran in a network namespace of its own.
    pub(crate) own_namespace: bool,
}

/// Port of the loops, in a namespace where nothing else is; elsewhere a free one is looked for.
const PORT: u16 = 3100;

/// socket, bind, listen, close.
pub(super) fn bind(arguments: &Arguments) -> Result<()> {
    let own_namespace = prepare();
    let address = super::loopback(3, 1);
    let place = SockaddrIn::from(SocketAddrV4::new(address, free_port(address, own_namespace)?));
    let backlog = Backlog::new(16).context("backlog")?;
    let (mut times, mut met) = (0, Duration::ZERO);
    let turned = turn(arguments, own_namespace, |_| {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        if let Some(took) = bind_when_free(&socket, &place)? {
            met = met.max(took);
            times += 1;
        }
        listen(&socket, backlog)?;
        Ok(())
    })?;
    super::report(&Turned { met: (times, u64::try_from(met.as_nanos())?), ..turned })
}

/// Binds. Where the socket of the turn before is still there, how long it was, counted from the first refusal: whoever looks at all descriptors (the
/// daemon after a loss, lsof, ss) keeps one that is closed just then for microseconds.
pub(super) fn bind_when_free(socket: &OwnedFd, place: &SockaddrIn) -> Result<Option<Duration>> {
    /// One that is in the way for longer is somebody's.
    const LONGEST: Duration = Duration::from_millis(100);
    let mut refused: Option<Instant> = None;
    while let Err(error) = bind_socket(socket.as_raw_fd(), place) {
        let since = *refused.get_or_insert_with(Instant::now);
        ensure!(error == Errno::EADDRINUSE && since.elapsed() < LONGEST, "bind: {error}");
    }
    Ok(refused.map(|since| since.elapsed()))
}

/// connect, accept, close, close. The addresses go round, so that the ports do not run out while thousands of
/// ended connections wait in TIME_WAIT; a namespace of its own takes those with it when it ends.
pub(super) fn connect(arguments: &Arguments) -> Result<()> {
    let own_namespace = prepare();
    let listener = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&listener, ReuseAddr, &true)?;
    let port = free_port(Ipv4Addr::UNSPECIFIED, own_namespace)?;
    bind_socket(listener.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
    listen(&listener, Backlog::new(128)?)?;
    let listener = TcpListener::from(listener);
    let turned = turn(arguments, own_namespace, |number| {
        let last = u8::try_from(number % 250 + 1)?;
        let client = TcpStream::connect(SocketAddrV4::new(super::loopback(4, last), port))?;
        let (server, _) = listener.accept()?;
        drop(client);
        drop(server);
        Ok(())
    })?;
    super::report(&turned)
}

/// A system call that does next to nothing, and that the C library does not answer by itself.
pub(super) fn call(arguments: &Arguments) -> Result<()> {
    let own_namespace = prepare();
    let turned = turn(arguments, own_namespace, |_| {
        std::hint::black_box(getppid());
        Ok(())
    })?;
    super::report(&turned)
}

/// A namespace of its own where that is permitted, and one processor.
fn prepare() -> bool {
    // Moving between processors costs more than the hooks do.
    let first = sched_getaffinity(Pid::from_raw(0)).ok().and_then(|allowed| {
        (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap_or(false)).and_then(|cpu| {
            let mut one = CpuSet::new();
            one.set(cpu).ok().map(|()| one)
        })
    });
    // Not being able to is noise, not an error.
    let _pinned = first.map(|one| sched_setaffinity(Pid::from_raw(0), &one));
    unshare(CloneFlags::CLONE_NEWNET).is_ok()
        && Command::new("ip").args(["link", "set", "lo", "up"]).status().is_ok_and(|status| status.success())
}

fn free_port(address: Ipv4Addr, own_namespace: bool) -> Result<u16> {
    if own_namespace {
        return Ok(PORT);
    }
    let listener = TcpListener::bind((address, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

fn turn(
    arguments: &Arguments,
    own_namespace: bool,
    mut once: impl FnMut(usize) -> Result<()>,
) -> Result<Turned> {
    ensure!(arguments.turns > 0, "a chunk has turns");
    let mut turned =
        Turned { turns: arguments.turns, wall: Vec::new(), cpu: Vec::new(), met: (0, 0), own_namespace };
    let mut number = 0;
    // The first chunk warms up.
    for chunk in 0..=arguments.chunks {
        let (wall, cpu) = (Instant::now(), thread_time()?);
        for _ in 0..arguments.turns {
            once(number).with_context(|| format!("turn {number}"))?;
            number += 1;
        }
        if chunk > 0 {
            turned.wall.push(u64::try_from(wall.elapsed().as_nanos())?);
            turned.cpu.push(u64::try_from(thread_time()?.saturating_sub(cpu).as_nanos())?);
        }
    }
    Ok(turned)
}

fn thread_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("the thread's clock")?.into())
}
