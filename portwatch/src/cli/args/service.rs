//! Flags of commands for the daemon and for portwatch itself.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

/// What `daemon`, `start` and `restart` take.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Keep every event, noise too, instead of one summary per process and minute
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Forget events older than this [default: 30]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) retention_days: Option<u32>,
    /// Forget the oldest events when the database grows beyond this [default: 256]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) retention_mb: Option<u32>,
    /// Have the kernel lend no claimed port to an outgoing connection (root;
    /// net.ipv4.ip_local_reserved_ports)
    #[arg(long, hide = cfg!(windows))]
    pub(crate) reserve_ports: bool,
    /// Ports that one user other than root may have claimed; 0 is no limit [default: 1000]
    #[arg(long, value_name = "PORTS")]
    pub(crate) ports_per_user: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Daemon {
    #[command(flatten)]
    pub(crate) start: Start,
    /// Write the kernel's records to this file, to be played back with --source replay:FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) record: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Shells with completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write one page a command into this directory instead of printing the first
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}
