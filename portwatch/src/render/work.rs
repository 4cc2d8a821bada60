//! `session`, `sessions`, `note`, `notes`

use std::io::{self, Write};

use super::{
    Look, Text, Tone,
    claims::sentence,
    cut,
    table::{self, Column},
    user, when,
};
use crate::{
    coordinate::claimants,
    wire::coordinate::{Noted, Notes, Session, SessionState, Sessions},
};

const COLUMNS: [Column; 7] = [
    Column { title: "ID", priority: 0, least: 0, right: false },
    Column { title: "PURPOSE", priority: 0, least: 16, right: false },
    Column { title: "STATE", priority: 0, least: 0, right: false },
    Column { title: "FILES", priority: 1, least: 0, right: false },
    Column { title: "NOTES", priority: 2, least: 0, right: false },
    Column { title: "AGENT", priority: 3, least: 0, right: false },
    Column { title: "USER", priority: 4, least: 0, right: false },
];

/// `1 note`, `4 notes`
pub(super) fn count(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The paths that it claims, from its directory where they lie in it.
pub(super) fn names(session: &Session, look: &Look) -> Vec<String> {
    session.files.iter().map(|path| name(path, session.root.as_deref(), look)).collect()
}

fn name(path: &str, root: Option<&str>, look: &Look) -> String {
    let root = root.filter(|root| *root != "/");
    if let Some(rest) = root.and_then(|root| path.strip_prefix(root))
        && let Some(inside) = rest.strip_prefix('/')
        && !look.verbose
    {
        return inside.to_owned();
    }
    path.to_owned()
}

/// Writes which sessions there are; with `files` what each claims.
pub fn sessions(out: &mut dyn Write, answer: &Sessions, files: bool, look: &Look) -> io::Result<()> {
    if answer.sessions.is_empty() {
        return sentence(out, Tone::Plain, "No session is active.", look);
    }
    if files {
        claims(out, answer, look)?;
    } else {
        let one_user = answer.sessions.windows(2).all(|pair| matches!(pair, [a, b] if a.uid == b.uid));
        let row = |session: &Session| {
            let user = user(session.user.as_ref(), session.uid);
            let files = count(u64::try_from(session.files.len()).unwrap_or(0), "file");
            let claimed = if session.state == "active" { format!("{files} claimed") } else { files };
            vec![
                (Tone::Strong, session.id.clone()),
                (Tone::Plain, format!("\"{}\"", session.purpose)),
                (Tone::Plain, session.state.clone()),
                (Tone::Plain, claimed),
                (Tone::Plain, count(session.notes, "note")),
                (Tone::Plain, session.agent.as_ref().map(|a| format!("agent={a}")).unwrap_or_default()),
                (Tone::Plain, if one_user { String::new() } else { format!("user={user}") }),
            ]
        };
        table::untitled(out, &COLUMNS, &answer.sessions.iter().map(row).collect::<Vec<_>>(), look)?;
    }
    cut(out, "newest", answer.truncated, (answer.sessions.len(), answer.total), look)
}

fn claims(out: &mut dyn Write, answer: &Sessions, look: &Look) -> io::Result<()> {
    let with: Vec<&Session> = answer.sessions.iter().filter(|s| !s.files.is_empty()).collect();
    if with.is_empty() {
        return sentence(out, Tone::Plain, "No session claims a file.", look);
    }
    let mut all = Vec::new();
    for (at, session) in with.iter().enumerate() {
        all.extend(session.files.iter().map(|path| (path.as_str(), at)));
    }
    let claimants = claimants(all);
    for (at, session) in with.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let mut head = Text::new(look);
        head.push(Tone::Strong, &session.id).plain(" claims:");
        head.wrapped(out, 2)?;
        for (path, name) in session.files.iter().zip(names(session, look)) {
            let others: Vec<&str> = claimants
                .get(path.as_str())
                .into_iter()
                .flatten()
                .filter(|other| **other != at)
                .filter_map(|other| with.get(*other))
                .map(|other| other.id.as_str())
                .collect();
            let mut line = Text::new(look);
            line.plain("  ").plain(&name);
            if !others.is_empty() {
                line.plain("  ").push(Tone::Bad, &format!("CONFLICT with {}", others.join(", ")));
            }
            line.wrapped(out, 4)?;
        }
    }
    Ok(())
}

/// Writes what became of a session.
pub fn session(out: &mut dyn Write, verb: &str, answer: &SessionState, look: &Look) -> io::Result<()> {
    let session = &answer.session;
    let whose = match (&session.agent, session.pid) {
        (Some(agent), _) => format!(" of agent {agent}"),
        (None, Some(_)) => " of this terminal".to_owned(),
        (None, None) => String::new(),
    };
    let files = match session.files.len() {
        0 => String::new(),
        count => format!(", {} claimed", self::count(u64::try_from(count).unwrap_or(0), "file")),
    };
    let words = format!("{verb} {}{whose}: \"{}\"{files}", session.id, session.purpose);
    sentence(out, Tone::Plain, &words, look)?;
    for conflict in &answer.conflicts {
        let path = name(&conflict.path, session.root.as_deref(), look);
        let whose = if conflict.uid == session.uid {
            String::new()
        } else {
            format!(" of {}", user(conflict.user.as_ref(), conflict.uid))
        };
        let words = format!("  CONFLICT {path}: {}{whose} claims {}", conflict.session, conflict.claimed);
        sentence(out, Tone::Bad, &words, look)?;
    }
    if answer.more_conflicts > 0 {
        let words = format!(
            "  and {} more; portwatch sessions --files shows all",
            count(answer.more_conflicts, "claim")
        );
        sentence(out, Tone::Bad, &words, look)?;
    }
    for path in &answer.not_claimed {
        let words = format!("  {} was not claimed", name(path, session.root.as_deref(), look));
        sentence(out, Tone::Warn, &words, look)?;
    }
    if verb == "Started" && session.agent.is_none() && session.pid.is_none() {
        let words = format!(
            "  Neither an agent nor a terminal has it; name it: {} PORTWATCH_SESSION={}",
            if cfg!(windows) { "set" } else { "export" },
            session.id
        );
        sentence(out, Tone::Faint, &words, look)?;
    }
    Ok(())
}

/// Writes that a note was written.
pub fn note_written(out: &mut dyn Write, answer: &Noted, look: &Look) -> io::Result<()> {
    sentence(out, Tone::Plain, &format!("Noted in {}", answer.note.session), look)
}

/// Writes the notes of a session.
pub fn notes(out: &mut dyn Write, answer: &Notes, look: &Look) -> io::Result<()> {
    if answer.notes.is_empty() {
        return sentence(out, Tone::Plain, &format!("{} has no such note.", answer.session.id), look);
    }
    for note in &answer.notes {
        let mut line = Text::new(look);
        let local = note.time.to_zoned(look.zone.clone());
        let form = if when::is_today(&local, look) { "[%H:%M] " } else { "[%Y-%m-%d %H:%M] " };
        line.push(Tone::Faint, &local.strftime(form).to_string());
        if note.kind != "note" {
            let tone =
                if matches!(note.kind.as_str(), "error" | "blocked") { Tone::Bad } else { Tone::Strong };
            line.push(tone, &note.kind).plain(": ");
        }
        line.plain(&note.text);
        if let Some(agent) = note.agent.as_ref().filter(|agent| answer.session.agent.as_ref() != Some(agent))
        {
            line.push(Tone::Faint, &format!("  ({agent})"));
        }
        line.wrapped(out, 8)?;
    }
    cut(out, "newest", answer.truncated, (answer.notes.len(), answer.total), look)
}
