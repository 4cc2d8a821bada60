//! What has a port: a card of the program and of its sockets.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{
    fact::{FACT, fact, pair},
    forward::forwards,
};
use crate::{
    platform::user::ROOT,
    render::{Look, Text, Tone, address, group::Group, process, when},
    wire::{Process, Socket, Who},
};

pub(super) fn card(out: &mut dyn Write, answer: &Who, group: &Group<'_>, look: &Look) -> io::Result<()> {
    let Some(socket) = group.first() else { return Ok(()) };
    header(out, answer, group, socket, look)?;
    writeln!(out)?;
    if let Some(to) = &socket.forwards_to {
        forwards(out, to, look)?;
    }
    owner(out, group, socket, look)?;
    facts_of_main(out, group, look)?;
    addresses(out, group, look)?;
    if let Some(inode) = socket.netns.filter(|&inode| answer.netns != Some(inode)) {
        match &socket.netns_name {
            Some(name) => fact(out, "netns", &format!("{name} ({inode})"), Tone::Plain, look)?,
            // All namespaces were asked for, and this may be our own.
            None => fact(out, "netns", &inode.to_string(), Tone::Plain, look)?,
        }
    }
    if !group.others.is_empty() {
        let shown = if look.verbose { usize::MAX } else { 12 };
        let mut words: Vec<String> = group
            .others
            .iter()
            .take(shown)
            .map(|p| {
                if group.main.is_some_and(|m| m.comm == p.comm) {
                    p.pid.to_string()
                } else {
                    process::name(p)
                }
            })
            .collect();
        if group.others.len() > shown {
            words.push(format!("and {} more", group.others.len() - shown));
        }
        let verb = match (group.sockets.len(), group.others.len()) {
            (1, 1) => "holds the same socket",
            (1, _) => "hold the same socket",
            (_, 1) => "holds it too",
            _ => "hold it too",
        };
        fact(out, "workers", &format!("{} {verb}", words.join(" ")), Tone::Plain, look)?;
    }
    details(out, group, look)
}

/// `3100/tcp  LISTEN  node (48291)  since 20:14:30, 6h 12m    claim myapp:api`
fn header(
    out: &mut dyn Write,
    answer: &Who,
    group: &Group<'_>,
    socket: &Socket,
    look: &Look,
) -> io::Result<()> {
    let mut head = Text::new(look);
    head.push(Tone::Strong, &format!("{}/{}", socket.port, socket.protocol)).plain("  ");
    match (socket.state.as_str(), socket.protocol.as_str()) {
        ("listening", _) => head.push(Tone::Strong, "LISTEN"),
        (_, "udp") => head.push(Tone::Strong, "BOUND"),
        _ => head.push(Tone::Warn, "BOUND, not listening"),
    };
    head.plain("  ");
    match group.main {
        Some(main) => head.push(Tone::Strong, &process::name(main)),
        None => match socket.owner.as_str() {
            "kernel" => head.push(Tone::Strong, "held by the kernel"),
            "not-permitted" => head.push(Tone::Warn, "not permitted to see the owner"),
            "no-process" => head.push(Tone::Warn, "no process holds it"),
            _ => head.push(Tone::Warn, "owner unknown"),
        },
    };
    process::evidence(&mut head, group.evidence, look);
    let since =
        group.sockets.iter().map(|s| s.listening_since.unwrap_or(s.since)).min().unwrap_or(socket.since);
    let age = when::age(since, look);
    let (moment, long) = (when::clock(since, look), when::span(age));
    if socket.evidence == "kernel" {
        head.plain(&format!("  since {moment}, {long}"));
    } else if answer.source.daemon && age > 0 {
        head.plain(&format!("  first seen {moment}, {long} ago"));
    }
    process::evidence(&mut head, &socket.evidence, look);
    if socket.random == Some(true) {
        head.plain("  random port");
    }
    if let Some(claim) = &socket.claim {
        match socket.standing.as_deref() {
            Some("conflict") => head.plain("  ").push(Tone::Bad, &format!("on the port of claim {claim}")),
            _ => head.plain("  claim ").plain(claim),
        };
    }
    head.wrapped(out, FACT)
}

/// Says why no process is named. The four cases differ for the reader.
fn owner(out: &mut dyn Write, group: &Group<'_>, socket: &Socket, look: &Look) -> io::Result<()> {
    if group.main.is_none() {
        let user = process::user(socket.user.as_deref(), socket.uid);
        let whose = user.map_or_else(String::new, |user| format!("; the socket belongs to {user}"));
        let words = match socket.owner.as_str() {
            "kernel" => match &socket.device {
                Some(device) => {
                    format!("the kernel itself holds this port, for network device {device}; there is no process to signal")
                }
                None if cfg!(windows) => {
                    "the system itself holds this port (a web server in the kernel, file sharing); there is no process to end"
                        .to_owned()
                }
                None => "the kernel itself holds this port (an NFS server and the like); there is no process to signal"
                    .to_owned(),
            },
            "not-permitted" => {
                format!(
                    "no process that you may look into has it, and there are others{whose}; run as {ROOT}, or start the daemon as {ROOT}"
                )
            }
            "no-process" => format!(
                "no process has a descriptor of it; it may be in flight between two processes, held by io_uring, \
                 by another pid namespace, or by the kernel itself (NFS, WireGuard){whose}"
            ),
            _ => format!("who holds it was not found{whose}"),
        };
        fact(out, "owner", &words, Tone::Plain, look)?;
    }
    if let Some(creator) = group.departed_creator() {
        let mut words = format!("{}, which does not hold it now", process::name(creator));
        if let Some(main) = group.main {
            words = format!("{words}; held by {}", process::name(main));
        }
        fact(out, "bound by", &words, Tone::Plain, look)?;
        if group.main.is_none() {
            fact(out, "command", &process::brief(creator, 3, look), Tone::Plain, look)?;
        }
    }
    Ok(())
}

fn facts_of_main(out: &mut dyn Write, group: &Group<'_>, look: &Look) -> io::Result<()> {
    let Some(main) = group.main else { return Ok(()) };
    let since = group.sockets.iter().map(|s| s.since).min();
    let scanned = group.sockets.iter().any(|s| s.evidence != "kernel");
    main_facts(out, main, since, !scanned, look)
}

/// What a process is and where it comes from. `since` is when its socket came, `seen` whether that was seen.
pub(super) fn main_facts(
    out: &mut dyn Write,
    main: &Process,
    since: Option<Timestamp>,
    seen: bool,
    look: &Look,
) -> io::Result<()> {
    let place = process::place(main, look).map(|place| format!("in {place}"));
    pair(out, "command", &process::brief(main, 3, look), place.as_deref(), look)?;
    let mut words = Vec::new();
    // Where the socket came right after its process, the header has said the time already.
    let early = |started: Timestamp| since.is_none_or(|s| s.as_second() - started.as_second() > 5);
    if let Some(started) = main.started.filter(|started| !seen || look.verbose || early(*started)) {
        words.push(format!("{}, {} ago,", when::clock(started, look), when::span(when::age(started, look))));
    }
    if let Some(lineage) = process::lineage(&main.lineage, look) {
        words.push(format!("by {lineage}"));
    } else if let Some(last) = words.last_mut() {
        last.truncate(last.trim_end_matches(',').len());
    }
    let user = process::user(main.user.as_deref(), main.uid).map(|user| format!("user {user}"));
    match (words.is_empty(), user) {
        (false, user) => pair(out, "started", &words.join(" "), user.as_deref(), look)?,
        (true, Some(user)) => fact(out, "user", user.trim_start_matches("user "), Tone::Plain, look)?,
        (true, None) => {}
    }
    if look.verbose
        && let Some(exe) = &main.exe
    {
        fact(out, "exe", exe, Tone::Plain, look)?;
    }
    Ok(())
}

fn addresses(out: &mut dyn Write, group: &Group<'_>, look: &Look) -> io::Result<()> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for socket in &group.sockets {
        let words = address::explained(socket);
        match counted.iter_mut().find(|(known, _)| *known == words) {
            Some((_, count)) => *count += 1,
            None => counted.push((words, 1)),
        }
    }
    let mut words: Vec<String> = counted
        .into_iter()
        .map(|(words, count)| match count {
            1 => words,
            _ => format!("{words}, {count} sockets sharing it"),
        })
        .collect();
    if group.sockets.iter().any(|s| s.reuse_port == Some(true)) {
        words.push("SO_REUSEPORT".to_owned());
    }
    // A container's group is its id once more.
    let side = group.main.filter(|m| m.container.is_none() || process::service(m).is_some() || look.verbose);
    pair(out, "address", &words.join(", "), side.and_then(process::group).as_deref(), look)?;
    if let Some(main) = group.main {
        if let Some(container) = &main.container {
            fact(out, "container", &process::container_in_full(container), Tone::Plain, look)?;
        }
        if let Some(unproven) = &main.unproven_container {
            fact(out, "container", &process::unproven(unproven), Tone::Warn, look)?;
        }
        if let Some(cgroup) =
            main.cgroup.as_ref().filter(|_| look.verbose && process::service(main).is_some())
        {
            fact(out, "cgroup", &cgroup.path, Tone::Plain, look)?;
        }
    }
    Ok(())
}

/// What the verbose reader and the puzzled one need: asked port, namespace, identifiers.
fn details(out: &mut dyn Write, group: &Group<'_>, look: &Look) -> io::Result<()> {
    let Some(socket) = group.first() else { return Ok(()) };
    if let (Some(asked), Some(true)) = (socket.asked_port, socket.random) {
        let words = if asked == 0 {
            "any port; the kernel chose this one".to_owned()
        } else {
            format!("port {asked}; the kernel chose this one")
        };
        fact(out, "asked for", &words, Tone::Plain, look)?;
    }
    if !look.verbose {
        return Ok(());
    }
    for socket in &group.sockets {
        let mut words = vec![address::with_port(&address::whole(socket), socket.port)];
        for (name, value) in [
            ("netns", socket.netns.map(u64::from)),
            ("cookie", socket.cookie),
            ("inode", socket.inode),
            ("uid", socket.uid.map(u64::from)),
        ] {
            if let Some(value) = value {
                words.push(format!("{name} {value}"));
            }
        }
        for (name, value) in [
            ("SO_REUSEADDR", socket.reuse_addr),
            ("SO_REUSEPORT", socket.reuse_port),
            ("IPV6_V6ONLY", socket.v6_only),
        ] {
            words.push(format!("{name} {}", value.map_or("unknown", |v| if v { "on" } else { "off" })));
        }
        words.push(format!("evidence {}", socket.evidence));
        fact(out, "socket", &words.join(", "), Tone::Faint, look)?;
    }
    Ok(())
}
