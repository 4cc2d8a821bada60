//! The questions and orders of the claims office, as a transport brings them.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use super::{ClaimView, OfficeError};
use crate::{
    journal::Allowed,
    model::{Port, Protocol, Timestamp},
    platform::user,
    query::{About, KnownSocket, ListFilter, QueryError, Record},
    registry::{Asked, Name, Pattern},
};

/// Who asks: from the peer credentials of the connection, or this process's own user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Effective uid.
    pub uid: u32,
    /// Name of that user.
    pub name: Option<String>,
}

impl Caller {
    /// The user of this uid.
    pub fn of(uid: u32) -> Self {
        Self { uid, name: user_name(uid) }
    }
}

/// The name of a user, as far as the machine knows it.
pub fn user_name(uid: u32) -> Option<String> {
    user::account(uid).ok().flatten().map(|account| account.name)
}

/// What somebody wants to claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Under this name.
    pub name: Name,
    /// This port.
    pub port: Option<Port>,
    /// A claim that has another port gives it up for this one.
    pub moves: bool,
    /// Where others come from.
    pub asked: Asked,
    /// For so long, unless it is claimed again or live.
    pub ttl: Option<Duration>,
    /// For these protocols on one number.
    pub protocols: Vec<Protocol>,
    /// So many ports.
    pub ports: u16,
    /// To be bound at this address; without one, at all.
    pub host: Option<IpAddr>,
    /// Directory of the project it is claimed in.
    pub root: Option<PathBuf>,
    /// Git worktree of that project.
    pub worktree: Option<String>,
    /// Agent it is for.
    pub agent: Option<String>,
    /// Session it is for.
    pub session: Option<String>,
}

/// Answer of `find` and `claims`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimsAnswer {
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub about: About,
    /// Claims that match, by name.
    pub claims: Vec<ClaimView>,
    /// For `:PORT`: sockets on ports that no claim has.
    pub unclaimed: Vec<KnownSocket>,
}

/// Answer of `claim`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimAnswer {
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub about: About,
    /// The claim.
    pub claim: ClaimView,
    /// It was made now.
    pub fresh: bool,
}

/// Answer of `release`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseAnswer {
    /// When.
    pub time: Timestamp,
    /// Where it comes from.
    pub about: About,
    /// What was given back, as it was.
    pub released: Vec<ClaimView>,
    /// What matches and is another user's.
    pub foreign: Vec<Name>,
    /// What matches and is live, where that was to be kept.
    pub kept: Vec<Name>,
}

/// Answer of `rogue`.
#[derive(Debug, Clone, PartialEq)]
pub struct RogueAnswer {
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub about: About,
    /// Listeners that nothing explains; those whose process could not be seen are counted apart.
    pub sockets: Vec<KnownSocket>,
    /// Rogue listens of the past, newest first: the listener is gone.
    pub gone: Vec<Record>,
    /// There are more of those, older ones.
    pub gone_truncated: bool,
    /// Listeners of which it is not known.
    pub unknown: u64,
}

/// Answer of `rogue --allowed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedAnswer {
    /// Where it comes from.
    pub about: About,
    /// The rules that were given by command.
    pub rules: Vec<Allowed>,
    /// Those out of users' configuration files, by uid.
    pub files: BTreeMap<u32, Vec<String>>,
}

/// What the office does.
pub trait Office: Send + Sync {
    /// Claims that one of the patterns means.
    fn claims(&self, patterns: &[Pattern]) -> Result<ClaimsAnswer, OfficeError>;
    /// Claims a name.
    fn claim(&self, wanted: &Wanted, caller: &Caller) -> Result<ClaimAnswer, OfficeError>;
    /// Claims several names; each is done or refused by itself, and the answers come in the order of the orders.
    fn claim_all(&self, orders: &[(Wanted, Caller)]) -> Vec<Result<ClaimAnswer, OfficeError>> {
        orders.iter().map(|(wanted, caller)| self.claim(wanted, caller)).collect()
    }
    /// Gives claims back; with `only_dead` none on whose ports anything is.
    fn release(
        &self,
        patterns: &[Pattern],
        only_dead: bool,
        reason: Option<&str>,
        caller: &Caller,
    ) -> Result<ReleaseAnswer, OfficeError>;
    /// Listeners that nothing explains; with `since` those already gone too.
    fn rogue(&self, filter: &ListFilter, since: Option<Timestamp>) -> Result<RogueAnswer, OfficeError>;
    /// The allow-list.
    fn allowed(&self) -> Result<AllowedAnswer, OfficeError>;
    /// Changes the allow-list; `false` when it was so already.
    fn allow(&self, rule: &str, allow: bool, caller: &Caller) -> Result<bool, OfficeError>;
    /// Writes down how the program of a claim is.
    fn set_health(
        &self,
        name: &Name,
        result: &str,
        sentence: &str,
        caller: &Caller,
    ) -> Result<(), OfficeError>;
}

/// A failure to read is a failure of the office.
impl From<crate::journal::JournalError> for OfficeError {
    fn from(error: crate::journal::JournalError) -> Self {
        Self::Query(QueryError::from(error))
    }
}
