//! Locks.

use std::time::Duration;

use super::{Serve, cut, whose};
use crate::{
    coordinate as inner,
    journal::Taken,
    model::Timestamp,
    query::{
        claims::OfficeError,
        coordinate::{Asker, Bind, Bureau, LockOrder},
    },
    wire::{
        SCHEMA,
        coordinate::{
            Done, ExtendRequest, Freed, HandOverRequest, LeaveRequest, Lock, LockRequest, LockState, Locks,
            LocksQuery, UnlockRequest,
        },
    },
};

/// Longest time of a lock.
const LONGEST: Duration = Duration::from_hours(24 * 365);

pub(super) fn lock(lock: &inner::Lock, now: Timestamp) -> Lock {
    Lock {
        name: lock.name.clone(),
        owner: lock.owner.name.clone(),
        owner_kind: lock.owner.kind.as_str().to_owned(),
        uid: lock.owner.user.uid,
        user: lock.owner.user.name.clone(),
        pid: lock.owner.process.map(|process| process.pid),
        held_since: lock.since,
        renewed: lock.renewed,
        ttl: lock.ttl.map(seconds),
        expires: lock.expires,
        expired: lock.has_expired(now),
        waiting: lock.waiting,
    }
}

/// Whole seconds, of which one that has begun counts: 0 would be no time at all.
fn seconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

fn freed(ended: &crate::journal::Freed, now: Timestamp) -> Freed {
    let why = Some(ended.why.clone()).filter(|why| !why.is_empty());
    Freed { schema: SCHEMA, lock: lock(&ended.lock, now), why }
}

fn bind(own: bool, pid: Option<u32>) -> Bind {
    match (own, pid) {
        (_, Some(pid)) => Bind::Pid(pid),
        (true, None) => Bind::Own,
        (false, None) => Bind::Usual,
    }
}

fn ttl(ms: u64) -> Result<Duration, OfficeError> {
    let ttl = Duration::from_millis(ms);
    if ttl.is_zero() || ttl > LONGEST {
        return Err(OfficeError::Bad(
            "a lock is held for a millisecond at least and a year at most".to_owned(),
        ));
    }
    Ok(ttl)
}

impl Serve for LocksQuery {
    fn serve(&self, bureau: &Bureau, _: &Asker) -> Result<Locks, OfficeError> {
        let mut all = bureau.locks()?;
        let time = Timestamp::now();
        // Those whose time has passed crowd nobody out who holds something.
        all.sort_by_key(|lock| lock.has_expired(time));
        let (mut locks, truncated, total) = cut(all, self.limit);
        locks.sort_by(|one, other| one.name.cmp(&other.name));
        let locks = locks.iter().map(|l| lock(l, time)).collect();
        Ok(Locks { schema: SCHEMA, time, locks, truncated, total, database: bureau.database()? })
    }
}

impl Serve for LockRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<LockState, OfficeError> {
        let order = LockOrder {
            name: self.name.clone(),
            whose: whose(self.agent.as_ref(), self.session.as_ref(), bind(self.own_process, self.pid)),
            ttl: self.ttl_ms.map(ttl).transpose()?,
            wait: self.wait_ms > 0,
            ticket: self.ticket,
        };
        let (taken, _) = bureau.lock(&order, asker)?;
        let database = bureau.database()?;
        let time = Timestamp::now();
        Ok(match taken {
            Taken::Yours { lock: inner, fresh, from } => LockState {
                schema: SCHEMA,
                time,
                state: if fresh { "taken" } else { "extended" }.to_owned(),
                lock: Some(lock(&inner, time)),
                from: from.map(|from| freed(&from, time)),
                ticket: None,
                ahead: 0,
                database,
            },
            Taken::Waiting { ticket, ahead, lock: inner } => LockState {
                schema: SCHEMA,
                time,
                state: "waiting".to_owned(),
                lock: inner.map(|inner| lock(&inner, time)),
                from: None,
                ticket: Some(ticket),
                ahead: u64::try_from(ahead).unwrap_or(u64::MAX),
                database,
            },
        })
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }

    fn is_pending(answer: &LockState) -> bool {
        answer.state == "waiting"
    }

    fn again(self, answer: &LockState) -> Self {
        Self { ticket: answer.ticket, ..self }
    }
}

impl Serve for UnlockRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Freed, OfficeError> {
        let whose = whose(self.agent.as_ref(), self.session.as_ref(), bind(self.own_process, self.pid));
        Ok(freed(&bureau.unlock(&self.name, &whose, self.force, asker)?, Timestamp::now()))
    }
}

impl Serve for ExtendRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<LockState, OfficeError> {
        let whose = whose(self.agent.as_ref(), self.session.as_ref(), bind(false, self.pid));
        let inner = bureau.extend(&self.name, &whose, ttl(self.ttl_ms)?, asker)?;
        let time = Timestamp::now();
        Ok(LockState {
            schema: SCHEMA,
            time,
            state: "extended".to_owned(),
            lock: Some(lock(&inner, time)),
            from: None,
            ticket: None,
            ahead: 0,
            database: bureau.database()?,
        })
    }
}

impl Serve for HandOverRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Done, OfficeError> {
        let whose = whose(self.agent.as_ref(), self.session.as_ref(), Bind::Own);
        bureau.hand_over(&self.name, &whose, self.pid, asker)?;
        Ok(Done::default())
    }
}

impl Serve for LeaveRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Done, OfficeError> {
        bureau.leave_queue(self.ticket, asker)?;
        Ok(Done::default())
    }
}
