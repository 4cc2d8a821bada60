//! Giving ports out, and taking them back: the registry's rules, the database and the machine joined.

use std::path::Path;

use super::{bind, terms::Settings};
use crate::{
    journal::{ClaimError, Claimed, Claims, JournalError, Released, Request},
    model::Timestamp,
    query::{
        KnownSocket,
        claims::{self, Caller, Wanted},
    },
    registry::{Asked, Claim, Kind, Obstacle, PortSet, Terms, Tie},
};

/// An order to claim.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// By whom.
    pub caller: &'a Caller,
    /// The sockets on the port asked for, if one was: a port that is in use may be claimed by the very program that uses it.
    pub there: &'a [KnownSocket],
    /// So many ports a user other than root may have claimed.
    pub limit: Option<u32>,
}

/// Carries out one order.
pub fn claim(claims: &mut Claims, order: Order<'_>, now: Timestamp) -> Result<Claimed, ClaimError> {
    let mut done = claim_all(claims, &[order], now)?;
    done.pop().unwrap_or_else(|| Err(ClaimError::Nothing(order.wanted.name.to_string())))
}

/// Carries out orders, committed together; each is done or refused by itself.
pub fn claim_all(
    claims: &mut Claims,
    orders: &[Order<'_>],
    now: Timestamp,
) -> Result<Vec<Result<Claimed, ClaimError>>, JournalError> {
    let mut settings = Settings::read(Path::new("/proc"));
    settings.without(|| match crate::source::process::own_netns() {
        Ok(Some(netns)) => claims.reserved(netns),
        _ => Ok(PortSet::default()),
    })?;
    let terms = |order: &Order<'_>| {
        let asked = &order.wanted.asked;
        settings.terms(&Asked { privileged: asked.privileged || order.caller.uid == 0, ..asked.clone() })
    };
    let terms: Vec<Terms> = orders.iter().map(terms).collect();
    let requests: Vec<Request<'_>> =
        orders.iter().zip(&terms).map(|(order, terms)| request(order, terms, now)).collect();
    // Who follows a program of its own knows it; that it is this user's is all that can be checked.
    let own = |order: &Order<'_>| {
        let mine = |socket: &KnownSocket| socket.socket.seen.uid == Some(order.caller.uid);
        let there = order.there;
        is_own(order.wanted, order.caller, there)
            || (order.wanted.moves && !there.is_empty() && there.iter().all(mine))
    };
    claims.claim_all(&requests, now, &mut |number, port, protocols| {
        let order = orders.get(number)?;
        let obstacle = bind::obstacle(port, protocols, order.wanted.host);
        obstacle.filter(|&o| !(o == Obstacle::InUse && order.wanted.port == Some(port) && own(order)))
    })
}

fn request<'a>(order: &Order<'a>, terms: &'a Terms, now: Timestamp) -> Request<'a> {
    let (wanted, caller) = (order.wanted, order.caller);
    Request {
        name: &wanted.name,
        kind: Kind::Explicit,
        owner: caller.uid,
        owner_name: caller.name.as_deref(),
        agent: wanted.agent.as_deref(),
        session: wanted.session.as_deref(),
        root: wanted.root.as_deref(),
        worktree: wanted.worktree.as_deref(),
        expires: wanted.ttl.and_then(|ttl| now.checked_add(ttl).ok()),
        ports: wanted.ports,
        protocols: &wanted.protocols,
        fixed: wanted.port,
        moves: wanted.moves,
        terms,
        limit: order.limit,
    }
}

/// Whether the port asked for is in use by what the claim is for, and by nobody else.
fn is_own(wanted: &Wanted, caller: &Caller, there: &[KnownSocket]) -> bool {
    let claim = Claim {
        id: 0,
        name: wanted.name.clone(),
        kind: Kind::Explicit,
        owner: caller.uid,
        owner_name: None,
        agent: None,
        session: None,
        root: wanted.root.clone(),
        worktree: None,
        ports: Vec::new(),
        created: Timestamp::UNIX_EPOCH,
        renewed: Timestamp::UNIX_EPOCH,
        expires: None,
        seen: None,
    };
    !there.is_empty() && there.iter().all(|socket| claims::tie_of(&claim, socket) == Tie::Own)
}

/// Gives back, as `caller`, what `wanted` picks. The claims of others stay, and are returned second.
pub fn give_back(
    claims: &mut Claims,
    caller: &Caller,
    reason: Option<&str>,
    now: Timestamp,
    wanted: &mut dyn FnMut(&Claim) -> bool,
) -> Result<(Vec<Released>, Vec<Claim>), ClaimError> {
    let who = caller.name.as_deref().map_or_else(|| format!("uid {}", caller.uid), str::to_owned);
    let why = reason.map_or_else(|| format!("by {who}"), |reason| format!("by {who}, {reason}"));
    claims.release(caller.uid, &why, now, wanted)
}
