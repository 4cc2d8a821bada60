//! Automatic claims: which listener gets one, and of which name.

use std::{path::Path, time::Duration};

use super::{AutoPolicy, Keeper, Life, about};
use crate::{
    journal::{ClaimError, Request},
    model::{EventKind, Port, Timestamp},
    query::{
        KnownSocket,
        claims::{compose_of, standing, user_name},
    },
    registry::{Asked, Kind, Name, ProjectConfig, Standing, Terms, auto_name},
    resolve,
};

/// A program with several ports gets so many numbered names.
const MOST_NUMBERS: u16 = 64;

/// Where an automatic claim is made.
#[derive(Debug, Default)]
struct Place<'a> {
    root: Option<&'a Path>,
    worktree: Option<&'a str>,
}

impl Keeper {
    /// A TCP listener on a port that no claim has.
    pub(super) fn unclaimed(
        &mut self,
        port: Port,
        socket: &KnownSocket,
        seen: &mut Vec<i64>,
    ) -> Result<(), ClaimError> {
        let user = self.user_policy(socket)?;
        let policy = self.policy.but(&user);
        if let Some(compose) = compose_of(socket) {
            let name = Name::of(&compose.project, &compose.service, None);
            return name.map_or(Ok(()), |name| self.claim_compose(port, socket, &name, &policy, seen));
        }
        match standing(&self.known, socket) {
            Standing::Project(_) => self.claim_for(port, socket, &policy, seen),
            // Whether a container is behind it, an engine will tell in a moment.
            Standing::Rogue if socket.forward.is_some() => Ok(()),
            Standing::Rogue => {
                if self.news.is(EventKind::Rogue, socket, &self.claims)? {
                    self.tell(about(EventKind::Rogue, socket));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes an automatic claim where the policy wants one.
    fn claim_for(
        &mut self,
        port: Port,
        socket: &KnownSocket,
        policy: &AutoPolicy,
        seen: &mut Vec<i64>,
    ) -> Result<(), ClaimError> {
        let Some(id) = socket.first() else { return Ok(()) };
        let Some(process) = socket.process(id) else { return Ok(()) };
        let Some(project) = &process.project else { return Ok(()) };
        let config = self.config(id, project);
        let command = process.command.as_ref().map(ToString::to_string).unwrap_or_default();
        if !policy.wants(&config, socket.socket.seen.asked, &command) {
            return Ok(());
        }
        let Some(name) = auto_name(process, port, &config) else { return Ok(()) };
        let worktree = project.worktree.as_ref().map(|w| w.name.clone()).filter(|name| name != "main");
        let place = Place { root: Some(&project.root), worktree: worktree.as_deref() };
        self.claim_as(&name, port, socket, &place, config.grace.unwrap_or(policy.grace), seen)
    }

    /// The same for the port of a container of compose's. The forwarder that holds it is its owner.
    fn claim_compose(
        &mut self,
        port: Port,
        socket: &KnownSocket,
        name: &Name,
        policy: &AutoPolicy,
        seen: &mut Vec<i64>,
    ) -> Result<(), ClaimError> {
        let process = socket.first().and_then(|id| socket.process(id));
        let command = process.and_then(|p| p.command.as_ref()).map(ToString::to_string).unwrap_or_default();
        if !policy.wants(&ProjectConfig::default(), socket.socket.seen.asked, &command) {
            return Ok(());
        }
        self.claim_as(name, port, socket, &Place::default(), policy.grace, seen)
    }

    fn claim_as(
        &mut self,
        name: &Name,
        port: Port,
        socket: &KnownSocket,
        place: &Place<'_>,
        grace: Duration,
        seen: &mut Vec<i64>,
    ) -> Result<(), ClaimError> {
        let first = socket.first();
        let uid = first.and_then(|id| socket.process(id)).and_then(|process| process.uid);
        let Some(owner) = socket.socket.seen.uid.or(uid) else { return Ok(()) };
        let Some(name) = self.unused(name, owner, port) else { return Ok(()) };
        let terms: Terms =
            resolve::terms(&Asked { privileged: true, ..Asked::default() }, Path::new("/proc"));
        let user = user_name(owner);
        let request = Request {
            kind: Kind::Auto,
            owner_name: user.as_deref(),
            root: place.root,
            worktree: place.worktree,
            fixed: Some(port),
            limit: self.limit,
            ..Request::plain(&name, owner, &terms)
        };
        let claimed = match self.claims.claim(&request, Timestamp::now(), &mut |_, _| None) {
            Ok(claimed) => claimed,
            Err(error @ ClaimError::Journal(_)) => return Err(error),
            // Somebody claimed it a moment ago: that claim stands. Or its owner has too many.
            Err(error) => {
                tracing::debug!(%error, %name, "no automatic claim");
                return Ok(());
            }
        };
        seen.push(claimed.claim.id);
        self.read()?;
        let checked = self.plan(&claimed.claim, socket);
        let life = Life { checked, ..Life::of(&claimed.claim, first, grace) };
        self.lives.insert(claimed.claim.id, life);
        let mut event = about(EventKind::Auto, socket);
        event.claim = Some(name.to_string());
        self.tell(event);
        Ok(())
    }

    /// The name, or the first numbered one that nothing else has: `shop:dev`, `shop:dev-2`. An automatic claim of the
    /// same user that has lost its listener gives its name back at once.
    fn unused(&mut self, name: &Name, owner: u32, port: Port) -> Option<Name> {
        for number in 1..=MOST_NUMBERS {
            let candidate = if number == 1 {
                name.clone()
            } else {
                name.with_stack(&format!("{}-{number}", name.stack()))
            };
            let taken = self.known.claims().iter().find(|claim| claim.name == candidate);
            let Some(claim) = taken else { return Some(candidate) };
            if claim.port() == Some(port) {
                return None;
            }
            let gone = self.lives.get(&claim.id).is_some_and(|life| life.gone.is_some());
            if claim.kind == Kind::Auto && claim.owner == owner && gone {
                let id = claim.id;
                let now = Timestamp::now();
                let done =
                    self.claims.release(owner, "its program listens elsewhere", now, &mut |c| c.id == id);
                if let Ok((released, _)) = done {
                    self.announce(released.into_iter().map(|r| r.event));
                    self.lives.remove(&id);
                    return Some(candidate);
                }
            }
        }
        None
    }
}
