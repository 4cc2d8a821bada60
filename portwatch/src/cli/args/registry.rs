//! Flags of commands for claims.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

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
