//! Claims that come at the same time are carried out together: the database commits once for all of them.
//!
//! Nobody waits for company. An order that finds no other is carried out at once; those that come meanwhile are the next
//! batch.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{ApiError, router::Desk};
use crate::query::claims::{Caller, ClaimAnswer, OfficeError, Wanted};

/// Orders in one batch: the database is not held longer than these take.
const MOST: usize = 64;

type Answer = Result<ClaimAnswer, OfficeError>;

#[derive(Debug)]
struct Waiting {
    wanted: Wanted,
    uid: u32,
    answer: oneshot::Sender<Answer>,
}

#[derive(Debug, Default)]
struct Queue {
    orders: Vec<Waiting>,
    /// A thread carries out orders, and takes those that wait before it ends.
    running: bool,
}

/// Orders that wait.
#[derive(Debug, Default)]
pub(super) struct Orders(Mutex<Queue>);

impl Orders {
    /// The queue is whole between any two of its statements, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims for a user.
    pub(super) async fn claim(
        self: &Arc<Self>,
        desk: Desk,
        wanted: Wanted,
        uid: u32,
    ) -> Result<ClaimAnswer, ApiError> {
        let (answer, answered) = oneshot::channel();
        let first = {
            let mut queue = self.lock();
            queue.orders.push(Waiting { wanted, uid, answer });
            !mem::replace(&mut queue.running, true)
        };
        if first {
            let orders = Arc::clone(self);
            tokio::task::spawn_blocking(move || orders.carry_out(&desk));
        }
        match answered.await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ApiError::Internal("an order was not carried out to its end".to_owned())),
        }
    }

    /// Until none waits.
    fn carry_out(&self, desk: &Desk) {
        let _turn = Turn(self);
        let mut callers = HashMap::new();
        loop {
            let batch: Vec<Waiting> = {
                let mut queue = self.lock();
                if queue.orders.is_empty() {
                    queue.running = false;
                    return;
                }
                let count = queue.orders.len().min(MOST);
                // Who has gone was told that it was not answered, and may have ordered it somewhere else.
                queue.orders.drain(..count).filter(|waiting| !waiting.answer.is_closed()).collect()
            };
            if batch.is_empty() {
                continue;
            }
            let mut answers = Vec::with_capacity(batch.len());
            let mut orders = Vec::with_capacity(batch.len());
            for Waiting { wanted, uid, answer } in batch {
                let caller = callers.entry(uid).or_insert_with(|| Caller::of(uid));
                orders.push((wanted, caller.clone()));
                answers.push(answer);
            }
            for (answer, to) in desk.claim_all(&orders).into_iter().zip(answers) {
                // One that has gone meanwhile has what it claimed, as with any answer that is lost on its way.
                let _ = to.send(answer);
            }
        }
    }
}

/// After a panic the next order begins anew; those that waited are told that nobody carries them out.
struct Turn<'a>(&'a Orders);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = self.0.lock();
            queue.running = false;
            queue.orders.clear();
        }
    }
}
