//! Flags of the commands that keep people and agents out of each other's way.

use std::{ffi::OsString, path::PathBuf};

use std::ffi::OsStr;

use clap::{ArgMatches, Args, Subcommand, ValueHint, error::ErrorKind, parser::ValueSource};

/// As whom.
#[derive(Debug, Args)]
pub(crate) struct As {
    /// As this agent
    #[arg(
        long,
        visible_aliases = ["owner", "as"],
        value_name = "AGENT",
        env = "PORTWATCH_AGENT",
        hide_env_values = true
    )]
    pub(crate) agent: Option<String>,
    /// As this session
    #[arg(long, value_name = "SESSION", env = "PORTWATCH_SESSION", hide_env_values = true)]
    pub(crate) session: Option<String>,
}

/// Refuses an agent or a session that is named by nothing, as the unset variable of a script does: the order would be somebody
/// else's. An empty variable of the environment means that there is none.
pub(crate) fn names_given(matches: &ArgMatches) -> Result<(), clap::Error> {
    for id in ["agent", "session"] {
        let is_typed = matches!(matches.try_contains_id(id), Ok(true))
            && matches.value_source(id) == Some(ValueSource::CommandLine);
        let mut values = matches.try_get_raw(id).ok().flatten().into_iter().flatten();
        if is_typed && values.any(OsStr::is_empty) {
            return Err(clap::Error::raw(
                ErrorKind::InvalidValue,
                format!("--{id} is given an empty name; name one, or leave it out\n"),
            ));
        }
    }
    matches.subcommand().map_or(Ok(()), |(_, matches)| names_given(matches))
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
pub(crate) struct Locks {
    #[command(flatten)]
    pub(crate) most: Most,
}

/// How long a list may be.
#[derive(Debug, Args)]
pub(crate) struct Most {
    /// At most so many; 0 is 10000, the most that one answer has [default: 1000]
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<u32>,
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

/// The agent that acts.
#[derive(Debug, Args)]
pub(crate) struct AsAgent {
    /// As this agent [default: PORTWATCH_AGENT; `salvage claim`: else this terminal]
    #[arg(
        long,
        visible_aliases = ["owner", "as"],
        value_name = "AGENT",
        env = "PORTWATCH_AGENT",
        hide_env = true,
        hide_env_values = true
    )]
    pub(crate) agent: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Agent {
    #[command(subcommand)]
    pub(crate) what: AgentWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentWhat {
    /// Make an agent known, or tell more of it
    Register(Register),
    /// Give a sign of life
    Heartbeat(Named),
    /// End an agent: its locks are free, its sessions abandoned
    Unregister(Named),
}

#[derive(Debug, Args)]
pub(crate) struct Register {
    #[command(flatten)]
    pub(crate) named: Named,
    /// What it works on
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,
    /// What it is: `project:stack:context`, a model, a role
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) identity: Option<String>,
    /// It dies with this process of your own [default: with none, by silence only]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The agent: letters, digits and ._:/@+- [default: PORTWATCH_AGENT]
    #[arg(value_name = "NAME", env = "PORTWATCH_AGENT", hide_env = true, hide_env_values = true)]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Agents {
    /// Those too that were unregistered, were salvaged, or are dead for more than a day
    #[arg(long, short)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) most: Most,
}

#[derive(Debug, Args)]
pub(crate) struct Work {
    #[command(subcommand)]
    pub(crate) what: WorkWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkWhat {
    /// Begin a session
    Start(StartWork),
    /// End it: its work is done
    End(EndWork),
    /// End it: its work was left
    Abandon(EndWork),
    /// Claim files and directories for it
    Claim(ClaimFiles),
    /// Give files and directories back
    Release(ReleaseFiles),
}

#[derive(Debug, Args)]
pub(crate) struct StartWork {
    /// What for
    #[arg(value_name = "PURPOSE")]
    pub(crate) purpose: String,
    /// Claim these files and directories; nothing is begun where another session has one
    #[arg(long, short, value_name = "PATH", num_args = 1.., value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    /// Claim them even where others have
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) who: AsAgent,
    /// Print the id and nothing else
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EndWork {
    /// How it ended
    #[arg(value_name = "OUTCOME")]
    pub(crate) outcome: Option<String>,
    #[command(flatten)]
    pub(crate) whose: As,
}

#[derive(Debug, Args)]
pub(crate) struct ClaimFiles {
    /// A directory stands for all that is in it
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    /// Claim them even where others have
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) whose: As,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseFiles {
    /// As they were claimed
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) whose: As,
}

#[derive(Debug, Args)]
pub(crate) struct Works {
    /// Which files each claims
    #[arg(long, short)]
    pub(crate) files: bool,
    /// All that are kept, and not only the active ones and those that ended within a day
    #[arg(long, short)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) most: Most,
}

#[derive(Debug, Args)]
pub(crate) struct Note {
    /// Its words
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,
    /// note, progress, blocked, unblocked, error, decision or handoff [default: note]
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) whose: As,
}

#[derive(Debug, Args)]
pub(crate) struct Notes {
    #[command(flatten)]
    pub(crate) whose: As,
    /// Only this type
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) most: Most,
}

#[derive(Debug, Args)]
pub(crate) struct Salvage {
    #[command(subcommand)]
    pub(crate) what: Option<SalvageWhat>,
    #[command(flatten)]
    pub(crate) most: Most,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SalvageWhat {
    /// Take over what a dead agent worked on: its sessions, with notes and files
    Claim(SalvageClaim),
}

#[derive(Debug, Args)]
pub(crate) struct SalvageClaim {
    /// The dead agent
    #[arg(value_name = "AGENT")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) who: AsAgent,
}
