//! Claims out.

use std::{collections::HashMap, path::PathBuf};

use rusqlite::{Connection, OptionalExtension, Row};

use super::{Claims, moment};
use crate::{
    journal::{JournalError, Reader, clock::Lag},
    model::{Port, Protocol, Timestamp},
    registry::{Claim, ClaimPort, Kind, Name},
};

const COLUMNS: &str =
    "id, name, kind, owner, owner_name, agent, session, root, worktree, created, renewed, expires, seen";

const PORTS_OF: &str =
    "SELECT claim, slot, protocol, port FROM claim_port WHERE claim = ?1 ORDER BY slot, protocol";
const ID_OF_PORT: &str = "SELECT claim FROM claim_port WHERE port = ?1 LIMIT 1";

/// Statements that each claim runs.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 2] = [PORTS_OF, ID_OF_PORT];

/// Every claim, by name.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Claim>> {
    let mut ports: HashMap<i64, Vec<ClaimPort>> = HashMap::new();
    let mut statement = connection.prepare_cached(
        "SELECT claim, slot, protocol, port FROM claim_port ORDER BY claim, slot, protocol",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        ports.entry(row.get(0)?).or_default().extend(port(row)?);
    }
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM claim ORDER BY name"))?;
    let mut rows = statement.query([])?;
    let mut claims = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        claims.extend(claim(row, ports.remove(&id).unwrap_or_default())?);
    }
    Ok(claims)
}

pub(super) fn by_name(connection: &Connection, name: &Name) -> rusqlite::Result<Option<Claim>> {
    one(connection, "name = ?1", name.to_string())
}

pub(super) fn by_id(connection: &Connection, id: i64) -> rusqlite::Result<Option<Claim>> {
    one(connection, "id = ?1", id)
}

fn one(
    connection: &Connection,
    condition: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<Option<Claim>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM claim WHERE {condition}"))?;
    let mut rows = statement.query([value])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let ports = ports_of(connection, row.get(0)?)?;
    claim(row, ports)
}

fn ports_of(connection: &Connection, id: i64) -> rusqlite::Result<Vec<ClaimPort>> {
    let mut statement = connection.prepare_cached(PORTS_OF)?;
    let mut rows = statement.query([id])?;
    let mut ports = Vec::new();
    while let Some(row) = rows.next()? {
        ports.extend(port(row)?);
    }
    Ok(ports)
}

/// The claim that has a port, whatever the protocol.
pub(super) fn id_of_port(connection: &Connection, port: Port) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached(ID_OF_PORT)?.query_row([port.get()], |row| row.get(0)).optional()
}

/// How many ports a user has claimed; a pair is one.
pub(super) fn ports_of_owner(connection: &Connection, owner: u32) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM (SELECT DISTINCT p.claim, p.slot
             FROM claim c JOIN claim_port p ON p.claim = c.id WHERE c.owner = ?1)",
        )?
        .query_row([owner], |row| row.get(0))
}

fn port(row: &Row<'_>) -> rusqlite::Result<Option<ClaimPort>> {
    let word: String = row.get(2)?;
    let protocol = if word == "udp" { Protocol::Udp } else { Protocol::Tcp };
    Ok(Port::new(row.get(3)?).map(|port| ClaimPort { slot: row.get(1).unwrap_or(0), protocol, port }))
}

/// `None` for a row whose name is none: somebody wrote it by hand, and it is nobody's claim.
fn claim(row: &Row<'_>, ports: Vec<ClaimPort>) -> rusqlite::Result<Option<Claim>> {
    let time = |column| row.get::<_, Option<String>>(column).map(|text| text.as_deref().and_then(moment));
    let (name, kind): (String, String) = (row.get(1)?, row.get(2)?);
    let (Ok(name), Some(kind)) = (name.parse(), Kind::from_word(&kind)) else { return Ok(None) };
    Ok(Some(Claim {
        id: row.get(0)?,
        name,
        kind,
        owner: row.get(3)?,
        owner_name: row.get(4)?,
        agent: row.get(5)?,
        session: row.get(6)?,
        root: row.get::<_, Option<String>>(7)?.map(PathBuf::from),
        worktree: row.get(8)?,
        ports,
        created: time(9)?.unwrap_or(Timestamp::UNIX_EPOCH),
        renewed: time(10)?.unwrap_or(Timestamp::UNIX_EPOCH),
        expires: time(11)?,
        seen: time(12)?,
    }))
}

impl Claims {
    /// Every claim, by name.
    pub fn all(&self) -> Result<Vec<Claim>, JournalError> {
        self.keep_time()?;
        all(&self.connection).map_err(|error| self.failed("read", error))
    }
}

impl Reader {
    /// Every claim, by name; none where the database is of a time before there were claims.
    pub fn claims(&self) -> Result<Vec<Claim>, JournalError> {
        if !self.has_table("claim")? {
            return Ok(Vec::new());
        }
        let mut claims = all(&self.connection).map_err(|error| self.failed(error))?;
        if let Some(lag) = Lag::of(&self.connection).map_err(|error| self.failed(error))? {
            for claim in &mut claims {
                let renewed = claim.renewed;
                claim.expires = claim.expires.map(|at| lag.moved(at, renewed));
                claim.created = lag.moved(claim.created, claim.created);
                claim.renewed = lag.moved(renewed, renewed);
                claim.seen = claim.seen.map(|at| lag.moved(at, at));
            }
        }
        Ok(claims)
    }

    /// Whether there is such a table: a reader does not migrate.
    pub(in crate::journal) fn has_table(&self, name: &str) -> Result<bool, JournalError> {
        self.connection
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1)",
                [name],
                |row| row.get(0),
            )
            .map_err(|error| self.failed(error))
    }
}
