//! bind, listen, close as fast as it goes.

use std::{io, net::SocketAddrV4, time::Instant};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, listen, socket};
use serde::{Deserialize, Serialize};

use super::loops::bind_when_free;

#[derive(Args)]
pub(super) struct Arguments {
    /// How many turns.
    #[arg(long)]
    turns: u64,
    /// Which of the bursting processes this is.
    #[arg(long)]
    number: u8,
    /// Its port.
    #[arg(long)]
    port: u16,
}

/// It waits for the line, or it is done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Turns made; 0 while it waits.
    pub(crate) turns: u64,
    /// Time they took, ns.
    pub(crate) wall: u64,
    /// Binds that met the socket of the turn before (EADDRINUSE) and were made again.
    pub(crate) met: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let address = super::burst_address(arguments.number);
    let place = SockaddrIn::from(SocketAddrV4::new(address, arguments.port));
    let backlog = Backlog::new(16).context("backlog")?;
    super::report(&Done { turns: 0, wall: 0, met: 0 })?;
    let mut line = String::new();
    if io::stdin().read_line(&mut line).context("waiting for the start")? == 0 {
        return Ok(());
    }
    let begin = Instant::now();
    let mut met = 0;
    for turn in 0..arguments.turns {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .with_context(|| format!("socket, turn {turn}"))?;
        let took = bind_when_free(&socket, &place).with_context(|| format!("{address}, turn {turn}"))?;
        met += u64::from(took.is_some());
        listen(&socket, backlog).with_context(|| format!("listen, turn {turn}"))?;
    }
    let wall = u64::try_from(begin.elapsed().as_nanos())?;
    super::report(&Done { turns: arguments.turns, wall, met })?;
    super::wait_for_the_end();
    Ok(())
}
