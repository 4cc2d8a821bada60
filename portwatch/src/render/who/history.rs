//! What the journal tells of a port: who had it last, and who was refused it.

use std::io::{self, Write};

use super::fact::{fact, labelled};
use crate::{
    render::{Look, Text, Tone, process, when},
    wire::{Event, Process, WhoTarget},
};

/// Who had the port last, until when, and how that ended.
pub(super) fn last_holder(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
    if !target.sockets.is_empty() || target.last.is_empty() {
        return Ok(());
    }
    // A listen is no end: whoever began it may live, on another address of the port.
    let ended = target.last.iter().find(|e| matches!(e.kind.as_str(), "close" | "exit" | "unlisten"));
    let Some(event) = ended else { return Ok(()) };
    let exit = exit_of_holder(target, event);
    // The creator is the holder people know; the last to close may be any worker.
    let who = exit.and_then(|e| e.process.as_ref()).or(event.other.as_ref()).or(event.process.as_ref());
    let mut words = match who {
        Some(process) => {
            let place = process::place(process, look).map_or_else(String::new, |p| format!(", {p}"));
            format!("{} ({}{place})", process::brief(process, 1, look), process.pid)
        }
        None => "a process that nobody saw".to_owned(),
    };
    words = format!("{words} until {}", when::clock(event.time, look));
    let mut line = Text::new(look);
    line.plain(&words);
    if let Some((exit, words)) = exit.and_then(|e| Some((e, process::end(e)?))) {
        let later = exit.time.as_second().saturating_sub(event.time.as_second());
        line.plain(if later > 1 { ", closed the socket, then " } else { ", " });
        let bad = exit.exit.as_ref().is_some_and(process::is_bad_end);
        line.push(if bad { Tone::Bad } else { Tone::Plain }, &words);
        if later > 1 {
            line.plain(&format!(" {} later", when::span(later)));
        }
    } else if exit.is_some() {
        line.plain(", ended; how was not seen");
    } else if event.kind == "close" {
        // A look finds that it is gone.
        let seen = event.evidence == "kernel";
        line.plain(if seen { ", closed the socket" } else { ", closed the socket or ended" });
    }
    process::evidence(&mut line, &event.evidence, look);
    writeln!(out)?;
    labelled(out, "last", line, look)
}

/// How the holder ended: the creator, unless it was gone well before the port was; then whoever closed last.
fn exit_of_holder<'a>(target: &'a WhoTarget, event: &Event) -> Option<&'a Event> {
    let of = |process: &Option<Process>| {
        let process = process.as_ref()?;
        target.last.iter().find(|e| {
            let same = |p: &Process| (p.pid, p.started) == (process.pid, process.started);
            e.kind == "exit" && e.process.as_ref().is_some_and(same)
        })
    };
    let outlived = |exit: &&Event| event.time.as_second() - exit.time.as_second() > 1;
    of(&event.other).filter(|exit| !outlived(exit)).or_else(|| of(&event.process))
}

/// Refused binds that read the same but for their times.
struct Refusals<'a> {
    newest: &'a Event,
    oldest: &'a Event,
    count: usize,
}

/// The newest of each process, which tries again and again.
fn folded<'a>(events: &'a [Event], look: &Look) -> Vec<Refusals<'a>> {
    let is_same = |one: &Event, other: &Event| {
        let who = |e: &Event| e.process.as_ref().map(|p| (p.pid, p.started));
        one.process.is_some()
            && who(one) == who(other)
            && (one.errno, &one.evidence) == (other.errno, &other.evidence)
    };
    let mut folded: Vec<Refusals<'a>> = Vec::new();
    for event in events {
        match folded.iter_mut().find(|known| !look.verbose && is_same(known.newest, event)) {
            Some(known) => {
                known.count += 1;
                known.oldest = event;
            }
            None => folded.push(Refusals { newest: event, oldest: event, count: 1 }),
        }
    }
    folded
}

pub(super) fn refused(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
    let shown = if look.verbose { usize::MAX } else { 3 };
    let folded = folded(&target.refused, look);
    for (index, Refusals { newest: event, oldest, count }) in folded.iter().take(shown).enumerate() {
        let mut line = Text::new(look);
        match &event.process {
            Some(process) => line.plain(&format!("{} ({})", process::brief(process, 1, look), process.pid)),
            None => line.plain("a process that nobody saw"),
        };
        line.plain(&format!(" at {}", when::clock(event.time, look)));
        if let Some(errno) = process::errno(event) {
            line.plain(", ").push(Tone::Bad, &errno);
        }
        if let Some(place) = event.process.as_ref().and_then(|p| process::place(p, look)) {
            line.plain(", in ").plain(&place);
        }
        if *count > 1 {
            line.plain(&format!(", {count} times since {}", when::clock(oldest.time, look)));
        }
        process::evidence(&mut line, &event.evidence, look);
        labelled(out, if index == 0 { "refused" } else { "" }, line, look)?;
    }
    let hidden: usize = folded.iter().skip(shown).map(|r| r.count).sum();
    match (target.refused_before, target.port, hidden) {
        (true, Some(port), _) => {
            let words = format!("and more before: portwatch log --port {port} --type refused");
            fact(out, "", &words, Tone::Faint, look)
        }
        (_, _, 0) => Ok(()),
        (_, _, more) => fact(out, "", &format!("and {more} more before"), Tone::Faint, look),
    }
}
