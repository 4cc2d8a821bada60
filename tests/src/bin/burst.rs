//! `burst ADDRESS PORT TURNS`: waits for a line, then binds, listens and closes as fast as it goes, and says so.

use std::{
    env,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd as _,
};

use anyhow::Context as _;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket};

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
        bind(socket.as_raw_fd(), &place).with_context(|| format!("bind, turn {turn}"))?;
        listen(&socket, Backlog::new(16)?).with_context(|| format!("listen, turn {turn}"))?;
    }
    say("done")?;
    Ok(())
}
