//! What the kernel programs cost, by the kernel's own statistics, for a guest whose clock counts instructions: its
//! nanoseconds are those, and they are the same on every machine and under every load.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    sync::LazyLock,
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

const TURN_KINDS: [Turn; 6] = [
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
    ("connect", || {
        let listener = STANDING.as_ref().map_err(|error| std::io::Error::from(error.kind()))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        drop(client);
        drop(server);
        Ok(())
    }),
];

/// Who is connected to without being made for it.
static STANDING: LazyLock<std::io::Result<TcpListener>> =
    LazyLock::new(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT + 3)));

/// A send without a bind, which std has no socket for.
fn udp_without_bind() -> std::io::Result<()> {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, sendto, socket};
    use std::os::fd::AsRawFd as _;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    sendto(fd.as_raw_fd(), b"x", &SockaddrIn::new(127, 0, 0, 1, 9), MsgFlags::empty())?;
    Ok(())
}

/// Measures every family, and no programs before and after each: a kernel that was just started takes longer. A family that this kernel
/// refuses is told by its word alone.
pub fn measure(mut tell: impl FnMut(Result<Cost, String>)) -> anyhow::Result<()> {
    fs::write("/proc/sys/kernel/bpf_stats_enabled", "1").context("kernel.bpf_stats_enabled")?;
    for (_, turn) in TURN_KINDS {
        let _warm = Rounds::of(turn, None)?;
    }
    let mut bare = TURN_KINDS.map(|_| Vec::new());
    for hooks in ["none", "auto", "none", "fentry", "none", "kprobe", "none", "stable", "none"] {
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
        for ((event, turn), bare) in TURN_KINDS.into_iter().zip(&mut bare) {
            let rounds = Rounds::of(turn, source.as_mut()).context(event)?;
            if choice == HookChoice::None {
                bare.extend(rounds.took);
            } else {
                rounds.tell(hooks, event, &mut tell)?;
            }
        }
    }
    for ((event, _), took) in TURN_KINDS.into_iter().zip(bare) {
        Rounds { took, spent: Vec::new() }.tell("none", event, &mut tell)?;
    }
    Ok(())
}

/// What some rounds took.
struct Rounds {
    /// Instructions a turn, of each round.
    took: Vec<u64>,
    /// Name, runs and instructions of each program in all of them.
    spent: Vec<(String, u64, u64)>,
}

impl Rounds {
    fn of(turn: fn() -> std::io::Result<()>, mut source: Option<&mut EbpfSource>) -> anyhow::Result<Self> {
        let (mut rounds, mut spent): (_, Vec<(String, u64, u64)>) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let before = counts()?;
            let begun = Instant::now();
            for _ in 0..TURNS {
                turn()?;
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
        Ok(Self { took: rounds, spent })
    }

    fn tell(
        mut self,
        hooks: &'static str,
        event: &'static str,
        tell: &mut impl FnMut(Result<Cost, String>),
    ) -> anyhow::Result<()> {
        self.took.sort_unstable();
        let median = self.took.get(self.took.len() / 2).copied().context("no rounds")?;
        tell(Ok(Cost { hooks, event, program: None, runs: 100, instructions: median }));
        let turns = u64::from(TURNS) * u64::try_from(ROUNDS - 1)?;
        for (name, runs, time) in self.spent.into_iter().filter(|(_, runs, _)| *runs > 0) {
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
