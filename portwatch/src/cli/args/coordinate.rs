//! Flags of the commands that keep people and agents out of each other's way.

use std::ffi::OsString;

use clap::Args;

/// As whom.
#[derive(Debug, Args)]
pub(crate) struct As {
    /// As this agent
    #[arg(
        long,
        visible_alias = "owner",
        value_name = "AGENT",
        env = "PORTWATCH_AGENT",
        hide_env_values = true
    )]
    pub(crate) agent: Option<String>,
    /// As this session
    #[arg(long, value_name = "SESSION", env = "PORTWATCH_SESSION", hide_env_values = true)]
    pub(crate) session: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Lock {
    /// Letters, digits and ._:/@+-
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Held at most so long: 30s, 10m, 2h [default: 5m]
    #[arg(long, value_name = "D")]
    pub(crate) ttl: Option<String>,
    /// Wait in line for it, at most so long
    #[arg(long, short, value_name = "D", conflicts_with = "extend")]
    pub(crate) wait: Option<String>,
    /// Hold a lock of one's own for so long from now, and do not take it otherwise
    #[arg(long, short)]
    pub(crate) extend: bool,
    #[command(flatten)]
    pub(crate) whose: As,
    /// It ends with this process [default: the parent of this command, where no agent or session is named]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// The lock
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Take it away from whoever holds it; only its user and root may
    #[arg(long, short)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) whose: As,
    /// As this process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct WithLock {
    /// The lock
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
    /// Wait in line at most so long; 0s does not wait [default: as long as it takes]
    #[arg(long, short, value_name = "D")]
    pub(crate) wait: Option<String>,
    /// Held at most so long, even where the program still runs [default: until it ends]
    #[arg(long, value_name = "D")]
    pub(crate) ttl: Option<String>,
    #[command(flatten)]
    pub(crate) whose: As,
}
