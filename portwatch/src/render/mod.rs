//! Answers as text: functions of a wire answer onto a writer. Width, colour, zone and "now" are arguments; nothing here reads
//! a clock, the environment or a global. Foreign text reaches a terminal through [`sanitize`] only.
//!
//! Never: decide anything.

mod address;
mod agent;
mod channel;
mod claims;
mod config;
mod doctor;
mod free;
mod group;
mod health;
mod lock;
mod log;
mod ls;
mod others;
mod probe;
mod process;
mod rogue;
pub mod sanitize;
mod status;
mod summary;
mod table;
mod text;
mod traffic;
mod version;
mod wait;
mod webhook;
mod when;
mod who;
mod work;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

pub use agent::{agent, agents, salvage, salvaged};
pub use channel::{channel, channels, followed, messages, published};
pub use claims::{
    claimed, claims, cleaned, drift, imported, nothing_on, outside, ports, released, stranger, taken,
    worktrees,
};
pub use config::config;
pub use doctor::doctor;
pub use free::{free_plan, free_result};
pub use health::health;
pub use lock::{lock, locks, unlocked};
pub use log::{LogLines, log};
pub use ls::ls;
pub use probe::probe;
pub use rogue::{allowed, changed_rules, rogue};
pub use status::status;
pub use summary::summary;
pub use text::{Text, Tone};
pub use version::version;
pub use wait::{progress, wait};
pub use webhook::{webhook_added, webhook_log, webhook_removed, webhook_tested, webhooks};
pub use who::who;
pub use work::{note_written, notes, session, sessions};

use crate::wire::{SourceInfo, escaped};

/// A user's name, else the number.
fn user(name: Option<&String>, uid: u32) -> String {
    name.cloned().unwrap_or_else(|| format!("uid {uid}"))
}

/// How an answer is to look.
#[derive(Debug, Clone)]
pub struct Look {
    /// Columns; `None` where there is no terminal: then nothing is cut or wrapped.
    pub width: Option<usize>,
    /// Colour may be used.
    pub color: bool,
    /// The reader is a terminal: see [`sanitize`].
    pub terminal: bool,
    /// Evidence and identifiers too.
    pub verbose: bool,
    /// The moment ages are counted from.
    pub now: Timestamp,
    /// The reader's time zone.
    pub zone: TimeZone,
    /// The reader's home directory, shown as `~`.
    pub home: Option<String>,
}

/// One JSON document, indented, with a final newline.
pub fn json(out: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    escaped::pretty(out, document)?;
    writeln!(out)
}

/// One JSON object on one line.
pub fn json_line(out: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    escaped::line(out, document)?;
    writeln!(out)
}

/// An error: `portwatch: what happened`, wrapped, one sentence, harmless whatever it quotes.
pub fn error(out: &mut dyn Write, message: &str, look: &Look) -> io::Result<()> {
    let mut text = Text::new(look);
    text.push(Tone::Bad, "portwatch").plain(": ").plain(message);
    text.wrapped(out, 2)
}

/// A question, after a blank line; the answer is typed behind it.
pub fn question(out: &mut dyn Write, words: &str, look: &Look) -> io::Result<()> {
    let mut text = Text::new(look);
    text.push(Tone::Strong, words);
    writeln!(out)?;
    text.unterminated(out)?;
    write!(out, " ")?;
    out.flush()
}

/// A line quoted below an error.
pub fn quoted(out: &mut dyn Write, line: &str, look: &Look) -> io::Result<()> {
    let mut text = Text::new(look);
    text.plain("  ").plain(line);
    text.wrapped(out, 2)
}

/// That a list was cut, and where: `The first 1000 of 2417; more with --limit`
fn cut(
    out: &mut dyn Write,
    which: &str,
    truncated: bool,
    (shown, total): (usize, u64),
    look: &Look,
) -> io::Result<()> {
    if !truncated {
        return Ok(());
    }
    let mut text = Text::new(look);
    text.push(Tone::Warn, &format!("The {which} {shown} of {total}; more with --limit"));
    text.wrapped(out, 2)
}

/// What is missing from events that are shown as they happen.
pub fn following(out: &mut dyn Write, source: &SourceInfo, look: &Look) -> io::Result<()> {
    lacking(out, source, if source.daemon { "seen by the daemon" } else { "seen by this process" }, look)
}

/// The one line that says what is missing from an answer.
fn note(out: &mut dyn Write, source: &SourceInfo, look: &Look) -> io::Result<()> {
    let from = if source.daemon { "answered by the daemon" } else { "answered by a snapshot taken now" };
    lacking(out, source, from, look)
}

fn lacking(out: &mut dyn Write, source: &SourceInfo, from: &str, look: &Look) -> io::Result<()> {
    if let Some(note) = &source.note {
        let mut text = Text::new(look);
        text.push(Tone::Faint, "note: ").push(Tone::Faint, note);
        text.wrapped(out, 2)?;
    }
    if look.verbose {
        let mut text = Text::new(look);
        text.push(Tone::Faint, &format!("source: {}, {from}", source.source));
        text.wrapped(out, 2)?;
        for degradation in &source.degradations {
            let mut text = Text::new(look);
            text.push(Tone::Warn, &degradation.name)
                .plain(": ")
                .plain(&degradation.what)
                .plain(" ")
                .plain(&degradation.remedy);
            text.wrapped(out, 2)?;
        }
    }
    Ok(())
}
