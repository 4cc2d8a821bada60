//! What the kernel programs cost, by the kernel's own statistics, for a guest whose clock counts instructions: its
//! nanoseconds are those, and they are the same on every machine and under every load.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use aya::programs::loaded_programs;
use portwatch::source::{
    Source as _, Wake,
    ebpf::{EbpfSource, HookChoice, LoadOptions},
};

/// The word that stands where a plan's would.
pub const WORD: &str = "cost";

/// Turns of a round; what they say fits into the ring.
const TURNS: u32 = 50;
/// Rounds; the first is not counted.
const ROUNDS: usize = 9;
/// Ports of the guest's own.
const PORT: u16 = 21_000;

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// The word of the hooks that were attached.
    pub hooks: &'static str,
    /// What was done.
    pub event: &'static str,
    /// The program; none for everything together, with the system calls and with how programs are entered.
    pub program: Option<String>,
    /// Runs in a hundred turns.
    pub runs: u64,
    /// Instructions a turn.
    pub instructions: u64,
}

/// A kind of turn.
type Turn = (&'static str, fn() -> std::io::Result<()>);

const TURN_KINDS: [Turn; 5] = [
    ("listen", || TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).map(drop)),
    ("udp-bind", || UdpSocket::bind((Ipv4Addr::LOCALHOST, PORT)).map(drop)),
    ("udp-auto-bind", udp_without_bind),
    ("refused", || {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT + 1))?;
        let refused = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT + 1));
        drop(holder);
        refused.err().map(drop).ok_or_else(|| std::io::Error::other("two have one port"))
    }),
    ("connection", || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT + 2))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        drop(client);
        drop(server);
        Ok(())
    }),
];

/// A send without a bind, which std has no socket for.
fn udp_without_bind() -> std::io::Result<()> {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, sendto, socket};
    use std::os::fd::AsRawFd as _;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    sendto(fd.as_raw_fd(), b"x", &SockaddrIn::new(127, 0, 0, 1, 9), MsgFlags::empty())?;
    Ok(())
}

/// Measures every family beside no programs at all. A family that this kernel refuses is told by its word alone.
pub fn measure(mut tell: impl FnMut(Result<Cost, String>)) -> anyhow::Result<()> {
    fs::write("/proc/sys/kernel/bpf_stats_enabled", "1").context("kernel.bpf_stats_enabled")?;
    for hooks in ["none", "auto", "fentry", "kprobe", "stable"] {
        let choice = HookChoice::from_word(hooks).context(hooks)?;
        let mut source = None;
        if choice != HookChoice::None {
            let options = LoadOptions { hooks: choice, ..LoadOptions::default() };
            match EbpfSource::start(&options, Wake::new()?) {
                Ok(started) => source = Some(started),
                Err(why) => {
                    tell(Err(format!("{hooks} {}", why.what)));
                    continue;
                }
            }
        }
        for (event, turn) in TURN_KINDS {
            of_turn(hooks, event, turn, source.as_mut(), &mut tell)?;
        }
    }
    Ok(())
}

fn of_turn(
    hooks: &'static str,
    event: &'static str,
    turn: fn() -> std::io::Result<()>,
    mut source: Option<&mut EbpfSource>,
    tell: &mut impl FnMut(Result<Cost, String>),
) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    let mut spent: Vec<(String, u64, u64)> = Vec::new();
    for round in 0..ROUNDS {
        let before = counts()?;
        let begun = Instant::now();
        for _ in 0..TURNS {
            turn().with_context(|| event.to_owned())?;
        }
        let took = begun.elapsed();
        let after = counts()?;
        if let Some(source) = source.as_deref_mut() {
            source.poll(Duration::ZERO, &mut Vec::new())?;
        }
        if round == 0 {
            continue;
        }
        rounds.push(u64::try_from(took.as_nanos())? / u64::from(TURNS));
        for (id, name, runs, time) in after {
            let old = before.iter().find(|(old, ..)| *old == id);
            let (old_runs, old_time) = old.map_or((0, 0), |(_, _, runs, time)| (*runs, *time));
            let (runs, time) = (runs - old_runs, time - old_time);
            // Two programs of one name, for two versions of a protocol, are one here.
            if let Some((_, all_runs, all_time)) = spent.iter_mut().find(|(known, ..)| *known == name) {
                *all_runs += runs;
                *all_time += time;
            } else {
                spent.push((name, runs, time));
            }
        }
    }
    rounds.sort_unstable();
    let median = rounds.get(rounds.len() / 2).copied().context("no rounds")?;
    tell(Ok(Cost { hooks, event, program: None, runs: 100, instructions: median }));
    let turns = u64::from(TURNS) * u64::try_from(ROUNDS - 1)?;
    for (name, runs, time) in spent.into_iter().filter(|(_, runs, _)| *runs > 0) {
        ensure!(!name.is_empty(), "a program without a name");
        tell(Ok(Cost {
            hooks,
            event,
            program: Some(name),
            runs: runs * 100 / turns,
            instructions: time / turns,
        }));
    }
    Ok(())
}

/// Every loaded program, of which all are portwatch's in a guest: id, name, runs, nanoseconds.
fn counts() -> anyhow::Result<Vec<(u32, String, u64, u64)>> {
    let mut found = Vec::new();
    for program in loaded_programs() {
        let program = program?;
        let name = program.name_as_str().unwrap_or_default().to_owned();
        let time = u64::try_from(program.run_time().as_nanos())?;
        found.push((program.id(), name, program.run_count(), time));
    }
    Ok(found)
}
