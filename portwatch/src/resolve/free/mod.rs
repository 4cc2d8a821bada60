//! `free`: who would be ended is decided and shown first; then it is done, each signal after a fresh identity check.
//!
//! Only processes that listen on or are bound to the place are targets, never clients; only through a handle of exactly
//! that process; and never one that a supervisor would start again, whose own command is named instead.

mod act;
mod activation;
mod again;
mod containers;
mod dependents;
mod end;
#[cfg(not(target_os = "linux"))]
mod exe;
#[cfg(target_os = "linux")]
mod fds;
mod handle;
#[cfg(target_os = "linux")]
mod image;
mod judge;
mod plan;
mod supervisor;
#[cfg(not(target_os = "linux"))]
mod tables;
mod time_wait;
mod units;

#[cfg(not(target_os = "linux"))]
use exe as image;
#[cfg(target_os = "linux")]
use fds as held;
#[cfg(not(target_os = "linux"))]
use tables as held;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use act::{Done, How, Waiting, act};
pub use containers::{ContainerStop, stop_container};
pub use end::{EndOptions, Ended, Outcome, end};
pub use image::Image;
pub use plan::plan;
pub use time_wait::destroy;
pub use units::{UnitStop, stop_unit};

use super::Place;
use crate::{
    attribute::Redaction,
    model::{Connection, Endpoint, Process, ProcessId},
};

/// What may be looked at, and how far to go.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// What is hidden of command lines.
    pub redaction: Redaction,
    /// Sockets of container engines that may be asked, and told to stop a container.
    pub engines: Vec<PathBuf>,
    /// Go past supervisors.
    pub force: bool,
}

/// What freeing a place takes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The place.
    pub place: Place,
    /// Processes to be signalled, in this order.
    pub members: Vec<Member>,
    /// Units to be stopped.
    pub units: Vec<UnitStop>,
    /// Containers to be stopped by their engine.
    pub containers: Vec<ContainerStop>,
    /// Why it cannot be done; then nothing is done.
    pub refusals: Vec<Refusal>,
    /// Who is connected to whoever holds the place.
    pub dependents: Vec<Dependent>,
    /// Connections on the port that nobody has any more.
    pub time_wait: Vec<Connection>,
    /// Processes with a connection of their own from this port: in the way of a bind, and clients, not targets.
    pub borrowers: Vec<Arc<Process>>,
    /// Something holds the port over UDP, which was not asked for.
    pub udp_too: bool,
    /// Whether a bind would succeed although something holds the place, or fail although nothing does.
    pub held: bool,
}

/// A process to be ended.
#[derive(Debug, Clone)]
pub struct Member {
    /// Who.
    pub process: Arc<Process>,
    /// Inodes of the sockets for whose sake it is ended, where sockets have them.
    pub inodes: Vec<u64>,
    /// Which program it ran when it was shown.
    pub image: Image,
    /// Where those sockets are.
    pub sockets: Vec<Endpoint>,
    /// What it is to the other members.
    pub role: Role,
    /// What else is to be known.
    pub note: Option<String>,
}

/// What a member is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ancestor of others: it is ended first, so that it starts no new ones.
    Master,
    /// Neither.
    Alone,
    /// Descendant of another.
    Worker,
}

impl Role {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Alone => "alone",
            Self::Worker => "worker",
        }
    }
}

/// Why a holder is left alone, and what would work.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The holder; `None` when there is no process to be seen.
    pub process: Option<Arc<Process>>,
    /// Why.
    pub why: String,
    /// What would work.
    pub instead: String,
    /// `--force` goes past it.
    pub forceable: bool,
}

/// Somebody connected to the place.
#[derive(Debug, Clone)]
pub struct Dependent {
    /// The process, where it is on this machine and may be seen.
    pub process: Option<Arc<Process>>,
    /// Its address.
    pub address: std::net::IpAddr,
    /// Connections.
    pub connections: u64,
}

impl Plan {
    /// Nothing is to be done there.
    pub(in crate::resolve) const fn of(place: Place) -> Self {
        Self {
            place,
            members: Vec::new(),
            units: Vec::new(),
            containers: Vec::new(),
            refusals: Vec::new(),
            dependents: Vec::new(),
            time_wait: Vec::new(),
            borrowers: Vec::new(),
            udp_too: false,
            held: false,
        }
    }

    /// Every process it would end by a signal.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> {
        self.members.iter().map(|member| member.process.id)
    }
}

/// How long a place may take to become bindable once its holders are gone.
pub const SETTLE: Duration = Duration::from_secs(10);
