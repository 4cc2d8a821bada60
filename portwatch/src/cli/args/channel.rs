//! Flags of the commands with which people and programs talk to each other.

use clap::Args;

use super::As;

#[derive(Debug, Args)]
pub(crate) struct Pub {
    /// Letters, digits and ._:/@+-; it is made where it is not there
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: String,
    /// Its words; without any, or with `-`, all of standard input is one message
    #[arg(value_name = "MESSAGE", allow_hyphen_values = false)]
    pub(crate) words: Vec<String>,
    /// Let every user read and write the channel
    #[arg(long)]
    pub(crate) shared: bool,
    #[command(flatten)]
    pub(crate) whose: As,
    /// Print the number of the message and nothing else
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sub {
    /// A channel, or a pattern in which * stands for anything
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: String,
    /// So many messages of before [default: 20; with --follow none]
    #[arg(long, value_name = "N")]
    pub(crate) history: Option<u32>,
    /// What was published since: 1h, 14:00, 2026-03-01T14:00:00Z
    #[arg(long, short, value_name = "TIME", conflicts_with = "after")]
    pub(crate) since: Option<String>,
    /// What was published after the message with this number
    #[arg(long, value_name = "ID", conflicts_with = "history", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) after: Option<i64>,
    /// Go on with what is published from now on
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// End after so many messages
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Channels {
    /// Let every user read and write this channel of your own
    #[arg(long, value_name = "CHANNEL", group = "action")]
    pub(crate) share: Option<String>,
    /// Make it private again: to its user and root
    #[arg(long, value_name = "CHANNEL", group = "action")]
    pub(crate) unshare: Option<String>,
    /// Remove it, with all that was said in it
    #[arg(long, value_name = "CHANNEL", group = "action")]
    pub(crate) remove: Option<String>,
    /// At most so many; 0 is 10000, the most that one answer has [default: 1000]
    #[arg(long, short = 'n', value_name = "N", conflicts_with = "action")]
    pub(crate) limit: Option<u32>,
}
