//! Processes in words: names, command lines, places, lineage, ends.

use super::{Look, Text, Tone};
use crate::wire::{Ancestor, Event, Exit, Process};

/// `node (48291)`
pub(super) fn name(process: &Process) -> String {
    format!("{} ({})", process.comm, process.pid)
}

/// The command line as one text: arguments joined by blanks, those that hold blanks or nothing quoted, so that
/// `a b` and `'a b'` differ. For people, not for a shell.
pub(super) fn command(args: &[String], truncated: bool) -> String {
    let mut text = String::new();
    for arg in args {
        if !text.is_empty() {
            text.push(' ');
        }
        if arg.is_empty() || arg.contains(char::is_whitespace) {
            text.push('\'');
            text.push_str(arg);
            text.push('\'');
        } else {
            text.push_str(arg);
        }
    }
    if truncated {
        text.push('…');
    }
    text
}

/// The command line, else the comm.
pub(super) fn command_or_name(process: &Process) -> String {
    match &process.command {
        Some(args) if !args.is_empty() => command(args, process.command_truncated),
        _ => process.comm.clone(),
    }
}

/// A path, with the reader's home as `~`.
pub(super) fn path(path: &str, look: &Look) -> String {
    let below = look.home.as_deref().filter(|home| home.len() > 1).and_then(|home| path.strip_prefix(home));
    match below {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    }
}

/// `~/code/myapp (worktree main)`, or the working directory when there is no project.
pub(super) fn place(process: &Process, look: &Look) -> Option<String> {
    let directory = process.cwd.as_deref().or(process.project.as_ref().map(|p| p.root.as_str()));
    let mut text = path(directory?, look);
    if let Some(project) = &process.project {
        let named = project.root.rsplit('/').next() == Some(project.name.as_str());
        let worktree = project.worktree.as_ref().map(|w| match &w.branch {
            Some(branch) if *branch != w.name => format!("worktree {}, branch {branch}", w.name),
            _ => format!("worktree {}", w.name),
        });
        let project = if named { None } else { Some(format!("project {}", project.name)) };
        let words: Vec<String> = [project, worktree].into_iter().flatten().collect();
        if !words.is_empty() {
            text = format!("{text} ({})", words.join(", "));
        }
    }
    Some(text)
}

/// `npm run dev (48277) < zsh (41002) < tmux (1201)`: the parent by its command, the rest by name.
pub(super) fn lineage(ancestors: &[Ancestor], look: &Look) -> Option<String> {
    let shown = if look.verbose { ancestors.len() } else { 4 };
    let mut words: Vec<String> = Vec::new();
    for (step, ancestor) in ancestors.iter().take(shown).enumerate() {
        let what = match &ancestor.command {
            Some(args) if !args.is_empty() && (step == 0 || look.verbose) => {
                shortened(&command(args, false), 60)
            }
            _ => ancestor.comm.clone(),
        };
        words.push(format!("{what} ({})", ancestor.pid));
    }
    if ancestors.len() > shown {
        words.push("…".to_owned());
    }
    if words.is_empty() { None } else { Some(words.join(" < ")) }
}

fn shortened(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters.saturating_sub(1)).chain(['…']).collect()
}

/// `erich`, or `uid 1000` where nobody knows the name.
pub(super) fn user(name: Option<&str>, uid: Option<u32>) -> Option<String> {
    match (name, uid) {
        (Some(name), _) => Some(name.to_owned()),
        (None, Some(uid)) => Some(format!("uid {uid}")),
        (None, None) => None,
    }
}

/// `exited with code 1`, `killed by SIGKILL`.
pub(super) fn end(exit: &Exit) -> String {
    let dump = if exit.core_dumped { ", core dumped" } else { "" };
    match (&exit.signal_name, exit.signal, exit.code) {
        (Some(name), ..) => format!("killed by {name}{dump}"),
        (None, Some(signal), _) => format!("killed by signal {signal}{dump}"),
        (None, None, Some(code)) => format!("exited with code {code}"),
        (None, None, None) => "ended, nobody saw how".to_owned(),
    }
}

/// The end was not an orderly one.
pub(super) fn is_bad_end(exit: &Exit) -> bool {
    exit.signal.is_some() || exit.code.is_some_and(|code| code != 0)
}

/// `EADDRINUSE`, or `errno 98` where the name is not known.
pub(super) fn errno(event: &Event) -> Option<String> {
    match (&event.errno_name, event.errno) {
        (Some(name), _) => Some(name.clone()),
        (None, Some(number)) => Some(format!("errno {number}")),
        (None, None) => None,
    }
}

/// Appends ` [scan]` where evidence was asked for.
pub(super) fn evidence(text: &mut Text, evidence: &str, look: &Look) {
    if look.verbose {
        text.push(Tone::Faint, &format!(" [{evidence}]"));
    }
}
