//! `herd PORT CHILDREN KEEP`: listens, and forks so many children that do nothing, of which the first `KEEP` keep the socket and
//! the others close it. A small program: thousands of forks of one with an interpreter in it need more memory than a machine
//! has. It tells of each thousand (`more`), then the first child's pid, and obeys: `fork N` forks N more that end at once, one
//! after the other, `end` ends all children. Each is followed by `done`. No child outlives it.

use std::{
    env,
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    process,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, getpid, getppid, pause},
};

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().context("usage: herd PORT CHILDREN KEEP");
    let (port, count, keep): (u16, usize, usize) = (next()?.parse()?, next()?.parse()?, next()?.parse()?);
    let mut socket = Some(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
    let herd = getpid();
    let mut children = Vec::with_capacity(count);
    for number in 0..count {
        // SAFETY: no other thread runs here.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => children.push(child),
            ForkResult::Child => {
                drop(socket.take_if(|_| number >= keep));
                idle(herd)
            }
        }
        tell(number)?;
    }
    say(&children.first().copied().unwrap_or(herd).to_string())?;
    for line in io::stdin().lines() {
        match line?.split_once(' ').unwrap_or(("end", "")) {
            ("fork", times) => (0..times.parse()?).try_for_each(|_: usize| come_and_go())?,
            ("end", _) => end(&mut children)?,
            (other, _) => bail!("{other}?"),
        }
        say("done")?;
    }
    drop(socket);
    end(&mut children)
}

/// Sleeps until its parent ends.
fn idle(parent: Pid) -> ! {
    if set_pdeathsig(Signal::SIGKILL).is_ok() && getppid() == parent {
        loop {
            pause();
        }
    }
    process::exit(1)
}

fn come_and_go() -> anyhow::Result<()> {
    // SAFETY: no other thread runs here.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            waitpid(child, None)?;
            Ok(())
        }
        ForkResult::Child => process::exit(0),
    }
}

fn end(children: &mut Vec<Pid>) -> anyhow::Result<()> {
    for (number, child) in children.iter().enumerate() {
        kill(*child, Signal::SIGKILL)?;
        tell(number)?;
    }
    for (number, child) in children.drain(..).enumerate() {
        waitpid(child, None)?;
        tell(number)?;
    }
    Ok(())
}

fn tell(number: usize) -> io::Result<()> {
    if number % 1000 == 999 { say("more") } else { Ok(()) }
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
