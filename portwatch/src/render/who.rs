//! `who`: one card a program, one paragraph a free port.

mod card;
mod fact;
mod forward;
mod history;
mod last;

use std::io::{self, Write};

use super::{
    Look, Text, Tone,
    group::{self, Group},
    note, others, process, traffic, when,
};
use crate::wire::{Connection, Socket, Traffic, Who, WhoTarget};
use card::{card, main_facts};
use fact::{FACT, SIDE, fact, labelled};
use forward::published;
use history::refused;

/// Writes the answer.
pub fn who(out: &mut dyn Write, answer: &Who, look: &Look) -> io::Result<()> {
    for (index, target) in answer.targets.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        one(out, answer, target, look)?;
    }
    if answer.source.note.is_some() || look.verbose {
        writeln!(out)?;
    }
    note(out, &answer.source, look)
}

fn one(out: &mut dyn Write, answer: &Who, target: &WhoTarget, look: &Look) -> io::Result<()> {
    for (index, group) in group::by_program(&target.sockets).iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        card(out, answer, group, look)?;
    }
    let living = target.traffic.as_ref().map(traffic::living).unwrap_or_default();
    published(out, target, look)?;
    if !target.sockets.is_empty() || !target.published.is_empty() {
        claim_line(out, target, look)?;
    }
    if !target.published.is_empty() && target.sockets.is_empty() {
        // The card above is the answer.
    } else if target.sockets.is_empty() {
        match (target.state.as_str(), living.as_slice(), &target.traffic) {
            ("held", [first, ..], Some(traffic)) => connected(out, target, traffic, first, look)?,
            _ => headless(out, target, look)?,
        }
    } else if target.state != "held" {
        fact(out, &target.state, reason(target), Tone::Warn, look)?;
    }
    traffic_line(out, target, look)?;
    if let Some(words) = others::words(target) {
        if target.published.is_empty()
            && target.state == "free"
            && target.traffic.as_ref().and_then(traffic::summary).is_none()
        {
            writeln!(out)?;
        }
        fact(out, "beside", &words, Tone::Plain, look)?;
    }
    elsewhere(out, target, look)?;
    last::holder(out, target, look)?;
    refused(out, target, look)?;
    if let Some(verdict) = &target.verdict {
        let mut line = Text::new(look);
        line.plain("  ").plain(&verdict.sentence);
        writeln!(out)?;
        line.wrapped(out, 2)?;
    }
    Ok(())
}

/// A target on which nothing was found: free, unknown or ambiguous.
fn headless(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
    let mut head = Text::new(look);
    let name = match (target.port, &target.protocol) {
        (Some(port), Some(protocol)) => format!("{port}/{protocol}"),
        _ => target.asked.clone(),
    };
    head.push(Tone::Strong, &name).plain("  ");
    match target.state.as_str() {
        "free" if target.port.is_none() => {
            let nothing = if target.traffic.is_some() {
                "has no bound or listening socket, and no connection"
            } else {
                "has no bound or listening socket"
            };
            head.push(Tone::Strong, target.reason.as_deref().unwrap_or(nothing))
        }
        "free" => head.push(Tone::Strong, "free"),
        other => head.push(Tone::Warn, other),
    };
    if target.state == "free" {
        if let Some(reason) = target.reason.as_ref().filter(|_| target.port.is_some()) {
            head.plain(", ").plain(reason);
        }
        if let Some(claim) = &target.claim {
            head.pad_to(SIDE).plain("claim ").push(Tone::Strong, &claim.name).plain("  ");
            let tone = if claim.state == "ghost" { Tone::Warn } else { Tone::Plain };
            head.push(tone, &claim.state);
            if let Some(seen) = claim.seen.filter(|_| claim.state == "ghost") {
                let end = target.last.iter().find(|e| e.kind != "listen").map_or(seen, |e| e.time.max(seen));
                head.plain(&format!(", {}", when::span(when::age(end, look))));
            }
        }
        head.wrapped(out, 2)
    } else {
        head.wrapped(out, 2)?;
        writeln!(out)?;
        fact(out, "why", reason(target), Tone::Plain, look)
    }
}

/// A port that nobody is bound to, held by connections: `3100/tcp  CONNECTED  curl (812)`.
fn connected(
    out: &mut dyn Write,
    target: &WhoTarget,
    traffic: &Traffic,
    first: &Connection,
    look: &Look,
) -> io::Result<()> {
    let mut head = Text::new(look);
    let name = if target.port.is_some() { format!("{}/tcp", first.port) } else { target.asked.clone() };
    head.push(Tone::Strong, &name).plain("  ");
    head.push(Tone::Warn, "CONNECTED, not listening").plain("  ");
    match &first.process {
        Some(process) => head.push(Tone::Strong, &traffic::name(process)),
        None if first.owner == "not-permitted" => head.push(Tone::Warn, "not permitted to see the owner"),
        None => head.push(Tone::Warn, "owner unknown"),
    };
    if let Some(process) = &first.process {
        process::evidence(&mut head, &process.evidence, look);
    }
    head.wrapped(out, FACT)?;
    writeln!(out)?;
    let facts = first.process.as_ref().and_then(|p| traffic.processes.iter().find(|f| f.pid == p.pid));
    if let Some(main) = facts {
        main_facts(out, main, None, false, look)?;
    }
    let shown = if look.verbose { usize::MAX } else { 3 };
    let living = traffic::living(traffic);
    for (index, connection) in living.iter().take(shown).enumerate() {
        let mut words = format!("{}, {}", traffic::ends(connection), connection.state);
        if let Some(process) = connection.process.as_ref().filter(|p| Some(*p) != first.process.as_ref()) {
            words = format!("{words}, {}", traffic::name(process));
        }
        fact(out, if index == 0 { "connected" } else { "" }, &words, Tone::Plain, look)?;
    }
    if living.len() > shown {
        // Not all of them may be among those that are listed.
        let least = if traffic.connections_left_out > 0 { "at least " } else { "" };
        fact(out, "", &format!("and {least}{} more", living.len() - shown), Tone::Faint, look)?;
    }
    if target.state != "held" {
        fact(out, &target.state, reason(target), Tone::Warn, look)?;
    }
    Ok(())
}

/// Connections on the port, and each of them for the verbose reader.
fn traffic_line(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
    let Some(traffic) = &target.traffic else { return Ok(()) };
    let Some(words) = traffic::summary(traffic) else { return Ok(()) };
    // A free port has no facts before this one.
    if target.sockets.is_empty() && target.state != "held" {
        writeln!(out)?;
    }
    fact(out, "traffic", &words, Tone::Plain, look)?;
    // Of a port they have the same place, of a process each may have another.
    if target.port.is_none() && !look.verbose {
        let own: Vec<u16> = target.sockets.iter().map(|socket| socket.port).collect();
        for words in traffic::by_place(traffic, &own) {
            fact(out, "", &words, Tone::Plain, look)?;
        }
    }
    if !look.verbose {
        return Ok(());
    }
    for connection in &traffic.connections {
        fact(out, "", &traffic::line(connection), Tone::Faint, look)?;
    }
    if traffic.connections_left_out > 0 {
        fact(out, "", &format!("and {} more", traffic.connections_left_out), Tone::Faint, look)?;
    }
    Ok(())
}

/// What the claim on the port is worth, or what else explains the socket.
fn claim_line(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
    if let Some(claim) = &target.claim {
        let owner = super::user(claim.owner_name.as_ref(), claim.owner);
        let age = when::span(when::age(claim.created, look));
        let kind = if claim.kind == "auto" { ", automatic" } else { "" };
        let mut line = Text::new(look);
        line.plain(&claim.name).plain("  ");
        let tone = if claim.state == "squatted" { Tone::Bad } else { Tone::Plain };
        line.push(tone, &claim.state);
        line.plain(&format!("  of {owner}, since {age}{kind}"));
        return labelled(out, "claim", line, look);
    }
    let rogue =
        target.port.is_some() && target.sockets.iter().any(|s| s.standing.as_deref() == Some("rogue"));
    if rogue {
        let words = "none, and nothing else explains it: no project, unit, container or rule (rogue)";
        return fact(out, "claim", words, Tone::Warn, look);
    }
    Ok(())
}

fn reason(target: &WhoTarget) -> &str {
    target.reason.as_deref().unwrap_or("the reason is not recorded")
}

/// The same port in other network namespaces.
fn elsewhere(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
    if target.elsewhere.is_empty() {
        return Ok(());
    }
    if target.sockets.is_empty() && target.published.is_empty() {
        writeln!(out)?;
    }
    let groups = group::by_program(&target.elsewhere);
    let shown = if look.verbose { usize::MAX } else { 4 };
    for (index, group) in groups.iter().take(shown).enumerate() {
        let Some(socket) = group.first() else { continue };
        let who = group.main.map_or_else(|| "a process that was not found".to_owned(), process::name);
        let verb = if socket.state == "listening" { "listens on" } else { "has" };
        let words =
            format!("{who} {verb} {}/{} in {}", socket.port, socket.protocol, namespace(group, socket));
        fact(out, if index == 0 { "elsewhere" } else { "" }, &words, Tone::Plain, look)?;
    }
    let more = groups.len().saturating_sub(shown);
    let rest = if more > 0 { format!("and {more} more; ") } else { String::new() };
    let hint = format!("{rest}no conflict: other network namespaces; --all-namespaces shows them in full");
    fact(out, "", &hint, Tone::Faint, look)
}

/// `container web (docker)`, `netns blue`, `netns 4026532253`.
fn namespace(group: &Group<'_>, socket: &Socket) -> String {
    let container = group.main.and_then(|m| m.container.as_ref());
    match (container, &socket.netns_name, socket.netns) {
        (Some(container), ..) => format!("container {}", process::container(container)),
        (None, Some(name), _) => format!("netns {name}"),
        (None, None, Some(inode)) => format!("netns {inode}"),
        (None, None, None) => "another network namespace".to_owned(),
    }
}
