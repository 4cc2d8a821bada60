//! Flags of `webhook`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint, builder::PossibleValuesParser};

use super::EVENT_TYPES;

#[derive(Debug, Args)]
pub(crate) struct Webhook {
    #[command(subcommand)]
    pub(crate) what: WebhookWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookWhat {
    /// Send events to a URL from now on
    Add(AddWebhook),
    /// Which webhooks you have, and how they fare
    #[command(visible_alias = "ls")]
    List,
    /// Send nothing more, and forget what waits
    #[command(visible_alias = "rm")]
    Remove(RemoveWebhook),
    /// Send a test and say what became of it
    Test(OneWebhook),
    /// What was sent, and what became of it
    Log(WebhookLog),
}

#[derive(Debug, Args)]
pub(crate) struct AddWebhook {
    /// `http://HOST[:PORT]/PATH`; https is not supported
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) url: String,
    /// Types of events, separated by commas; all for every one
    #[arg(long, value_name = "TYPES", required = true, value_delimiter = ',',
          value_parser = PossibleValuesParser::new(EVENT_TYPES.into_iter().chain(["all"])))]
    pub(crate) on: Vec<String>,
    /// Only events with this in command line, name, project, claim or message; * is any text
    #[arg(long, value_name = "PATTERN")]
    pub(crate) filter: Option<String>,
    /// Only events of these ports
    #[arg(long, short, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Vec<u16>,
    /// Sign with what is in this file, 16 to 1024 bytes [default: a secret is made and shown once]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) secret_file: Option<PathBuf>,
    /// Try an event so often before it is given up [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) tries: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveWebhook {
    /// Their numbers
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct OneWebhook {
    /// Its number
    #[arg(value_name = "ID")]
    pub(crate) id: i64,
}

#[derive(Debug, Args)]
pub(crate) struct WebhookLog {
    /// Of this webhook [default: of all you have]
    #[arg(value_name = "ID")]
    pub(crate) id: Option<i64>,
    /// At most so many, the newest; at most 1000 [default: 100]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) limit: Option<u64>,
}
