//! Agents.

use std::time::Duration;

use rusqlite::{Row, params};

use super::{
    CoordinateError, Coordination, Done, Ends, Tables, Told, Turn, lock, moment,
    owner::{columns, process},
    session, text,
};
use crate::{
    coordinate::{Agent, DEAD, Denial, Lock, OwnerKind, STALE, User, Vitality, may_act, spell},
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

/// The agent in whose name something is ordered: when that is followed, it is a sign of life, and how an agent becomes known
/// that nobody registered.
#[derive(Debug, Clone, Copy)]
pub struct Voice<'a> {
    /// Its name.
    pub agent: &'a str,
    /// Its user.
    pub user: &'a User,
}

impl<'a> Voice<'a> {
    /// The agent's of this name, where one is named.
    pub fn of(agent: Option<&'a str>, user: &'a User) -> Option<Self> {
        agent.map(|agent| Self { agent, user })
    }
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

pub(super) fn all(tables: &Tables<'_>) -> rusqlite::Result<Vec<Agent>> {
    tables.rows(&format!("SELECT {AGENT} FROM agent ORDER BY name, uid"), [], agent)
}

fn by_name(tables: &Tables<'_>, name: &str, uid: u32) -> rusqlite::Result<Option<Agent>> {
    let sql = format!("SELECT {AGENT} FROM agent WHERE uid = ?1 AND name = ?2");
    tables.row(&sql, params![uid, name], agent)
}

/// The agent of this name that a user may act on: one's own, for root also the only one of that name; else why not.
fn within_reach(tables: &Tables<'_>, name: &str, user: &User) -> Done<Agent> {
    if let Some(own) = by_name(tables, name, user.uid)? {
        return Ok(own);
    }
    let sql = format!("SELECT {AGENT} FROM agent WHERE name = ?1");
    let mut others = tables.rows(&sql, [name], agent)?;
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
        self.read(|tables| by_name(tables, name, uid))
    }

    /// Registers an agent, or tells more of one's own. One that was dead or ended begins anew.
    pub fn register(
        &mut self,
        register: &Register<'_>,
        user: &User,
        now: Timestamp,
    ) -> Result<(Agent, Told), CoordinateError> {
        self.change(None, now, |turn| {
            let now = turn.now;
            match by_name(turn, register.name, user.uid)? {
                None => insert(turn, register, user)?,
                Some(found) => {
                    let anew = matches!(found.vitality(now), Vitality::Dead | Vitality::Ended);
                    let (pid, ticks, boot) = columns(register.process, turn.boot);
                    turn.execute(
                        "UPDATE agent SET purpose = ifnull(?2, purpose), identity = ifnull(?3, identity),
                             pid = iif(?4 IS NULL AND NOT ?8, pid, ?4),
                             start_ticks = iif(?4 IS NULL AND NOT ?8, start_ticks, ?5),
                             boot = iif(?4 IS NULL AND NOT ?8, boot, ?6), seen = ?7,
                             registered = iif(?8, ?7, registered), told = 'active', died = NULL, cause = NULL,
                             ended = NULL, salvaged_by = NULL, salvaged = NULL WHERE name = ?1 AND uid = ?9",
                        params![
                            register.name,
                            register.purpose,
                            register.identity,
                            pid,
                            ticks,
                            boot,
                            text(now),
                            anew,
                            user.uid
                        ],
                    )?;
                }
            }
            turn.tell(EventKind::Heartbeat, register.name, format!("registered by {user}"))?;
            existing(turn, register.name, user.uid)
        })
    }

    /// Something was asked in the name of an agent.
    pub fn present(&mut self, voice: Voice<'_>, now: Timestamp) -> Result<Told, CoordinateError> {
        match self.agent(voice.agent, voice.user.uid)? {
            Some(found) if is_fresh(&found, now) => Ok(Told::new()),
            _ => Ok(self.change(Some(voice), now, |_| Ok(()))?.1),
        }
    }

    /// A sign of life of a registered agent; told of in the log, every ten seconds at most.
    pub fn heartbeat(
        &mut self,
        name: &str,
        user: &User,
        now: Timestamp,
    ) -> Result<(Agent, Told), CoordinateError> {
        self.change(None, now, |turn| {
            // Nobody, not even root, lives for another user's agent.
            let found = within_reach(turn, name, user)?;
            if found.user.uid != user.uid {
                return Err(foreign(&found).into());
            }
            if found.ended.is_some() {
                return Err(nothing(name).into());
            }
            back(turn, &found)?;
            if turn.told.is_empty() && found.silent_ms(turn.now) >= TOLD_MS {
                let words = format!("after {}", silence(&found, turn.now));
                turn.tell(EventKind::Heartbeat, name, words)?;
            }
            existing(turn, name, user.uid)
        })
    }

    /// Ends an agent: its locks are free, its sessions abandoned.
    pub fn unregister(
        &mut self,
        name: &str,
        user: &User,
        now: Timestamp,
    ) -> Result<(Agent, Told), CoordinateError> {
        self.change(None, now, |turn| {
            let found = within_reach(turn, name, user)?;
            if found.ended.is_some() {
                return Err(nothing(name).into());
            }
            turn.execute(
                "UPDATE agent SET ended = ?2, pid = NULL, start_ticks = NULL, boot = NULL
                 WHERE name = ?1 AND uid = ?3",
                params![name, text(turn.now), found.user.uid],
            )?;
            let why = format!("agent {name} was unregistered");
            let by = if user.uid == found.user.uid { String::new() } else { format!(" by {user}") };
            turn.tell(EventKind::Heartbeat, name, format!("unregistered{by}"))?;
            lock::free_where(turn, &why, &|l: &Lock| is_of(l, &found))?;
            session::abandon_where(turn, &why, &|s| {
                s.user.uid == found.user.uid && s.agent.as_deref() == Some(name)
            })?;
            existing(turn, name, found.user.uid)
        })
    }

    /// Tells of agents that fell silent.
    pub fn tell_of_silence(&mut self, now: Timestamp) -> Result<Told, CoordinateError> {
        let news = |agent: &Agent, now: Timestamp| {
            let vitality = agent.vitality(now);
            vitality != Vitality::Ended && vitality != Vitality::Active && vitality.as_str() != agent.told
        };
        // Most agents by far were told of, or spoke lately: only the others are read.
        let maybe = |tables: &Tables<'_>, now: Timestamp| {
            let stale = text(now.checked_sub(STALE).unwrap_or(now));
            let sql = format!(
                "SELECT {AGENT} FROM agent WHERE ended IS NULL AND told <> 'dead' AND (seen < ?1 OR died IS NOT NULL)
                 ORDER BY name, uid"
            );
            tables.rows(&sql, [stale], agent)
        };
        if !self.read(|tables| maybe(tables, now))?.iter().any(|agent| news(agent, now)) {
            return Ok(Told::new());
        }
        let tell = |turn: &mut Turn<'_>| {
            let now = turn.now;
            for agent in maybe(turn, now)?.iter().filter(|agent| news(agent, now)) {
                let vitality = agent.vitality(now).as_str();
                turn.execute(
                    "UPDATE agent SET told = ?2 WHERE name = ?1 AND uid = ?3",
                    params![agent.name, vitality, agent.user.uid],
                )?;
                let words = format!("missed: {vitality} for {}", silence(agent, now));
                turn.tell(EventKind::Heartbeat, &agent.name, words)?;
            }
            Ok(())
        };
        Ok(self.change(None, now, tell)?.1)
    }

    /// When the next of the agents that speak now, or were told of as stale, has been silent for too long.
    pub fn next_silence(&self, now: Timestamp) -> Result<Option<Timestamp>, CoordinateError> {
        let stale = text(now.checked_sub(STALE).unwrap_or(now));
        let sql = "SELECT min(seen) FILTER (WHERE seen >= ?1), min(seen) FILTER (WHERE seen < ?1)
                   FROM agent WHERE ended IS NULL AND died IS NULL AND told <> 'dead'";
        let seen = self.read(|tables| {
            tables.row(sql, [stale], |row, _| {
                Ok([row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?])
            })
        })?;
        // Silence is counted in whole milliseconds, and has to be longer.
        let due = |(seen, patience): (Option<String>, Duration)| {
            moment(&seen?)?.checked_add(patience + Duration::from_millis(2)).ok()
        };
        Ok(seen.into_iter().flat_map(|seen| seen.into_iter().zip([STALE, DEAD])).filter_map(due).min())
    }

    /// Another agent takes over what a dead one worked on: its active sessions, with notes and files.
    pub fn salvage(
        &mut self,
        dead: &str,
        by: &Heir<'_>,
        now: Timestamp,
    ) -> Result<(Salvaged, Told), CoordinateError> {
        self.change(Voice::of(by.agent, by.user), now, |turn| {
            let agent = within_reach(turn, dead, by.user)?;
            if by.agent == Some(dead) && by.user.uid == agent.user.uid {
                return Err(Denial::Refused {
                    what: format!("{dead} cannot take over its own work"),
                    remedy: format!(
                        "where it lives again: portwatch agent heartbeat {dead}; or name another agent: --agent, \
                         PORTWATCH_AGENT"
                    ),
                }
                .into());
            }
            if let Some(other) = &agent.salvaged_by {
                return Err(Denial::Refused {
                    what: format!("what {dead} worked on was taken over by {other} already"),
                    remedy: format!("portwatch sessions shows what {other} works on"),
                }
                .into());
            }
            if agent.vitality(turn.now) != Vitality::Dead {
                return Err(Denial::Refused {
                    what: format!(
                        "agent {dead} is {}, and only a dead agent's work can be taken over",
                        agent.vitality(turn.now).as_str()
                    ),
                    remedy: format!(
                        "an agent is dead when its process has ended, or after {} of silence",
                        spell(DEAD)
                    ),
                }
                .into());
            }
            turn.execute(
                "UPDATE agent SET salvaged_by = ?2, salvaged = ?3 WHERE name = ?1 AND uid = ?4",
                params![dead, by.name(), text(turn.now), agent.user.uid],
            )?;
            let sessions = session::pass_on(turn, &agent, by)?;
            let words = match sessions.len() {
                1 => format!("salvaged by {}, 1 session", by.name()),
                count => format!("salvaged by {}, {count} sessions", by.name()),
            };
            turn.tell(EventKind::Heartbeat, dead, words)?;
            Ok(Salvaged { agent, sessions })
        })
    }
}

/// It gave a sign of life so lately that another need not be written.
fn is_fresh(agent: &Agent, now: Timestamp) -> bool {
    agent.vitality(now) == Vitality::Active && agent.told == "active" && agent.silent_ms(now) < SIGN_MS
}

/// A sign of life of the agent in whose name something is ordered.
pub(super) fn speak(turn: &mut Turn<'_>, Voice { agent: name, user }: Voice<'_>) -> Done<()> {
    match by_name(turn, name, user.uid)? {
        None => {
            insert(turn, &Register { name, ..Register::default() }, user)?;
            turn.tell(EventKind::Heartbeat, name, format!("first seen, of {user}"))?;
        }
        Some(found) if is_fresh(&found, turn.now) => {}
        Some(found) => back(turn, &found)?,
    }
    Ok(())
}

/// Forgets agents that were silent since before `cutoff` and have no active session.
pub(super) fn forget(turn: &Turn<'_>, cutoff: &str) -> rusqlite::Result<usize> {
    turn.execute(
        "DELETE FROM agent WHERE max(seen, ifnull(died, seen), ifnull(ended, seen)) < ?1
           AND NOT EXISTS (SELECT 1 FROM session
               WHERE session.uid = agent.uid AND session.agent = agent.name AND state = 'active')",
        [cutoff],
    )
}

/// Forgets one agent of a user that leaves nothing to salvage: the one that ended or was salvaged first, else the one that died
/// first of those that never said what they do.
fn make_room(turn: &Turn<'_>, uid: u32) -> rusqlite::Result<()> {
    let dead = text(turn.now.checked_sub(DEAD).unwrap_or(turn.now));
    turn.execute(
        "DELETE FROM agent WHERE uid = ?1 AND name = (
             SELECT name FROM agent one WHERE uid = ?1
               AND (ended IS NOT NULL OR salvaged IS NOT NULL
                   OR (purpose IS NULL AND (died IS NOT NULL OR seen < ?2)))
               AND NOT EXISTS (SELECT 1 FROM session
                   WHERE session.uid = one.uid AND session.agent = one.name AND state = 'active')
               AND NOT EXISTS (SELECT 1 FROM lock
                   WHERE lock.uid = one.uid AND lock.owner = one.name AND lock.kind = 'agent')
             ORDER BY ended IS NULL AND salvaged IS NULL, max(seen, ifnull(died, seen), ifnull(ended, seen)), name
             LIMIT 1)",
        params![uid, dead],
    )
    .map(drop)
}

/// The agents that die with a process, and the locks they have.
pub(super) fn ended(turn: &mut Turn<'_>, ends: &Ends) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {AGENT} FROM agent WHERE pid IS NOT NULL AND died IS NULL AND ended IS NULL ORDER BY name, uid"
    );
    for agent in turn.rows(&sql, [], agent)? {
        let Some(why) = agent.process.and_then(|process| ends.get(&process)) else { continue };
        turn.execute(
            "UPDATE agent SET died = ?2, cause = ?3, told = 'dead' WHERE name = ?1 AND uid = ?4",
            params![agent.name, text(turn.now), why, agent.user.uid],
        )?;
        turn.tell(EventKind::Heartbeat, &agent.name, format!("dead: {why}"))?;
        lock::free_where(turn, why, &|l: &Lock| is_of(l, &agent))?;
    }
    Ok(())
}

fn is_of(lock: &Lock, agent: &Agent) -> bool {
    lock.owner.kind == OwnerKind::Agent
        && lock.owner.name == agent.name
        && lock.owner.user.uid == agent.user.uid
}

/// A sign of life; news where the log had told of silence.
fn back(turn: &mut Turn<'_>, found: &Agent) -> rusqlite::Result<()> {
    let now = turn.now;
    let gone = found.died.is_some() || found.ended.is_some();
    turn.execute(
        "UPDATE agent SET seen = ?2, told = 'active', died = NULL, cause = NULL, ended = NULL,
             salvaged_by = NULL, salvaged = NULL,
             pid = iif(?3, NULL, pid), start_ticks = iif(?3, NULL, start_ticks), boot = iif(?3, NULL, boot)
         WHERE name = ?1 AND uid = ?4",
        params![found.name, text(now), gone, found.user.uid],
    )?;
    if gone || found.told != "active" || found.vitality(now) != Vitality::Active {
        turn.tell(EventKind::Heartbeat, &found.name, format!("back after {}", silence(found, now)))?;
    }
    Ok(())
}

fn silence(agent: &Agent, now: Timestamp) -> String {
    let silent = Duration::from_millis(agent.silent_ms(now).max(0).unsigned_abs());
    if silent > STALE { spell(Duration::from_secs(silent.as_secs() / 60 * 60)) } else { spell(silent) }
}

fn insert(turn: &Turn<'_>, register: &Register<'_>, user: &User) -> Done<()> {
    let known = || turn.count("SELECT count(*) FROM agent WHERE uid = ?1", [user.uid]);
    if known()? >= MOST_AGENTS {
        make_room(turn, user.uid)?;
        if known()? >= MOST_AGENTS {
            return Err(Denial::TooMany {
                user: user.clone(),
                what: "agents",
                most: MOST_AGENTS,
                remedy: "end some first: portwatch agent unregister NAME; portwatch agents --all shows them",
            }
            .into());
        }
    }
    let (pid, ticks, boot) = columns(register.process, turn.boot);
    turn.execute(
        "INSERT INTO agent (name, uid, user, purpose, identity, pid, start_ticks, boot, registered, seen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)",
        params![
            register.name,
            user.uid,
            user.name,
            register.purpose,
            register.identity,
            pid,
            ticks,
            boot,
            text(turn.now)
        ],
    )?;
    Ok(())
}

fn existing(tables: &Tables<'_>, name: &str, uid: u32) -> Done<Agent> {
    Ok(by_name(tables, name, uid)?.ok_or_else(|| nothing(name))?)
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
