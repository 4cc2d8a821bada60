//! The command line: flags, help, and through them man pages and shell completions.
//! Imports nothing of ours, so that nothing but this module decides what can be typed.

mod channel;
mod coordinate;
mod deferred;
mod examples;
mod global;
mod look;
mod parse;
mod registry;
mod resolve;
mod service;
mod webhook;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

pub(crate) use channel::{Channels, Pub, Sub};
pub(crate) use coordinate::{
    Agent, AgentWhat, Agents, As, EndWork, Lock, Locks, Note, Notes, Salvage, SalvageWhat, StartWork, Unlock,
    WithLock, Work, WorkWhat, Works, names_given,
};
use deferred::Deferred;
pub(crate) use global::{ColorWhen, Global};
pub(crate) use look::{EVENT_TYPES, EventFilter, Log, Ls, Namespaces, Probe, Watch, Who};
pub(crate) use parse::parse;
pub(crate) use registry::{
    Claim, Claims, Cleanup, Drift, Env, EnvFormat, Find, Health, Import, Pair, Release, Rogue, RogueCommand,
};
pub(crate) use resolve::{Free, Ready, Run, Wait};
pub(crate) use service::{Completions, Daemon, Man, Shell, Start};
pub(crate) use webhook::{AddWebhook, OneWebhook, RemoveWebhook, Webhook, WebhookLog, WebhookWhat};

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

/// Words that never reach the parser: `portwatch 3100` is `portwatch who 3100`, and so is a pasted URL.
pub(crate) fn expand(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_place = |word: &OsString| {
        word.to_str().is_some_and(|w| {
            let word = w.to_ascii_lowercase();
            let place = word.trim_end_matches("/tcp").trim_end_matches("/udp");
            let port = place.rsplit_once(':').map_or(place, |(_, port)| port);
            let is_port = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
            is_port || word.contains("://")
        })
    };
    if words.get(1).is_some_and(is_place) {
        words.insert(1, "who".into());
    }
    words
}
