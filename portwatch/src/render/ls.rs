//! `ls`: one row a program and port.

use std::io::{self, Write};

use super::{
    Look, Text, Tone, address, claims,
    group::{self, Group},
    note, process,
    table::{self, Column},
    traffic, when,
};
use crate::wire::{Forward, List, Socket};

const COLUMNS: [Column; 11] = [
    Column { title: "PORT", priority: 0, least: 0, right: false },
    Column { title: "PROTO", priority: 1, least: 0, right: false },
    Column { title: "ADDRESS", priority: 2, least: 9, right: false },
    Column { title: "PROCESS", priority: 0, least: 15, right: false },
    Column { title: "USER", priority: 7, least: 0, right: false },
    Column { title: "PROJECT", priority: 4, least: 10, right: false },
    Column { title: "CLAIM", priority: 5, least: 10, right: false },
    Column { title: "SINCE", priority: 6, least: 0, right: false },
    Column { title: "NETNS", priority: 2, least: 0, right: false },
    Column { title: "NOTE", priority: 3, least: 6, right: false },
    Column { title: "COMMAND", priority: 8, least: 24, right: false },
];

/// Writes the answer.
pub fn ls(out: &mut dyn Write, answer: &List, look: &Look) -> io::Result<()> {
    if let Some(rows) = &answer.time_wait {
        return traffic::time_wait(out, answer, rows, look);
    }
    let groups = group::by_program(&answer.sockets);
    if groups.is_empty() {
        let mut line = Text::new(look);
        let words = answer.missing.as_ref().map_or_else(
            || "Nothing found.".to_owned(),
            |why| format!("Nothing found, and not everything could be seen: {why}."),
        );
        line.plain(&words);
        line.wrapped(out, 2)?;
    } else {
        let rows: Vec<_> = groups.iter().filter_map(|group| row(group, answer, look)).collect();
        table::write(out, &COLUMNS, &rows, look)?;
    }
    if answer.hidden > 0 {
        let mut line = Text::new(look);
        let what = "kernel-chosen UDP ports and binds that do not listen";
        line.push(Tone::Faint, &format!("{} not shown ({what}); --all shows them", answer.hidden));
        line.wrapped(out, 2)?;
    }
    if answer.elsewhere > 0 {
        let mut line = Text::new(look);
        let words = format!("{} in other network namespaces; --all-namespaces shows them", answer.elsewhere);
        line.push(Tone::Faint, &words);
        line.wrapped(out, 2)?;
    }
    if let Some(why) = answer.missing.as_ref().filter(|_| !groups.is_empty()) {
        let mut line = Text::new(look);
        line.push(Tone::Faint, &format!("not everything could be seen: {why}"));
        line.wrapped(out, 2)?;
    }
    note(out, &answer.source, look)
}

/// `to httpd 22240:80`.
fn leads_to(to: &Forward) -> String {
    let port = to.port.map_or_else(String::new, |port| format!(":{port}"));
    match (&to.process, &to.container) {
        (Some(process), _) => format!("to {} {}{port}", process.comm, process.pid),
        (None, Some(_)) => format!("to the container{port}"),
        (None, None) => "forwards, not known where to".to_owned(),
    }
}

fn row(group: &Group<'_>, answer: &List, look: &Look) -> Option<Vec<(Tone, String)>> {
    let socket = group.first()?;
    let (tone, name) = match (group.main, socket.owner.as_str()) {
        (Some(main), _) => (Tone::Plain, format!("{} {}{}", main.comm, main.pid, more(group.others.len()))),
        (None, "kernel") => {
            let device = socket.device.as_ref().map(|device| format!(" {device}")).unwrap_or_default();
            (Tone::Plain, format!("(kernel){device}"))
        }
        (None, "not-permitted") => (Tone::Warn, "(not permitted)".to_owned()),
        (None, "no-process") => (Tone::Warn, "(no process)".to_owned()),
        (None, _) => (Tone::Warn, "(unknown)".to_owned()),
    };
    let user = group.main.map_or_else(
        || process::user(socket.user.as_deref(), socket.uid),
        |main| process::user(main.user.as_deref(), main.uid),
    );
    let behind = socket.forwards_to.as_ref().and_then(|to| to.container.as_ref());
    let project = group.main.and_then(|m| match &m.container {
        Some(container) => Some(process::container(container)),
        None if behind.is_some() => behind.map(process::container),
        None => m.project.as_ref().map(|p| p.name.clone()),
    });
    // Blank is the namespace that was meant.
    let netns = socket.netns.filter(|_| socket.netns != answer.netns);
    let netns = netns.map(|inode| socket.netns_name.clone().unwrap_or_else(|| inode.to_string()));
    let command = group.main.map(process::command_or_name);
    Some(vec![
        (Tone::Strong, socket.port.to_string()),
        (Tone::Plain, socket.protocol.clone()),
        (Tone::Plain, address::merged(&group.sockets).join(" ")),
        (tone, name),
        (Tone::Plain, user.unwrap_or_default()),
        (Tone::Plain, project.unwrap_or_default()),
        claim(socket, group),
        (Tone::Plain, since(group, answer, look)),
        (Tone::Plain, netns.unwrap_or_default()),
        (Tone::Plain, remarks(group, socket, look)),
        (Tone::Faint, command.unwrap_or_default()),
    ])
}

/// The claim; where there is none, the kind of thing that explains the socket, or that nothing does.
fn claim(socket: &Socket, group: &Group<'_>) -> (Tone, String) {
    if let Some("claim" | "conflict" | "rogue" | "allowed") = socket.standing.as_deref() {
        return claims::standing(socket).unwrap_or((Tone::Plain, String::new()));
    }
    let kind = || match socket.forwards_to.as_ref().and_then(|to| to.container.as_ref()) {
        Some(_) => Some("container".to_owned()),
        None => group.main.and_then(process::kind).map(str::to_owned),
    };
    (Tone::Plain, socket.claim.clone().or_else(kind).unwrap_or_default())
}

fn more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" +{others}") }
}

/// `6h`; `6h+` where it was there before anybody looked; `--` where nobody has been looking.
fn since(group: &Group<'_>, answer: &List, look: &Look) -> String {
    let oldest = group.sockets.iter().min_by_key(|s| s.listening_since.unwrap_or(s.since));
    let Some(socket) = oldest else { return String::new() };
    let age = when::span_short(when::age(socket.listening_since.unwrap_or(socket.since), look));
    match (socket.evidence.as_str(), answer.source.daemon) {
        ("kernel", _) => age,
        (_, true) => format!("{age}+"),
        (_, false) => "--".to_owned(),
    }
}

fn remarks(group: &Group<'_>, socket: &Socket, look: &Look) -> String {
    let mut words = Vec::new();
    if let Some(to) = &socket.forwards_to {
        words.push(leads_to(to));
    }
    if socket.state == "bound" && socket.protocol == "tcp" {
        words.push("not listening".to_owned());
    }
    if socket.random == Some(true) {
        words.push("random".to_owned());
    }
    if group.sockets.len() > 1 && group.sockets.iter().any(|s| s.reuse_port == Some(true)) {
        words.push(format!("{} share it", group.sockets.len()));
    }
    if let Some(netns) = socket.netns.filter(|_| look.verbose) {
        words.push(format!("netns {netns}"));
    }
    if look.verbose {
        words.push(socket.evidence.clone());
    }
    words.join(", ")
}
