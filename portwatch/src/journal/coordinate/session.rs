//! Sessions, their notes and files.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    CoordinateError, Coordination, Done, Told,
    agent::Heir,
    lock, moment,
    owner::{columns, process},
    tell, text,
};
use crate::{
    coordinate::{Agent, Denial, Lock, Note, OwnerKind, Session, SessionState, User, may_act, overlap},
    model::{EventKind, ProcessId, Timestamp},
};

/// One user has at most so many active sessions.
const MOST_ACTIVE: u32 = 200;
/// And so many that are kept.
const MOST_SESSIONS: u32 = 5000;
/// And so many notes in them.
const MOST_NOTES: u32 = 20_000;
/// And so many files.
const MOST_FILES: u32 = 20_000;

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

/// A file that two sessions claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConflict {
    /// The path that was wanted.
    pub path: String,
    /// The claim in its way.
    pub claimed: String,
    /// The session that has it.
    pub session: String,
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
    connection: &Connection,
    boot: i64,
    condition: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Session>> {
    let sql = format!("SELECT {SESSION} FROM session WHERE {condition} ORDER BY created DESC, id");
    let mut found: Vec<Session> = connection
        .prepare_cached(&sql)?
        .query_map(values, |row| session(row, boot))?
        .collect::<rusqlite::Result<_>>()?;
    let mut files: HashMap<String, Vec<String>> = HashMap::new();
    let mut statement = connection.prepare_cached(
        "SELECT session, path FROM file_claim WHERE released IS NULL ORDER BY session, path",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        files.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    for session in &mut found {
        session.files = files.remove(&session.id).unwrap_or_default();
    }
    Ok(found)
}

fn by_id(connection: &Connection, boot: i64, id: &str) -> Done<Session> {
    let found = select(connection, boot, "id = ?1", [id])?.pop();
    Ok(found.ok_or_else(|| Denial::Nothing {
        what: "session",
        name: id.to_owned(),
        remedy: "portwatch sessions shows yours",
    })?)
}

impl Coordination {
    /// Sessions, newest first: the active ones and those that ended since.
    pub fn sessions(&self, since: Timestamp) -> Result<Vec<Session>, CoordinateError> {
        self.read(|connection, boot| {
            select(connection, boot, "state = 'active' OR ended >= ?1", [text(since)])
        })
    }

    /// One session.
    pub fn session(&self, id: &str) -> Result<Option<Session>, CoordinateError> {
        self.read(|connection, boot| Ok(select(connection, boot, "id = ?1", [id])?.pop()))
    }

    /// Whether there is such an active session of this user.
    pub fn has_session(&self, id: &str, uid: u32) -> Result<bool, CoordinateError> {
        self.read(|connection, _| exists(connection, id, uid))
    }

    /// The active sessions of an agent.
    pub fn sessions_of(&self, agent: &Agent) -> Result<Vec<Session>, CoordinateError> {
        self.read(|connection, boot| of_agent(connection, boot, agent))
    }

    /// Begins one under the first of `ids` that is not taken.
    pub fn start_session(
        &mut self,
        start: &StartSession<'_>,
        user: &User,
        ids: &[String],
        now: Timestamp,
    ) -> Result<(Session, Vec<FileConflict>, Told), CoordinateError> {
        self.change(|connection, boot| {
            let active = select(connection, boot, "state = 'active' AND uid = ?1", [user.uid])?;
            let taken = active.iter().find(|s| match start.agent {
                Some(agent) => s.agent.as_deref() == Some(agent),
                None => s.agent.is_none() && s.terminal.is_some() && s.terminal == start.terminal,
            });
            if let Some(other) = taken {
                let whose = start.agent.map_or_else(|| "this terminal".to_owned(), |a| format!("agent {a}"));
                return Err(Denial::Refused {
                    what: format!("{} of {whose} is active", other.id),
                    remedy: format!("end it: portwatch session end --session {}; or begin as another agent: --agent", other.id),
                }
                .into());
            }
            if active.len() >= MOST_ACTIVE as usize {
                return Err(Denial::TooMany { user: user.clone(), what: "active sessions", most: MOST_ACTIVE }.into());
            }
            let kept: u32 = connection
                .prepare_cached("SELECT count(*) FROM session WHERE uid = ?1")?
                .query_row([user.uid], |row| row.get(0))?;
            if kept >= MOST_SESSIONS {
                return Err(Denial::Refused {
                    what: format!("{kept} sessions of {user} are kept, as many as one user may have"),
                    remedy: "a daemon forgets those that ended after the time of retention".to_owned(),
                }
                .into());
            }
            let mut free = connection.prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM session WHERE id = ?1)")?;
            let mut id = None;
            for candidate in ids {
                if free.query_row([candidate], |row| row.get(0))? {
                    id = Some(candidate);
                    break;
                }
            }
            let Some(id) = id else {
                return Err(Denial::Refused {
                    what: "no id is free for a session".to_owned(),
                    remedy: "try again".to_owned(),
                }
                .into());
            };
            let (pid, ticks, in_boot) = columns(start.terminal.filter(|_| start.agent.is_none()), boot);
            connection
                .prepare_cached(
                    "INSERT INTO session (id, purpose, state, uid, user, agent, pid, start_ticks, boot, root, created)
                     VALUES (?1, ?2, 'active', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )?
                .execute(params![
                    id, start.purpose, user.uid, user.name, start.agent, pid, ticks, in_boot, start.root, text(now)
                ])?;
            let mut told = Told::new();
            let by = start.agent.map_or_else(String::new, |agent| format!(", agent {agent}"));
            let words = format!("started by {user}{by}");
            tell(connection, boot, &mut told, (EventKind::Session, id, words, now))?;
            let conflicts = claim(connection, boot, &mut told, (id, user), (start.files, start.force), now)?;
            Ok((by_id(connection, boot, id)?, conflicts, told))
        })
    }

    /// Ends one: its files are free, and locks that it owns.
    pub fn end_session(
        &mut self,
        id: &str,
        (state, outcome): (SessionState, Option<&str>),
        user: &User,
        now: Timestamp,
    ) -> Result<(Session, Told), CoordinateError> {
        self.change(|connection, boot| {
            let found = active(by_id(connection, boot, id)?, user)?;
            let mut told = Told::new();
            end(connection, boot, &mut told, &found, (state, outcome), now)?;
            Ok((by_id(connection, boot, id)?, told))
        })
    }

    /// Claims files for a session; all of them, or none where one is another session's.
    pub fn claim_files(
        &mut self,
        id: &str,
        files: &[String],
        force: bool,
        user: &User,
        now: Timestamp,
    ) -> Result<(Session, Vec<FileConflict>, Told), CoordinateError> {
        self.change(|connection, boot| {
            let mut told = Told::new();
            let found = active(by_id(connection, boot, id)?, user)?;
            let conflicts = claim(connection, boot, &mut told, (id, &found.user), (files, force), now)?;
            Ok((by_id(connection, boot, id)?, conflicts, told))
        })
    }

    /// Gives files of a session back; those that it does not claim are returned second.
    pub fn release_files(
        &mut self,
        id: &str,
        files: &[String],
        user: &User,
        now: Timestamp,
    ) -> Result<(Session, Vec<String>), CoordinateError> {
        self.change(|connection, boot| {
            active(by_id(connection, boot, id)?, user)?;
            let mut unknown = Vec::new();
            for path in files {
                let gone = connection
                    .prepare_cached(
                        "UPDATE file_claim SET released = ?3 WHERE session = ?1 AND path = ?2 AND released IS NULL",
                    )?
                    .execute(params![id, path, text(now)])?;
                if gone == 0 {
                    unknown.push(path.clone());
                }
            }
            Ok((by_id(connection, boot, id)?, unknown))
        })
    }

    /// Writes a note. It is on disk when this returns.
    pub fn add_note(
        &mut self,
        id: &str,
        (kind, words): (&str, &str),
        agent: Option<&str>,
        user: &User,
        now: Timestamp,
    ) -> Result<(Note, Told), CoordinateError> {
        self.change(|connection, boot| {
            let found = active(by_id(connection, boot, id)?, user)?;
            let count: u32 = connection
                .prepare_cached(
                    "SELECT count(*) FROM session s JOIN note n ON n.session = s.id WHERE s.uid = ?1",
                )?
                .query_row([found.user.uid], |row| row.get(0))?;
            if count >= MOST_NOTES {
                return Err(Denial::Refused {
                    what: format!("{count} notes of {} are kept, as many as one user may have", found.user),
                    remedy: "a daemon forgets those of ended sessions after the time of retention".to_owned(),
                }
                .into());
            }
            let mut told = Told::new();
            let note = write_note(connection, id, (kind, words), agent, now)?;
            // Not its words: the log is for more eyes than the session.
            let by = agent.map_or_else(|| user.to_string(), |agent| format!("agent {agent}"));
            let about = format!("{kind} by {by}");
            tell(connection, boot, &mut told, (EventKind::Note, id, about, now))?;
            Ok((note, told))
        })
    }

    /// Notes of a session, oldest first; the newest `most` of them, and how many there are.
    pub fn notes(
        &self,
        id: &str,
        kind: Option<&str>,
        most: u32,
    ) -> Result<(Vec<Note>, u64), CoordinateError> {
        self.read(|connection, _| {
            let mut statement = connection.prepare_cached(
                "SELECT id, session, at, type, agent, text FROM note
                 WHERE session = ?1 AND ifnull(type = ?2, 1) ORDER BY id DESC LIMIT ?3",
            )?;
            let row = |row: &Row<'_>| {
                let at: String = row.get(2)?;
                Ok(Note {
                    id: row.get(0)?,
                    session: row.get(1)?,
                    at: moment(&at).unwrap_or(Timestamp::UNIX_EPOCH),
                    kind: row.get(3)?,
                    agent: row.get(4)?,
                    text: row.get(5)?,
                })
            };
            let mut notes: Vec<Note> =
                statement.query_map(params![id, kind, most], row)?.collect::<rusqlite::Result<_>>()?;
            notes.reverse();
            let count: u32 = connection
                .prepare_cached("SELECT count(*) FROM note WHERE session = ?1 AND ifnull(type = ?2, 1)")?
                .query_row(params![id, kind], |row| row.get(0))?;
            Ok((notes, count.into()))
        })
    }

    /// Forgets sessions, with notes and files, and agents that ended before `cutoff`. How many rows went.
    pub fn forget(&mut self, cutoff: Timestamp) -> Result<usize, CoordinateError> {
        self.change(|connection, _| {
            let cutoff = text(cutoff);
            let sessions = connection
                .prepare_cached("DELETE FROM session WHERE state <> 'active' AND ended < ?1")?
                .execute([&cutoff])?;
            let agents = connection
                .prepare_cached(
                    "DELETE FROM agent WHERE max(seen, ifnull(died, seen), ifnull(ended, seen)) < ?1
                       AND NOT EXISTS (SELECT 1 FROM session
                           WHERE session.uid = agent.uid AND session.agent = agent.name AND state = 'active')",
                )?
                .execute([&cutoff])?;
            Ok(sessions + agents)
        })
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
            remedy: "begin another: portwatch session start 'PURPOSE'".to_owned(),
        });
    }
    Ok(found)
}

fn write_note(
    connection: &Connection,
    id: &str,
    (kind, words): (&str, &str),
    agent: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<Note> {
    let note = connection
        .prepare_cached("INSERT INTO note (session, at, type, agent, text) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .insert(params![id, text(now), kind, agent, words])?;
    Ok(Note {
        id: note,
        session: id.to_owned(),
        at: now,
        kind: kind.to_owned(),
        agent: agent.map(str::to_owned),
        text: words.to_owned(),
    })
}

/// Claims what nobody else has; with `force` the rest too, and tells of it.
fn claim(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    (id, user): (&str, &User),
    (files, force): (&[String], bool),
    now: Timestamp,
) -> Done<Vec<FileConflict>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut conflicts = Vec::new();
    let others = select(connection, boot, "state = 'active' AND id <> ?1", [id])?;
    for path in files {
        for other in &others {
            for claimed in other.files.iter().filter(|claimed| overlap(path, claimed)) {
                conflicts.push(FileConflict {
                    path: path.clone(),
                    claimed: claimed.clone(),
                    session: other.id.clone(),
                });
            }
        }
    }
    if let Some(first) = conflicts.first()
        && !force
    {
        let holder = others.iter().find(|s| s.id == first.session);
        let by = holder.and_then(|s| s.agent.clone()).map_or_else(String::new, |a| format!(", agent {a}"));
        let more = match conflicts.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        return Err(Denial::Refused {
            what: format!("{} is claimed by {}{by}{more}; nothing was claimed", first.path, first.session),
            remedy: format!("portwatch sessions --files shows all; --force claims it all the same; portwatch notes --session {}", first.session),
        }
        .into());
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO file_claim (session, path, claimed) VALUES (?1, ?2, ?3)
         ON CONFLICT (session, path) DO UPDATE SET released = NULL, claimed = iif(released IS NULL, claimed, ?3)",
    )?;
    for path in files {
        insert.execute(params![id, path, text(now)])?;
    }
    let count: u32 = connection
        .prepare_cached(
            "SELECT count(*) FROM session s JOIN file_claim f ON f.session = s.id WHERE s.uid = ?1",
        )?
        .query_row([user.uid], |row| row.get(0))?;
    if count > MOST_FILES {
        return Err(Denial::Refused {
            what: format!(
                "one user claims {MOST_FILES} files at most, those of ended sessions that are kept among them"
            ),
            remedy: "claim their directory".to_owned(),
        }
        .into());
    }
    let mut words = match files.len() {
        1 => "claimed 1 file".to_owned(),
        count => format!("claimed {count} files"),
    };
    let mut whose: Vec<&str> = conflicts.iter().map(|c| c.session.as_str()).collect();
    whose.dedup();
    if !whose.is_empty() {
        words = format!("{words}, some of them claimed by {} too", whose.join(", "));
    }
    tell(connection, boot, told, (EventKind::Session, id, words, now))?;
    Ok(conflicts)
}

fn end(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    found: &Session,
    (state, outcome): (SessionState, Option<&str>),
    now: Timestamp,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE session SET state = ?2, ended = ?3, outcome = ?4 WHERE id = ?1")?
        .execute(params![found.id, state.as_str(), text(now), outcome])?;
    connection
        .prepare_cached("UPDATE file_claim SET released = ?2 WHERE session = ?1 AND released IS NULL")?
        .execute(params![found.id, text(now)])?;
    let words = match outcome {
        Some(why) if state == SessionState::Abandoned => format!("abandoned: {why}"),
        _ => state.as_str().to_owned(),
    };
    tell(connection, boot, told, (EventKind::Session, &found.id, words, now))?;
    let why = format!("{} is {}", found.id, state.as_str());
    lock::free_where(connection, boot, told, (&why, now), &|l: &Lock| {
        l.owner.kind == OwnerKind::Session && l.owner.name == found.id
    })?;
    Ok(())
}

/// Abandons the active sessions that `wanted` picks.
pub(super) fn abandon_where(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    (why, now): (&str, Timestamp),
    wanted: &dyn Fn(&Session) -> bool,
) -> rusqlite::Result<()> {
    for found in select(connection, boot, "state = 'active'", [])?.iter().filter(|s| wanted(s)) {
        end(connection, boot, told, found, (SessionState::Abandoned, Some(why)), now)?;
    }
    Ok(())
}

/// Abandons the sessions whose terminal has ended; the notes stay.
pub(super) fn terminal_ended(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    wanted: &dyn Fn(ProcessId) -> bool,
    (why, now): (&str, Timestamp),
) -> rusqlite::Result<()> {
    for terminal in terminals(connection, boot)?.into_iter().filter(|&terminal| wanted(terminal)) {
        let why = if why.is_empty() { lock::gone(terminal) } else { why.to_owned() };
        let why = format!("the terminal was left: {why}");
        let here = |s: &Session| s.agent.is_none() && s.terminal == Some(terminal);
        abandon_where(connection, boot, told, (&why, now), &here)?;
    }
    Ok(())
}

/// Lets another agent have the active sessions of one, with a note that says so.
pub(super) fn pass_on(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    (from, to): (&Agent, &Heir<'_>),
    now: Timestamp,
) -> rusqlite::Result<Vec<String>> {
    let theirs = of_agent(connection, boot, from)?;
    let (pid, ticks, in_boot) = columns(to.terminal.filter(|_| to.agent.is_none()), boot);
    for session in &theirs {
        connection
            .prepare_cached(
                "UPDATE session SET agent = ?2, uid = ?3, user = ?4, pid = ?5, start_ticks = ?6, boot = ?7 WHERE id = ?1",
            )?
            .execute(params![session.id, to.agent, to.user.uid, to.user.name, pid, ticks, in_boot])?;
        let words = format!("taken over from {}, which is dead", from.name);
        write_note(connection, &session.id, ("handoff", &words), to.agent, now)?;
        let about = format!("salvaged by {} from {}", to.name(), from.name);
        tell(connection, boot, told, (EventKind::Session, &session.id, about, now))?;
    }
    Ok(theirs.into_iter().map(|s| s.id).collect())
}

/// The active sessions of an agent.
fn of_agent(connection: &Connection, boot: i64, agent: &Agent) -> rusqlite::Result<Vec<Session>> {
    let condition = "state = 'active' AND uid = ?1 AND agent = ?2";
    select(connection, boot, condition, params![agent.user.uid, agent.name])
}

/// The active sessions that end with a terminal: which, and with the leader of which.
pub(super) fn terminals(connection: &Connection, boot: i64) -> rusqlite::Result<Vec<ProcessId>> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT pid, start_ticks, boot FROM session
         WHERE state = 'active' AND agent IS NULL AND pid IS NOT NULL",
    )?;
    let found = statement.query_map([], |row| process(row, 0, boot))?;
    found.filter_map(Result::transpose).collect()
}

/// Whether there is such an active session of this user.
fn exists(connection: &Connection, id: &str, uid: u32) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM session WHERE id = ?1 AND uid = ?2 AND state = 'active'")?
        .query_row(params![id, uid], |_| Ok(()))
        .optional()
        .map(|found| found.is_some())
}
