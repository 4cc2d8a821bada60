//! The list of programs that are not rogue.

use rusqlite::{Connection, params};

use super::{ClaimError, Claims, moment, text};
use crate::{
    journal::{JournalError, Reader},
    model::Timestamp,
    registry::may_change,
};

/// A rule of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// As it was given.
    pub rule: String,
    /// Whose it is.
    pub owner: u32,
    /// That user's name.
    pub owner_name: Option<String>,
    /// Since when.
    pub created: Timestamp,
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<Allowed>> {
    let mut statement = connection
        .prepare_cached("SELECT rule, owner, owner_name, created FROM allowed ORDER BY rule, owner")?;
    let rows = statement.query_map([], |row| {
        let created: String = row.get(3)?;
        Ok(Allowed {
            rule: row.get(0)?,
            owner: row.get(1)?,
            owner_name: row.get(2)?,
            created: moment(&created).unwrap_or(Timestamp::UNIX_EPOCH),
        })
    })?;
    rows.collect()
}

impl Claims {
    /// Every rule.
    pub fn allowed(&self) -> Result<Vec<Allowed>, JournalError> {
        all(&self.connection).map_err(|error| self.failed("read", error))
    }

    /// Adds a rule of a user's; `false` when that user has it already.
    pub fn allow(
        &mut self,
        rule: &str,
        owner: u32,
        owner_name: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, ClaimError> {
        self.transaction(|connection, _| {
            let added = connection.execute(
                "INSERT INTO allowed (rule, owner, owner_name, created) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
                params![rule, owner, owner_name, text(now)],
            )?;
            Ok(added > 0)
        })
    }

    /// Takes a rule away: the user's own; root takes everybody's. `false` when there is none to take.
    pub fn disallow(&mut self, rule: &str, user: u32) -> Result<bool, ClaimError> {
        self.transaction(|connection, _| {
            let mut gone = false;
            for found in all(connection)?.into_iter().filter(|a| a.rule == rule && may_change(a.owner, user))
            {
                let sql = "DELETE FROM allowed WHERE rule = ?1 AND owner = ?2";
                gone |= connection.execute(sql, params![found.rule, found.owner])? > 0;
            }
            Ok(gone)
        })
    }
}

impl Reader {
    /// Every rule; none where the database is of a time before there were any.
    pub fn allowed(&self) -> Result<Vec<Allowed>, JournalError> {
        if !self.has_table("allowed")? {
            return Ok(Vec::new());
        }
        all(&self.connection).map_err(|error| self.failed(error))
    }
}
