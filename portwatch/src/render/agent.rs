//! `agent`, `agents`, `salvage`

use std::io::{self, Write};

use super::{
    Look, Text, Tone,
    claims::sentence,
    cut,
    table::{self, Column},
    user, when, work,
};
use crate::{
    coordinate::may_act,
    wire::coordinate::{Agent, AgentState, Agents, Salvage, Salvaged},
};

const COLUMNS: [Column; 6] = [
    Column { title: "NAME", priority: 0, least: 12, right: false },
    Column { title: "STATE", priority: 0, least: 0, right: false },
    Column { title: "SEEN", priority: 1, least: 0, right: false },
    Column { title: "PURPOSE", priority: 0, least: 16, right: false },
    Column { title: "SESSION", priority: 2, least: 12, right: false },
    Column { title: "USER", priority: 3, least: 0, right: false },
];

/// Writes which agents there are.
pub fn agents(out: &mut dyn Write, answer: &Agents, look: &Look) -> io::Result<()> {
    if answer.agents.is_empty() {
        sentence(out, Tone::Plain, "No agent is known.", look)?;
        return hidden(out, answer.hidden, look);
    }
    let one_user = answer.agents.windows(2).all(|pair| matches!(pair, [a, b] if a.uid == b.uid));
    let row = |agent: &Agent| {
        let user = user(agent.user.as_ref(), agent.uid);
        let purpose = agent.purpose.as_ref().map(|purpose| format!("\"{purpose}\"")).unwrap_or_default();
        let tone = if matches!(agent.state.as_str(), "stale" | "dead") { Tone::Warn } else { Tone::Plain };
        vec![
            (Tone::Strong, agent.name.clone()),
            (tone, agent.state.clone()),
            (Tone::Plain, format!("seen {} ago", when::span_short(when::age(agent.seen, look)))),
            (Tone::Plain, purpose),
            (Tone::Plain, agent.sessions.join(" ")),
            (Tone::Plain, if one_user { String::new() } else { format!("user={user}") }),
        ]
    };
    table::untitled(out, &COLUMNS, &answer.agents.iter().map(row).collect::<Vec<_>>(), look)?;
    cut(out, "first", answer.truncated, (answer.agents.len(), answer.total), look)?;
    hidden(out, answer.hidden, look)
}

fn hidden(out: &mut dyn Write, count: u64, look: &Look) -> io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    let words = format!("{count} more are ended, salvaged or long dead: portwatch agents --all");
    sentence(out, Tone::Faint, &words, look)
}

/// Writes what became of an agent.
pub fn agent(out: &mut dyn Write, verb: &str, answer: &AgentState, look: &Look) -> io::Result<()> {
    let Agent { name, purpose, pid, state, .. } = &answer.agent;
    let purpose = purpose.as_ref().map(|purpose| format!(" \"{purpose}\"")).unwrap_or_default();
    let with = pid.map(|pid| format!(", dies with process {pid}")).unwrap_or_default();
    sentence(out, Tone::Plain, &format!("{verb} {name}{purpose}: {state}{with}"), look)
}

/// Writes what dead agents left.
pub fn salvage(out: &mut dyn Write, answer: &Salvage, own: u32, look: &Look) -> io::Result<()> {
    if answer.dead.is_empty() {
        return sentence(out, Tone::Plain, "No dead agent left anything to salvage.", look);
    }
    let one_user = answer.dead.windows(2).all(|pair| matches!(pair, [a, b] if a.agent.uid == b.agent.uid));
    sentence(out, Tone::Plain, "Dead agents with recoverable context:", look)?;
    for dead in &answer.dead {
        let Agent { name, purpose, seen, died, cause, .. } = &dead.agent;
        writeln!(out)?;
        let age = |then| when::span_short(when::age(then, look));
        let how = died
            .map_or_else(|| format!("silent for {}", age(*seen)), |died| format!("died {} ago", age(died)));
        let mut head = Text::new(look);
        head.plain("  ").push(Tone::Strong, name).plain(&format!(" ({how})"));
        if dead.agent.uid != own || !one_user {
            head.plain(&format!("  user={}", user(dead.agent.user.as_ref(), dead.agent.uid)));
        }
        head.wrapped(out, 4)?;
        let mut field = |label: &str, words: &str| {
            let mut line = Text::new(look);
            line.plain("    ").push(Tone::Faint, label).plain(": ").plain(words);
            line.wrapped(out, 6)
        };
        if let Some(purpose) = purpose {
            field("Purpose", &format!("\"{purpose}\""))?;
        }
        if let Some(cause) = cause {
            field("Cause", cause)?;
        }
        for wreck in &dead.sessions {
            let session = &wreck.session;
            field("Session", &format!("{} ({})", session.id, work::count(session.notes, "note")))?;
            if let Some(note) = &wreck.last_note {
                field("Last note", &format!("\"{note}\""))?;
            }
            if !session.files.is_empty() {
                field("Files claimed", &work::names(session, look).join(", "))?;
            }
        }
    }
    writeln!(out)?;
    cut(out, "first", answer.truncated, (answer.dead.len(), answer.total), look)?;
    let mine: Vec<&str> = answer
        .dead
        .iter()
        .map(|dead| &dead.agent)
        .filter(|a| may_act(a.uid, own))
        .map(|a| a.name.as_str())
        .collect();
    let words = match mine.as_slice() {
        [] => "  None of them is yours: only their users and root take them over".to_owned(),
        [one] => format!("  Run: portwatch salvage claim {one}"),
        _ => "  Run: portwatch salvage claim AGENT".to_owned(),
    };
    let others = answer.dead.len() - mine.len();
    if others > 0 && !mine.is_empty() {
        let words = format!("{words}, of your own; only their users and root take the others over");
        return sentence(out, Tone::Plain, &words, look);
    }
    sentence(out, Tone::Plain, &words, look)
}

/// Writes what was taken over.
pub fn salvaged(out: &mut dyn Write, answer: &Salvaged, look: &Look) -> io::Result<()> {
    let name = &answer.agent.name;
    if answer.sessions.is_empty() {
        return sentence(out, Tone::Plain, &format!("Salvaged {name}: it had no active session"), look);
    }
    sentence(out, Tone::Plain, &format!("Salvaged {name}: its work is yours now"), look)?;
    for session in &answer.sessions {
        let files = work::count(u64::try_from(session.files.len()).unwrap_or(0), "file");
        let words = format!(
            "  {}  \"{}\"  {files}, {}",
            session.id,
            session.purpose,
            work::count(session.notes, "note")
        );
        sentence(out, Tone::Plain, &words, look)?;
    }
    let which = match answer.sessions.as_slice() {
        [one] => one.id.as_str(),
        _ => "ID",
    };
    sentence(out, Tone::Faint, &format!("  Read on: portwatch notes --session {which}"), look)
}
