//! The command line: flags, help, and through them man pages and shell completions.
//! Imports nothing of ours, so that nothing but this file decides what can be typed.

mod channel;
mod coordinate;
mod deferred;
mod examples;
mod parse;
mod resolve;
mod webhook;

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Args, Parser, Subcommand, ValueEnum, ValueHint,
    builder::{FalseyValueParser, PossibleValuesParser},
};

pub(crate) use channel::{Channels, Pub, Sub};
pub(crate) use coordinate::{
    Agent, AgentWhat, Agents, As, EndWork, Lock, Locks, Note, Notes, Salvage, SalvageWhat, StartWork, Unlock,
    WithLock, Work, WorkWhat, Works, names_given,
};
use deferred::Deferred;
pub(crate) use parse::parse;
pub(crate) use resolve::{Free, Ready, Run, Wait};
pub(crate) use webhook::{AddWebhook, OneWebhook, RemoveWebhook, Webhook, WebhookLog, WebhookWhat};

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

/// A flight recorder and claims office for ports
///
/// portwatch sees every bind, listen and close as it happens, says who did it, and writes it down. Every
/// command works without a daemon; the daemon adds history, kernel events and speed.
#[derive(Debug, Parser)]
#[command(
    name = "portwatch",
    version,
    after_help = examples::TOP,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags every command takes. Each has a variable, and most a line in the configuration file; `portwatch
/// config` shows which of them won.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print one JSON document instead of text
    #[arg(long, global = true, env = "PORTWATCH_JSON", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,

    /// Show evidence, identifiers and everything that was cut
    #[arg(short, long, global = true, env = "PORTWATCH_VERBOSE", hide_env = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) verbose: bool,

    /// When to use colour [default: auto]
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        env = "PORTWATCH_COLOR",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) color: Option<ColorWhen>,

    /// Answer from a snapshot taken now, even when a daemon runs
    #[arg(long, global = true, env = "PORTWATCH_NO_DAEMON", hide_env_values = true, hide_short_help = true,
          value_parser = FalseyValueParser::new())]
    pub(crate) no_daemon: bool,

    /// The daemon's socket
    #[arg(long, help = if cfg!(windows) { "The daemon's pipe" } else { "The daemon's socket" },
          global = true, value_name = "PATH", env = "PORTWATCH_SOCKET", hide_env_values = true,
          hide_short_help = true, value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,

    /// State directory; the database portwatch.db lies in it
    #[arg(long, global = true, value_name = "DIR", env = "PORTWATCH_STATE", hide_env_values = true,
          hide_short_help = true, value_hint = ValueHint::DirPath)]
    pub(crate) state: Option<PathBuf>,

    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", env = "PORTWATCH_CONFIG", hide_env_values = true,
          hide_short_help = true, value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// Where facts come from: auto, ebpf, scan, lsof, netstat, replay:FILE [default: auto]
    #[arg(
        long,
        global = true,
        value_name = "SOURCE",
        env = "PORTWATCH_SOURCE",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) source: Option<String>,

    /// Which family of kernel hooks to use: auto, fentry, kprobe, stable, none [default: auto]
    #[arg(
        long,
        global = true,
        value_name = "FAMILY",
        env = "PORTWATCH_HOOKS",
        hide_env_values = true,
        hide = cfg!(windows),
        hide_short_help = true
    )]
    pub(crate) hooks: Option<String>,

    /// Hide secrets in command lines: on, off, or names of further options and variables to hide
    /// [default: on]
    #[arg(
        long,
        global = true,
        value_name = "NAMES",
        env = "PORTWATCH_REDACT",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) redact: Option<String>,

    /// Sockets of container engines to ask for names and ports: auto, off, or paths separated by commas
    /// [default: auto]
    #[arg(
        long,
        global = true,
        value_name = "PATH,…",
        env = "PORTWATCH_ENGINES",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) engines: Option<String>,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Who has a port, since when, and why a bind would fail
    #[command(after_help = examples::WHO)]
    Who(Deferred<Who>),
    /// What is open on this machine
    #[command(visible_alias = "list", after_help = examples::LS)]
    Ls(Deferred<Ls>),
    /// Try a real bind, with and without SO_REUSEADDR, and say why it fails
    #[command(after_help = examples::PROBE)]
    Probe(Deferred<Probe>),
    /// What happened: binds, refused binds, listens, closes, exits
    #[command(after_help = examples::LOG)]
    Log(Deferred<Log>),
    /// What happens, as it happens
    #[command(after_help = examples::WATCH)]
    Watch(Deferred<Watch>),
    /// End whoever holds ports, and wait until a server can bind them
    #[command(after_help = examples::FREE)]
    Free(Deferred<Free>),
    /// Run a program on a port, and start it again where the port was refused to it
    #[command(after_help = examples::RUN)]
    Run(Deferred<Run>),
    /// Wait until ports are free, listened on, or healthy
    #[command(after_help = examples::WAIT)]
    Wait(Deferred<Wait>),
    /// Claim a port for a name; the same name gets the same port every time
    #[command(after_help = examples::CLAIM)]
    Claim(Deferred<Claim>),
    /// Which claims there are, what runs on them, and who has a port
    #[command(after_help = examples::FIND)]
    Find(Deferred<Find>),
    /// Every claim, by project or git worktree
    #[command(after_help = examples::CLAIMS)]
    Claims(Deferred<Claims>),
    /// Give claims back
    #[command(after_help = examples::RELEASE)]
    Release(Deferred<Release>),
    /// Give back claims on which nothing runs any more
    #[command(after_help = examples::CLEANUP)]
    Cleanup(Deferred<Cleanup>),
    /// Are claimed programs well: asks each where it really listens
    #[command(after_help = examples::HEALTH)]
    Health(Deferred<Health>),
    /// Listeners that no claim, project, unit, container or rule explains
    #[command(after_help = examples::ROGUE, args_conflicts_with_subcommands = true)]
    Rogue(Deferred<Rogue>),
    /// Claims that do not run, and programs that are not claimed
    #[command(after_help = examples::DRIFT)]
    Drift(Deferred<Drift>),
    /// Print claimed ports as variables
    #[command(after_help = examples::ENV)]
    Env(Deferred<Env>),
    /// Claim what a .portdaddyrc or a ports.json says
    #[command(after_help = examples::IMPORT)]
    Import(Deferred<Import>),
    /// Take a lock, or wait for it in line
    #[command(after_help = examples::LOCK)]
    Lock(Deferred<Lock>),
    /// Give a lock back
    #[command(after_help = examples::UNLOCK)]
    Unlock(Deferred<Unlock>),
    /// Which locks are held, by whom, and for how long
    #[command(after_help = examples::LOCKS)]
    Locks(Deferred<Locks>),
    /// Run a program while holding a lock
    #[command(after_help = examples::WITH_LOCK)]
    WithLock(Deferred<WithLock>),
    /// Make agents known: programs that work for somebody, and give a sign of life now and then
    #[command(after_help = examples::AGENT)]
    Agent(Deferred<Agent>),
    /// Which agents there are, what they work on, and whether they live
    #[command(after_help = examples::AGENTS)]
    Agents(Deferred<Agents>),
    /// Begin and end pieces of work, and claim files for them
    #[command(after_help = examples::SESSION)]
    Session(Deferred<Work>),
    /// Who works on what, with which files
    #[command(after_help = examples::SESSIONS)]
    Sessions(Deferred<Works>),
    /// Write a note into a session
    #[command(after_help = examples::NOTE)]
    Note(Deferred<Note>),
    /// What was noted in a session
    #[command(after_help = examples::NOTES)]
    Notes(Deferred<Notes>),
    /// What dead agents worked on, and taking it over
    #[command(after_help = examples::SALVAGE, args_conflicts_with_subcommands = true)]
    Salvage(Deferred<Salvage>),
    /// Send events to a URL, signed, and again until they arrive
    #[command(after_help = examples::WEBHOOK)]
    Webhook(Deferred<Webhook>),
    /// Publish a message in a channel
    #[command(after_help = examples::PUB)]
    Pub(Deferred<Pub>),
    /// What was published in channels, and what is as it comes
    #[command(after_help = examples::SUB)]
    Sub(Deferred<Sub>),
    /// Which channels there are, and who may use them
    #[command(after_help = examples::CHANNELS)]
    Channels(Deferred<Channels>),
    /// Is the daemon running, what does it see, what is missing
    #[command(after_help = examples::STATUS)]
    Status,
    /// Everything that is counted, in the text format of Prometheus
    #[command(after_help = examples::METRICS)]
    Metrics,
    /// What works on this machine, what does not, and what would mend it
    #[command(after_help = examples::DOCTOR)]
    Doctor,
    /// Run the daemon in the foreground, logging to stderr
    #[command(after_help = examples::DAEMON)]
    Daemon(Deferred<Daemon>),
    /// Start the daemon in the background
    #[command(after_help = examples::START)]
    Start(Deferred<Start>),
    /// Stop the daemon
    #[command(after_help = examples::STOP)]
    Stop,
    /// Stop the daemon if it runs, and start it
    #[command(after_help = examples::RESTART)]
    Restart(Deferred<Start>),
    /// Version and build, and whether the daemon runs the same
    #[command(after_help = examples::VERSION)]
    Version,
    /// Every setting in effect and where it comes from
    #[command(after_help = examples::CONFIG)]
    Config,
    /// Print shell completions
    #[command(after_help = examples::COMPLETIONS)]
    Completions(Deferred<Completions>),
    /// Print the man page, or write the pages of all commands into a directory
    #[command(after_help = examples::MAN)]
    Man(Deferred<Man>),
}

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
    #[arg(long, conflicts_with_all = ["udp", "all"], hide = cfg!(windows))]
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

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Claim {
    /// `project:stack[:context]`, or a stack of the project in this directory; without one, everything that
    /// `.portwatch.toml` names
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// This port and no other
    #[arg(long, short, value_name = "PORT")]
    pub(crate) port: Option<String>,
    /// A port of this range [default: 3100-9999 without well-known ports]
    #[arg(long, value_name = "A-B", conflicts_with = "port")]
    pub(crate) range: Option<String>,
    /// None of these ports and ranges
    #[arg(long, value_name = "A-B,…", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
    /// Ports of the kernel's ephemeral range too
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// So many ports
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) ports: Option<u16>,
    /// The other protocol on the same number too
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) pair: Option<Pair>,
    /// UDP instead of TCP
    #[arg(long)]
    pub(crate) udp: bool,
    /// The address it will be bound at [default: any, so none may be taken]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Option<String>,
    /// Ends after so long (90s, 10m, 2h, 7d) unless it is claimed again or live
    #[arg(long, value_name = "TIME")]
    pub(crate) ttl: Option<String>,
    /// The agent it is for
    #[arg(long, value_name = "NAME", env = "PORTWATCH_AGENT", hide_env_values = true)]
    pub(crate) agent: Option<String>,
    /// The session it is for
    #[arg(long, value_name = "NAME", env = "PORTWATCH_SESSION", hide_env_values = true)]
    pub(crate) session: Option<String>,
    /// Print the port and nothing else
    #[arg(long, short, conflicts_with = "export")]
    pub(crate) quiet: bool,
    /// Print it as a variable for a shell
    #[arg(long)]
    pub(crate) export: bool,
}

/// The protocol that makes a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pair {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

impl Pair {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Find {
    /// myapp:*, *:api, myapp, myapp:api, :3100 (quoted, so that the shell leaves the * alone) [default: *]
    #[arg(value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Claims {
    /// Those of this project by git worktree
    #[arg(long, short)]
    pub(crate) worktree: bool,
    /// Those of a project
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Only mine
    #[arg(long)]
    pub(crate) mine: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// NAME, PATTERN or :PORT; several at once
    #[arg(required = true, value_name = "WHAT")]
    pub(crate) patterns: Vec<String>,
    /// Do not ask before everything is released
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    /// Say what would be released, and release nothing
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Whatever was neither claimed nor live for so long [default: 5m after its program ended, 24h if
    /// it never ran]
    #[arg(long, value_name = "TIME")]
    pub(crate) max_age: Option<String>,
    /// Only this directory's project, whatever the age
    #[arg(long, short)]
    pub(crate) project: bool,
    /// Only the project of this name, whatever the age
    #[arg(long, value_name = "NAME", conflicts_with = "project")]
    pub(crate) of: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Which claims [default: all]
    #[arg(value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
    /// Path of the request [default: the project's, else /]
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// A header of the request, 'Name: value'; may be given several times
    #[arg(long, value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// Statuses that are well, separated by commas [default: 200 to 399; without a path, below 500]
    #[arg(long, value_name = "STATUS,…", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(100..600))]
    pub(crate) status: Vec<u16>,
    /// How long an answer may take [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Only connect
    #[arg(long, conflicts_with_all = ["path", "header", "status"])]
    pub(crate) tcp: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rogue {
    /// Those too that are gone by now: 1h, yesterday, 2026-03-01
    #[arg(long, short, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Tell of them as they appear
    #[arg(long, short, conflicts_with = "since")]
    pub(crate) watch: bool,
    /// Only of this user, by name or uid
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// One port or a range: 3000 or 3000-3999
    #[arg(long, short, value_name = "A-B")]
    pub(crate) port: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<RogueCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RogueCommand {
    /// Add rules: comm:NAME, exe:PATH, port:A-B, user:UID, project:NAME, or a part of the command line
    Allow {
        /// The rules; * stands for anything
        #[arg(required = true, value_name = "RULE")]
        rules: Vec<String>,
    },
    /// Take rules away
    Disallow {
        /// The rules, as they were given
        #[arg(required = true, value_name = "RULE")]
        rules: Vec<String>,
    },
    /// Show the rules
    Allowed,
}

#[derive(Debug, Args)]
pub(crate) struct Drift {
    /// Only this directory's project
    #[arg(long, short)]
    pub(crate) project: bool,
    /// Only the project of this name
    #[arg(long, value_name = "NAME", conflicts_with = "project")]
    pub(crate) of: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Env {
    /// Which claims [default: those of this directory's project]
    #[arg(value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
    /// Form of the output
    #[arg(long, short, value_name = "FORM", default_value = "dotenv")]
    pub(crate) format: EnvFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The files [default: .portdaddyrc here or above, design/worktrees/ports.json of the git worktree]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// Say what would be claimed, and claim nothing
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// First part of the names [default: the file's own, else that of the project around it]
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Where the port of the file cannot be had, take another
    #[arg(long)]
    pub(crate) reassign: bool,
    /// Print the same as a .portwatch.toml, and claim nothing
    #[arg(long, conflicts_with_all = ["dry_run", "reassign"])]
    pub(crate) toml: bool,
}

/// Form of `env`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvFormat {
    /// `PORT_WEB=8081`, for .env files and docker compose
    Dotenv,
    /// export `PORT_WEB=8081`
    Shell,
    /// One JSON object
    Json,
    /// An override file for docker compose
    Compose,
}

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

/// Words that never reach the parser: `portwatch 3100` is `portwatch who 3100`.
pub(crate) fn expand(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_place = |word: &OsString| {
        word.to_str().is_some_and(|w| {
            let place = w.trim_end_matches("/tcp").trim_end_matches("/udp");
            let port = place.rsplit_once(':').map_or(place, |(_, port)| port);
            !port.is_empty() && port.chars().all(|c| c.is_ascii_digit())
        })
    };
    if words.get(1).is_some_and(is_place) {
        words.insert(1, "who".into());
    }
    words
}
