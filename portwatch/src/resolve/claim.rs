//! Giving ports out, and taking them back: the registry's rules, the database and the machine joined.

use std::path::Path;

use super::bind;
use crate::{
    journal::{ClaimError, Claimed, Claims, Released, Request},
    model::Timestamp,
    query::{
        KnownSocket,
        claims::{self, Caller, Wanted},
    },
    registry::{Asked, Claim, Kind, Obstacle, Tie},
};

/// Claims for `caller`. `there` are the sockets on the port asked for, if one was: a port that is in use may be claimed by
/// the very program that uses it.
pub fn claim(
    claims: &mut Claims,
    wanted: &Wanted,
    caller: &Caller,
    there: &[KnownSocket],
    now: Timestamp,
) -> Result<Claimed, ClaimError> {
    let asked = Asked { privileged: wanted.asked.privileged || caller.uid == 0, ..wanted.asked.clone() };
    let mut terms = super::terms(&asked, Path::new("/proc"));
    if !terms.reserved.is_empty()
        && let Some(netns) = crate::source::process::own_netns().ok().flatten()
    {
        // What the kernel keeps back for claims is there to be claimed.
        terms.reserved = terms.reserved.without(&claims.reserved(netns)?);
    }
    let request = Request {
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
        terms: &terms,
    };
    // Who follows a program of its own knows it; that it is this user's is all that can be checked.
    let mine = |socket: &KnownSocket| socket.socket.seen.uid == Some(caller.uid);
    let own = is_own(wanted, caller, there) || (wanted.moves && !there.is_empty() && there.iter().all(mine));
    claims.claim(&request, now, &mut |port, protocols| {
        let obstacle = bind::obstacle(port, protocols, wanted.host);
        obstacle.filter(|&o| !(o == Obstacle::InUse && own && wanted.port == Some(port)))
    })
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
