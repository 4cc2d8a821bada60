//! Flags of the commands that get a port back.

use std::ffi::OsString;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// PORT, HOST:PORT, `[v6%ZONE]:PORT`, PORT/udp or the name of a claim; several at once, all of which must be as wanted
    #[arg(required = true, value_name = "PORT")]
    pub(crate) places: Vec<String>,
    #[command(flatten)]
    pub(crate) condition: Condition,
    /// At most so long: 500ms, 30s, 5m
    #[arg(long, short, value_name = "D", default_value = "60s")]
    pub(crate) timeout: String,
    /// With --free: also for a server that does not set SO_REUSEADDR
    #[arg(long, conflicts_with_all = ["listening", "healthy"])]
    pub(crate) strict: bool,
    /// With --healthy: the path to ask for; its status must be 200 to 399
    #[arg(long, value_name = "PATH", conflicts_with_all = ["free", "listening"])]
    pub(crate) path: Option<String>,
}

/// What `wait` waits for.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Condition {
    /// Until a server could bind it, tried by a real bind on that host
    #[arg(long, short)]
    pub(crate) free: bool,
    /// Until somebody listens
    #[arg(long, short)]
    pub(crate) listening: bool,
    /// Until whoever listens answers: HTTP with a status below 500, or accepts without HTTP
    #[arg(long, short = 'H')]
    pub(crate) healthy: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Free {
    /// PORT, HOST:PORT, `[v6%ZONE]:PORT`, PORT/udp or the name of a claim; several at once
    #[arg(required = true, value_name = "PORT")]
    pub(crate) places: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Show what would be ended, and end nothing
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// The first signal [default: TERM; of a container, the stop signal of its own]
    #[arg(long, short, value_name = "SIGNAL", hide = cfg!(windows))]
    pub(crate) signal: Option<String>,
    /// How long until SIGKILL: 0, 500ms, 30s
    #[arg(long, short, value_name = "D", default_value = "5s", hide = cfg!(windows))]
    pub(crate) grace: String,
    /// End it even where a supervisor will start it again
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) connections: Connections,
}

/// What `free` does besides ending processes.
#[derive(Debug, Args)]
pub(crate) struct Connections {
    /// Have the kernel forget connections in TIME_WAIT on the port too (root)
    #[arg(long, hide = cfg!(windows))]
    pub(crate) time_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// PORT, HOST:PORT or the name of a claim, which is made if need be
    #[arg(value_name = "NAME|PORT")]
    pub(crate) target: String,
    /// The program and its arguments; {port} and {host} are filled in
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
    /// How often to start it again after a refused bind
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) retries: u32,
    /// How long to wait for the port before each of them
    #[arg(long, value_name = "D", default_value = "500ms")]
    pub(crate) delay: String,
    /// On a refused bind end the leftover of the same project, once
    #[arg(long, hide = cfg!(windows))]
    pub(crate) take: bool,
    /// Start it again when it fails, at most so often in a row, later each time
    #[arg(long, value_name = "N")]
    pub(crate) restart: Option<u32>,
    #[command(flatten)]
    pub(crate) ready: Ready,
    #[command(flatten)]
    pub(crate) policy: Policy,
}

/// When a program that is run is ready.
#[derive(Debug, Args)]
pub(crate) struct Ready {
    /// It has to listen on its port within this time (60s), or is ended
    #[arg(long, value_name = "D", num_args = 0..=1, default_missing_value = "60s")]
    pub(crate) wait_ready: Option<String>,
    /// It has to answer too, at this path (the project's, else any): implies --wait-ready
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "")]
    pub(crate) health: Option<String>,
}

/// What becomes of the claim.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Policy {
    /// Give the claim back when the program has ended and nothing else is on its port
    #[arg(long)]
    pub(crate) release: bool,
    /// Keep the claim, whatever .portwatch.toml says
    #[arg(long)]
    pub(crate) keep: bool,
}
