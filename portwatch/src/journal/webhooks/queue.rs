//! What is on its way. Bounded: what finds the queue full falls out and is counted.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{Done, Webhooks, row};
use crate::{
    journal::{
        JournalError, Told,
        claims::{insert_event, text},
    },
    model::{Event, EventKind, Evidence, Timestamp},
    webhook::{Delivery, Webhook},
};

/// So many settled deliveries of a webhook are kept to be shown.
const KEPT: i64 = 500;

/// An event that a webhook is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The webhook.
    pub webhook: i64,
    /// The event's row id.
    pub event: i64,
    /// Its type.
    pub kind: EventKind,
}

/// So many fell out, by webhook.
pub type Dropped = BTreeMap<i64, u64>;

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// HTTP status.
    pub status: Option<u16>,
    /// How long it took, milliseconds.
    pub latency_ms: u64,
    /// Why it failed; `None` where it did not.
    pub problem: Option<String>,
    /// It is not tried again, however often it was.
    pub is_final: bool,
}

impl Webhooks {
    /// Queues events, as far as there is room for `most`, and writes down up to which row each webhook has
    /// `seen` the journal.
    pub fn queue(
        &mut self,
        found: &[Found],
        seen: &[(i64, i64)],
        most: u64,
        now: Timestamp,
    ) -> Result<Dropped, JournalError> {
        self.change(|connection, _| {
            let mut waiting: BTreeMap<i64, u64> = BTreeMap::new();
            let mut dropped = Dropped::new();
            let mut insert = connection.prepare_cached(
                "INSERT INTO webhook_delivery (webhook, event, type, state, queued)
                 SELECT id, ?2, ?3, 'waiting', ?4 FROM webhook WHERE id = ?1 ON CONFLICT DO NOTHING",
            )?;
            for one in found {
                let count = match waiting.get(&one.webhook) {
                    Some(count) => *count,
                    None => count_waiting(connection, one.webhook)?,
                };
                let room = count < most;
                if room {
                    insert.execute(params![one.webhook, one.event, one.kind.as_str(), text(now)])?;
                } else {
                    *dropped.entry(one.webhook).or_default() += 1;
                }
                waiting.insert(one.webhook, count + u64::from(room));
            }
            let mut see =
                connection.prepare_cached("UPDATE webhook SET seen = max(seen, ?2) WHERE id = ?1")?;
            for (webhook, upto) in seen {
                see.execute([*webhook, *upto])?;
            }
            let mut out =
                connection.prepare_cached("UPDATE webhook SET dropped = dropped + ?2 WHERE id = ?1")?;
            for (webhook, count) in &dropped {
                out.execute(params![webhook, i64::try_from(*count).unwrap_or(i64::MAX)])?;
            }
            Ok(dropped)
        })
    }

    /// What is next: a test before everything else, then the oldest event; nothing but a test while the webhook rests.
    pub fn next(&self, webhook: i64, only_test: bool) -> Result<Option<Delivery>, JournalError> {
        self.read(|connection| {
            let condition = "webhook = ?1 AND state = 'waiting' AND (event IS NULL OR NOT ?2)
                 ORDER BY event IS NOT NULL, id LIMIT 1";
            Ok(row::deliveries(connection, condition, params![webhook, only_test])?.pop())
        })
    }

    /// Writes down what came of a try; `rest` is until when the webhook rests if it failed. Gives what the log is told.
    pub fn settle(
        &mut self,
        delivery: &Delivery,
        settled: &Settled,
        (now, rest): (Timestamp, Timestamp),
    ) -> Result<Told, JournalError> {
        self.change(|connection, boot| {
            let mut told = Told::new();
            // It may have been removed meanwhile.
            let Some(webhook) = row::webhooks(connection, "id = ?1", [delivery.webhook])?.pop() else {
                return Ok(told);
            };
            let tries = delivery.tries.saturating_add(1);
            let test = delivery.event.is_none();
            let given_up = settled.problem.is_some() && (test || settled.is_final || tries >= webhook.tries);
            let state = match (&settled.problem, given_up) {
                (None, _) => "delivered",
                (Some(_), true) => "given-up",
                (Some(_), false) => "waiting",
            };
            connection.prepare_cached(
                "UPDATE webhook_delivery SET state = ?2, tried = ?3, tries = ?4, status = ?5, latency_ms = ?6, problem = ?7
                 WHERE id = ?1",
            )?
            .execute(params![
                delivery.id,
                state,
                text(now),
                tries,
                settled.status,
                i64::try_from(settled.latency_ms).unwrap_or(i64::MAX),
                settled.problem,
            ])?;
            // A success of a test wakes the webhook; its failure says nothing of events.
            if settled.problem.is_none() {
                connection
                    .prepare_cached(
                        "UPDATE webhook SET failures = 0, paused = NULL, delivered = delivered + ?2 WHERE id = ?1",
                    )?
                    .execute(params![webhook.id, !test])?;
            } else if !test && !settled.is_final {
                connection
                    .prepare_cached(
                        "UPDATE webhook SET failures = failures + 1, paused = ?2, given_up = given_up + ?3 WHERE id = ?1",
                    )?
                    .execute(params![webhook.id, text(rest), given_up])?;
            } else if !test {
                connection.execute("UPDATE webhook SET given_up = given_up + 1 WHERE id = ?1", [webhook.id])?;
            }
            if given_up && !test {
                // Whoever reads the log need not know where another user's webhook leads.
                let problem = match (settled.status, &settled.problem) {
                    (Some(_), Some(problem)) => problem.as_str(),
                    _ => "it was not reached",
                };
                let times = if tries == 1 { "try" } else { "tries" };
                let words = format!(
                    "webhook {id} gave up on event {event} ({kind}) after {tries} {times}: {problem}; portwatch webhook log {id}",
                    id = webhook.id,
                    event = delivery.event.unwrap_or(0),
                    kind = delivery.kind,
                );
                tell(connection, boot, &mut told, (webhook.id, words, now))?;
            }
            if state != "waiting" {
                trim(connection, webhook.id)?;
            }
            Ok(told)
        })
    }

    /// Tells the log that events fell out of a queue.
    pub fn tell_dropped(
        &mut self,
        webhook: i64,
        count: u64,
        most: u64,
        now: Timestamp,
    ) -> Result<Told, JournalError> {
        self.change(|connection, boot| {
            let mut told = Told::new();
            let events = if count == 1 { "event" } else { "events" };
            let words = format!(
                "{count} {events} fell out of the queue of webhook {webhook}, where {most} wait; they are in the log and are not sent"
            );
            tell(connection, boot, &mut told, (webhook, words, now))?;
            Ok(told)
        })
    }
}

fn count_waiting(connection: &Connection, webhook: i64) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM webhook_delivery WHERE webhook = ?1 AND state = 'waiting'";
    let count: i64 = connection.prepare_cached(sql)?.query_row([webhook], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The oldest that are settled go; by state, so that many deliveries do not push out the failures.
fn trim(connection: &Connection, webhook: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM webhook_delivery WHERE webhook = ?1 AND state = ?2 AND id <= (
                   SELECT id FROM webhook_delivery WHERE webhook = ?1 AND state = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)";
    let mut delete = connection.prepare_cached(sql)?;
    for state in ["delivered", "given-up"] {
        delete.execute(params![webhook, state, KEPT])?;
    }
    Ok(())
}

fn tell(
    connection: &Connection,
    boot: i64,
    told: &mut Told,
    (webhook, words, now): (i64, String, Timestamp),
) -> Done<()> {
    let mut event = Event::new(now, EventKind::Error, Evidence::Kernel);
    event.subject = Some(Webhook::subject(webhook));
    event.message = Some(words);
    let id = insert_event(connection, boot, &event)?;
    told.push((id, event));
    Ok(())
}
