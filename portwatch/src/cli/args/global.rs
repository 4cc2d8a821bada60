//! Flags that every command takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint, builder::FalseyValueParser};

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
