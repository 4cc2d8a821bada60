//! `free`: what will be ended, who depends on it, and what came of it.

use std::io::{self, Write};

use super::{Look, Text, Tone, process, wait::span, when};
use crate::wire::{Free, FreeProcess, FreeTarget, Process};

/// Column where a fact begins, after its label.
const FACT: usize = 12;
/// So many workers are named.
const WORKERS: usize = 12;

/// Writes what would be done.
pub fn free_plan(out: &mut dyn Write, answer: &Free, look: &Look) -> io::Result<()> {
    for (index, target) in answer.targets.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        plan(out, target, look)?;
    }
    Ok(())
}

/// Writes what was done, a line a port.
pub fn free_result(out: &mut dyn Write, answer: &Free, look: &Look) -> io::Result<()> {
    for target in &answer.targets {
        let mut line = Text::new(look);
        line.push(Tone::Strong, &name(target)).plain("  ");
        match (target.state.as_str(), target.seconds) {
            ("freed", Some(seconds)) => line.push(Tone::Strong, &format!("free after {}", span(seconds))),
            ("free" | "freed", _) => line.push(Tone::Strong, "free"),
            ("held", _) => line.push(Tone::Bad, "not free"),
            ("failed", _) => line.push(Tone::Bad, "not known to be free"),
            (other, _) => line.push(Tone::Warn, other),
        };
        if let Some(sentence) = &target.sentence {
            line.plain(": ").plain(sentence);
        }
        line.wrapped(out, 2)?;
    }
    Ok(())
}

fn plan(out: &mut dyn Write, target: &FreeTarget, look: &Look) -> io::Result<()> {
    let mut head = Text::new(look);
    head.push(Tone::Strong, &name(target)).plain("  ");
    match target.state.as_str() {
        "refused" => head.push(Tone::Bad, "nothing is ended"),
        "free" => head.push(Tone::Strong, "free"),
        _ => head.plain(&format!("held by {}", holders(target))),
    };
    if let Some(sentence) = &target.sentence {
        head.plain(", ").plain(sentence);
    }
    head.wrapped(out, 2)?;
    if target.state == "free" {
        return Ok(());
    }
    writeln!(out)?;
    let refused = target.state == "refused";
    for refusal in &target.refusals {
        let mut line = Text::new(look);
        if let Some(process) = &refusal.process {
            line.push(Tone::Strong, &process::name(process)).plain(": ");
        }
        line.plain(&refusal.why);
        labelled(out, "not", line, look)?;
        let mut line = Text::new(look);
        line.plain(&refusal.instead);
        if refusal.forceable {
            line.push(Tone::Faint, "   or --force");
        }
        labelled(out, "instead", line, look)?;
    }
    let label = if refused { "holds" } else { "end" };
    let (workers, leaders): (Vec<_>, Vec<_>) = target.processes.iter().partition(|p| p.role == "worker");
    for leader in &leaders {
        labelled(out, label, described(&leader.process, look), look)?;
        let mut place = Text::new(look);
        place.plain(&whereabouts(&leader.process, look));
        labelled(out, "", place, look)?;
        if let Some(lineage) = process::lineage(&leader.process.lineage, look) {
            let mut line = Text::new(look);
            line.plain("by ").plain(&lineage);
            labelled(out, "started", line, look)?;
        }
        if let Some(note) = &leader.note {
            let mut line = Text::new(look);
            line.push(Tone::Warn, note);
            labelled(out, "note", line, look)?;
        }
    }
    if !workers.is_empty() {
        let mut words: Vec<String> =
            workers.iter().take(WORKERS).map(|w| w.process.pid.to_string()).collect();
        if workers.len() > WORKERS {
            words.push(format!("and {} more", workers.len() - WORKERS));
        }
        let mut line = Text::new(look);
        line.plain(&words.join(" ")).push(Tone::Faint, "   after their master");
        labelled(out, "workers", line, look)?;
    }
    for stop in &target.containers {
        let mut line = Text::new(look);
        line.push(Tone::Strong, &stop.command)
            .plain("   ")
            .plain(&process::container_in_full(&stop.container));
        labelled(out, if refused { "container" } else { "stop" }, line, look)?;
        if let Some(note) = &stop.note {
            let mut line = Text::new(look);
            line.push(Tone::Warn, note);
            labelled(out, "note", line, look)?;
        }
    }
    for unit in &target.units {
        let mut line = Text::new(look);
        line.push(Tone::Strong, &unit.command);
        labelled(out, if refused { "unit" } else { "run" }, line, look)?;
        for process in &unit.processes {
            labelled(out, "of", described(process, look), look)?;
            let mut place = Text::new(look);
            place.plain(&whereabouts(process, look));
            labelled(out, "", place, look)?;
        }
    }
    if !target.dependents.is_empty() {
        let words: Vec<String> = target
            .dependents
            .iter()
            .take(8)
            .map(|d| {
                let who = d.process.as_ref().map_or_else(|| d.address.clone(), process::name);
                if d.connections == 1 { who } else { format!("{who} {} times", d.connections) }
            })
            .collect();
        let more = target.dependents.len().saturating_sub(words.len());
        let more = if more == 0 { String::new() } else { format!(", and {more} more") };
        let mut line = Text::new(look);
        line.plain(&format!("{}{more}", words.join(", ")));
        labelled(out, "connected", line, look)?;
    }
    Ok(())
}

fn holders(target: &FreeTarget) -> String {
    let leaders: Vec<&FreeProcess> = target.processes.iter().filter(|p| p.role != "worker").collect();
    let workers = target.processes.len() - leaders.len();
    let led = match leaders.as_slice() {
        [] if !target.containers.is_empty() => "a container".to_owned(),
        [] if target.units.is_empty() => "connections in TIME_WAIT".to_owned(),
        [] => match target.units.iter().find_map(|unit| unit.processes.first()) {
            Some(process) => format!("{} of a unit of systemd", process::name(process)),
            None => "a unit of systemd".to_owned(),
        },
        [one] => process::name(&one.process),
        [first, rest @ ..] => format!("{} and {} others", process::name(&first.process), rest.len()),
    };
    match workers {
        0 => led,
        1 => format!("{led} and a worker"),
        n => format!("{led} and {n} workers"),
    }
}

fn described(one: &Process, look: &Look) -> Text {
    let mut line = Text::new(look);
    line.push(Tone::Strong, &process::name(one)).plain("  ");
    line.plain(&process::command_or_name(one));
    line
}

/// `in ~/code/myapp (worktree main), user erich, since 20:14:30, 6h 12m`
fn whereabouts(process: &Process, look: &Look) -> String {
    let mut words = Vec::new();
    if let Some(place) = process::place(process, look) {
        words.push(format!("in {place}"));
    }
    if let Some(user) = process::user(process.user.as_deref(), process.uid) {
        words.push(format!("user {user}"));
    }
    if let Some(started) = process.started {
        words.push(format!("since {}, {}", when::clock(started, look), when::span(when::age(started, look))));
    }
    words.join(", ")
}

fn name(target: &FreeTarget) -> String {
    if target.asked.contains('/') {
        target.asked.clone()
    } else {
        format!("{}/{}", target.asked, target.protocol)
    }
}

fn labelled(out: &mut dyn Write, label: &str, words: Text, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.plain("  ").push(Tone::Faint, label).pad_to(FACT);
    line.append(words);
    line.wrapped(out, FACT)
}
