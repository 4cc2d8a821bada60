//! `status`: is the daemon running, what does it see.

use std::io::{self, Write};

use super::{Look, Text, Tone, log::thousands, when};
use crate::wire::{Degradation, FactCoverage, Status, coordinate::CoordinationCounts};

/// Writes the answer.
pub fn status(out: &mut dyn Write, answer: &Status, look: &Look) -> io::Result<()> {
    let mut head = Text::new(look);
    if answer.hangs.is_some() {
        head.push(Tone::Bad, "hangs");
        if let Some(pid) = answer.pid {
            head.plain(&format!("  pid {pid}"));
        }
    } else if answer.running {
        head.push(Tone::Strong, "running");
        if let Some(pid) = answer.pid {
            head.plain(&format!("  pid {pid}"));
        }
        if let Some(started) = answer.started {
            let age = when::span(when::age(started, look));
            head.plain(&format!("  since {}, {age}", when::clock(started, look)));
        }
    } else {
        head.push(Tone::Warn, "not running");
    }
    head.wrapped(out, 2)?;
    writeln!(out)?;
    if let Some(why) = &answer.hangs {
        field(out, "why", why, look)?;
    }
    let source = if answer.running && answer.hangs.is_none() {
        answer.source.source.clone()
    } else {
        format!("{} (what a snapshot uses)", answer.source.source)
    };
    field(out, "source", &source, look)?;
    if let Some(version) = &answer.version {
        field(out, "version", &format!("{} (build {})", version.version, version.build), look)?;
    }
    if let Some(socket) = &answer.socket {
        field(out, "socket", socket, look)?;
    }
    if let Some(database) = &answer.database {
        let size = answer.database_bytes.map_or_else(String::new, |b| format!(", {}", bytes(b)));
        let events = answer.events.map_or_else(String::new, |e| format!(", {} events", thousands(e)));
        field(out, "database", &format!("{database}{size}{events}"), look)?;
    }
    if let Some(listening) = answer.listening {
        let bound = answer.bound.map_or_else(String::new, |b| format!(", {} bound", thousands(b)));
        field(out, "sockets", &format!("{} listening{bound}", thousands(listening)), look)?;
    }
    if let Some(claims) = &answer.claims {
        let states = [
            ("live", claims.live),
            ("ghost", claims.ghost),
            ("squatted", claims.squatted),
            ("idle", claims.idle),
            ("unknown", claims.unknown),
        ];
        let states = states.into_iter().filter(|(_, count)| *count > 0);
        let states: Vec<String> =
            states.map(|(word, count)| format!("{} {word}", thousands(count))).collect();
        let words = match states.as_slice() {
            [] => "none".to_owned(),
            _ => format!("{} ({})", thousands(claims.total), states.join(", ")),
        };
        field(out, "claims", &words, look)?;
    }
    if let Some(counts) = &answer.coordination {
        coordination(out, counts, look)?;
    }
    if let Some(received) = answer.received {
        let lost = answer.lost.map_or_else(String::new, |lost| format!(", {} lost", thousands(lost)));
        field(out, "records", &format!("{} received{lost}", thousands(received)), look)?;
    }
    if let Some(memory) = answer.memory_bytes {
        field(out, "memory", &bytes(memory), look)?;
    }
    if let Some(error) = &answer.journal_error {
        let mut line = Text::new(look);
        line.plain("  ").push(Tone::Bad, "journal").pad_to(12).plain(error);
        line.wrapped(out, 12)?;
    }
    if let Some(note) = &answer.source.note {
        field(out, "note", note, look)?;
    }
    coverage(out, &answer.coverage, look)?;
    degradations(out, &answer.source.degradations, look)
}

/// `locks  1 held`, `agents  3 active, 1 stale`, …
fn coordination(out: &mut dyn Write, counts: &CoordinationCounts, look: &Look) -> io::Result<()> {
    let CoordinationCounts { locks, agents, sessions, channels } = counts;
    let channels = [(channels.total, "kept"), (channels.followed.unwrap_or(0), "followed")];
    for (label, parts) in [
        ("locks", &[(locks.held, "held"), (locks.expired, "expired"), (locks.waiting, "waiting")][..]),
        ("agents", &[(agents.active, "active"), (agents.stale, "stale"), (agents.dead, "dead")]),
        ("sessions", &[(sessions.active, "active")]),
        ("channels", &channels),
    ] {
        let there = parts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = there.map(|(count, word)| format!("{} {word}", thousands(*count))).collect();
        field(out, label, &if words.is_empty() { "none".to_owned() } else { words.join(", ") }, look)?;
    }
    Ok(())
}

fn field(out: &mut dyn Write, label: &str, words: &str, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.plain("  ").push(Tone::Faint, label).pad_to(12).plain(words);
    line.wrapped(out, 12)
}

/// Which hook serves each fact.
pub(super) fn coverage(out: &mut dyn Write, facts: &[FactCoverage], look: &Look) -> io::Result<()> {
    if facts.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut head = Text::new(look);
    head.push(Tone::Faint, "What is seen, and by which hook");
    head.line(out)?;
    for fact in facts {
        let mut line = Text::new(look);
        line.plain("  ").plain(&fact.fact).pad_to(18);
        match &fact.hook {
            Some(hook) => line.plain(hook),
            None => line.push(Tone::Warn, "not seen"),
        };
        line.wrapped(out, 18)?;
    }
    Ok(())
}

/// What is missing, and what would restore it.
pub(super) fn degradations(out: &mut dyn Write, all: &[Degradation], look: &Look) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut head = Text::new(look);
    head.push(Tone::Faint, "What is missing");
    head.line(out)?;
    for degradation in all {
        let mut line = Text::new(look);
        line.plain("  ").push(Tone::Warn, &degradation.name).plain("  ").plain(&degradation.what);
        line.wrapped(out, 4)?;
        let mut line = Text::new(look);
        line.plain("    ").plain(&degradation.remedy);
        line.wrapped(out, 4)?;
    }
    Ok(())
}

/// `12.4 MB`, powers of 1000.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    for (size, unit) in UNITS {
        if count >= size {
            return format!("{}.{} {unit}", count / size, count % size * 10 / size);
        }
    }
    format!("{count} bytes")
}
