//! Sessions, their notes and files.

use std::collections::BTreeSet;

use rusqlite::{Row, params};

use super::{
    CoordinateError, Coordination, Done, Ends, Tables, Told, Turn, Voice,
    agent::Heir,
    files::{Conflicts, Order},
    lock, moment,
    owner::{columns, process},
    text,
};
use crate::{
    coordinate::{Agent, Denial, Lock, Note, OwnerKind, Session, SessionState, User, may_act},
    model::{EventKind, ProcessId, Timestamp},
};

/// One user has at most so many active sessions.
const MOST_ACTIVE: u32 = 200;
/// And so many that are kept.
const MOST_SESSIONS: u32 = 5000;
/// And so many notes in them.
const MOST_NOTES: u32 = 20_000;

/// What a session is begun with.
#[derive(Debug, Clone)]
pub struct StartSession<'a> {
    /// What for.
    pub purpose: &'a str,
    /// The agent that works on it.
    pub agent: Option<&'a str>,
    /// The leader of the terminal's session.
    pub terminal: Option<ProcessId>,
    /// Directory that its files are named from.
    pub root: Option<&'a str>,
    /// Files it claims.
    pub files: &'a [String],
    /// Claim them even where others have.
    pub force: bool,
}

/// An order about a session.
#[derive(Debug, Clone, Copy)]
pub struct OfSession<'a> {
    /// Its id.
    pub id: &'a str,
    /// The agent in whose name it is given.
    pub agent: Option<&'a str>,
    /// The user who gives it.
    pub user: &'a User,
}

const SESSION: &str =
    "id, purpose, state, uid, user, agent, pid, start_ticks, boot, root, created, ended, outcome,
    (SELECT count(*) FROM note WHERE note.session = session.id)";

fn session(row: &Row<'_>, boot: i64) -> rusqlite::Result<Session> {
    let time = |column| row.get::<_, Option<String>>(column).map(|text| text.as_deref().and_then(moment));
    let state: String = row.get(2)?;
    Ok(Session {
        id: row.get(0)?,
        purpose: row.get(1)?,
        state: SessionState::from_word(&state).unwrap_or(SessionState::Abandoned),
        user: User { uid: row.get(3)?, name: row.get(4)? },
        agent: row.get(5)?,
        terminal: process(row, 6, boot)?,
        root: row.get(9)?,
        created: time(10)?.unwrap_or(Timestamp::UNIX_EPOCH),
        ended: time(11)?,
        outcome: row.get(12)?,
        notes: row.get::<_, u32>(13)?.into(),
        files: Vec::new(),
    })
}

/// Sessions under a condition, newest first, with the files they claim.
fn select(
    tables: &Tables<'_>,
    condition: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Session>> {
    let sql = format!("SELECT {SESSION} FROM session WHERE {condition}");
    let mut found = tables.rows(&sql, values, session)?;
    for session in &mut found {
        session.files = tables.rows(
            "SELECT path FROM file_claim WHERE session = ?1 AND released IS NULL ORDER BY path",
            [&session.id],
            |row, _| row.get(0),
        )?;
    }
    Ok(found)
}

pub(super) fn by_id(tables: &Tables<'_>, id: &str) -> Done<Session> {
    let found = select(tables, "id = ?1", [id])?.pop();
    Ok(found.ok_or_else(|| Denial::Nothing {
        what: "session",
        name: id.to_owned(),
        remedy: "portwatch sessions shows yours",
    })?)
}

const NEWEST_FIRST: &str = "ORDER BY created DESC, id";

impl Coordination {
    /// Sessions, newest first, at most so many: the active ones and those that ended since. And how many there are.
    pub fn sessions(&self, since: Timestamp, most: u32) -> Result<(Vec<Session>, u64), CoordinateError> {
        self.read(|tables| {
            let since = text(since);
            let wanted = format!("(state = 'active' OR ended >= ?1) {NEWEST_FIRST} LIMIT ?2");
            let count = "SELECT count(*) FROM session WHERE state = 'active' OR ended >= ?1";
            Ok((select(tables, &wanted, params![since, most])?, tables.count(count, [&since])?.into()))
        })
    }

    /// The active sessions of a user.
    pub fn active_sessions(&self, uid: u32) -> Result<Vec<Session>, CoordinateError> {
        self.read(|tables| active_of(tables, uid))
    }

    /// Ids of the active sessions of agents, newest first.
    pub fn agents_sessions(&self) -> Result<Vec<(u32, String, String)>, CoordinateError> {
        self.read(|tables| {
            let sql = format!(
                "SELECT uid, agent, id FROM session WHERE state = 'active' AND agent IS NOT NULL {NEWEST_FIRST}"
            );
            tables.rows(&sql, [], |row, _| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        })
    }

    /// One session.
    pub fn session(&self, id: &str) -> Result<Option<Session>, CoordinateError> {
        self.read(|tables| Ok(select(tables, "id = ?1", [id])?.pop()))
    }

    /// The active session of this name, for what is held in its name: it must be this very user's.
    pub fn own_session(&self, id: &str, user: &User) -> Result<Option<Session>, CoordinateError> {
        let Some(found) = self.session(id)? else { return Ok(None) };
        let found = active(found, user)?;
        if found.user.uid != user.uid {
            return Err(Denial::Refused {
                what: format!("{} is {}'s, and so would be what is held for it", found.id, found.user),
                remedy: "name an agent or a session of your own".to_owned(),
            }
            .into());
        }
        Ok(Some(found))
    }

    /// The active sessions of an agent.
    pub fn sessions_of(&self, agent: &Agent) -> Result<Vec<Session>, CoordinateError> {
        self.read(|tables| of_agent(tables, agent))
    }

    /// Begins one under the first of `ids` that is not taken.
    pub fn start_session(
        &mut self,
        start: &StartSession<'_>,
        user: &User,
        ids: &[String],
        now: Timestamp,
    ) -> Result<((Session, Conflicts), Told), CoordinateError> {
        let files = Order::of(start.files)?;
        self.change(Voice::of(start.agent, user), now, |turn| {
            let active = active_of(turn, user.uid)?;
            let taken = active.iter().find(|s| match start.agent {
                Some(agent) => s.agent.as_deref() == Some(agent),
                None => s.agent.is_none() && s.terminal.is_some() && s.terminal == start.terminal,
            });
            if let Some(other) = taken {
                let whose = start.agent.map_or_else(|| "this terminal".to_owned(), |a| format!("agent {a}"));
                return Err(Denial::Refused {
                    what: format!("{} of {whose} is active", other.id),
                    remedy: format!(
                        "end it: portwatch session end --session {}; or begin as another agent: --agent",
                        other.id
                    ),
                }
                .into());
            }
            if active.len() >= MOST_ACTIVE as usize {
                return Err(Denial::TooMany {
                    user: user.clone(),
                    what: "active sessions",
                    most: MOST_ACTIVE,
                    remedy: "end some first: portwatch session end --session ID; portwatch sessions shows them",
                }
                .into());
            }
            let kept = turn.count("SELECT count(*) FROM session WHERE uid = ?1", [user.uid])?;
            if kept >= MOST_SESSIONS {
                return Err(Denial::Refused {
                    what: format!("{kept} sessions of {user} are kept, as many as one user may have"),
                    remedy: "a daemon forgets those that ended after the time of retention".to_owned(),
                }
                .into());
            }
            let mut free = None;
            for id in ids {
                if turn.count("SELECT count(*) FROM session WHERE id = ?1", [id])? == 0 {
                    free = Some(id);
                    break;
                }
            }
            let id = free.ok_or_else(|| Denial::Refused {
                what: "no id is free for a session".to_owned(),
                remedy: "try again".to_owned(),
            })?;
            let (pid, ticks, boot) = columns(start.terminal.filter(|_| start.agent.is_none()), turn.boot);
            turn.execute(
                "INSERT INTO session (id, purpose, state, uid, user, agent, pid, start_ticks, boot, root, created)
                 VALUES (?1, ?2, 'active', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    id,
                    start.purpose,
                    user.uid,
                    user.name,
                    start.agent,
                    pid,
                    ticks,
                    boot,
                    start.root,
                    text(turn.now)
                ],
            )?;
            let by = start.agent.map_or_else(String::new, |agent| format!(", agent {agent}"));
            turn.tell(EventKind::Session, id, format!("started by {user}{by}"))?;
            let conflicts = files.claim(turn, (id, user), start.force)?;
            Ok((by_id(turn, id)?, conflicts))
        })
    }

    /// Ends one: its files are free, and locks that it owns.
    pub fn end_session(
        &mut self,
        order: &OfSession<'_>,
        (state, outcome): (SessionState, Option<&str>),
        now: Timestamp,
    ) -> Result<(Session, Told), CoordinateError> {
        self.change(order.voice(), now, |turn| {
            let found = order.active(turn)?;
            end(turn, &found, state, outcome)?;
            by_id(turn, order.id)
        })
    }

    /// Claims files for a session; all of them, or none where one is another session's.
    pub fn claim_files(
        &mut self,
        order: &OfSession<'_>,
        (files, force): (&[String], bool),
        now: Timestamp,
    ) -> Result<((Session, Conflicts), Told), CoordinateError> {
        let files = Order::of(files)?;
        self.change(order.voice(), now, |turn| {
            let found = order.active(turn)?;
            let conflicts = files.claim(turn, (order.id, &found.user), force)?;
            Ok((by_id(turn, order.id)?, conflicts))
        })
    }

    /// Gives files of a session back; those that it does not claim are returned second.
    pub fn release_files(
        &mut self,
        order: &OfSession<'_>,
        files: &[String],
        now: Timestamp,
    ) -> Result<((Session, Vec<String>), Told), CoordinateError> {
        self.change(order.voice(), now, |turn| {
            order.active(turn)?;
            let mut unknown = Vec::new();
            for path in files.iter().collect::<BTreeSet<_>>() {
                let gone = turn.execute(
                    "UPDATE file_claim SET released = ?3 WHERE session = ?1 AND path = ?2 AND released IS NULL",
                    params![order.id, path, text(turn.now)],
                )?;
                if gone == 0 {
                    unknown.push(path.clone());
                }
            }
            Ok((by_id(turn, order.id)?, unknown))
        })
    }

    /// Writes a note. It is on disk when this returns.
    pub fn add_note(
        &mut self,
        order: &OfSession<'_>,
        (kind, words): (&str, &str),
        now: Timestamp,
    ) -> Result<(Note, Told), CoordinateError> {
        self.change(order.voice(), now, |turn| {
            let found = order.active(turn)?;
            let sql = "SELECT count(*) FROM session s JOIN note n ON n.session = s.id WHERE s.uid = ?1";
            let count = turn.count(sql, [found.user.uid])?;
            if count >= MOST_NOTES {
                return Err(Denial::Refused {
                    what: format!("{count} notes of {} are kept, as many as one user may have", found.user),
                    remedy: "a daemon forgets those of ended sessions after the time of retention".to_owned(),
                }
                .into());
            }
            let note = write_note(turn, order.id, (kind, words), order.agent)?;
            // Not its words: the log is for more eyes than the session.
            let by = order.agent.map_or_else(|| order.user.to_string(), |agent| format!("agent {agent}"));
            turn.tell(EventKind::Note, order.id, format!("{kind} by {by}"))?;
            Ok(note)
        })
    }

    /// Notes of a session, oldest first; the newest `most` of them, as far as one answer has room, and how many there are.
    pub fn notes(
        &self,
        id: &str,
        kind: Option<&str>,
        most: u32,
    ) -> Result<(Vec<Note>, u64), CoordinateError> {
        self.read(|tables| {
            let (mut notes, _) = tables.page(
                "SELECT id, session, at, type, agent, text FROM note
                 WHERE session = ?1 AND ifnull(type = ?2, 1) ORDER BY id DESC LIMIT ?3",
                params![id, kind, most],
                (most, |note: &Note| note.text.len()),
                |row, _| {
                    let at: String = row.get(2)?;
                    Ok(Note {
                        id: row.get(0)?,
                        session: row.get(1)?,
                        at: moment(&at).unwrap_or(Timestamp::UNIX_EPOCH),
                        kind: row.get(3)?,
                        agent: row.get(4)?,
                        text: row.get(5)?,
                    })
                },
            )?;
            notes.reverse();
            let sql = "SELECT count(*) FROM note WHERE session = ?1 AND ifnull(type = ?2, 1)";
            Ok((notes, tables.count(sql, params![id, kind])?.into()))
        })
    }
}

/// Forgets sessions, with notes and files, that ended before `cutoff`.
pub(super) fn forget(turn: &Turn<'_>, cutoff: &str) -> rusqlite::Result<usize> {
    turn.execute("DELETE FROM session WHERE state <> 'active' AND ended < ?1", [cutoff])
}

impl OfSession<'_> {
    fn voice(&self) -> Option<Voice<'_>> {
        Voice::of(self.agent, self.user)
    }

    /// The session, where this user may work on it.
    fn active(&self, tables: &Tables<'_>) -> Done<Session> {
        Ok(active(by_id(tables, self.id)?, self.user)?)
    }
}

/// A session that can be worked on by this user.
fn active(found: Session, user: &User) -> Result<Session, Denial> {
    if !may_act(found.user.uid, user.uid) {
        return Err(Denial::Foreign { what: found.id, user: found.user });
    }
    if found.state != SessionState::Active {
        return Err(Denial::Refused {
            what: format!("{} is {}", found.id, found.state.as_str()),
            remedy: "begin another: portwatch session start \"PURPOSE\"".to_owned(),
        });
    }
    Ok(found)
}

fn write_note(
    turn: &Turn<'_>,
    id: &str,
    (kind, words): (&str, &str),
    agent: Option<&str>,
) -> rusqlite::Result<Note> {
    let note = turn.insert(
        "INSERT INTO note (session, at, type, agent, text) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, text(turn.now), kind, agent, words],
    )?;
    Ok(Note {
        id: note,
        session: id.to_owned(),
        at: turn.now,
        kind: kind.to_owned(),
        agent: agent.map(str::to_owned),
        text: words.to_owned(),
    })
}

fn end(
    turn: &mut Turn<'_>,
    found: &Session,
    state: SessionState,
    outcome: Option<&str>,
) -> rusqlite::Result<()> {
    turn.execute(
        "UPDATE session SET state = ?2, ended = ?3, outcome = ?4 WHERE id = ?1",
        params![found.id, state.as_str(), text(turn.now), outcome],
    )?;
    turn.execute(
        "UPDATE file_claim SET released = ?2 WHERE session = ?1 AND released IS NULL",
        params![found.id, text(turn.now)],
    )?;
    let words = match outcome {
        Some(why) if state == SessionState::Abandoned => format!("abandoned: {why}"),
        _ => state.as_str().to_owned(),
    };
    turn.tell(EventKind::Session, &found.id, words)?;
    let why = format!("{} is {}", found.id, state.as_str());
    lock::free_where(turn, &why, &|l: &Lock| l.owner.kind == OwnerKind::Session && l.owner.name == found.id)
}

/// Abandons the active sessions that `wanted` picks.
pub(super) fn abandon_where(
    turn: &mut Turn<'_>,
    why: &str,
    wanted: &dyn Fn(&Session) -> bool,
) -> rusqlite::Result<()> {
    for found in select(turn, "state = 'active'", [])?.iter().filter(|s| wanted(s)) {
        end(turn, found, SessionState::Abandoned, Some(why))?;
    }
    Ok(())
}

/// Abandons the sessions whose terminal has ended; the notes stay.
pub(super) fn terminal_ended(turn: &mut Turn<'_>, ends: &Ends) -> rusqlite::Result<()> {
    for terminal in terminals(turn)? {
        let Some(why) = ends.get(&terminal) else { continue };
        let why = format!("the terminal was left: {why}");
        abandon_where(turn, &why, &|s: &Session| s.agent.is_none() && s.terminal == Some(terminal))?;
    }
    Ok(())
}

/// Lets another agent have the active sessions of one, with a note that says so.
pub(super) fn pass_on(turn: &mut Turn<'_>, from: &Agent, to: &Heir<'_>) -> rusqlite::Result<Vec<String>> {
    let theirs = of_agent(turn, from)?;
    let (pid, ticks, boot) = columns(to.terminal.filter(|_| to.agent.is_none()), turn.boot);
    for session in &theirs {
        turn.execute(
            "UPDATE session SET agent = ?2, uid = ?3, user = ?4, pid = ?5, start_ticks = ?6, boot = ?7
             WHERE id = ?1",
            params![session.id, to.agent, to.user.uid, to.user.name, pid, ticks, boot],
        )?;
        let words = format!("taken over from {}, which is dead", from.name);
        write_note(turn, &session.id, ("handoff", &words), to.agent)?;
        let about = format!("salvaged by {} from {}", to.name(), from.name);
        turn.tell(EventKind::Session, &session.id, about)?;
    }
    Ok(theirs.into_iter().map(|s| s.id).collect())
}

/// The active sessions of an agent.
fn of_agent(tables: &Tables<'_>, agent: &Agent) -> rusqlite::Result<Vec<Session>> {
    let condition = format!("state = 'active' AND uid = ?1 AND agent = ?2 {NEWEST_FIRST}");
    select(tables, &condition, params![agent.user.uid, agent.name])
}

/// The active sessions of a user.
fn active_of(tables: &Tables<'_>, uid: u32) -> rusqlite::Result<Vec<Session>> {
    select(tables, &format!("state = 'active' AND uid = ?1 {NEWEST_FIRST}"), [uid])
}

/// The leaders of terminals with which active sessions end.
fn terminals(tables: &Tables<'_>) -> rusqlite::Result<Vec<ProcessId>> {
    let found = tables.rows(
        "SELECT DISTINCT pid, start_ticks, boot FROM session
         WHERE state = 'active' AND agent IS NULL AND pid IS NOT NULL",
        [],
        |row, boot| process(row, 0, boot),
    )?;
    Ok(found.into_iter().flatten().collect())
}
