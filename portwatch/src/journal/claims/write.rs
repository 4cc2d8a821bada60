//! Claims in: claim, release, touch.

use std::path::Path;

use rusqlite::{Connection, params};

use super::{ClaimError, Claims, Fault, read, text};
use crate::{
    journal::{JournalError, code, time},
    model::{Event, EventKind, Evidence, Port, Protocol, Timestamp},
    registry::{self, Claim, Kind, Name, Obstacle, Terms, may_change},
};

/// What somebody wants to claim.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Under this name.
    pub name: &'a Name,
    /// How it comes about.
    pub kind: Kind,
    /// For this user.
    pub owner: u32,
    /// That user's name.
    pub owner_name: Option<&'a str>,
    /// For this agent.
    pub agent: Option<&'a str>,
    /// In this session.
    pub session: Option<&'a str>,
    /// For the project in this directory.
    pub root: Option<&'a Path>,
    /// In this git worktree.
    pub worktree: Option<&'a str>,
    /// Until then, unless it is claimed again or live.
    pub expires: Option<Timestamp>,
    /// How many ports.
    pub ports: u16,
    /// For these protocols, on one number.
    pub protocols: &'a [Protocol],
    /// The first port is to be this one.
    pub fixed: Option<Port>,
    /// A claim that has another first port gives it up for that one.
    pub moves: bool,
    /// Terms for the others.
    pub terms: &'a Terms,
    /// So many ports its owner may have claimed, unless that is root; `None` is no limit.
    pub limit: Option<u32>,
}

impl<'a> Request<'a> {
    /// A claim somebody makes of one TCP port, and nothing more said of it.
    pub fn plain(name: &'a Name, owner: u32, terms: &'a Terms) -> Self {
        Self {
            name,
            kind: Kind::Explicit,
            owner,
            owner_name: None,
            agent: None,
            session: None,
            root: None,
            worktree: None,
            expires: None,
            ports: 1,
            protocols: &[Protocol::Tcp],
            fixed: None,
            moves: false,
            terms,
            limit: None,
        }
    }
}

/// A claim that stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The claim.
    pub claim: Claim,
    /// It was made now; otherwise it stood already and was renewed.
    pub fresh: bool,
    /// The event written with it.
    pub event: Option<(i64, Event)>,
}

/// A claim that was given back.
#[derive(Debug, Clone, PartialEq)]
pub struct Released {
    /// The claim as it was.
    pub claim: Claim,
    /// The event written with it.
    pub event: (i64, Event),
}

/// Asked about a port and the protocols it is wanted for, inside the transaction.
pub(super) type Probe<'a> = dyn FnMut(Port, &[Protocol]) -> Option<Obstacle> + 'a;

/// The same, with the number of the request for which it is asked.
pub(super) type ProbeOf<'a> = dyn FnMut(usize, Port, &[Protocol]) -> Option<Obstacle> + 'a;

impl Claims {
    /// Claims, or renews what stands. `probe` says what the machine itself has against a port. All of it is one
    /// transaction: two callers never get one port.
    pub fn claim(
        &mut self,
        request: &Request<'_>,
        now: Timestamp,
        probe: &mut Probe<'_>,
    ) -> Result<Claimed, ClaimError> {
        self.transaction(|connection, boot| claim(connection, boot, request, now, probe))
    }

    /// The same for several at once, in their order: one commit for all, and each is done or refused by itself. `probe` is
    /// told for which it is asked.
    pub fn claim_all(
        &mut self,
        requests: &[Request<'_>],
        now: Timestamp,
        probe: &mut ProbeOf<'_>,
    ) -> Result<Vec<Result<Claimed, ClaimError>>, JournalError> {
        self.transaction_of(requests.len(), |number, connection, boot| match requests.get(number) {
            Some(request) => {
                claim(connection, boot, request, now, &mut |port, protocols| probe(number, port, protocols))
            }
            None => Err(Fault::Sqlite(rusqlite::Error::InvalidQuery)),
        })
    }

    /// Gives back the claims that `wanted` picks, as `user`; those of others stay and are returned second. `why`
    /// completes "released …" in the log.
    pub fn release(
        &mut self,
        user: u32,
        why: &str,
        now: Timestamp,
        wanted: &mut dyn FnMut(&Claim) -> bool,
    ) -> Result<(Vec<Released>, Vec<Claim>), ClaimError> {
        self.transaction(|connection, boot| {
            let mut released = Vec::new();
            let mut foreign = Vec::new();
            for claim in read::all(connection)? {
                if !wanted(&claim) {
                    continue;
                }
                if may_change(claim.owner, user) {
                    let foreign = user != claim.owner;
                    let whose = || {
                        format!("{why}; it was {}'s", self::user(claim.owner, claim.owner_name.as_deref()))
                    };
                    let why = if foreign { whose() } else { why.to_owned() };
                    let event = end(connection, boot, &claim, &why, now)?;
                    released.push(Released { claim, event });
                } else {
                    foreign.push(claim);
                }
            }
            Ok(match foreign.first() {
                Some(first) if released.is_empty() => return Err(Fault::Other(not_owner(first))),
                _ => (released, foreign),
            })
        })
    }

    /// Writes down that programs of these claims were listening at `now`.
    pub fn touch(&mut self, ids: &[i64], now: Timestamp) -> Result<(), ClaimError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.transaction(|connection, _| {
            let mut statement = connection.prepare_cached("UPDATE claim SET seen = ?2 WHERE id = ?1")?;
            for id in ids {
                statement.execute(params![id, text(now)])?;
            }
            Ok(())
        })
    }
}

fn claim(
    connection: &Connection,
    boot: i64,
    request: &Request<'_>,
    now: Timestamp,
    probe: &mut Probe<'_>,
) -> Result<Claimed, Fault<ClaimError>> {
    let standing = match read::by_name(connection, request.name)? {
        Some(found) if found.has_expired(now) && found.owner != request.owner => {
            // Its time has passed; whoever has the port still is found by the probe.
            end(connection, boot, &found, "its time had passed", now)?;
            None
        }
        found => found,
    };
    match standing {
        Some(found) => renew(connection, boot, request, found, now, probe),
        None => make(connection, boot, request, now, probe),
    }
}

/// Refuses `more` ports for an owner who has too many: nobody takes all of them.
fn within_limit(
    connection: &Connection,
    owner: u32,
    limit: Option<u32>,
    more: u16,
) -> Result<(), Fault<ClaimError>> {
    let Some(limit) = limit.filter(|_| owner != 0 && more > 0) else { return Ok(()) };
    let has = read::ports_of_owner(connection, owner)?;
    if has + i64::from(more) > i64::from(limit) {
        return Err(Fault::Other(ClaimError::TooMany { has, more, limit }));
    }
    Ok(())
}

fn not_owner(claim: &Claim) -> ClaimError {
    ClaimError::NotOwner {
        name: claim.name.clone(),
        owner: claim.owner,
        owner_name: claim.owner_name.clone(),
    }
}

fn make(
    connection: &Connection,
    boot: i64,
    request: &Request<'_>,
    now: Timestamp,
    probe: &mut Probe<'_>,
) -> Result<Claimed, Fault<ClaimError>> {
    within_limit(connection, request.owner, request.limit, request.ports.max(1))?;
    let stamp = text(now);
    // By the clock, and not the row's next number, which is that of a claim that was just given back: whoever remembers that
    // one by its number must not take this one for it.
    let id = connection
        .prepare_cached(
            "INSERT INTO claim (id, name, kind, owner, owner_name, agent, session, root, worktree, created, renewed,
                 expires) VALUES (max(?11, coalesce((SELECT max(id) FROM claim), 0) + 1), ?1, ?2, ?3, ?4, ?5, ?6, ?7,
                 ?8, ?9, ?9, ?10)",
        )?
        .insert(params![
            request.name.to_string(),
            request.kind.as_str(),
            request.owner,
            request.owner_name,
            request.agent,
            request.session,
            request.root.map(Path::to_string_lossy),
            request.worktree,
            stamp,
            request.expires.map(text),
            now.as_microsecond(),
        ])?;
    for slot in 0..request.ports.max(1) {
        slot_port(connection, boot, id, slot, request, now, probe)?;
    }
    finish(connection, boot, id, request, now, Some(by(request)))
}

/// Gives one slot its port.
fn slot_port(
    connection: &Connection,
    boot: i64,
    id: i64,
    slot: u16,
    request: &Request<'_>,
    now: Timestamp,
    probe: &mut Probe<'_>,
) -> Result<(), Fault<ClaimError>> {
    let port = match request.fixed.filter(|_| slot == 0) {
        Some(port) => {
            if let Some(other) = read::id_of_port(connection, port)?
                && let Some(other) = read::by_id(connection, other)?
                && !give_way(connection, boot, &other, request, now)?
            {
                return Err(Fault::Other(ClaimError::Claimed {
                    port,
                    by: other.name,
                    owner: other.owner,
                    owner_name: other.owner_name,
                }));
            }
            let privileged = (port.get() < request.terms.unprivileged_from).then_some(Obstacle::Privileged);
            if let Some(obstacle) = privileged.or_else(|| probe(port, request.protocols)) {
                return Err(Fault::Other(ClaimError::Obstacle { port, obstacle }));
            }
            port
        }
        None => registry::allocate(request.name, slot, request.terms, |port| {
            if read::id_of_port(connection, port)?.is_some() {
                return Ok(Some(Obstacle::Claimed));
            }
            Ok::<_, rusqlite::Error>(probe(port, request.protocols))
        })?
        .map_err(|exhausted| Fault::Other(ClaimError::Exhausted(exhausted)))?,
    };
    for &protocol in request.protocols {
        insert_port(connection, id, slot, protocol, port)?;
    }
    Ok(())
}

/// Whether a claim that is in the way of an explicit port may be ended for it: an automatic one of the same user, or
/// one whose time has passed.
fn give_way(
    connection: &Connection,
    boot: i64,
    other: &Claim,
    request: &Request<'_>,
    now: Timestamp,
) -> Result<bool, Fault<ClaimError>> {
    let automatic = other.kind == Kind::Auto && request.kind == Kind::Explicit;
    let ours = may_change(other.owner, request.owner);
    if (automatic && ours) || other.has_expired(now) {
        end(connection, boot, other, &format!("claimed as {}", request.name), now)?;
        return Ok(true);
    }
    Ok(false)
}

fn insert_port(
    connection: &Connection,
    id: i64,
    slot: u16,
    protocol: Protocol,
    port: Port,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO claim_port (protocol, port, claim, slot) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![protocol.as_str(), port.get(), id, slot])
        .map(drop)
}

/// A claim that stands: renewed, and given what is asked for beyond what it has.
fn renew(
    connection: &Connection,
    boot: i64,
    request: &Request<'_>,
    found: Claim,
    now: Timestamp,
    probe: &mut Probe<'_>,
) -> Result<Claimed, Fault<ClaimError>> {
    if !may_change(found.owner, request.owner) {
        return Err(Fault::Other(not_owner(&found)));
    }
    if request.kind == Kind::Auto && found.kind == Kind::Explicit {
        return Ok(Claimed { claim: found, fresh: false, event: None });
    }
    let mut left = None;
    if let (Some(asked), Some(has)) = (request.fixed, found.port())
        && asked != has
    {
        if !request.moves {
            return Err(Fault::Other(ClaimError::OtherPort { name: found.name, has, asked }));
        }
        connection
            .prepare_cached("DELETE FROM claim_port WHERE claim = ?1 AND slot = 0")?
            .execute([found.id])?;
        slot_port(connection, boot, found.id, 0, request, now, probe)?;
        left = Some(has);
    }
    connection
        .prepare_cached(
            "UPDATE claim SET kind = ?2, renewed = ?3, expires = ?4, agent = ifnull(?5, agent),
                 session = ifnull(?6, session), root = ifnull(?7, root), worktree = ifnull(?8, worktree) WHERE id = ?1",
        )?
        .execute(params![
            found.id,
            request.kind.as_str(),
            text(now),
            request.expires.map(text),
            request.agent,
            request.session,
            request.root.map(Path::to_string_lossy),
            request.worktree,
        ])?;
    let slots = found.slots();
    let mut more = false;
    for (slot, port) in slots.iter().filter(|(slot, _)| left.is_none() || *slot != 0) {
        for &protocol in request.protocols.iter().filter(|&&p| !found.has(p, *port)) {
            if let Some(obstacle) = probe(*port, &[protocol]) {
                return Err(Fault::Other(ClaimError::Obstacle { port: *port, obstacle }));
            }
            insert_port(connection, found.id, *slot, protocol, *port)?;
            more = true;
        }
    }
    let has = u16::try_from(slots.len()).unwrap_or(u16::MAX);
    within_limit(connection, found.owner, request.limit, request.ports.saturating_sub(has))?;
    for slot in has..request.ports {
        slot_port(connection, boot, found.id, slot, request, now, probe)?;
        more = true;
    }
    let told = match left {
        Some(port) => Some(format!("{}, moved from {port}", by(request))),
        None => (more || found.kind != request.kind).then(|| by(request)),
    };
    finish(connection, boot, found.id, request, now, told).map(|claimed| Claimed { fresh: false, ..claimed })
}

fn finish(
    connection: &Connection,
    boot: i64,
    id: i64,
    request: &Request<'_>,
    now: Timestamp,
    told: Option<String>,
) -> Result<Claimed, Fault<ClaimError>> {
    let claim = read::by_id(connection, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    // Of an automatic claim the keeper tells, with the process.
    let event = match told.filter(|_| request.kind == Kind::Explicit) {
        Some(message) => {
            let mut event = about(EventKind::Claim, &claim, now);
            event.message = Some(message);
            Some((insert_event(connection, boot, &event)?, event))
        }
        None => None,
    };
    Ok(Claimed { claim, fresh: true, event })
}

fn by(request: &Request<'_>) -> String {
    let user = user(request.owner, request.owner_name);
    match (request.agent, request.session) {
        (Some(agent), Some(session)) => format!("by {user}, agent {agent}, session {session}"),
        (Some(agent), None) => format!("by {user}, agent {agent}"),
        (None, Some(session)) => format!("by {user}, session {session}"),
        (None, None) => format!("by {user}"),
    }
}

/// `erich`, or `uid 1000` where the name is not known.
pub(super) fn user(uid: u32, name: Option<&str>) -> String {
    name.map_or_else(|| format!("uid {uid}"), str::to_owned)
}

fn end(
    connection: &Connection,
    boot: i64,
    claim: &Claim,
    why: &str,
    now: Timestamp,
) -> rusqlite::Result<(i64, Event)> {
    connection.prepare_cached("DELETE FROM claim WHERE id = ?1")?.execute([claim.id])?;
    let mut event = about(EventKind::Release, claim, now);
    event.message = Some(why.to_owned());
    Ok((insert_event(connection, boot, &event)?, event))
}

/// An event about a claim.
fn about(kind: EventKind, claim: &Claim, now: Timestamp) -> Event {
    let mut event = Event::new(now, kind, Evidence::Kernel);
    event.claim = Some(claim.name.to_string());
    event.port = claim.port();
    event.protocol = claim.ports.first().map(|p| p.protocol);
    event
}

/// A row of the log that belongs to the transaction. It names no process: those rows are the journal's writer's.
pub(in crate::journal) fn insert_event(
    connection: &Connection,
    boot: i64,
    event: &Event,
) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO event (at, type, evidence, boot, protocol, port, claim, message, subject)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .insert(params![
            time::to_ns(event.at),
            code::kind(event.kind),
            code::evidence(event.evidence),
            boot,
            event.protocol.map(code::protocol),
            event.port.map(Port::get),
            event.claim,
            event.message,
            event.subject,
        ])
}
