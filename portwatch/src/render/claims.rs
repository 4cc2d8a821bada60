//! Claims: `claim`, `find`, `claims`, `release`, `cleanup`.

use std::io::{self, Write};

use super::{
    Look, Text, Tone, address, note, process,
    table::{self, Column},
    when,
};
use crate::wire::{
    Event, Socket,
    claims::{Claim, ClaimedAll, Claims, Drift, ImportAnswer, ImportRow, Released, Worktrees},
};

const COLUMNS: [Column; 8] = [
    Column { title: "NAME", priority: 0, least: 12, right: false },
    Column { title: "PORT", priority: 0, least: 0, right: false },
    Column { title: "STATE", priority: 0, least: 0, right: false },
    Column { title: "CLAIMED", priority: 3, least: 0, right: false },
    Column { title: "PROGRAM", priority: 2, least: 10, right: false },
    Column { title: "HEALTH", priority: 4, least: 0, right: false },
    Column { title: "OWNER", priority: 6, least: 0, right: false },
    Column { title: "NOTE", priority: 1, least: 20, right: false },
];

/// Writes what was found.
pub fn claims(out: &mut dyn Write, answer: &Claims, look: &Look) -> io::Result<()> {
    if answer.claims.is_empty() && answer.unclaimed.is_empty() {
        return sentence(out, Tone::Plain, "Nothing is claimed that matches.", look);
    }
    if !answer.claims.is_empty() {
        rows(out, &answer.claims, look)?;
    }
    for socket in &answer.unclaimed {
        unclaimed(out, socket, look)?;
    }
    if look.verbose { note(out, &answer.source, look) } else { Ok(()) }
}

/// Writes that nobody has these ports and nothing was found there.
pub fn nothing_on(out: &mut dyn Write, answer: &Claims, ports: &[u16], look: &Look) -> io::Result<()> {
    for port in ports {
        let words = format!(
            "{port} is not claimed, and nothing listens there; portwatch who {port} says who had it and whether a bind \
             would succeed."
        );
        sentence(out, Tone::Plain, &words, look)?;
    }
    if look.verbose { note(out, &answer.source, look) } else { Ok(()) }
}

fn rows(out: &mut dyn Write, claims: &[Claim], look: &Look) -> io::Result<()> {
    let rows: Vec<_> = claims.iter().map(|claim| row(claim, look)).collect();
    table::write(out, &COLUMNS, &rows, look)
}

/// The state as one word, with how bad it is.
fn state(claim: &Claim) -> (Tone, String) {
    let tone = match claim.state.as_str() {
        "squatted" => Tone::Bad,
        "ghost" | "unknown" => Tone::Warn,
        _ => Tone::Plain,
    };
    (tone, claim.state.clone())
}

fn row(claim: &Claim, look: &Look) -> Vec<(Tone, String)> {
    let health = claim.health.as_ref().filter(|_| claim.state == "live");
    let health = health.map(|h| (health_tone(&h.result), h.result.replace('-', " ")));
    vec![
        (Tone::Strong, claim.name.clone()),
        (Tone::Plain, ports(claim)),
        state(claim),
        (Tone::Plain, format!("{} ago", when::span_short(when::age(claim.created, look)))),
        (Tone::Plain, program(claim).unwrap_or_default()),
        health.unwrap_or((Tone::Plain, String::new())),
        (Tone::Plain, claim.owner_name.clone().unwrap_or_else(|| claim.owner.to_string())),
        (Tone::Plain, remark(claim, look)),
    ]
}

fn health_tone(result: &str) -> Tone {
    if result == "healthy" { Tone::Plain } else { Tone::Bad }
}

/// `3100`, `3100+udp`, `3100 3101`
pub fn ports(claim: &Claim) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for port in &claim.ports {
        if last.replace(port.slot) == Some(port.slot) {
            if let Some(word) = words.last_mut() {
                *word = format!("{word}+{}", port.protocol);
            }
        } else if port.protocol == "udp" {
            words.push(format!("{}/udp", port.port));
        } else {
            words.push(port.port.to_string());
        }
    }
    words.join(" ")
}

/// The program that speaks for a socket.
fn holder(socket: &Socket) -> Option<String> {
    let process = socket.holders.first().map(|h| &h.process).or(socket.creator.as_ref())?;
    Some(format!("{} {}", process.comm, process.pid))
}

fn program(claim: &Claim) -> Option<String> {
    claim.sockets.first().or(claim.strangers.first()).and_then(holder)
}

fn remark(claim: &Claim, look: &Look) -> String {
    let mut words = Vec::new();
    if claim.state == "squatted" {
        words.push(whose(claim));
    } else if !claim.strangers.is_empty() {
        words.push(format!("also {}", whose(claim)));
    }
    if let Some(ended) = &claim.ended {
        words.push(end(ended, look));
    }
    if claim.kind == "auto" {
        words.push("automatic".to_owned());
    }
    if claim.expired {
        words.push("expired".to_owned());
    } else if let Some(expires) = claim.expires {
        let left = expires.as_second().saturating_sub(look.now.as_second()).max(0);
        words.push(format!("expires in {}", when::span_short(left)));
    }
    if let Some(agent) = &claim.agent {
        words.push(format!("agent {agent}"));
    }
    words.join(", ")
}

/// `project other has the port: node (48291)`
pub fn stranger(claim: &Claim) -> String {
    let name = claim.strangers.first().and_then(holder).map_or_else(String::new, |name| format!(": {name}"));
    format!("{}{name}", whose(claim))
}

/// `project other has the port`: whose the program is that has it, in few words.
fn whose(claim: &Claim) -> String {
    let socket = claim.strangers.first();
    let process = socket.and_then(|s| s.holders.first().map(|h| &h.process).or(s.creator.as_ref()));
    match process {
        Some(found) if found.uid.is_some_and(|uid| uid != claim.owner) => match (&found.user, found.uid) {
            (Some(user), _) => format!("user {user} has the port"),
            (None, Some(uid)) => format!("uid {uid} has the port"),
            (None, None) => "another user has the port".to_owned(),
        },
        Some(found) => match &found.project {
            Some(project) => format!("project {} has the port", project.name),
            None => "a program outside the project has the port".to_owned(),
        },
        None => "somebody else has the port".to_owned(),
    }
}

/// `ended 22:45:12, killed by SIGKILL`
fn end(event: &Event, look: &Look) -> String {
    let how = process::end(event).map_or_else(String::new, |end| format!(", {end}"));
    format!("ended {}{how}", when::clock(event.time, look))
}

/// A port that no claim has.
fn unclaimed(out: &mut dyn Write, socket: &Socket, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.push(Tone::Strong, &format!("{}/{}", socket.port, socket.protocol)).plain("  not claimed");
    if let Some(name) = holder(socket) {
        line.plain("  ").plain(&name);
    }
    line.plain("  ").plain(&address::with_port(&socket.address, socket.port));
    if let Some((tone, words)) = standing(socket) {
        line.plain("  ").push(tone, &words);
    }
    line.wrapped(out, 2)
}

/// What explains a socket, in two or three words.
pub(super) fn standing(socket: &Socket) -> Option<(Tone, String)> {
    let by = socket.explained_by.clone().unwrap_or_default();
    match socket.standing.as_deref()? {
        "claim" => Some((Tone::Plain, socket.claim.clone()?)),
        "conflict" => Some((Tone::Bad, format!("conflict with {}", socket.claim.clone()?))),
        "unit" => Some((Tone::Plain, format!("unit {}", by.trim_end_matches(".service")))),
        "container" => Some((Tone::Plain, format!("container {by}"))),
        "kernel" => Some((Tone::Plain, "kernel".to_owned())),
        "init" => Some((Tone::Plain, "init".to_owned())),
        "project" => Some((Tone::Plain, format!("project {by}"))),
        "allowed" => Some((Tone::Plain, "allowed".to_owned())),
        "rogue" => Some((Tone::Warn, "rogue".to_owned())),
        "unknown" => Some((Tone::Warn, "unknown".to_owned())),
        _ => None,
    }
}

/// Writes what was claimed.
pub fn claimed(out: &mut dyn Write, answer: &ClaimedAll, look: &Look) -> io::Result<()> {
    rows(out, &answer.claims, look)?;
    if look.verbose { note(out, &answer.source, look) } else { Ok(()) }
}

/// The sentence for a claim that keeps a port outside the range asked for.
pub fn outside(claim: &Claim, range: &str) -> String {
    let (name, ports) = (&claim.name, ports(claim));
    format!("{name} keeps {ports}, not of {range}; to move it, release it first: portwatch release {name}")
}

/// The sentence for a claim whose port somebody else has.
pub fn taken(claim: &Claim) -> String {
    let name = claim.strangers.first().and_then(holder).map_or_else(String::new, |name| format!(" ({name})"));
    format!("{} has port {}, but at the moment {}{name}", claim.name, ports(claim), whose(claim))
}

/// Writes what was released.
pub fn released(out: &mut dyn Write, answer: &Released, look: &Look) -> io::Result<()> {
    match answer.released.as_slice() {
        [] => {}
        [one] => {
            sentence(out, Tone::Plain, &format!("Released {} (port {})", one.name, ports(one)), look)?;
            still_there(out, one, look)?;
        }
        many => {
            sentence(out, Tone::Plain, &format!("Released {} claims:", many.len()), look)?;
            listed(out, many, look)?;
        }
    }
    others(out, answer, look)
}

/// Releasing ends a name, not a program.
fn still_there(out: &mut dyn Write, claim: &Claim, look: &Look) -> io::Result<()> {
    match program(claim) {
        Some(program) => {
            let words = format!("{program} still has the port; portwatch who {} shows it", ports(claim));
            sentence(out, Tone::Faint, &words, look)
        }
        None => Ok(()),
    }
}

/// Writes what was swept up, or would be.
pub fn cleaned(out: &mut dyn Write, answer: &Released, look: &Look) -> io::Result<()> {
    let count = answer.released.len();
    let claims = if count == 1 { "claim" } else { "claims" };
    match (count, answer.dry_run) {
        (0, _) if answer.kept.is_empty() => sentence(out, Tone::Plain, "No stale claims.", look)?,
        (0, _) => {}
        (_, true) => sentence(out, Tone::Plain, &format!("Would release {count} stale {claims}:"), look)?,
        (_, false) => sentence(out, Tone::Plain, &format!("Released {count} stale {claims}:"), look)?,
    }
    if count > 0 {
        listed(out, &answer.released, look)?;
    }
    others(out, answer, look)
}

/// So many claims of others are named.
const NAMED: usize = 10;

fn others(out: &mut dyn Write, answer: &Released, look: &Look) -> io::Result<()> {
    if !answer.foreign.is_empty() {
        let named: Vec<&str> = answer.foreign.iter().take(NAMED).map(String::as_str).collect();
        let more = match answer.foreign.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        sentence(out, Tone::Warn, &format!("Not yours, and kept: {}{more}", named.join(", ")), look)?;
    }
    if !answer.kept.is_empty() {
        let words = format!("Something is on their ports, so they were kept: {}", answer.kept.join(", "));
        sentence(out, Tone::Plain, &words, look)?;
    }
    Ok(())
}

const LISTED: [Column; 5] = [
    Column { title: "NAME", priority: 0, least: 12, right: false },
    Column { title: "PORT", priority: 0, least: 0, right: false },
    Column { title: "STATE", priority: 0, least: 0, right: false },
    Column { title: "CLAIMED", priority: 2, least: 0, right: false },
    Column { title: "NOTE", priority: 1, least: 20, right: false },
];

fn listed(out: &mut dyn Write, claims: &[Claim], look: &Look) -> io::Result<()> {
    let row = |claim: &Claim| {
        vec![
            (Tone::Strong, claim.name.clone()),
            (Tone::Plain, ports(claim)),
            state(claim),
            (Tone::Plain, format!("{} ago", when::span_short(when::age(claim.created, look)))),
            (Tone::Plain, remark(claim, look)),
        ]
    };
    table::write(out, &LISTED, &claims.iter().map(row).collect::<Vec<_>>(), look)
}

/// Writes claims by worktree.
pub fn worktrees(out: &mut dyn Write, answer: &Worktrees, look: &Look) -> io::Result<()> {
    if answer.worktrees.is_empty() {
        let words = format!("Nothing is claimed in project {}.", answer.project);
        return sentence(out, Tone::Plain, &words, look);
    }
    for (index, worktree) in answer.worktrees.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let mut head = Text::new(look);
        head.plain("worktree ").push(Tone::Strong, &worktree.name);
        match &worktree.path {
            Some(path) => head.plain("  ").push(Tone::Faint, &process::path(path, look)),
            // An index that git has pruned.
            None if answer.worktrees.iter().any(|other| other.path.is_some()) => {
                head.plain("  ").push(Tone::Warn, "gone")
            }
            None => &mut head,
        };
        if let Some(branch) = &worktree.branch {
            head.plain("  ").push(Tone::Faint, &format!("({branch})"));
        }
        head.wrapped(out, 2)?;
        if worktree.claims.is_empty() {
            sentence(out, Tone::Plain, "  nothing is claimed", look)?;
        } else {
            rows(out, &worktree.claims, look)?;
        }
    }
    Ok(())
}

const IMPORTED: [Column; 4] = [
    Column { title: "NAME", priority: 0, least: 12, right: false },
    Column { title: "PORT", priority: 0, least: 0, right: false },
    Column { title: "RESULT", priority: 0, least: 0, right: false },
    Column { title: "NOTE", priority: 1, least: 20, right: false },
];

/// Writes what was imported, or would be.
pub fn imported(out: &mut dyn Write, answer: &ImportAnswer, look: &Look) -> io::Result<()> {
    if answer.rows.is_empty() {
        sentence(out, Tone::Plain, "There is nothing in it to claim.", look)?;
    } else {
        let row = |row: &ImportRow| {
            let result = match row.result.as_str() {
                "claimed" => (Tone::Plain, "claimed"),
                "kept" => (Tone::Faint, "as it was"),
                "would-claim" => (Tone::Plain, "would be claimed"),
                _ => (Tone::Bad, "refused"),
            };
            vec![
                (Tone::Strong, row.name.clone()),
                (Tone::Plain, row.port.map_or_else(|| "-".to_owned(), |port| port.to_string())),
                (result.0, result.1.to_owned()),
                (Tone::Plain, row.sentence.clone().unwrap_or_default()),
            ]
        };
        table::write(out, &IMPORTED, &answer.rows.iter().map(row).collect::<Vec<_>>(), look)?;
    }
    for words in &answer.notes {
        sentence(out, Tone::Faint, &format!("left out: {words}"), look)?;
    }
    Ok(())
}

/// Writes what registry and reality disagree in.
pub fn drift(out: &mut dyn Write, answer: &Drift, look: &Look) -> io::Result<()> {
    if answer.claims.is_empty() && answer.unclaimed.is_empty() {
        return sentence(out, Tone::Plain, "No drift: what is claimed runs, and what runs is claimed.", look);
    }
    if !answer.claims.is_empty() {
        sentence(out, Tone::Faint, "Claimed, and not running", look)?;
        rows(out, &answer.claims, look)?;
    }
    if !answer.unclaimed.is_empty() {
        if !answer.claims.is_empty() {
            writeln!(out)?;
        }
        sentence(out, Tone::Faint, "Running, and not claimed", look)?;
        for socket in &answer.unclaimed {
            unclaimed(out, socket, look)?;
        }
    }
    if look.verbose { note(out, &answer.source, look) } else { Ok(()) }
}

pub(super) fn sentence(out: &mut dyn Write, tone: Tone, words: &str, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.push(tone, words);
    line.wrapped(out, 2)
}
