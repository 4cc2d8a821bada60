//! Which claims are stale, and what registry and reality disagree in: computed from documents, for whoever has them.

use std::time::Duration;

use jiff::Timestamp;

use super::{Claim, Claims, Drift, Released};
use crate::{
    registry::{Pattern, may_change, slug},
    wire::{List, SCHEMA, Socket, parts::SourceInfo},
};

/// A claim whose program has ended is stale after this time, when nothing else is said.
const GHOST: Duration = Duration::from_mins(5);
/// One that was never used, after this.
const IDLE: Duration = Duration::from_hours(24);

/// What a cleanup gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    ghost: Duration,
    idle: Duration,
    project: Option<String>,
}

impl Sweep {
    /// For the log.
    pub const REASON: &'static str = "cleanup";

    /// Of claims that were unused for `age`, if one is given. Of one project whatever its age: who asks for that begins
    /// anew.
    pub fn new(age: Option<Duration>, project: Option<String>) -> Self {
        let (ghost, idle) = match (age, &project) {
            (Some(age), _) => (age, age),
            (None, Some(_)) => (Duration::ZERO, Duration::ZERO),
            (None, None) => (GHOST, IDLE),
        };
        Self { ghost, idle, project }
    }

    /// Those that are stale and that `user` may give back.
    pub fn stale(&self, claims: Vec<Claim>, now: Timestamp, user: u32) -> Vec<Claim> {
        let mut claims = claims;
        claims.retain(|claim| {
            self.project.as_ref().is_none_or(|project| claim.project == *project)
                && may_change(claim.owner, user)
                && self.is_stale(claim, now)
        });
        claims
    }

    /// Nothing is on its ports, and it was neither claimed nor live for so long, or its time has passed.
    fn is_stale(&self, claim: &Claim, now: Timestamp) -> bool {
        let age = match claim.state.as_str() {
            "ghost" => self.ghost,
            "idle" => self.idle,
            _ => return false,
        };
        let last = claim.seen.map_or(claim.renewed, |seen| seen.max(claim.renewed));
        // A ghost's last sign of life is the end of its program.
        let last = claim.ended.as_ref().map_or(last, |event| last.max(event.time));
        claim.expired || last.checked_add(age).is_ok_and(|until| until <= now)
    }

    /// What a dry run answers, or one that finds nothing.
    pub const fn preview(
        &self,
        stale: Vec<Claim>,
        time: Timestamp,
        source: SourceInfo,
        dry_run: bool,
    ) -> Released {
        Released {
            schema: SCHEMA,
            time,
            source,
            dry_run,
            released: stale,
            foreign: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// What picks exactly these.
    pub fn patterns(claims: &[Claim]) -> Vec<Pattern> {
        claims.iter().filter_map(|claim| claim.name.parse().ok()).collect()
    }
}

/// What registry and reality disagree in, of a project or of all; `unclaimed` has what [`is_unclaimed`] has found.
pub fn drift(claims: Claims, unclaimed: List, project: Option<&str>) -> Drift {
    let strays = |claim: &Claim| {
        // An automatic claim follows its listener by itself.
        (claim.state != "live" && claim.kind != "auto") || !claim.strangers.is_empty()
    };
    let mut source = claims.source;
    // Each says by itself what it does not tell.
    if let Some(note) = unclaimed.source.note.filter(|note| source.note.as_ref() != Some(note)) {
        source.note = Some(source.note.map_or_else(|| note.clone(), |known| format!("{known}; {note}")));
    }
    Drift {
        schema: SCHEMA,
        time: claims.time,
        source,
        claims: claims
            .claims
            .into_iter()
            .filter(|claim| project.is_none_or(|project| claim.project == project) && strays(claim))
            .collect(),
        unclaimed: unclaimed.sockets,
    }
}

/// Whether it listens in the project, or in any, without a claim and where nothing else explains it: what a unit, a container or a rule
/// explains needs none. To be asked of a socket that is told in full: by its name alone a process has no project.
pub fn is_unclaimed(socket: &Socket, project: Option<&str>) -> bool {
    socket.state == "listening"
        && matches!(socket.standing.as_deref(), Some("project" | "rogue"))
        && project.is_none_or(|project| holder_project(socket).as_deref() == Some(project))
}

fn holder_project(socket: &Socket) -> Option<String> {
    let process = socket.holders.first().map(|h| &h.process).or(socket.creator.as_ref())?;
    slug(&process.project.as_ref()?.name)
}
