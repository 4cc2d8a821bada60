//! One process with many listeners.

use std::net::TcpListener;

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

#[derive(Args)]
pub(super) struct Arguments {
    /// How many listeners, each on a port that the kernel chooses.
    #[arg(long, default_value_t = 1)]
    count: usize,
}

/// They listen.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The address of all.
    pub(crate) address: String,
    /// Their ports.
    pub(crate) ports: Vec<u16>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let address = super::loopback(2, 1);
    let listeners = (0..arguments.count)
        .map(|_| TcpListener::bind((address, 0)))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("listening on {address}"))?;
    let ports = listeners
        .iter()
        .map(|listener| listener.local_addr().map(|at| at.port()))
        .collect::<Result<_, _>>()
        .context("getsockname")?;
    super::report(&Ready { address: address.to_string(), ports })?;
    super::wait_for_the_end();
    Ok(())
}
