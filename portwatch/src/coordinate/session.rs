//! Sessions: a piece of work with a purpose, notes and files.

use super::{Denial, User};
use crate::model::{ProcessId, Timestamp};

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Somebody works on it.
    Active,
    /// Its work is done.
    Completed,
    /// Its work was left.
    Abandoned,
}

impl SessionState {
    /// The word used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Abandoned => "abandoned",
        }
    }

    /// The inverse of [`SessionState::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Completed, Self::Abandoned].into_iter().find(|s| s.as_str() == word)
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `session-a1b2`
    pub id: String,
    /// What for.
    pub purpose: String,
    /// Whose it is.
    pub user: User,
    /// The agent that works on it.
    pub agent: Option<String>,
    /// The leader of the terminal's session that it was begun in.
    pub terminal: Option<ProcessId>,
    /// Directory that its files are named from.
    pub root: Option<String>,
    /// How far it is.
    pub state: SessionState,
    /// When it began.
    pub created: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How, where somebody or something said so.
    pub outcome: Option<String>,
    /// How many notes it has.
    pub notes: u64,
    /// The files it claims now, by path.
    pub files: Vec<String>,
}

/// A note of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Grows with time.
    pub id: i64,
    /// The session.
    pub session: String,
    /// When it was written.
    pub at: Timestamp,
    /// `note`, `progress`, `blocked`, `unblocked`, `error`, `decision`, `handoff`.
    pub kind: String,
    /// By this agent.
    pub agent: Option<String>,
    /// Its words.
    pub text: String,
}

/// Bytes of paths that one order names at most, so that it fits into one request whatever has to be escaped in it.
pub const MOST_ORDERED: usize = 120_000;

/// Paths that fit into one order.
pub fn fit<'a>(paths: impl IntoIterator<Item = &'a String>) -> Result<(), Denial> {
    if paths.into_iter().map(String::len).sum::<usize>() > MOST_ORDERED {
        return Err(Denial::Long { what: "all that one order names of paths", longest: MOST_ORDERED });
    }
    Ok(())
}

/// Types of notes, the usual one first.
pub const NOTE_KINDS: [&str; 7] =
    ["note", "progress", "blocked", "unblocked", "error", "decision", "handoff"];

/// Two claims on absolute paths are in each other's way: the same path, or one lies in the other.
pub fn overlap(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner == outer || outer == "/" || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    within(one, other) || within(other, one)
}

/// A path as it is claimed: absolute, without `.`, `..` and doubled slashes. On Windows its drive stands before it, and slashes between its
/// parts as everywhere: `C:/src/a.ts`, and `C:` for the whole drive.
pub fn path(text: &str) -> Result<String, Denial> {
    let what = "a path";
    if text.len() > 4096 {
        return Err(Denial::Long { what, longest: 4096 });
    }
    if text.chars().any(char::is_control) {
        return Err(Denial::Control { what });
    }
    let drive = text.split_at_checked(2).filter(|(drive, _)| {
        cfg!(windows) && matches!(drive.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
    });
    let (rest, whole) = drive.map_or((text, "/"), |(_, rest)| (rest, ""));
    let plain = rest
        .split('/')
        .skip(1)
        .all(|part| !matches!(part, "" | "." | "..") && (cfg!(not(windows)) || !part.contains('\\')));
    if rest == whole || (rest.starts_with('/') && plain) {
        return Ok(text.to_owned());
    }
    Err(Denial::Path { path: text.to_owned() })
}

/// The session that "mine" means, out of the asker's own active ones: the agent's, else the terminal's. Never one just because
/// it is the newest.
pub fn mine<'a>(
    active: &'a [Session],
    agent: Option<&str>,
    terminal: Option<ProcessId>,
) -> Result<&'a Session, Denial> {
    let name_it = || "name it: --session ID, or PORTWATCH_SESSION".to_owned();
    let found: Vec<&Session> = match (agent, terminal) {
        (Some(agent), _) => active.iter().filter(|s| s.agent.as_deref() == Some(agent)).collect(),
        (None, Some(terminal)) => {
            let here = |s: &&Session| s.terminal == Some(terminal);
            let own: Vec<&Session> = active.iter().filter(here).filter(|s| s.agent.is_none()).collect();
            if own.is_empty() { active.iter().filter(here).collect() } else { own }
        }
        (None, None) => Vec::new(),
    };
    match (found.as_slice(), agent) {
        ([one], _) => Ok(one),
        ([], Some(agent)) => Err(Denial::Refused {
            what: format!("agent {agent} has no active session"),
            remedy: "begin one: portwatch session start \"PURPOSE\"".to_owned(),
        }),
        ([], None) => Err(Denial::Refused {
            what: "no session of yours is active in this terminal".to_owned(),
            remedy:
                "begin one: portwatch session start \"PURPOSE\"; or name one: --session ID, PORTWATCH_SESSION"
                    .to_owned(),
        }),
        (several, _) => {
            let ids: Vec<&str> = several.iter().map(|s| s.id.as_str()).collect();
            Err(Denial::Ambiguous {
                what: format!("{} sessions may be meant: {}", ids.len(), ids.join(", ")),
                remedy: name_it(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinate::DenialKind;

    fn session(id: &str, agent: Option<&str>, terminal: Option<u32>) -> Session {
        Session {
            id: id.to_owned(),
            purpose: "x".to_owned(),
            user: User { uid: 1, name: None },
            agent: agent.map(str::to_owned),
            terminal: terminal.map(|pid| ProcessId { pid, start_ticks: 3 }),
            root: None,
            state: SessionState::Active,
            created: Timestamp::UNIX_EPOCH,
            ended: None,
            outcome: None,
            notes: 0,
            files: Vec::new(),
        }
    }

    #[test]
    fn mine_is_the_agents_or_the_terminals_and_never_the_newest_of_anyone() {
        let all = [
            session("s-1", Some("a"), Some(10)),
            session("s-2", Some("b"), Some(10)),
            session("s-3", None, Some(11)),
            session("s-4", Some("b"), Some(12)),
        ];
        let terminal = |pid| Some(ProcessId { pid, start_ticks: 3 });
        let id = |agent, terminal| mine(&all, agent, terminal).map(|s| s.id.clone());
        assert_eq!(id(Some("a"), terminal(11)).unwrap(), "s-1");
        assert_eq!(id(None, terminal(11)).unwrap(), "s-3");
        assert_eq!(id(None, terminal(12)).unwrap(), "s-4");
        for (agent, terminal, kind) in [
            (None, terminal(13), DenialKind::Refused),
            (None, None, DenialKind::Refused),
            (Some("c"), terminal(11), DenialKind::Refused),
            (Some("b"), terminal(12), DenialKind::Ambiguous),
            (None, terminal(10), DenialKind::Ambiguous),
            (None, Some(ProcessId { pid: 11, start_ticks: 4 }), DenialKind::Refused),
        ] {
            assert_eq!(id(agent, terminal).unwrap_err().kind(), kind, "{agent:?} {terminal:?}");
        }
    }

    #[test]
    fn claims_on_files_meet_when_one_is_in_the_other() {
        for (one, other, expected) in [
            ("/p/src/a.ts", "/p/src/a.ts", true),
            ("/p/src", "/p/src/a.ts", true),
            ("/p/src/a.ts", "/p/src", true),
            ("/", "/p", true),
            ("/p/src", "/p/src-old/a.ts", false),
            ("/p/a", "/p/b", false),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn paths_are_absolute_and_have_one_form() {
        assert_eq!(path("/p/a b.ts").unwrap(), "/p/a b.ts");
        for bad in ["", "a", "/p//a", "/p/./a", "/p/../a", "/p/", "/p/\n"] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
        for drive in ["C:/p/a b.ts", "d:"] {
            assert_eq!(path(drive).is_ok(), cfg!(windows), "{drive}");
        }
        for bad in ["C:/", r"C:\p", r"C:/p\q", "C:p", "C:/p/../q", "//server/share", "CC:/p"] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
        assert!(overlap("C:", "C:/p") && !overlap("C:/p", "D:/p") && !overlap("C:/p", "C:/pq"));
    }
}
