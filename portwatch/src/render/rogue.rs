//! `rogue`: listeners that nothing explains, each with the program behind it and what started that.

use std::io::{self, Write};

use super::{
    Look, Text, Tone, address,
    claims::sentence,
    group, note, process,
    table::{self, Column},
    when,
};
use crate::platform::user::ROOT;
use crate::wire::{
    Event, Process,
    claims::{AllowList, Rogue},
};

/// Column where a fact begins, after its label.
const FACT: usize = 12;

/// Writes the answer.
pub fn rogue(out: &mut dyn Write, answer: &Rogue, look: &Look) -> io::Result<()> {
    let groups = group::by_program(&answer.sockets);
    if groups.is_empty() && answer.gone.is_empty() {
        sentence(out, Tone::Plain, "Nothing rogue: every listener that could be seen is explained.", look)?;
    }
    for (index, group) in groups.iter().enumerate() {
        let Some(socket) = group.first() else { continue };
        if index > 0 {
            writeln!(out)?;
        }
        let mut head = Text::new(look);
        head.push(Tone::Strong, &format!("{}/{}", socket.port, socket.protocol)).plain("  ");
        if let Some(main) = group.main {
            head.push(Tone::Strong, &process::name(main));
        }
        head.plain("  ").push(Tone::Warn, "rogue");
        if socket.random == Some(true) {
            head.push(Tone::Warn, ", random");
        }
        if socket.evidence == "kernel" {
            let since = socket.listening_since.unwrap_or(socket.since);
            let age = when::span(when::age(since, look));
            head.plain(&format!("  since {}, {age}", when::clock(since, look)));
        }
        head.wrapped(out, FACT)?;
        if let Some(main) = group.main {
            facts(out, main, look)?;
        }
        fact(out, "address", &address::merged(&group.sockets).join(" "), look)?;
    }
    if !answer.gone.is_empty() {
        if !groups.is_empty() {
            writeln!(out)?;
        }
        sentence(out, Tone::Faint, "Gone by now", look)?;
        for event in &answer.gone {
            gone(out, event, look)?;
        }
        if answer.gone_truncated {
            let words = format!(
                "These are the newest {}; older ones are left out: say a later --since, or --port A-B",
                answer.gone.len()
            );
            sentence(out, Tone::Warn, &words, look)?;
        }
    }
    if answer.unknown > 0 {
        let belong = match answer.unknown {
            1 => "1 more listener belongs to a process".to_owned(),
            more => format!("{more} more listeners belong to processes"),
        };
        let words = if cfg!(windows) {
            format!("{belong} that could not be seen: another user's or the system's ({ROOT} sees it)")
        } else {
            format!(
                "{belong} that could not be seen: another user's ({ROOT} sees it), one in another pid namespace, or the socket is on its way between two processes"
            )
        };
        sentence(out, Tone::Warn, &words, look)?;
    }
    note(out, &answer.source, look)
}

fn facts(out: &mut dyn Write, main: &Process, look: &Look) -> io::Result<()> {
    fact(out, "command", &process::command_or_name(main), look)?;
    if let Some(lineage) = process::lineage(&main.lineage, look) {
        fact(out, "started", &format!("by {lineage}"), look)?;
    }
    let mut place = process::place(main, look).map(|place| format!("in {place}")).unwrap_or_default();
    if let Some(user) = process::user(main.user.as_deref(), main.uid) {
        place = format!("{place}{}user {user}", if place.is_empty() { "" } else { "  " });
    }
    if place.is_empty() { Ok(()) } else { fact(out, "where", &place, look) }
}

fn gone(out: &mut dyn Write, event: &Event, look: &Look) -> io::Result<()> {
    let mut head = Text::new(look);
    head.plain(&when::clock(event.time, look)).plain("  ");
    let place = format!("{}/{}", event.port.unwrap_or_default(), event.protocol.as_deref().unwrap_or("tcp"));
    head.push(Tone::Strong, &place).plain("  ");
    match &event.process {
        Some(process) => head.push(Tone::Strong, &process::name(process)),
        None => head.plain("a process that nobody saw"),
    };
    head.plain("  ").push(Tone::Warn, if event.random == Some(true) { "rogue, random" } else { "rogue" });
    head.wrapped(out, FACT)?;
    match &event.process {
        Some(process) => facts(out, process, look),
        None => Ok(()),
    }
}

fn fact(out: &mut dyn Write, label: &str, words: &str, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.plain("  ").push(Tone::Faint, label).pad_to(FACT).plain(words);
    line.wrapped(out, FACT)
}

const RULES: [Column; 3] = [
    Column { title: "RULE", priority: 0, least: 16, right: false },
    Column { title: "FOR", priority: 0, least: 0, right: false },
    Column { title: "SINCE", priority: 1, least: 0, right: false },
];

/// Writes the allow-list after a change, and which rules of yours it did not have.
pub fn changed_rules(
    out: &mut dyn Write,
    answer: &AllowList,
    absent: &[&str],
    look: &Look,
) -> io::Result<()> {
    for rule in absent {
        let of_another = answer.rules.iter().any(|known| known.rule == *rule);
        let why = if of_another { "is not yours to take off" } else { "is not on the list" };
        sentence(out, Tone::Warn, &format!("The rule {rule} {why}."), look)?;
    }
    allowed(out, answer, look)
}

/// Writes the allow-list.
pub fn allowed(out: &mut dyn Write, answer: &AllowList, look: &Look) -> io::Result<()> {
    if answer.rules.is_empty() {
        return sentence(out, Tone::Plain, "Nothing is allowed.", look);
    }
    let row = |rule: &crate::wire::claims::AllowRule| {
        let owner = match (rule.owner, &rule.owner_name) {
            (0, _) => "everybody".to_owned(),
            (_, Some(name)) => name.clone(),
            (uid, None) => uid.to_string(),
        };
        vec![
            (Tone::Strong, rule.rule.clone()),
            (Tone::Plain, owner),
            (
                Tone::Plain,
                rule.created.map_or_else(
                    || "configuration file".to_owned(),
                    |created| format!("{} ago", when::span_short(when::age(created, look))),
                ),
            ),
        ]
    };
    table::write(out, &RULES, &answer.rules.iter().map(row).collect::<Vec<_>>(), look)
}
