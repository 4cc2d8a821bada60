//! Who had a free port last, and how that ended.

use std::io::{self, Write};

use jiff::SignedDuration;

use super::fact::labelled;
use crate::{
    render::{Look, Text, Tone, process, when},
    wire::{Event, Process, WhoTarget},
};

/// Who had the port last, until when, and how that ended.
pub(super) fn holder(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
    if !target.sockets.is_empty() || target.last.is_empty() {
        return Ok(());
    }
    // A listen is no end: whoever began it may live, on another address of the port.
    let of = |kinds: &[&str]| target.last.iter().find(|e| kinds.contains(&e.kind.as_str()));
    let Some(event) = of(&["close", "unlisten"]).or_else(|| of(&["exit"])) else { return Ok(()) };
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
    labelled(out, "last", line, look)?;
    match why(target, event, exit) {
        Some((who, exit, words)) => {
            let mut line = Text::new(look);
            line.plain(&format!("{who} "));
            line.push(Tone::Bad, &words).plain(&format!(" at {}", when::clock(exit.time, look)));
            labelled(out, "", line, look)
        }
        None => Ok(()),
    }
}

/// How the holder ended: the creator, unless it was gone well before the port was; then whoever closed last.
fn exit_of_holder<'a>(target: &'a WhoTarget, event: &Event) -> Option<&'a Event> {
    let closer = exit_of(target, event.process.as_ref());
    // Of an exit it is who sent the signal.
    let creator = exit_of(target, event.other.as_ref().filter(|_| event.kind != "exit"));
    // What becomes a daemon binds, forks and ends in order, and its child goes on.
    let outlived = |exit: &&Event| {
        let long =
            if tells_why(exit) { SignedDuration::from_secs(1) } else { SignedDuration::from_millis(100) };
        event.time.duration_since(exit.time) > long || !tells_why(exit) && closer.is_some_and(tells_why)
    };
    creator.filter(|exit| !outlived(exit)).or(closer)
}

fn exit_of<'a>(target: &'a WhoTarget, process: Option<&Process>) -> Option<&'a Event> {
    let process = process?;
    target.last.iter().find(|e| e.kind == "exit" && e.process.as_ref().is_some_and(|p| same(p, process)))
}

fn same(one: &Process, other: &Process) -> bool {
    (one.pid, one.started) == (other.pid, other.started)
}

/// Whether something ended the process: a signal, or what it says by its exit code.
fn tells_why(exit: &Event) -> bool {
    exit.exit.as_ref().is_some_and(|exit| process::is_bad_end(exit) || exit.sent_signal.is_some())
}

/// Where the last holder ended in order: what became of its master, or of who bound the socket, a minute before or after.
fn why<'a>(
    target: &'a WhoTarget,
    event: &Event,
    shown: Option<&Event>,
) -> Option<(String, &'a Event, String)> {
    const AROUND: SignedDuration = SignedDuration::from_mins(1);
    if shown.is_some_and(tells_why) {
        return None;
    }
    let last = event.process.as_ref();
    let parent = last.and_then(|p| p.lineage.first());
    target.last.iter().filter(|e| e.kind == "exit" && tells_why(e)).find_map(|exit| {
        let process = exit.process.as_ref()?;
        // A lineage has pids alone; whoever got the parent's pid after it started later than the child.
        let is_older =
            last.and_then(|p| p.started).zip(process.started).is_some_and(|(child, it)| it <= child);
        let is_parent = is_older && parent.is_some_and(|parent| parent.pid == process.pid);
        let what = match (is_parent, event.other.as_ref().is_some_and(|creator| same(creator, process))) {
            (true, _) => "its parent",
            (false, true) => "bound by",
            (false, false) => return None,
        };
        let near = exit.time.duration_since(event.time).abs() <= AROUND;
        let is_shown = shown.and_then(|e| e.process.as_ref()).is_some_and(|p| same(p, process));
        let words = process::end(exit).filter(|_| near && !is_shown)?;
        Some((format!("{what} {}", process::name(process)), exit, words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample::{at, event, killed, look, node, process, target};

    /// The line below the last holder, where its parent's number was of a process that started then and crashed.
    fn above(started: &str) -> String {
        let parent = Process { started: Some(at(started)), ..process(48277, "npm", &["npm"]) };
        let close = event("close", "2026-03-01T21:45:12Z", Some(3100), Some(node()));
        let crash =
            Event { exit: Some(killed()), ..event("exit", "2026-03-01T21:45:11Z", Some(3100), Some(parent)) };
        let free = WhoTarget { last: vec![crash, close], ..target("3100", "free", Vec::new()) };
        let mut out = Vec::new();
        holder(&mut out, &free, &look(120)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn who_got_the_parents_number_after_it_is_not_the_parent() {
        assert!(above("2026-03-01T19:14:20Z").contains("its parent npm (48277) killed by SIGKILL"));
        let later = above("2026-03-01T20:00:00Z");
        assert!(later.contains("node server.js (48291") && !later.contains("48277"), "{later}");
    }
}
