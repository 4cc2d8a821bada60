//! Locks and their queues.

use std::time::Duration;

use rusqlite::{Row, params};

use super::{
    Alive, CoordinateError, Coordination, Done, Ending, Ends, Tables, Told, Turn, Voice, moment,
    owner::{self, columns},
    text,
};
use crate::{
    coordinate::{
        Denial, EARLIER_BOOT, Lock, Owner, OwnerKind, PATIENCE, Standing, User, Waiter, may_act, spell,
    },
    model::{EventKind, ProcessId, Timestamp},
};

/// One user has at most so many locks.
const MOST_LOCKS: u32 = 1000;
/// At most so many wait for one lock.
const MOST_WAITERS: u32 = 1000;
/// And at most so many of one user, for all locks together.
const MOST_PLACES: u32 = 1000;
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
    /// Its place in the queue, when it knows of one.
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

pub(super) fn all(tables: &Tables<'_>) -> rusqlite::Result<Vec<Lock>> {
    tables.rows(&format!("SELECT {LOCK} FROM lock ORDER BY name"), [], lock)
}

fn by_name(tables: &Tables<'_>, name: &str) -> rusqlite::Result<Option<Lock>> {
    tables.row(&format!("SELECT {LOCK} FROM lock WHERE name = ?1"), [name], lock)
}

const WAITER: &str =
    "ticket, lock, kind, owner, uid, user, pid, start_ticks, boot, waiting_pid, waiting_ticks, seen";

fn waiter(row: &Row<'_>, boot: i64) -> rusqlite::Result<Waiter> {
    let earlier = row.get::<_, i64>(8)? != boot;
    let ticks: i64 = row.get(10)?;
    let seen: String = row.get(11)?;
    Ok(Waiter {
        ticket: row.get(0)?,
        lock: row.get(1)?,
        owner: owner::owner(row, 2, boot)?,
        process: ProcessId {
            pid: row.get(9)?,
            start_ticks: if earlier { EARLIER_BOOT } else { ticks.cast_unsigned() },
        },
        seen: moment(&seen).unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

fn waiters(tables: &Tables<'_>, name: &str) -> rusqlite::Result<Vec<Waiter>> {
    tables.rows(&format!("SELECT {WAITER} FROM lock_waiter WHERE lock = ?1 ORDER BY ticket"), [name], waiter)
}

/// In whose name an owner speaks.
fn voice(owner: &Owner) -> Option<Voice<'_>> {
    (owner.kind == OwnerKind::Agent).then_some(Voice { agent: &owner.name, user: &owner.user })
}

impl Coordination {
    /// Every lock, by name.
    pub fn locks(&self) -> Result<Vec<Lock>, CoordinateError> {
        self.read(all)
    }

    /// The process that a lock ends with, where it is held until one ends.
    pub fn holder(&self, name: &str) -> Result<Option<ProcessId>, CoordinateError> {
        self.read(|tables| Ok(by_name(tables, name)?.and_then(|lock| lock.owner.process)))
    }

    /// Takes a lock, extends one's own, or gets in line. The log says of a holder that is found dead how it ended, as `ending`
    /// has it; that is asked while others wait to write.
    pub fn take(
        &mut self,
        wanted: &TakeLock<'_>,
        (alive, ending): (&Alive<'_>, &Ending<'_>),
        now: Timestamp,
    ) -> Result<(Taken, Told), CoordinateError> {
        // Most looks of a waiter find nothing new: they only read.
        if let Some((place, true)) = self.look(wanted, alive, now)? {
            return Ok((place, Told::new()));
        }
        self.change(voice(wanted.owner), now, |turn| {
            let wanted = &TakeLock { ticket: wanted.ticket.or(unanswered(turn, wanted)?), ..wanted.clone() };
            let mut from = None;
            let mut found = by_name(turn, wanted.name)?;
            match found.as_ref().map(|lock| lock.standing(wanted.owner, alive, turn.now)) {
                Some(Standing::Own) => {
                    let lock = renew(turn, wanted)?;
                    leave(turn, wanted.ticket, wanted.waiter)?;
                    return Ok(Taken::Yours { lock, fresh: false, from: None });
                }
                Some(ended @ (Standing::Gone | Standing::Expired)) => {
                    let why = match (ended, found.as_ref().and_then(|lock| lock.owner.process)) {
                        (Standing::Gone, Some(process)) => ending(process),
                        _ => "its time had passed".to_owned(),
                    };
                    from = found.take().map(|lock| Box::new(Freed { lock, why }));
                    if let Some(freed) = &from {
                        free(turn, freed)?;
                    }
                }
                Some(Standing::Held) | None => {}
            }
            let ahead = ahead(turn, wanted, alive)?;
            if found.is_none() && ahead == 0 {
                let lock = insert(turn, wanted)?;
                leave(turn, wanted.ticket, wanted.waiter)?;
                return Ok(Taken::Yours { lock, fresh: true, from });
            }
            let Some(waiter) = wanted.waiter else {
                return Err(match found {
                    Some(lock) => held(&lock, turn.now),
                    None => Denial::Queue { name: wanted.name.to_owned(), count: ahead },
                }
                .into());
            };
            let ticket = enqueue(turn, wanted, waiter)?;
            Ok(Taken::Waiting { ticket, ahead, lock: found })
        })
    }

    /// Where a waiter stands, without a sign of life; nothing when it has no ticket. Its place grows old meanwhile.
    pub fn place(
        &self,
        wanted: &TakeLock<'_>,
        alive: &Alive<'_>,
        now: Timestamp,
    ) -> Result<Option<Taken>, CoordinateError> {
        Ok(self.look(wanted, alive, now)?.map(|(place, _)| place))
    }

    /// Where a waiter stands, and whether that is all there is to say: it cannot have the lock yet, and no sign of life is due.
    fn look(
        &self,
        wanted: &TakeLock<'_>,
        alive: &Alive<'_>,
        now: Timestamp,
    ) -> Result<Option<(Taken, bool)>, CoordinateError> {
        let Some(ticket) = wanted.ticket else { return Ok(None) };
        self.read(|tables| {
            let queue = waiters(tables, wanted.name)?;
            let lock = by_name(tables, wanted.name)?;
            let ahead = queue.iter().filter(|w| w.ticket < ticket && w.waits(alive, now)).count();
            let own = queue.iter().find(|w| w.ticket == ticket && Some(w.process) == wanted.waiter);
            let fresh = own.is_some_and(|w| now.as_millisecond() - w.seen.as_millisecond() < SIGN_MS);
            let waits = match &lock {
                Some(lock) => lock.standing(wanted.owner, alive, now) == Standing::Held,
                None => ahead > 0,
            };
            Ok(Some((Taken::Waiting { ticket, ahead, lock }, fresh && waits)))
        })
    }

    /// Keeps the places of those whom the daemon of before left waiting: they had nobody to ask, and ask this one soon. Those who
    /// were silent for longer than `outage` have gone for good.
    pub fn keep_places(&mut self, outage: Duration, now: Timestamp) -> Result<(), CoordinateError> {
        let keep = |turn: &mut Turn<'_>| {
            let since = text(turn.now.checked_sub(outage).unwrap_or(turn.now));
            let sql = "UPDATE lock_waiter SET seen = ?1 WHERE boot = ?2 AND seen >= ?3";
            Ok(turn.execute(sql, params![text(turn.now), turn.boot, since]).map(drop)?)
        };
        self.change(None, now, keep).map(drop)
    }

    /// Gives a place in the queue back: that of the process that asks.
    pub fn leave_queue(
        &mut self,
        ticket: i64,
        (asker, user): (ProcessId, &User),
        now: Timestamp,
    ) -> Result<(), CoordinateError> {
        let give_up = |turn: &mut Turn<'_>| {
            let sql = format!("SELECT {WAITER} FROM lock_waiter WHERE ticket = ?1");
            let Some(found) = turn.row(&sql, [ticket], waiter)? else {
                return Err(Denial::Nothing {
                    what: "place in a line with the number",
                    name: ticket.to_string(),
                    remedy: "it was left, lost or served; portwatch locks shows how many wait",
                }
                .into());
            };
            let place = format!("place {ticket} in the line for {}", found.lock);
            if found.owner.user.uid != user.uid {
                return Err(Denial::Foreign { what: place, user: found.owner.user }.into());
            }
            if found.process != asker {
                return Err(Denial::Refused {
                    what: format!("{place} is of process {}, not of {}", found.process.pid, asker.pid),
                    remedy: "only who waits leaves it".to_owned(),
                }
                .into());
            }
            Ok(leave(turn, Some(ticket), Some(asker))?)
        };
        self.change(None, now, give_up).map(drop)
    }

    /// Gives a lock back. With `force` whatever holds it, as long as it is of the same user, or the asker is root.
    pub fn unlock(
        &mut self,
        name: &str,
        asker: &Owner,
        force: bool,
        now: Timestamp,
    ) -> Result<(Freed, Told), CoordinateError> {
        self.change(voice(asker), now, |turn| {
            let lock = existing(turn, name)?;
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
            free(turn, &freed)?;
            Ok(freed)
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
        self.change(voice(asker), now, |turn| {
            let lock = existing(turn, name)?;
            if !asker.speaks_for(&lock.owner) {
                return Err(if may_act(lock.owner.user.uid, asker.user.uid) {
                    not_holder(&lock, asker)
                } else {
                    foreign(&lock)
                }
                .into());
            }
            if lock.has_expired(turn.now) && lock.waiting > 0 {
                return Err(Denial::Refused {
                    what: format!("the time of {name} has passed, and {} wait for it", lock.waiting),
                    remedy: format!("take it again: portwatch lock {name} --wait 1m"),
                }
                .into());
            }
            let owner = &lock.owner;
            renew(turn, &TakeLock { name, owner, ttl: Some(ttl), waiter: None, ticket: None })
        })
    }

    /// Lets another process stand for a lock: the one that does the work.
    pub fn hand_over(
        &mut self,
        name: &str,
        asker: &Owner,
        (to, words): (ProcessId, &str),
        now: Timestamp,
    ) -> Result<Told, CoordinateError> {
        let pass = |turn: &mut Turn<'_>| {
            let lock = existing(turn, name)?;
            // An order whose answer was lost is given again.
            if lock.owner.process == Some(to) {
                return Ok(());
            }
            if !asker.is(&lock.owner) {
                return Err(not_holder(&lock, asker).into());
            }
            let (pid, ticks, boot) = columns(Some(to), turn.boot);
            turn.execute(
                "UPDATE lock SET pid = ?2, start_ticks = ?3, boot = ?4,
                     owner = CASE kind WHEN 'process' THEN ?5 ELSE owner END WHERE name = ?1",
                params![name, pid, ticks, boot, words],
            )?;
            Ok(())
        };
        Ok(self.change(voice(asker), now, pass)?.1)
    }
}

/// Frees the locks whose process has ended.
pub(super) fn free_ended(turn: &mut Turn<'_>, ends: &Ends) -> rusqlite::Result<()> {
    for lock in all(turn)? {
        if let Some(why) = lock.owner.process.and_then(|process| ends.get(&process)) {
            free(turn, &Freed { lock, why: why.clone() })?;
        }
    }
    Ok(())
}

/// Frees the locks that `wanted` picks.
pub(super) fn free_where(
    turn: &mut Turn<'_>,
    why: &str,
    wanted: &dyn Fn(&Lock) -> bool,
) -> rusqlite::Result<()> {
    for lock in all(turn)?.into_iter().filter(wanted) {
        free(turn, &Freed { lock, why: why.to_owned() })?;
    }
    Ok(())
}

/// Everybody in a line.
pub(super) fn places(tables: &Tables<'_>) -> rusqlite::Result<Vec<Waiter>> {
    tables.rows(&format!("SELECT {WAITER} FROM lock_waiter ORDER BY ticket"), [], waiter)
}

/// Takes the places of those who wait no more out of all lines.
pub(super) fn leave_for(turn: &Turn<'_>, alive: &Alive<'_>) -> rusqlite::Result<()> {
    for waiter in places(turn)?.iter().filter(|waiter| !waiter.waits(alive, turn.now)) {
        leave(turn, Some(waiter.ticket), Some(waiter.process))?;
    }
    Ok(())
}

/// Takes the places of those who have been silent for long out of lines that nobody asks for any more.
pub(super) fn forget(turn: &Turn<'_>) -> rusqlite::Result<()> {
    turn.execute("DELETE FROM lock_waiter WHERE seen < ?1", [silent_since(turn.now)]).map(drop)
}

/// Who asked last before this waits no more.
fn silent_since(now: Timestamp) -> String {
    text(now.checked_sub(PATIENCE).unwrap_or(now))
}

/// The process ended, and nobody saw how.
pub fn gone(process: ProcessId) -> String {
    if process.start_ticks == EARLIER_BOOT {
        "the machine was started again".to_owned()
    } else {
        format!("its process {} is gone", process.pid)
    }
}

fn existing(tables: &Tables<'_>, name: &str) -> Done<Lock> {
    let lock = by_name(tables, name)?;
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
    let of = &lock.owner.user;
    let user = (of.uid != asker.user.uid).then(|| of.clone());
    let owner = lock.owner.name.clone();
    Denial::NotHolder { name: lock.name.clone(), owner, user, asker: asker.name.clone() }
}

/// The place that this process has in the line for this owner and was never told of: the answer to its order was lost with the daemon
/// that gave it. Asked again, it is the same order and not another one behind its own.
fn unanswered(tables: &Tables<'_>, wanted: &TakeLock<'_>) -> rusqlite::Result<Option<i64>> {
    let (None, Some(process)) = (wanted.ticket, wanted.waiter) else { return Ok(None) };
    let mut queue = waiters(tables, wanted.name)?.into_iter();
    Ok(queue.find(|w| w.process == process && w.owner.is(wanted.owner)).map(|w| w.ticket))
}

/// How many go first; those that wait no more lose their places.
fn ahead(turn: &Turn<'_>, wanted: &TakeLock<'_>, alive: &Alive<'_>) -> rusqlite::Result<usize> {
    let mut count = 0;
    for waiter in waiters(turn, wanted.name)? {
        let own = Some(waiter.ticket) == wanted.ticket && Some(waiter.process) == wanted.waiter;
        if own {
            break;
        }
        if waiter.waits(alive, turn.now) {
            count += 1;
        } else {
            leave(turn, Some(waiter.ticket), Some(waiter.process))?;
        }
    }
    Ok(count)
}

fn leave(turn: &Turn<'_>, ticket: Option<i64>, waiter: Option<ProcessId>) -> rusqlite::Result<()> {
    let (Some(ticket), Some(waiter)) = (ticket, waiter) else { return Ok(()) };
    let sql = "DELETE FROM lock_waiter WHERE ticket = ?1 AND waiting_pid = ?2";
    turn.execute(sql, params![ticket, waiter.pid]).map(drop)
}

fn enqueue(turn: &Turn<'_>, wanted: &TakeLock<'_>, waiter: ProcessId) -> Done<i64> {
    let now = text(turn.now);
    if let Some(ticket) = wanted.ticket {
        let sql = "UPDATE lock_waiter SET seen = ?4 WHERE ticket = ?1 AND lock = ?2 AND waiting_pid = ?3";
        if turn.execute(sql, params![ticket, wanted.name, waiter.pid, now])? > 0 {
            return Ok(ticket);
        }
    }
    let owner = wanted.owner;
    let waiting = turn.count("SELECT count(*) FROM lock_waiter WHERE lock = ?1", [wanted.name])?;
    if waiting >= MOST_WAITERS {
        return Err(Denial::Refused {
            what: format!("{waiting} wait for {} already", wanted.name),
            remedy: "try again later".to_owned(),
        }
        .into());
    }
    let uid = owner.user.uid;
    let places = || turn.count("SELECT count(*) FROM lock_waiter WHERE uid = ?1", [uid]);
    if places()? >= MOST_PLACES {
        let sql = "DELETE FROM lock_waiter WHERE uid = ?1 AND seen < ?2";
        turn.execute(sql, params![uid, silent_since(turn.now)])?;
        if places()? >= MOST_PLACES {
            let user = owner.user.clone();
            return Err(Denial::TooMany {
                user,
                what: "places in lines",
                most: MOST_PLACES,
                remedy: "wait for less at once; a place ends with the command that waits",
            }
            .into());
        }
    }
    let (pid, ticks, _) = columns(owner.process, turn.boot);
    Ok(turn.insert(
        "INSERT INTO lock_waiter (lock, kind, owner, uid, user, pid, start_ticks, boot, waiting_pid,
             waiting_ticks, since, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)",
        params![
            wanted.name,
            owner.kind.as_str(),
            owner.name,
            uid,
            owner.user.name,
            pid,
            ticks,
            turn.boot,
            waiter.pid,
            waiter.start_ticks.cast_signed(),
            now,
        ],
    )?)
}

/// Time in milliseconds and end of a lock that is held for so long from now.
fn term(now: Timestamp, ttl: Option<Duration>) -> (Option<i64>, Option<String>) {
    let ms = ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
    (ms, ttl.and_then(|ttl| now.checked_add(ttl).ok()).map(text))
}

fn insert(turn: &mut Turn<'_>, wanted: &TakeLock<'_>) -> Done<Lock> {
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
fn renew(turn: &mut Turn<'_>, wanted: &TakeLock<'_>) -> Done<Lock> {
    let limited = existing(turn, wanted.name)?.expires.is_some();
    let ttl = wanted.ttl.filter(|_| limited);
    let (ms, expires) = term(turn.now, ttl);
    turn.execute(
        "UPDATE lock SET renewed = ?2, ttl_ms = ?3, expires = ?4 WHERE name = ?1",
        params![wanted.name, text(turn.now), ms, expires],
    )?;
    let span = ttl.map_or_else(String::new, |ttl| format!("  +{}", spell(ttl)));
    turn.tell(EventKind::Extend, wanted.name, format!("owner={}{span}", wanted.owner.name))?;
    existing(turn, wanted.name)
}

fn free(turn: &mut Turn<'_>, freed: &Freed) -> rusqlite::Result<()> {
    let Freed { lock, why } = freed;
    turn.execute("DELETE FROM lock WHERE name = ?1", [&lock.name])?;
    let why = if why.is_empty() { String::new() } else { format!("  {why}") };
    turn.tell(EventKind::Unlock, &lock.name, format!("owner={}{why}", lock.owner.name))
}
