//! Sleeping processes with many descriptors: what makes `ss -p`, lsof and fuser slow.

use std::{
    env,
    fs::File,
    io::{Read, Write},
    net::TcpListener,
    os::fd::OwnedFd,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::{
    sys::{
        eventfd::{EfdFlags, EventFd},
        prctl,
        signal::Signal,
        socket::{AddressFamily, SockFlag, SockType, socketpair},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, pipe},
};
use serde::{Deserialize, Serialize};

/// The mix: five pipes, five socket pairs, ten eventfds and twenty files are fifty descriptors.
const PIPES: usize = 5;
const PAIRS: usize = 5;
const EVENTFDS: usize = 10;
const FILES: usize = 20;

#[derive(Args)]
pub(super) struct Arguments {
    /// How many processes.
    #[arg(long)]
    processes: usize,
    /// Every n-th also listens on a port that the kernel chooses.
    #[arg(long, default_value_t = 10)]
    listen_every: usize,
}

/// The herd sleeps.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// How many processes there are.
    pub(crate) processes: usize,
    /// Descriptors each opened.
    pub(crate) descriptors: usize,
    /// How many of them listen.
    pub(crate) listening: usize,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let (ready, tell) = pipe().context("pipe")?;
    let mut herd = Vec::with_capacity(arguments.processes);
    for number in 0..arguments.processes {
        // SAFETY: this process has one thread, so the child may use everything the parent has.
        match unsafe { fork() }.with_context(|| format!("fork {number}"))? {
            ForkResult::Parent { child } => herd.push(child),
            ForkResult::Child => {
                drop(ready);
                return sleep(arguments, number, tell);
            }
        }
    }
    drop(tell);
    let answer = gather(arguments, ready, herd.len());
    if let Ok(answer) = &answer {
        super::report(answer)?;
        super::wait_for_the_end();
    }
    // Each reads the same standard input, whose end is near or here.
    for child in herd {
        reap(child)?;
    }
    answer.map(drop)
}

/// Waits until every process has all it should have.
fn gather(arguments: &Arguments, ready: OwnedFd, processes: usize) -> Result<Ready> {
    let mut told = Vec::new();
    let mut ready = File::from(ready);
    let mut byte = [0];
    while told.len() < processes {
        match ready.read(&mut byte) {
            Ok(1) => told.extend(byte),
            Ok(_) => {
                bail!("{} of {processes} processes did not get their descriptors", processes - told.len())
            }
            Err(error) => return Err(error).context("reading from the herd"),
        }
    }
    ensure!(told.iter().all(|&b| b == b'+'), "a process did not get its descriptors");
    let listening = processes.div_ceil(arguments.listen_every.max(1));
    Ok(Ready { processes, descriptors: 2 * PIPES + 2 * PAIRS + EVENTFDS + FILES, listening })
}

fn reap(child: Pid) -> Result<()> {
    waitpid(child, None).with_context(|| format!("waiting for {child}")).map(drop)
}

/// One of the herd.
fn sleep(arguments: &Arguments, number: usize, tell: OwnedFd) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("PR_SET_PDEATHSIG")?;
    let belongings = Belongings::new()?;
    let listener = number
        .is_multiple_of(arguments.listen_every.max(1))
        .then(|| TcpListener::bind((super::loopback(1, 1), 0)))
        .transpose()
        .context("listening")?;
    let mut tell = File::from(tell);
    tell.write_all(b"+").context("telling that it is ready")?;
    drop(tell);
    super::wait_for_the_end();
    drop((belongings, listener));
    Ok(())
}

/// Descriptors to walk over.
#[expect(dead_code, reason = "held, not used")]
struct Belongings {
    pipes: Vec<(OwnedFd, OwnedFd)>,
    pairs: Vec<(OwnedFd, OwnedFd)>,
    eventfds: Vec<EventFd>,
    files: Vec<File>,
}

impl Belongings {
    fn new() -> Result<Self> {
        let pair = || socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
        let own = env::current_exe().context("the path of this program")?;
        Ok(Self {
            pipes: (0..PIPES).map(|_| pipe()).collect::<Result<_, _>>().context("pipe")?,
            pairs: (0..PAIRS).map(|_| pair()).collect::<Result<_, _>>().context("socketpair")?,
            eventfds: (0..EVENTFDS)
                .map(|_| EventFd::from_flags(EfdFlags::EFD_CLOEXEC))
                .collect::<Result<_, _>>()
                .context("eventfd")?,
            files: (0..FILES)
                .map(|_| File::open(&own))
                .collect::<Result<_, _>>()
                .with_context(|| format!("opening {}", own.display()))?,
        })
    }
}
