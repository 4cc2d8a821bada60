//! Locks as rows. The log has a row of whatever becomes of one.

use std::time::Duration;

use rusqlite::{Row, params};

use super::{Freed, TakeLock};
use crate::{
    coordinate::{Denial, Lock, Owner, spell},
    journal::coordinate::{
        Done, Ends, Tables, Turn, moment,
        owner::{self, columns},
        text,
    },
    model::{EventKind, Timestamp},
};

/// One user has at most so many locks.
const MOST_LOCKS: u32 = 1000;

const LOCK: &str = "name, kind, owner, uid, user, pid, start_ticks, boot, since, renewed, ttl_ms, expires,
    (SELECT count(*) FROM lock_waiter w WHERE w.lock = lock.name)";

fn lock(row: &Row<'_>, boot: i64) -> rusqlite::Result<Lock> {
    let time = |column| row.get::<_, Option<String>>(column).map(|text| text.as_deref().and_then(moment));
    Ok(Lock {
        name: row.get(0)?,
        owner: owner::owner(row, 1, boot)?,
        since: time(8)?.unwrap_or(Timestamp::UNIX_EPOCH),
        renewed: time(9)?.unwrap_or(Timestamp::UNIX_EPOCH),
        ttl: row.get::<_, Option<i64>>(10)?.map(|ms| Duration::from_millis(ms.unsigned_abs())),
        expires: time(11)?,
        waiting: row.get::<_, u32>(12)?.into(),
    })
}

pub(super) fn all(tables: &Tables<'_>) -> rusqlite::Result<Vec<Lock>> {
    tables.rows(&format!("SELECT {LOCK} FROM lock ORDER BY name"), [], lock)
}

pub(super) fn by_name(tables: &Tables<'_>, name: &str) -> rusqlite::Result<Option<Lock>> {
    tables.row(&format!("SELECT {LOCK} FROM lock WHERE name = ?1"), [name], lock)
}

pub(super) fn existing(tables: &Tables<'_>, name: &str) -> Done<Lock> {
    let lock = by_name(tables, name)?;
    Ok(lock.ok_or_else(|| Denial::Nothing {
        what: "lock",
        name: name.to_owned(),
        remedy: "portwatch locks shows those that are held",
    })?)
}

/// Time in milliseconds and end of a lock that is held for so long from now.
fn term(now: Timestamp, ttl: Option<Duration>) -> (Option<i64>, Option<String>) {
    let ms = ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
    (ms, ttl.and_then(|ttl| now.checked_add(ttl).ok()).map(text))
}

pub(super) fn insert(turn: &mut Turn<'_>, wanted: &TakeLock<'_>) -> Done<Lock> {
    let owner = wanted.owner;
    let uid = owner.user.uid;
    let held = |turn: &Turn<'_>| turn.count("SELECT count(*) FROM lock WHERE uid = ?1", [uid]);
    if held(turn)? >= MOST_LOCKS {
        free_expired(turn, uid)?;
        if held(turn)? >= MOST_LOCKS {
            return Err(Denial::TooMany {
                user: owner.user.clone(),
                what: "locks",
                most: MOST_LOCKS,
                remedy: "give some back first: portwatch unlock NAME; portwatch locks shows them",
            }
            .into());
        }
    }
    let (pid, ticks, boot) = columns(owner.process, turn.boot);
    let (ms, expires) = term(turn.now, wanted.ttl);
    turn.execute(
        "INSERT INTO lock (name, kind, owner, uid, user, pid, start_ticks, boot, since, renewed, ttl_ms, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11)",
        params![
            wanted.name,
            owner.kind.as_str(),
            owner.name,
            owner.user.uid,
            owner.user.name,
            pid,
            ticks,
            boot,
            text(turn.now),
            ms,
            expires,
        ],
    )?;
    let span = wanted.ttl.map_or_else(String::new, |ttl| format!("  for {}", spell(ttl)));
    turn.tell(EventKind::Lock, wanted.name, format!("owner={}{span}", owner.name))?;
    existing(turn, wanted.name)
}

/// Frees the lock of a user whose time passed first, where one's has.
fn free_expired(turn: &mut Turn<'_>, uid: u32) -> rusqlite::Result<()> {
    let sql =
        format!("SELECT {LOCK} FROM lock WHERE uid = ?1 AND expires <= ?2 ORDER BY expires, name LIMIT 1");
    let expired = turn.row(&sql, params![uid, text(turn.now)], lock)?;
    expired.map_or(Ok(()), |lock| free(turn, &Freed { lock, why: "its time had passed".to_owned() }))
}

/// What is held until its process ends is not shortened by being held for some time from now.
pub(super) fn renew(turn: &mut Turn<'_>, name: &str, owner: &Owner, ttl: Option<Duration>) -> Done<Lock> {
    let limited = existing(turn, name)?.expires.is_some();
    let ttl = ttl.filter(|_| limited);
    let (ms, expires) = term(turn.now, ttl);
    turn.execute(
        "UPDATE lock SET renewed = ?2, ttl_ms = ?3, expires = ?4 WHERE name = ?1",
        params![name, text(turn.now), ms, expires],
    )?;
    let span = ttl.map_or_else(String::new, |ttl| format!("  +{}", spell(ttl)));
    turn.tell(EventKind::Extend, name, format!("owner={}{span}", owner.name))?;
    existing(turn, name)
}

pub(super) fn free(turn: &mut Turn<'_>, freed: &Freed) -> rusqlite::Result<()> {
    let Freed { lock, why } = freed;
    turn.execute("DELETE FROM lock WHERE name = ?1", [&lock.name])?;
    let why = if why.is_empty() { String::new() } else { format!("  {why}") };
    turn.tell(EventKind::Unlock, &lock.name, format!("owner={}{why}", lock.owner.name))
}

/// Frees the locks whose process has ended.
pub(in crate::journal::coordinate) fn free_ended(turn: &mut Turn<'_>, ends: &Ends) -> rusqlite::Result<()> {
    for lock in all(turn)? {
        if let Some(why) = lock.owner.process.and_then(|process| ends.get(&process)) {
            free(turn, &Freed { lock, why: why.clone() })?;
        }
    }
    Ok(())
}

/// Frees the locks that `wanted` picks.
pub(in crate::journal::coordinate) fn free_where(
    turn: &mut Turn<'_>,
    why: &str,
    wanted: &dyn Fn(&Lock) -> bool,
) -> rusqlite::Result<()> {
    for lock in all(turn)?.into_iter().filter(wanted) {
        free(turn, &Freed { lock, why: why.to_owned() })?;
    }
    Ok(())
}
