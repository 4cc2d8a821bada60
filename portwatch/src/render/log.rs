//! `log` and `watch`: one line an event.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

use jiff::Timestamp;

use super::{Look, Text, Tone, note, process, text, when};
use crate::wire::{Event, Gap, Log};

const KIND: usize = 9;
const PLACE: usize = 11;
const PROCESS: usize = 18;
/// Continuation lines are indented to where the kind begins in lines of today.
const CONTINUED: usize = 10;
/// Below so many columns an event takes as many lines as it needs.
const NARROW: usize = 60;
/// The least of a command line or message that is worth a place at the end of a line.
const WORTH: usize = 12;
/// A command line is news again after so many other processes.
const REMEMBERED: usize = 64;

/// Writes the answer.
pub fn log(out: &mut dyn Write, answer: &Log, look: &Look) -> io::Result<()> {
    let mut lines = LogLines::new(answer.events.iter(), look);
    for event in &answer.events {
        lines.write(out, event, look)?;
    }
    if answer.events.is_empty() {
        let mut line = Text::new(look);
        line.plain("Nothing happened that matches.");
        line.wrapped(out, 2)?;
    }
    if answer.truncated {
        let mut line = Text::new(look);
        let count = answer.events.len();
        line.push(
            Tone::Faint,
            &format!("Only {count} of the events that match are shown; --limit 0 shows all."),
        );
        line.wrapped(out, 2)?;
    }
    note(out, &answer.source, look)
}

/// Writes events line by line. On a terminal the zone is said once, above the first, dates appear when an event is
/// not of today, and what a line has no room for is left to `--verbose`. In a pipe every line has its date and
/// offset, and nothing is cut. A process's command line is written where it is news.
#[derive(Debug, Clone)]
pub struct LogLines {
    dates: bool,
    began: bool,
    /// Processes whose command line was written lately, the latest last.
    told: VecDeque<(u32, Option<Timestamp>)>,
}

impl LogLines {
    /// Lines in the form that fits the events known already; others may follow.
    pub fn new<'a>(mut events: impl Iterator<Item = &'a Event>, look: &Look) -> Self {
        let old = |event: &Event| !when::is_today(&event.time.to_zoned(look.zone.clone()), look);
        Self { dates: events.any(old), began: false, told: VecDeque::new() }
    }

    /// Writes one event.
    pub fn write(&mut self, out: &mut dyn Write, event: &Event, look: &Look) -> io::Result<()> {
        let local = event.time.to_zoned(look.zone.clone());
        if look.terminal && !self.began {
            let mut line = Text::new(look);
            line.push(Tone::Faint, &format!("Times are {}.", when::zone(look)));
            line.wrapped(out, 0)?;
        }
        self.began = true;
        // Once a date was needed, later lines keep it: columns stay where they are.
        self.dates |= !when::is_today(&local, look);
        let form = match (look.terminal, self.dates, look.verbose) {
            (false, _, false) => "%Y-%m-%d %H:%M:%S%:z",
            (false, _, true) => "%Y-%m-%d %H:%M:%S%.6f%:z",
            (true, true, false) if look.width.is_some_and(|width| width < 100) => "%m-%d %H:%M:%S",
            (true, true, false) => "%Y-%m-%d %H:%M:%S",
            (true, true, true) => "%Y-%m-%d %H:%M:%S%.6f",
            (true, false, false) => "%H:%M:%S",
            (true, false, true) => "%H:%M:%S%.6f",
        };
        let mut line = Text::new(look);
        line.push(Tone::Faint, &local.strftime(form).to_string()).plain("  ");
        let begins = line.width();
        line.push(tone(event), &event.kind).pad_to(begins + KIND);
        let subject = sole_subject(event);
        line.plain(&subject.map_or_else(|| place(event), str::to_owned)).pad_to(begins + KIND + PLACE);
        let parts = details(event, self.is_news(event) || look.verbose, look);
        let column = begins + KIND + PLACE + PROCESS;
        let fits = |from: usize| {
            let first = parts.first().map_or(0, Text::width);
            look.width.is_none_or(|width| from + first <= width)
        };
        match &event.process {
            Some(process) => {
                let name = process::name(process);
                if look.width.is_some_and(|width| line.width() + text::width(&name) > width) {
                    line.line(out)?;
                    line = Text::new(look);
                    line.plain(&" ".repeat(CONTINUED));
                }
                line.plain(&name);
            }
            // What has no process may begin in that column where it would not fit otherwise.
            None if subject.is_none() && fits(column) => {
                line.plain("-");
            }
            None => {}
        }
        if fits(column) && !parts.is_empty() && line.width() < column {
            line.pad_to(column);
        }
        if look.verbose || look.width.is_some_and(|width| width < NARROW) {
            layout(out, line, parts, look)
        } else {
            one_line(out, line, parts, look)
        }
    }

    /// Whether the command line of an event's process is to be written: with every refused bind, and else where it
    /// was not written a moment ago.
    fn is_news(&mut self, event: &Event) -> bool {
        let Some(process) = &event.process else { return false };
        let id = (process.pid, process.started);
        let known = self.told.iter().position(|told| *told == id);
        if let Some(at) = known {
            self.told.remove(at);
        }
        self.told.push_back(id);
        if self.told.len() > REMEMBERED {
            self.told.pop_front();
        }
        known.is_none() || event.kind == "refused"
    }
}

fn tone(event: &Event) -> Tone {
    match event.kind.as_str() {
        "refused" | "gap" | "error" => Tone::Bad,
        "exit" if event.exit.as_ref().is_some_and(process::is_bad_end) => Tone::Bad,
        "rogue" | "ghost" => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// What an event is about that has neither port nor process: it takes their columns.
fn sole_subject(event: &Event) -> Option<&str> {
    let alone =
        event.port.is_none() && event.protocol.is_none() && event.process.is_none() && event.claim.is_none();
    event.subject.as_deref().filter(|_| alone)
}

fn place(event: &Event) -> String {
    match (event.port, &event.protocol) {
        (Some(port), Some(protocol)) => format!("{port}/{protocol}"),
        (Some(port), None) => port.to_string(),
        (None, Some(protocol)) => format!("-/{protocol}"),
        (None, None) => "-".to_owned(),
    }
}

/// Writes `parts` after `line`, two blanks apart, as far as there is room; the last may be cut.
fn one_line(out: &mut dyn Write, mut line: Text, parts: Vec<Text>, look: &Look) -> io::Result<()> {
    for part in parts {
        let blanks = if line.ends_blank() { 0 } else { 2 };
        let room = look.width.map_or(usize::MAX, |width| width.saturating_sub(line.width() + blanks));
        if part.width() > room && room < WORTH {
            break;
        }
        line.plain(&" ".repeat(blanks));
        line.append(part);
    }
    line.line(out)
}

/// Writes `parts` after `line`, two blanks apart; what has no room goes on lines of its own, and is cut only there.
fn layout(out: &mut dyn Write, mut line: Text, parts: Vec<Text>, look: &Look) -> io::Result<()> {
    for part in parts {
        let blanks = if line.ends_blank() { 0 } else { 2 };
        if look.width.is_some_and(|width| line.width() + blanks + part.width() > width) {
            line.line(out)?;
            line = Text::new(look);
            line.plain(&" ".repeat(CONTINUED));
        } else {
            line.plain(&" ".repeat(blanks));
        }
        line.append(part);
    }
    line.line(out)
}

/// Everything after the process: trouble, circumstances, project, command line.
fn details(event: &Event, command: bool, look: &Look) -> Vec<Text> {
    let mut parts = Vec::new();
    let mut part = |tone: Tone, words: &str| {
        let mut text = Text::new(look);
        text.push(tone, words);
        parts.push(text);
    };
    if let Some(gap) = &event.gap {
        part(Tone::Plain, &gap_words(gap, event));
    }
    if event.kind == "refused" {
        let mut words = process::errno(event).unwrap_or_else(|| "refused, nobody saw why".to_owned());
        if let Some(other) = &event.other {
            words = format!("{words}, held by {}", process::name(other));
        }
        part(Tone::Plain, &words);
    } else if let Some(errno) = process::errno(event) {
        part(Tone::Plain, &errno);
    }
    if let Some(exit) = &event.exit {
        let tone = if process::is_bad_end(exit) { Tone::Bad } else { Tone::Plain };
        // The row says "exit" already, and eighty columns are few.
        let words = process::end(event).unwrap_or_default();
        part(tone, words.strip_prefix("killed by ").unwrap_or(&words));
    }
    if !matches!(event.kind.as_str(), "refused" | "exit")
        && let Some(other) = &event.other
    {
        part(Tone::Plain, &format!("bound by {}", process::name(other)));
    }
    if event.kind == "close"
        && event.state.as_deref() == Some("bound")
        && event.protocol.as_deref() == Some("tcp")
    {
        // It may have been shut down before.
        part(Tone::Plain, "not listening");
    }
    if let Some(address) = &event.address
        && matches!(event.kind.as_str(), "bind" | "listen" | "refused")
    {
        part(Tone::Plain, address);
    }
    if event.random == Some(true) {
        part(Tone::Plain, "random");
    }
    if event.kind == "rogue"
        && let Some(parent) = event.process.as_ref().and_then(|process| process.lineage.get(..1))
        && let Some(parent) = process::lineage(parent, look)
    {
        part(Tone::Plain, &format!("by {parent}"));
    }
    if event.kind == "noise" {
        let span = event.since.map(|since| event.time.as_second().saturating_sub(since.as_second()));
        let within = span.map_or_else(String::new, |s| format!(" within {}", when::span(s)));
        let binds = if event.count == 1 { "bind" } else { "binds" };
        part(Tone::Plain, &format!("{} {binds}{within}", thousands(event.count)));
    }
    if event.kind == "timewait" {
        let span = event.since.map(|since| event.time.as_second().saturating_sub(since.as_second()));
        let within = span.map_or_else(String::new, |s| format!(" within {}", when::span(s)));
        let what = if event.count == 1 { "connection" } else { "connections" };
        let outgoing = if event.port.is_none() { "outgoing " } else { "" };
        part(Tone::Plain, &format!("{} {outgoing}{what} left{within}", thousands(event.count)));
    }
    if sole_subject(event).is_some() {
        // The row has begun with it.
    } else if let Some(claim) = event.claim.as_ref().or(event.subject.as_ref()) {
        part(Tone::Plain, claim);
    } else if let Some(project) = event.process.as_ref().and_then(|p| p.project.as_ref()) {
        part(Tone::Plain, &project.name);
    }
    if let Some(message) = &event.message {
        part(Tone::Plain, message);
    }
    if let Some(process) = event.process.as_ref().filter(|_| command)
        && process.command.as_ref().is_some_and(|c| !c.is_empty())
    {
        part(Tone::Faint, &process::command_or_name(process));
    }
    if look.verbose {
        let mut words = vec![event.evidence.clone()];
        words.extend(event.id.map(|id| format!("id {id}")));
        words.extend(event.netns.map(|netns| format!("netns {netns}")));
        words.extend(event.cookie.map(|cookie| format!("cookie {cookie}")));
        part(Tone::Faint, &format!("[{}]", words.join(", ")));
    }
    parts
}

/// `1,204 records lost in 80 ms: kernel buffer full`
fn gap_words(gap: &Gap, event: &Event) -> String {
    let why = match gap.reason.as_str() {
        "buffer-full" => "kernel buffer full",
        "not-running" => "no daemon was running",
        "paused" => "the observer did not run",
        "source-changed" => "the source changed",
        other => other,
    };
    let span = gap.since.map(|since| {
        let milliseconds = event.time.as_millisecond().saturating_sub(since.as_millisecond()).max(0);
        if milliseconds < 1000 { format!("{milliseconds} ms") } else { when::span(milliseconds / 1000) }
    });
    let what = match gap.lost.as_ref().map(|lost| lost.total) {
        Some(1) => "1 record lost".to_owned(),
        Some(total) => format!("{} records lost", thousands(total)),
        None => "events may be missing".to_owned(),
    };
    match span {
        Some(span) => format!("{what} in {span}: {why}"),
        None => format!("{what}: {why}"),
    }
}

/// `1,204`
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
