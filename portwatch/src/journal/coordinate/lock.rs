//! Locks and their queues.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    Alive, CoordinateError, Coordination, Done, Told, moment,
    owner::{self, columns},
    tell, text,
};
use crate::{
    coordinate::{Denial, Lock, Owner, Standing, Waiter, may_act, spell},
    model::{EventKind, ProcessId, Timestamp},
};

/// One user has at most so many locks.
const MOST_LOCKS: u32 = 1000;
/// At most so many wait for one lock.
const MOST_WAITERS: u32 = 1000;
/// A waiter's sign of life is written so often.
const SIGN_MS: i64 = 1000;

/// What somebody wants.
#[derive(Debug, Clone)]
pub struct TakeLock<'a> {
    /// The lock.
    pub name: &'a str,
    /// For whom.
    pub owner: &'a Owner,
    /// For so long; `None`: until its process ends.
    pub ttl: Option<Duration>,
    /// The process that waits for it where it cannot be had at once; `None` does not wait.
    pub waiter: Option<ProcessId>,
    /// Its place in the queue, when it has one.
    pub ticket: Option<i64>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// It is the asker's.
    Yours {
        /// The lock.
        lock: Lock,
        /// It was taken now; otherwise it was the asker's already and is extended.
        fresh: bool,
        /// Who had it and lost it, and why.
        from: Option<Box<Freed>>,
    },
    /// In the queue.
    Waiting {
        /// The place.
        ticket: i64,
        /// So many are before.
        ahead: usize,
        /// Who has it, where somebody has.
        lock: Option<Lock>,
    },
}

/// A lock that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freed {
    /// As it was.
    pub lock: Lock,
    /// Why.
    pub why: String,
}

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

pub(super) fn all(connection: &Connection, boot: i64) -> rusqlite::Result<Vec<Lock>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {LOCK} FROM lock ORDER BY name"))?;
    statement.query_map([], |row| lock(row, boot))?.collect()
}

fn by_name(connection: &Connection, boot: i64, name: &str) -> rusqlite::Result<Option<Lock>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {LOCK} FROM lock WHERE name = ?1"))?;
    statement.query_row([name], |row| lock(row, boot)).optional()
}

fn waiters(connection: &Connection, boot: i64, name: &str) -> rusqlite::Result<Vec<Waiter>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT ticket, lock, {}, waiting_pid, waiting_ticks, seen FROM lock_waiter WHERE lock = ?1 ORDER BY ticket",
        owner::COLUMNS
    ))?;
    let rows = statement.query_map([name], |row| {
        let earlier = row.get::<_, i64>(8)? != boot;
        let ticks: i64 = row.get(10)?;
        let seen: String = row.get(11)?;
        Ok(Waiter {
            ticket: row.get(0)?,
            lock: row.get(1)?,
            owner: owner::owner(row, 2, boot)?,
            process: ProcessId {
                pid: row.get(9)?,
                start_ticks: if earlier { u64::MAX } else { ticks.cast_unsigned() },
            },
            seen: moment(&seen).unwrap_or(Timestamp::UNIX_EPOCH),
        })
    })?;
    rows.collect()
}

impl Coordination {
    /// Every lock, by name.
    pub fn locks(&self) -> Result<Vec<Lock>, CoordinateError> {
        self.read(all)
    }

    /// Takes a lock, extends one's own, or gets in line.
    pub fn take(
        &mut self,
        wanted: &TakeLock<'_>,
        alive: &Alive<'_>,
        now: Timestamp,
    ) -> Result<(Taken, Told), CoordinateError> {
        // Most looks of a waiter find nothing new: they only read.
        if let Some(still) = self.still_waiting(wanted, alive, now)? {
            return Ok((still, Told::new()));
        }
        self.change(|connection, boot| {
            let mut told = Told::new();
            let mut from = None;
            let mut found = by_name(connection, boot, wanted.name)?;
            match found.as_ref().map(|lock| lock.standing(wanted.owner, alive, now)) {
                Some(Standing::Own) => {
                    let lock = renew(connection, boot, &mut told, wanted, now)?;
                    leave(connection, wanted.ticket, wanted.waiter)?;
                    return Ok((Taken::Yours { lock, fresh: false, from: None }, told));
                }
                Some(ended @ (Standing::Gone | Standing::Expired)) => {
                    let why = match (ended, found.as_ref().and_then(|lock| lock.owner.process)) {
                        (Standing::Gone, Some(process)) => gone(process),
                        _ => "its time had passed".to_owned(),
                    };
                    from = found.take().map(|lock| Box::new(Freed { lock, why }));
                    if let Some(freed) = &from {
                        free(connection, boot, &mut told, freed, now)?;
                    }
                }
                Some(Standing::Held) | None => {}
            }
            let ahead = ahead(connection, boot, wanted, alive, now)?;
            if found.is_none() && ahead == 0 {
                let lock = insert(connection, boot, &mut told, wanted, now)?;
                leave(connection, wanted.ticket, wanted.waiter)?;
                return Ok((Taken::Yours { lock, fresh: true, from }, told));
            }
            let Some(waiter) = wanted.waiter else {
                return Err(match found {
                    Some(lock) => held(&lock, now),
                    None => Denial::Queue { name: wanted.name.to_owned(), count: ahead },
                }
                .into());
            };
            let ticket = enqueue(connection, boot, wanted, waiter, now)?;
            Ok((Taken::Waiting { ticket, ahead, lock: found }, told))
        })
    }

    /// The answer for a waiter for whom nothing has changed.
    fn still_waiting(
        &self,
        wanted: &TakeLock<'_>,
        alive: &Alive<'_>,
        now: Timestamp,
    ) -> Result<Option<Taken>, CoordinateError> {
        let Some(ticket) = wanted.ticket else { return Ok(None) };
        self.read(|connection, boot| {
            let queue = waiters(connection, boot, wanted.name)?;
            let own = queue.iter().find(|w| w.ticket == ticket && Some(w.process) == wanted.waiter);
            let fresh = own.is_some_and(|w| now.as_millisecond() - w.seen.as_millisecond() < SIGN_MS);
            if !fresh {
                return Ok(None);
            }
            let lock = by_name(connection, boot, wanted.name)?;
            let before = queue.iter().filter(|w| w.ticket < ticket && w.waits(alive, now)).count();
            let held =
                lock.as_ref().is_some_and(|lock| lock.standing(wanted.owner, alive, now) == Standing::Held);
            Ok((held || (lock.is_none() && before > 0)).then_some(Taken::Waiting {
                ticket,
                ahead: before,
                lock,
            }))
        })
    }

    /// Gives a place in the queue back.
    pub fn leave_queue(&mut self, ticket: i64, waiter: ProcessId) -> Result<(), CoordinateError> {
        self.change(|connection, _| Ok(leave(connection, Some(ticket), Some(waiter))?))
    }

    /// Gives a lock back. With `force` whatever holds it, as long as it is of the same user, or the asker is root.
    pub fn unlock(
        &mut self,
        name: &str,
        asker: &Owner,
        force: bool,
        now: Timestamp,
    ) -> Result<(Freed, Told), CoordinateError> {
        self.change(|connection, boot| {
            let lock = existing(connection, boot, name)?;
            let own = asker.speaks_for(&lock.owner);
            if !own {
                if !may_act(lock.owner.user.uid, asker.user.uid) {
                    return Err(foreign(&lock).into());
                }
                if !force {
                    return Err(not_holder(&lock, asker).into());
                }
            }
            let why = if own { String::new() } else { format!("forced by {}", asker.user) };
            let freed = Freed { lock, why };
            let mut told = Told::new();
            free(connection, boot, &mut told, &freed, now)?;
            Ok((freed, told))
        })
    }

    /// Holds a lock for so long from now.
    pub fn extend(
        &mut self,
        name: &str,
        asker: &Owner,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<(Lock, Told), CoordinateError> {
        self.change(|connection, boot| {
            let lock = existing(connection, boot, name)?;
            if !asker.speaks_for(&lock.owner) {
                return Err(if may_act(lock.owner.user.uid, asker.user.uid) {
                    not_holder(&lock, asker)
                } else {
                    foreign(&lock)
                }
                .into());
            }
            if lock.has_expired(now) && lock.waiting > 0 {
                return Err(Denial::Refused {
                    what: format!("the time of {name} has passed, and {} wait for it", lock.waiting),
                    remedy: format!("take it again: portwatch lock {name} --wait 1m"),
                }
                .into());
            }
            let mut told = Told::new();
            let owner = &lock.owner;
            let wanted = TakeLock { name, owner, ttl: Some(ttl), waiter: None, ticket: None };
            let lock = renew(connection, boot, &mut told, &wanted, now)?;
            Ok((lock, told))
        })
    }

    /// Lets another process stand for a lock: the one that does the work.
    pub fn hand_over(
        &mut self,
        name: &str,
        asker: &Owner,
        (to, words): (ProcessId, &str),
    ) -> Result<(), CoordinateError> {
        self.change(|connection, boot| {
            let lock = existing(connection, boot, name)?;
            if !asker.is(&lock.owner) {
                return Err(not_holder(&lock, asker).into());
            }
            let (pid, ticks, boot) = columns(Some(to), boot);
            connection
                .prepare_cached(
                    "UPDATE lock SET pid = ?2, start_ticks = ?3, boot = ?4,
                         owner = CASE kind WHEN 'process' THEN ?5 ELSE owner END WHERE name = ?1",
                )?
                .execute(params![name, pid, ticks, boot, words])?;
            Ok(())
        })
    }
}

/// Frees the locks whose process is gone, when nobody saw its end.
pub(super) fn free_orphans(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    alive: &Alive<'_>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    for lock in all(connection, boot)?.into_iter().filter(|lock| lock.is_orphaned(alive)) {
        let why = lock.owner.process.map_or_else(String::new, gone);
        free(connection, boot, told, &Freed { lock, why }, now)?;
    }
    Ok(())
}

/// Frees the locks that `wanted` picks.
pub(super) fn free_where(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    (why, now): (&str, Timestamp),
    wanted: &dyn Fn(&Lock) -> bool,
) -> rusqlite::Result<Vec<Lock>> {
    let mut freed = Vec::new();
    for lock in all(connection, boot)?.into_iter().filter(wanted) {
        free(connection, boot, told, &Freed { lock: lock.clone(), why: why.to_owned() }, now)?;
        freed.push(lock);
    }
    Ok(freed)
}

/// The process ended, and nobody saw how.
pub(super) fn gone(process: ProcessId) -> String {
    if process.start_ticks == crate::coordinate::EARLIER_BOOT {
        "the machine was started again".to_owned()
    } else {
        format!("its process {} is gone", process.pid)
    }
}

fn existing(connection: &Connection, boot: i64, name: &str) -> Done<Lock> {
    let lock = by_name(connection, boot, name)?;
    Ok(lock.ok_or_else(|| Denial::Nothing {
        what: "lock",
        name: name.to_owned(),
        remedy: "portwatch locks shows those that are held",
    })?)
}

fn held(lock: &Lock, now: Timestamp) -> Denial {
    let left = match lock.expires {
        Some(expires) => {
            let ms = expires.as_millisecond().saturating_sub(now.as_millisecond()).max(0);
            format!("expires in {}", spell(Duration::from_millis(ms.unsigned_abs())))
        }
        None => "until it ends".to_owned(),
    };
    let owner = lock.owner.name.clone();
    Denial::Held { name: lock.name.clone(), owner, user: lock.owner.user.clone(), left }
}

fn foreign(lock: &Lock) -> Denial {
    let what = format!("{}, held by {},", lock.name, lock.owner.name);
    Denial::Foreign { what, user: lock.owner.user.clone() }
}

fn not_holder(lock: &Lock, asker: &Owner) -> Denial {
    Denial::NotHolder { name: lock.name.clone(), owner: lock.owner.name.clone(), asker: asker.name.clone() }
}

/// How many go first; those that wait no more lose their places.
fn ahead(
    connection: &Connection,
    boot: i64,
    wanted: &TakeLock<'_>,
    alive: &Alive<'_>,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    let mut count = 0;
    for waiter in waiters(connection, boot, wanted.name)? {
        let own = Some(waiter.ticket) == wanted.ticket && Some(waiter.process) == wanted.waiter;
        if own {
            break;
        }
        if waiter.waits(alive, now) {
            count += 1;
        } else {
            leave(connection, Some(waiter.ticket), Some(waiter.process))?;
        }
    }
    Ok(count)
}

fn leave(connection: &Connection, ticket: Option<i64>, waiter: Option<ProcessId>) -> rusqlite::Result<()> {
    let (Some(ticket), Some(waiter)) = (ticket, waiter) else { return Ok(()) };
    connection
        .prepare_cached("DELETE FROM lock_waiter WHERE ticket = ?1 AND waiting_pid = ?2")?
        .execute(params![ticket, waiter.pid])
        .map(drop)
}

fn enqueue(
    connection: &Connection,
    boot: i64,
    wanted: &TakeLock<'_>,
    waiter: ProcessId,
    now: Timestamp,
) -> Done<i64> {
    if let Some(ticket) = wanted.ticket {
        let kept = connection
            .prepare_cached("UPDATE lock_waiter SET seen = ?3 WHERE ticket = ?1 AND waiting_pid = ?2")?
            .execute(params![ticket, waiter.pid, text(now)])?;
        if kept > 0 {
            return Ok(ticket);
        }
    }
    let count: u32 = connection
        .prepare_cached("SELECT count(*) FROM lock_waiter WHERE lock = ?1")?
        .query_row([wanted.name], |row| row.get(0))?;
    if count >= MOST_WAITERS {
        return Err(Denial::Refused {
            what: format!("{count} wait for {} already", wanted.name),
            remedy: "try again later".to_owned(),
        }
        .into());
    }
    let owner = wanted.owner;
    let (pid, ticks, _) = columns(owner.process, boot);
    let ticket = connection
        .prepare_cached(
            "INSERT INTO lock_waiter (lock, kind, owner, uid, user, pid, start_ticks, boot, waiting_pid,
                 waiting_ticks, since, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)",
        )?
        .insert(params![
            wanted.name,
            owner.kind.as_str(),
            owner.name,
            owner.user.uid,
            owner.user.name,
            pid,
            ticks,
            boot,
            waiter.pid,
            waiter.start_ticks.cast_signed(),
            text(now),
        ])?;
    Ok(ticket)
}

fn until(now: Timestamp, ttl: Option<Duration>) -> Option<Timestamp> {
    now.checked_add(ttl?).ok()
}

fn millis(ttl: Option<Duration>) -> Option<i64> {
    ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX))
}

fn insert(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    wanted: &TakeLock<'_>,
    now: Timestamp,
) -> Done<Lock> {
    let owner = wanted.owner;
    let count: u32 = connection
        .prepare_cached("SELECT count(*) FROM lock WHERE uid = ?1")?
        .query_row([owner.user.uid], |row| row.get(0))?;
    if count >= MOST_LOCKS {
        return Err(Denial::TooMany { user: owner.user.clone(), what: "locks", most: MOST_LOCKS }.into());
    }
    let (pid, ticks, in_boot) = columns(owner.process, boot);
    connection
        .prepare_cached(
            "INSERT INTO lock (name, kind, owner, uid, user, pid, start_ticks, boot, since, renewed, ttl_ms, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11)",
        )?
        .execute(params![
            wanted.name,
            owner.kind.as_str(),
            owner.name,
            owner.user.uid,
            owner.user.name,
            pid,
            ticks,
            in_boot,
            text(now),
            millis(wanted.ttl),
            until(now, wanted.ttl).map(text),
        ])?;
    let span = wanted.ttl.map_or_else(String::new, |ttl| format!("  for {}", spell(ttl)));
    let message = format!("owner={}{span}", owner.name);
    tell(connection, boot, told, (EventKind::Lock, wanted.name, message, now))?;
    existing(connection, boot, wanted.name)
}

fn renew(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    wanted: &TakeLock<'_>,
    now: Timestamp,
) -> Done<Lock> {
    connection
        .prepare_cached("UPDATE lock SET renewed = ?2, ttl_ms = ?3, expires = ?4 WHERE name = ?1")?
        .execute(params![wanted.name, text(now), millis(wanted.ttl), until(now, wanted.ttl).map(text)])?;
    let span = wanted.ttl.map_or_else(String::new, |ttl| format!("  +{}", spell(ttl)));
    let message = format!("owner={}{span}", wanted.owner.name);
    tell(connection, boot, told, (EventKind::Extend, wanted.name, message, now))?;
    existing(connection, boot, wanted.name)
}

fn free(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    freed: &Freed,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let Freed { lock, why } = freed;
    connection.prepare_cached("DELETE FROM lock WHERE name = ?1")?.execute([&lock.name])?;
    let why = if why.is_empty() { String::new() } else { format!("  {why}") };
    let message = format!("owner={}{why}", lock.owner.name);
    tell(connection, boot, told, (EventKind::Unlock, &lock.name, message, now))
}
