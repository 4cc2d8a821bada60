//! What the measurements start: processes that sleep, listen, or turn a loop. Each is this program again, so the
//! load is our own code and the same everywhere.
//!
//! A worker's life hangs on its standard input: it ends when that closes, which the kernel does when whoever
//! started it dies, however it dies. So no signal is needed to clear up, and no pid can be mistaken.

mod burst;
mod claims;
mod herd;
mod listeners;
mod loops;

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::Ipv4Addr,
    os::unix::process::CommandExt,
    process::Command,
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Pid, getppid},
};
use serde::Serialize;

pub(super) use self::{
    burst::Done as BurstDone,
    claims::{Done as ClaimsDone, Promised},
    herd::Ready as HerdReady,
    listeners::Ready as ListenersReady,
    loops::Turned,
};

/// What to be.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    worker: Worker,
}

#[derive(Subcommand)]
enum Worker {
    /// Sleeping processes with many descriptors.
    Herd(herd::Arguments),
    /// One process with many listeners.
    Listeners(listeners::Arguments),
    /// bind, listen, close, over and over.
    BindLoop(loops::Arguments),
    /// connect, accept, close, over and over.
    ConnectLoop(loops::Arguments),
    /// A system call that does nothing, over and over.
    CallLoop(loops::Arguments),
    /// bind, listen, close as fast as it goes, from one address and port, after a line on standard input.
    Burst(burst::Arguments),
    /// Clients that claim as fast as they are answered.
    Claims(claims::Arguments),
    /// Becomes another program that is told to end (SIGTERM) when its parent dies.
    Tethered {
        /// Pid of the parent.
        #[arg(long)]
        parent: i32,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Runs as a worker.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    match arguments.worker {
        Worker::Herd(arguments) => herd::run(&arguments),
        Worker::Listeners(arguments) => listeners::run(&arguments),
        Worker::BindLoop(arguments) => loops::bind(&arguments),
        Worker::ConnectLoop(arguments) => loops::connect(&arguments),
        Worker::CallLoop(arguments) => loops::call(&arguments),
        Worker::Burst(arguments) => burst::run(&arguments),
        Worker::Claims(arguments) => claims::run(&arguments),
        Worker::Tethered { parent, command } => tethered(parent, &command),
    }
}

/// Address of the loopback net that a kind of worker keeps to, so that nothing else on the machine meets it.
fn loopback(kind: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 83, kind, number)
}

/// Address of one of the bursting processes.
pub(super) fn burst_address(number: u8) -> Ipv4Addr {
    loopback(5, number)
}

/// One line of JSON on standard output: ready, or done.
#[expect(clippy::print_stdout, reason = "a pipe to the process that measures")]
fn report(message: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(message)?);
    io::stdout().flush().context("writing the report")
}

/// Waits until whoever started this worker closes its standard input, or is gone.
fn wait_for_the_end() {
    let mut byte = [0];
    while matches!(io::stdin().read(&mut byte), Ok(1)) {}
}

fn tethered(parent: i32, command: &[OsString]) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGTERM).context("PR_SET_PDEATHSIG")?;
    // The parent may have died before the line above.
    anyhow::ensure!(getppid() == Pid::from_raw(parent), "the parent is gone already");
    let (program, arguments) = command.split_first().context("no program")?;
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("exec {}", program.display()))
}
