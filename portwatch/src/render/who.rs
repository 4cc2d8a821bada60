//! `who`: one card a program, one paragraph a free port.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{
    Look, Text, Tone, address,
    group::{self, Group},
    note, process, traffic, when,
};
use crate::platform::user::ROOT;
use crate::wire::{Connection, Event, Forward, Process, Socket, Traffic, Who, WhoTarget};

/// Column where a fact begins, after its label.
const FACT: usize = 12;
/// Column where a second fact on the same line begins.
const SIDE: usize = 50;

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
    elsewhere(out, target, look)?;
    last_holder(out, target, look)?;
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
            let nothing = "has no bound or listening socket";
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
    head.push(Tone::Strong, &format!("{}/tcp", first.port)).plain("  ");
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
        fact(out, "", &format!("and {} more", living.len() - shown), Tone::Faint, look)?;
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

/// A port that an engine forwards without a socket.
fn published(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
    for (index, published) in target.published.iter().enumerate() {
        if index > 0 || !target.sockets.is_empty() {
            writeln!(out)?;
        }
        let mut head = Text::new(look);
        head.push(Tone::Strong, &format!("{}/{}", published.port, published.protocol)).plain("  ");
        head.push(Tone::Strong, &format!("published by {}", published.to.forwarder));
        head.wrapped(out, FACT)?;
        writeln!(out)?;
        forwards(out, &published.to, look)?;
        let place = published.address.as_deref().unwrap_or("*");
        let words =
            format!("{}, no socket: the kernel's NAT forwards it", address::with_port(place, published.port));
        fact(out, "address", &words, Tone::Plain, look)?;
    }
    Ok(())
}

/// Where a port leads, and what that container is.
fn forwards(out: &mut dyn Write, to: &Forward, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.push(
        if to.container.is_some() { Tone::Plain } else { Tone::Warn },
        &format!("to {}", process::forward(to)),
    );
    process::evidence(&mut line, &to.evidence, look);
    labelled(out, "forwards", line, look)?;
    if let Some(container) = &to.container {
        fact(out, "container", &process::container_in_full(container), Tone::Plain, look)?;
    }
    Ok(())
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

fn card(out: &mut dyn Write, answer: &Who, group: &Group<'_>, look: &Look) -> io::Result<()> {
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
fn main_facts(
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

/// Who had the port last, until when, and how that ended.
fn last_holder(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
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

fn refused(out: &mut dyn Write, target: &WhoTarget, look: &Look) -> io::Result<()> {
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

fn fact(out: &mut dyn Write, label: &str, words: &str, tone: Tone, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.push(tone, words);
    labelled(out, label, line, look)
}

/// Two facts, on one line where they fit.
fn pair(out: &mut dyn Write, label: &str, words: &str, side: Option<&str>, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.plain(words);
    let Some(side) = side else { return labelled(out, label, line, look) };
    let mut beside = Text::new(look);
    beside.plain(side);
    let begins = SIDE.max(FACT + line.width() + 2);
    if look.width.is_none_or(|columns| begins + beside.width() <= columns) {
        line.pad_to(begins - FACT);
        line.append(beside);
        return labelled(out, label, line, look);
    }
    labelled(out, label, line, look)?;
    labelled(out, "", beside, look)
}

fn labelled(out: &mut dyn Write, label: &str, words: Text, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.plain("  ").push(Tone::Faint, label).pad_to(FACT);
    line.append(words);
    line.wrapped(out, FACT)
}
