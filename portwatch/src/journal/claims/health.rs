//! How claimed programs were, when somebody asked last.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{ClaimError, Claims, Fault, moment, read, text, write};
use crate::{
    journal::{JournalError, Reader, clock::Lag},
    model::{Event, EventKind, Evidence, Timestamp},
    registry::{Name, may_change},
};

/// The newest answer of a claim's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthRecord {
    /// `healthy`, or the word for what is wrong.
    pub result: String,
    /// The first of an unbroken row of answers with this result.
    pub since: Timestamp,
    /// The newest answer.
    pub checked: Timestamp,
    /// The newest healthy answer.
    pub healthy: Option<Timestamp>,
}

fn all(connection: &Connection) -> rusqlite::Result<HashMap<i64, HealthRecord>> {
    let mut statement =
        connection.prepare_cached("SELECT claim, result, since, checked, healthy FROM health")?;
    let rows = statement.query_map([], |row| {
        let time = |column| row.get::<_, Option<String>>(column).map(|t| t.as_deref().and_then(moment));
        let record = HealthRecord {
            result: row.get(1)?,
            since: time(2)?.unwrap_or(Timestamp::UNIX_EPOCH),
            checked: time(3)?.unwrap_or(Timestamp::UNIX_EPOCH),
            healthy: time(4)?,
        };
        Ok((row.get(0)?, record))
    })?;
    rows.collect()
}

impl Claims {
    /// The newest answers, by claim.
    pub fn health(&self) -> Result<HashMap<i64, HealthRecord>, JournalError> {
        self.keep_time()?;
        all(&self.connection).map_err(|error| self.failed("read", error))
    }

    /// Writes an answer down, as `user`; a change of result becomes an event with `sentence`.
    pub fn set_health(
        &mut self,
        name: &Name,
        user: u32,
        (result, sentence): (&str, &str),
        now: Timestamp,
    ) -> Result<Option<(i64, Event)>, ClaimError> {
        self.transaction(|connection, boot| {
            let Some(claim) = read::by_name(connection, name)? else {
                return Err(Fault::Other(ClaimError::Nothing(name.to_string())));
            };
            if !may_change(claim.owner, user) {
                return Err(Fault::Other(ClaimError::NotOwner {
                    name: claim.name,
                    owner: claim.owner,
                    owner_name: claim.owner_name,
                }));
            }
            let before: Option<String> = connection
                .query_row("SELECT result FROM health WHERE claim = ?1", [claim.id], |row| row.get(0))
                .optional()?;
            let healthy = (result == "healthy").then(|| text(now));
            connection.execute(
                "INSERT INTO health (claim, result, since, checked, healthy) VALUES (?1, ?2, ?3, ?3, ?4)
                 ON CONFLICT (claim) DO UPDATE SET
                     since = CASE WHEN result = excluded.result THEN since ELSE excluded.since END,
                     result = excluded.result, checked = excluded.checked,
                     healthy = ifnull(excluded.healthy, healthy)",
                params![claim.id, result, text(now), healthy],
            )?;
            if before.as_deref() == Some(result) {
                return Ok(None);
            }
            let mut event = Event::new(now, EventKind::Health, Evidence::Scan);
            event.claim = Some(claim.name.to_string());
            event.port = claim.port();
            event.protocol = claim.ports.first().map(|p| p.protocol);
            event.message = Some(sentence.to_owned());
            Ok(Some((write::insert_event(connection, boot, &event)?, event)))
        })
    }
}

impl Reader {
    /// The newest answers, by claim; none where the database is of a time before there were any.
    pub fn health(&self) -> Result<HashMap<i64, HealthRecord>, JournalError> {
        if !self.has_table("health")? {
            return Ok(HashMap::new());
        }
        let mut health = all(&self.connection).map_err(|error| self.failed(error))?;
        if let Some(lag) = Lag::of(&self.connection).map_err(|error| self.failed(error))? {
            for record in health.values_mut() {
                record.since = lag.moved(record.since, record.since);
                record.checked = lag.moved(record.checked, record.checked);
                record.healthy = record.healthy.map(|at| lag.moved(at, at));
            }
        }
        Ok(health)
    }
}
