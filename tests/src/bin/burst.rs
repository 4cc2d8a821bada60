//! `burst ADDRESS PORT TURNS`: waits for a line, then binds, listens and closes as fast as it goes, and says so.

use std::{
    env,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket},
};

/// Longest time that a look at descriptors may keep the port of a socket that was closed.
const LOOK: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next().context("usage: burst ADDRESS PORT TURNS");
    let (address, port): (Ipv4Addr, u16) = (next()?.parse()?, next()?.parse()?);
    let turns: u64 = next()?.parse()?;
    let place = SockaddrIn::from(SocketAddrV4::new(address, port));
    let say = |line: &str| writeln!(io::stdout(), "{line}");
    say("ready")?;
    io::stdin().read_line(&mut String::new())?;
    say("begun")?;
    for turn in 0..turns {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // Who looks at the descriptors of all processes has a reference to one after the other, and lets go of what was closed
        // meanwhile when its own system call ends (fput in fs/file_table.c): one of many turns in the middle of a look meets its
        // own last socket. The refused bind is an event of its own.
        let begun = Instant::now();
        loop {
            match bind(socket.as_raw_fd(), &place) {
                Err(Errno::EADDRINUSE) if begun.elapsed() < LOOK => std::thread::yield_now(),
                done => break done.with_context(|| format!("bind, turn {turn}"))?,
            }
        }
        listen(&socket, Backlog::new(16)?).with_context(|| format!("listen, turn {turn}"))?;
    }
    say("done")?;
    Ok(())
}
