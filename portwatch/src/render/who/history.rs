//! What the journal tells of a port: who was refused it.

use std::io::{self, Write};

use super::fact::{fact, labelled};
use crate::{
    render::{Look, Text, Tone, process, when},
    wire::{Event, WhoTarget},
};

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
