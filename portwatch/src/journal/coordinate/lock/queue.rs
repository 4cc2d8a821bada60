//! The line of those who wait for a lock: places in it, who goes first, and whose place is lost.

use std::time::Duration;

use rusqlite::{Row, params};

use super::{TakeLock, Taken, rows::by_name};
use crate::{
    coordinate::{Denial, EARLIER_BOOT, PATIENCE, Standing, User, Waiter},
    journal::coordinate::{
        Alive, CoordinateError, Coordination, Done, Tables, Turn, moment,
        owner::{self, columns},
        text,
    },
    model::{ProcessId, Timestamp},
};

/// At most so many wait for one lock.
const MOST_WAITERS: u32 = 1000;
/// And at most so many of one user, for all locks together.
const MOST_PLACES: u32 = 1000;
/// A waiter's sign of life is written so often.
const SIGN_MS: i64 = 1000;

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

impl Coordination {
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
    pub(super) fn look(
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
}

/// Everybody in a line.
pub(in crate::journal::coordinate) fn places(tables: &Tables<'_>) -> rusqlite::Result<Vec<Waiter>> {
    tables.rows(&format!("SELECT {WAITER} FROM lock_waiter ORDER BY ticket"), [], waiter)
}

/// Takes the places of those who wait no more out of all lines.
pub(in crate::journal::coordinate) fn leave_for(turn: &Turn<'_>, alive: &Alive<'_>) -> rusqlite::Result<()> {
    for waiter in places(turn)?.iter().filter(|waiter| !waiter.waits(alive, turn.now)) {
        leave(turn, Some(waiter.ticket), Some(waiter.process))?;
    }
    Ok(())
}

/// Takes the places of those who have been silent for long out of lines that nobody asks for any more.
pub(in crate::journal::coordinate) fn forget(turn: &Turn<'_>) -> rusqlite::Result<()> {
    turn.execute("DELETE FROM lock_waiter WHERE seen < ?1", [silent_since(turn.now)]).map(drop)
}

/// Who asked last before this waits no more.
fn silent_since(now: Timestamp) -> String {
    text(now.checked_sub(PATIENCE).unwrap_or(now))
}

/// The place that this process has in the line for this owner and was never told of: the answer to its order was lost with the daemon
/// that gave it. Asked again, it is the same order and not another one behind its own.
pub(super) fn unanswered(tables: &Tables<'_>, wanted: &TakeLock<'_>) -> rusqlite::Result<Option<i64>> {
    let (None, Some(process)) = (wanted.ticket, wanted.waiter) else { return Ok(None) };
    let mut queue = waiters(tables, wanted.name)?.into_iter();
    Ok(queue.find(|w| w.process == process && w.owner.is(wanted.owner)).map(|w| w.ticket))
}

/// How many go first; those that wait no more lose their places.
pub(super) fn ahead(turn: &Turn<'_>, wanted: &TakeLock<'_>, alive: &Alive<'_>) -> rusqlite::Result<usize> {
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

pub(super) fn leave(turn: &Turn<'_>, ticket: Option<i64>, waiter: Option<ProcessId>) -> rusqlite::Result<()> {
    let (Some(ticket), Some(waiter)) = (ticket, waiter) else { return Ok(()) };
    let sql = "DELETE FROM lock_waiter WHERE ticket = ?1 AND waiting_pid = ?2";
    turn.execute(sql, params![ticket, waiter.pid]).map(drop)
}

pub(super) fn enqueue(turn: &Turn<'_>, wanted: &TakeLock<'_>, waiter: ProcessId) -> Done<i64> {
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
