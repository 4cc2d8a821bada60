//! Flags of commands that look: who, ls, probe, log, watch.

use clap::{Args, ValueEnum, builder::PossibleValuesParser};

/// Words of `--type`; a test holds them equal to the vocabulary's.
pub(crate) const EVENT_TYPES: [&str; 26] = [
    "bind",
    "refused",
    "listen",
    "unlisten",
    "close",
    "exit",
    "noise",
    "timewait",
    "claim",
    "release",
    "auto",
    "ghost",
    "conflict",
    "rogue",
    "health",
    "lock",
    "unlock",
    "extend",
    "session",
    "note",
    "message",
    "heartbeat",
    "gap",
    "start",
    "stop",
    "error",
];

/// Which network namespaces; `who` and `ls` share it.
#[derive(Debug, Args)]
pub(crate) struct Namespaces {
    /// In this network namespace: a name of `ip netns`, an inode, or pid:N [default: your own]
    #[arg(long, value_name = "NETNS", conflicts_with = "all_namespaces", hide = cfg!(windows))]
    pub(crate) netns: Option<String>,
    /// In every network namespace, containers included
    #[arg(long, short = 'A', hide = cfg!(windows))]
    pub(crate) all_namespaces: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Who {
    /// PORT, HOST:PORT, `[v6%ZONE]:PORT`, PORT/udp, a URL, pid:N or a claim name; several at once
    #[arg(required = true, value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    #[command(flatten)]
    pub(crate) namespaces: Namespaces,
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// PORT, HOST:PORT, `[v6]:PORT`, `[v6%ZONE]:PORT`, each with /udp; without a host every address of both families
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    /// Let the exit code tell of the bind with SO_REUSEADDR, as most servers ask
    #[arg(long)]
    pub(crate) reuse_addr: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Ls {
    /// TCP only
    #[arg(long, short = 't', conflicts_with = "udp")]
    pub(crate) tcp: bool,
    /// UDP only
    #[arg(long, short = 'u')]
    pub(crate) udp: bool,
    /// Sockets of processes that work in this project
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Sockets of this user, by name or uid
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Sockets of this container and those that lead to it; name or beginning of its id
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    #[command(flatten)]
    pub(crate) namespaces: Namespaces,
    /// One port or a range: 3000 or 3000-3999
    #[arg(long, short, value_name = "A-B")]
    pub(crate) port: Option<String>,
    /// Order of the rows
    #[arg(long, value_name = "KEY", default_value = "port")]
    pub(crate) sort: SortKey,
    /// Noise too: kernel-chosen UDP ports and binds that do not listen
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Connections in TIME_WAIT instead: who left them, and for how long they stay
    #[arg(long, conflicts_with_all = ["udp", "all", "container", "all_namespaces"], hide = cfg!(windows))]
    pub(crate) time_wait: bool,
}

/// Order of `ls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortKey {
    /// Port, lowest first
    Port,
    /// Program name
    Process,
    /// Project name
    Project,
    /// Youngest first
    Since,
}

impl SortKey {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Process => "process",
            Self::Project => "project",
            Self::Since => "since",
        }
    }
}

/// Which events; `log` and `watch` share it.
#[derive(Debug, Args)]
pub(crate) struct EventFilter {
    /// Only these types of event, separated by commas; lock shows extend too
    #[arg(long = "type", short = 't', value_name = "TYPE,…", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(EVENT_TYPES), hide_possible_values = true)]
    pub(crate) types: Vec<String>,
    /// Only events whose command, project or message matches; * stands for anything
    #[arg(long, value_name = "PATTERN")]
    pub(crate) filter: Option<String>,
    /// Only these ports, separated by commas
    #[arg(long, short, value_name = "PORT,…", value_delimiter = ',')]
    pub(crate) port: Vec<String>,
    /// Only events of these processes, separated by commas
    #[arg(long, value_name = "PID,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Vec<u32>,
    /// Noise too: each bind of a resolver, each bind that never listened
    #[arg(long, short)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Not before: 1h, 2h30m, 3d, 14:00, 2026-03-01, "2026-03-01 14:00", yesterday, RFC 3339
    #[arg(long, short, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Before: the same forms
    #[arg(long, short = 'U', value_name = "TIME")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) filter: EventFilter,
    /// At most so many events, the newest of them; 0 is all [default: 1000, with --follow 10]
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Newest first
    #[arg(long, short, conflicts_with = "follow")]
    pub(crate) reverse: bool,
    /// Go on with events as they happen
    #[arg(long, short, conflicts_with = "until")]
    pub(crate) follow: bool,
    /// Counts instead of events: by type, most active, longest held, most refused
    #[arg(long, conflicts_with_all = ["follow", "reverse", "limit"])]
    pub(crate) summary: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) filter: EventFilter,
    /// End after so many events
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}
