//! Agents.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    CoordinateError, Coordination, Done, Told, lock, moment,
    owner::{columns, process},
    session, tell, text,
};
use crate::{
    coordinate::{Agent, Denial, Lock, OwnerKind, STALE, User, Vitality, may_act, spell},
    model::{EventKind, ProcessId, Timestamp},
};

/// One user has at most so many agents.
const MOST_AGENTS: u32 = 1000;
/// A sign of life is written so often.
const SIGN_MS: i64 = 5000;
/// A heartbeat is told of so often.
const TOLD_MS: i64 = 10_000;

/// What an agent says of itself.
#[derive(Debug, Clone, Default)]
pub struct Register<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it works on.
    pub purpose: Option<&'a str>,
    /// What it is.
    pub identity: Option<&'a str>,
    /// It dies with this process.
    pub process: Option<ProcessId>,
}

/// Who takes work over: an agent of a user, or who sits at a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Heir<'a> {
    /// The user.
    pub user: &'a User,
    /// The agent.
    pub agent: Option<&'a str>,
    /// Without one: the leader of the terminal's session.
    pub terminal: Option<ProcessId>,
}

impl Heir<'_> {
    pub(super) fn name(&self) -> String {
        self.agent.map_or_else(|| self.user.to_string(), str::to_owned)
    }
}

/// What was taken over.
#[derive(Debug, Clone, PartialEq)]
pub struct Salvaged {
    /// The dead agent, as it was.
    pub agent: Agent,
    /// Its sessions, which are the other's now.
    pub sessions: Vec<String>,
}

const AGENT: &str =
    "name, uid, user, purpose, identity, pid, start_ticks, boot, registered, seen, died, cause,
    ended, told, salvaged_by, salvaged";

fn agent(row: &Row<'_>, boot: i64) -> rusqlite::Result<Agent> {
    let time = |column| row.get::<_, Option<String>>(column).map(|text| text.as_deref().and_then(moment));
    Ok(Agent {
        name: row.get(0)?,
        user: User { uid: row.get(1)?, name: row.get(2)? },
        purpose: row.get(3)?,
        identity: row.get(4)?,
        process: process(row, 5, boot)?,
        registered: time(8)?.unwrap_or(Timestamp::UNIX_EPOCH),
        seen: time(9)?.unwrap_or(Timestamp::UNIX_EPOCH),
        died: time(10)?,
        cause: row.get(11)?,
        ended: time(12)?,
        told: row.get(13)?,
        salvaged_by: row.get(14)?,
        salvaged: time(15)?,
    })
}

pub(super) fn all(connection: &Connection, boot: i64) -> rusqlite::Result<Vec<Agent>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {AGENT} FROM agent ORDER BY name, uid"))?;
    statement.query_map([], |row| agent(row, boot))?.collect()
}

fn by_name(connection: &Connection, boot: i64, name: &str, uid: u32) -> rusqlite::Result<Option<Agent>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {AGENT} FROM agent WHERE uid = ?1 AND name = ?2"))?;
    statement.query_row(params![uid, name], |row| agent(row, boot)).optional()
}

/// The agent of this name that a user may act on: one's own, for root also the only one of that name; else why not.
fn within_reach(connection: &Connection, boot: i64, name: &str, user: &User) -> Done<Agent> {
    if let Some(own) = by_name(connection, boot, name, user.uid)? {
        return Ok(own);
    }
    let mut others: Vec<Agent> = all(connection, boot)?.into_iter().filter(|a| a.name == name).collect();
    match (others.len(), others.pop()) {
        (1, Some(other)) if may_act(other.user.uid, user.uid) => Ok(other),
        (1, Some(other)) => Err(foreign(&other).into()),
        (0, _) | (_, None) => Err(nothing(name).into()),
        (count, Some(_)) => Err(Denial::Ambiguous {
            what: format!("{count} users have an agent {name}"),
            remedy: "act as its user".to_owned(),
        }
        .into()),
    }
}

impl Coordination {
    /// Every agent, by name.
    pub fn agents(&self) -> Result<Vec<Agent>, CoordinateError> {
        self.read(all)
    }

    /// An agent of a user.
    pub fn agent(&self, name: &str, uid: u32) -> Result<Option<Agent>, CoordinateError> {
        self.read(|connection, boot| by_name(connection, boot, name, uid))
    }

    /// Registers an agent, or tells more of one's own. One that was dead or ended begins anew.
    pub fn register(
        &mut self,
        register: &Register<'_>,
        user: &User,
        now: Timestamp,
    ) -> Result<(Agent, Told), CoordinateError> {
        self.change(|connection, boot| {
            let mut told = Told::new();
            let found = by_name(connection, boot, register.name, user.uid)?;
            match &found {
                None => insert(connection, boot, register, user, now)?,
                Some(found) => {
                    let anew = matches!(found.vitality(now), Vitality::Dead | Vitality::Ended);
                    let (pid, ticks, in_boot) = columns(register.process, boot);
                    connection
                        .prepare_cached(
                            "UPDATE agent SET purpose = ifnull(?2, purpose), identity = ifnull(?3, identity),
                                 pid = iif(?4 IS NULL AND NOT ?8, pid, ?4),
                                 start_ticks = iif(?4 IS NULL AND NOT ?8, start_ticks, ?5),
                                 boot = iif(?4 IS NULL AND NOT ?8, boot, ?6), seen = ?7,
                                 registered = iif(?8, ?7, registered), told = 'active', died = NULL, cause = NULL,
                                 ended = NULL, salvaged_by = NULL, salvaged = NULL WHERE name = ?1 AND uid = ?9",
                        )?
                        .execute(params![
                            register.name,
                            register.purpose,
                            register.identity,
                            pid,
                            ticks,
                            in_boot,
                            text(now),
                            anew,
                            user.uid
                        ])?;
                }
            }
            let words = format!("registered by {user}");
            tell(connection, boot, &mut told, (EventKind::Heartbeat, register.name, words, now))?;
            Ok((existing(connection, boot, register.name, user.uid)?, told))
        })
    }

    /// A command in the name of an agent: a sign of life, and how an agent becomes known that nobody registered.
    pub fn present(
        &mut self,
        name: &str,
        user: &User,
        now: Timestamp,
    ) -> Result<(Agent, Told), CoordinateError> {
        if let Some(found) = self.agent(name, user.uid)?
            && found.vitality(now) == Vitality::Active
            && found.told == "active"
            && found.silent_ms(now) < SIGN_MS
        {
            return Ok((found, Told::new()));
        }
        self.change(|connection, boot| {
            let mut told = Told::new();
            match by_name(connection, boot, name, user.uid)? {
                None => {
                    insert(connection, boot, &Register { name, ..Register::default() }, user, now)?;
                    let words = format!("first seen, of {user}");
                    tell(connection, boot, &mut told, (EventKind::Heartbeat, name, words, now))?;
                }
                Some(found) => back(connection, boot, &mut told, &found, now)?,
            }
            Ok((existing(connection, boot, name, user.uid)?, told))
        })
    }

    /// A sign of life of a registered agent; told of in the log, every ten seconds at most.
    pub fn heartbeat(
        &mut self,
        name: &str,
        user: &User,
        now: Timestamp,
    ) -> Result<(Agent, Told), CoordinateError> {
        self.change(|connection, boot| {
            let found = existing(connection, boot, name, user.uid)?;
            if found.ended.is_some() {
                return Err(nothing(name).into());
            }
            let mut told = Told::new();
            back(connection, boot, &mut told, &found, now)?;
            if told.is_empty() && found.silent_ms(now) >= TOLD_MS {
                let words = format!("after {}", silence(&found, now));
                tell(connection, boot, &mut told, (EventKind::Heartbeat, name, words, now))?;
            }
            Ok((existing(connection, boot, name, user.uid)?, told))
        })
    }

    /// Ends an agent: its locks are free, its sessions abandoned.
    pub fn unregister(
        &mut self,
        name: &str,
        user: &User,
        now: Timestamp,
    ) -> Result<(Agent, Told), CoordinateError> {
        self.change(|connection, boot| {
            let found = within_reach(connection, boot, name, user)?;
            if found.ended.is_some() {
                return Err(nothing(name).into());
            }
            let mut told = Told::new();
            connection
                .prepare_cached(
                    "UPDATE agent SET ended = ?2, pid = NULL, start_ticks = NULL, boot = NULL
                     WHERE name = ?1 AND uid = ?3",
                )?
                .execute(params![name, text(now), found.user.uid])?;
            let why = format!("agent {name} was unregistered");
            let mut words = "unregistered".to_owned();
            if user.uid != found.user.uid {
                words = format!("{words} by {user}");
            }
            tell(connection, boot, &mut told, (EventKind::Heartbeat, name, words, now))?;
            lock::free_where(connection, boot, &mut told, (&why, now), &|l: &Lock| is_of(l, &found))?;
            session::abandon_where(connection, boot, &mut told, (&why, now), &|s| {
                s.user.uid == found.user.uid && s.agent.as_deref() == Some(name)
            })?;
            Ok((existing(connection, boot, name, found.user.uid)?, told))
        })
    }

    /// Tells of agents that fell silent.
    pub fn tell_of_silence(&mut self, now: Timestamp) -> Result<Told, CoordinateError> {
        let news = |agent: &Agent| {
            let vitality = agent.vitality(now);
            vitality != Vitality::Ended && vitality != Vitality::Active && vitality.as_str() != agent.told
        };
        if !self.agents()?.iter().any(news) {
            return Ok(Told::new());
        }
        self.change(|connection, boot| {
            let mut told = Told::new();
            for agent in all(connection, boot)?.iter().filter(|agent| news(agent)) {
                let vitality = agent.vitality(now);
                connection
                    .prepare_cached("UPDATE agent SET told = ?2 WHERE name = ?1 AND uid = ?3")?
                    .execute(params![agent.name, vitality.as_str(), agent.user.uid])?;
                let words = format!("missed: {} for {}", vitality.as_str(), silence(agent, now));
                tell(connection, boot, &mut told, (EventKind::Heartbeat, &agent.name, words, now))?;
            }
            Ok(told)
        })
    }

    /// Another agent takes over what a dead one worked on: its active sessions, with notes and files.
    pub fn salvage(
        &mut self,
        dead: &str,
        by: &Heir<'_>,
        now: Timestamp,
    ) -> Result<(Salvaged, Told), CoordinateError> {
        self.change(|connection, boot| {
            let agent = within_reach(connection, boot, dead, by.user)?;
            if let Some(other) = &agent.salvaged_by {
                return Err(Denial::Refused {
                    what: format!("what {dead} worked on was taken over by {other} already"),
                    remedy: format!("portwatch sessions shows what {other} works on"),
                }
                .into());
            }
            if agent.vitality(now) != Vitality::Dead {
                return Err(Denial::Refused {
                    what: format!(
                        "agent {dead} is {}, and only a dead agent's work can be taken over",
                        agent.vitality(now).as_str()
                    ),
                    remedy: format!(
                        "an agent is dead when its process has ended, or after {} of silence",
                        spell(crate::coordinate::DEAD)
                    ),
                }
                .into());
            }
            if by.agent == Some(dead) && by.user.uid == agent.user.uid {
                return Err(Denial::Refused {
                    what: format!("{dead} cannot take over its own work"),
                    remedy: "name another agent: --agent, PORTWATCH_AGENT".to_owned(),
                }
                .into());
            }
            let mut told = Told::new();
            connection
                .prepare_cached(
                    "UPDATE agent SET salvaged_by = ?2, salvaged = ?3 WHERE name = ?1 AND uid = ?4",
                )?
                .execute(params![dead, by.name(), text(now), agent.user.uid])?;
            let sessions = session::pass_on(connection, boot, &mut told, (&agent, by), now)?;
            let words = match sessions.len() {
                1 => format!("salvaged by {}, 1 session", by.name()),
                count => format!("salvaged by {}, {count} sessions", by.name()),
            };
            tell(connection, boot, &mut told, (EventKind::Heartbeat, dead, words, now))?;
            Ok((Salvaged { agent, sessions }, told))
        })
    }
}

/// The agents that die with a process, and the locks they have.
pub(super) fn ended(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    wanted: &dyn Fn(ProcessId) -> bool,
    (why, now): (&str, Timestamp),
) -> rusqlite::Result<()> {
    let its =
        |agent: &Agent| agent.process.is_some_and(wanted) && agent.died.is_none() && agent.ended.is_none();
    for agent in all(connection, boot)?.into_iter().filter(its) {
        let why = match (why.is_empty(), agent.process) {
            (true, Some(process)) => lock::gone(process),
            _ => why.to_owned(),
        };
        connection
            .prepare_cached(
                "UPDATE agent SET died = ?2, cause = ?3, told = 'dead' WHERE name = ?1 AND uid = ?4",
            )?
            .execute(params![agent.name, text(now), why, agent.user.uid])?;
        let words = format!("dead: {why}");
        tell(connection, boot, told, (EventKind::Heartbeat, &agent.name, words, now))?;
        lock::free_where(connection, boot, told, (&why, now), &|l: &Lock| is_of(l, &agent))?;
    }
    Ok(())
}

fn is_of(lock: &Lock, agent: &Agent) -> bool {
    lock.owner.kind == OwnerKind::Agent
        && lock.owner.name == agent.name
        && lock.owner.user.uid == agent.user.uid
}

/// A sign of life; news where the log had told of silence.
fn back(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    found: &Agent,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let gone = found.died.is_some() || found.ended.is_some();
    connection
        .prepare_cached(
            "UPDATE agent SET seen = ?2, told = 'active', died = NULL, cause = NULL, ended = NULL,
                 salvaged_by = NULL, salvaged = NULL,
                 pid = iif(?3, NULL, pid), start_ticks = iif(?3, NULL, start_ticks), boot = iif(?3, NULL, boot)
             WHERE name = ?1 AND uid = ?4",
        )?
        .execute(params![found.name, text(now), gone, found.user.uid])?;
    if gone || found.told != "active" || found.vitality(now) != Vitality::Active {
        let words = format!("back after {}", silence(found, now));
        tell(connection, boot, told, (EventKind::Heartbeat, &found.name, words, now))?;
    }
    Ok(())
}

fn silence(agent: &Agent, now: Timestamp) -> String {
    let silent = std::time::Duration::from_millis(agent.silent_ms(now).max(0).unsigned_abs());
    if silent > STALE {
        spell(std::time::Duration::from_secs(silent.as_secs() / 60 * 60))
    } else {
        spell(silent)
    }
}

fn insert(
    connection: &Connection,
    boot: i64,
    register: &Register<'_>,
    user: &User,
    now: Timestamp,
) -> Done<()> {
    let count: u32 = connection
        .prepare_cached("SELECT count(*) FROM agent WHERE uid = ?1")?
        .query_row([user.uid], |row| row.get(0))?;
    if count >= MOST_AGENTS {
        return Err(Denial::TooMany { user: user.clone(), what: "agents", most: MOST_AGENTS }.into());
    }
    let (pid, ticks, in_boot) = columns(register.process, boot);
    connection
        .prepare_cached(
            "INSERT INTO agent (name, uid, user, purpose, identity, pid, start_ticks, boot, registered, seen)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)",
        )?
        .execute(params![
            register.name,
            user.uid,
            user.name,
            register.purpose,
            register.identity,
            pid,
            ticks,
            in_boot,
            text(now)
        ])?;
    Ok(())
}

fn existing(connection: &Connection, boot: i64, name: &str, uid: u32) -> Done<Agent> {
    Ok(by_name(connection, boot, name, uid)?.ok_or_else(|| nothing(name))?)
}

fn nothing(name: &str) -> Denial {
    Denial::Nothing {
        what: "agent",
        name: name.to_owned(),
        remedy: "portwatch agents shows those that are known; portwatch agent register NAME makes one known",
    }
}

fn foreign(agent: &Agent) -> Denial {
    Denial::Foreign { what: format!("agent {}", agent.name), user: agent.user.clone() }
}
