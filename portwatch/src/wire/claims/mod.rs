//! Claims, as documents: what can be asked of the claims office and what it answers.

pub mod convert;
mod health;
mod sweep;
#[cfg(test)]
mod tests;

pub use health::{HealthAnswer, HealthCheck};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use sweep::{Sweep, drift, is_unclaimed};

use super::parts::{Event, Socket, SourceInfo};

/// One port of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimPort {
    /// Which of the name's ports, from 0; a pair (TCP and UDP on one number) has one slot.
    pub slot: u16,
    /// tcp or udp.
    pub protocol: String,
    /// The port.
    pub port: u16,
}

/// How a claimed program was when somebody asked last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimHealth {
    /// `healthy`, `refused`, `timeout`, `wrong-status`, `stranger`, `ghost`, `idle`, `unreachable`, `no-http`.
    pub result: String,
    /// Since when it is so.
    pub since: Timestamp,
    /// When it was asked last.
    pub checked: Timestamp,
    /// When it was healthy last.
    pub healthy: Option<Timestamp>,
}

/// A name, its ports, and what is on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// `project:stack` or `project:stack:context`.
    pub name: String,
    /// First part of the name.
    pub project: String,
    /// Second part.
    pub stack: String,
    /// Third part.
    pub context: Option<String>,
    /// Its first port.
    pub port: Option<u16>,
    /// All its ports.
    pub ports: Vec<ClaimPort>,
    /// `explicit`: somebody asked for it; `auto`: a listener of a known project was there.
    pub kind: String,
    /// `live`, `ghost`, `squatted`, `idle` or `unknown`; from what is on its ports now.
    pub state: String,
    /// Uid of its owner.
    pub owner: u32,
    /// User name of its owner.
    pub owner_name: Option<String>,
    /// Agent it is for.
    pub agent: Option<String>,
    /// Session it is for.
    pub session: Option<String>,
    /// Directory of the project it was claimed in.
    pub root: Option<String>,
    /// Git worktree of that project.
    pub worktree: Option<String>,
    /// When it was claimed.
    pub created: Timestamp,
    /// When it was claimed again last.
    pub renewed: Timestamp,
    /// When it ends unless it is claimed again or live.
    pub expires: Option<Timestamp>,
    /// That time has passed.
    pub expired: bool,
    /// When a program of its own was last seen there.
    pub seen: Option<Timestamp>,
    /// Sockets of its own on its ports.
    pub sockets: Vec<Socket>,
    /// Sockets of strangers on its ports.
    pub strangers: Vec<Socket>,
    /// Of a ghost: the event that ended its last program, where the journal has one.
    pub ended: Option<Event>,
    /// How its program was when somebody asked last.
    pub health: Option<ClaimHealth>,
}

/// How many claims there are, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "each field counts the claims of the state it names")]
pub struct ClaimCounts {
    pub total: u64,
    pub live: u64,
    pub ghost: u64,
    pub squatted: u64,
    pub idle: u64,
    pub unknown: u64,
}

/// The claim on a port that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimBrief {
    /// Its name.
    pub name: String,
    /// `explicit` or `auto`.
    pub kind: String,
    /// `live`, `ghost`, `squatted`, `idle` or `unknown`.
    pub state: String,
    /// Uid of its owner.
    pub owner: u32,
    /// User name of its owner.
    pub owner_name: Option<String>,
    /// When it was claimed.
    pub created: Timestamp,
    /// When a program of its own was last seen there.
    pub seen: Option<Timestamp>,
    /// How its program was when somebody asked last.
    pub health: Option<ClaimHealth>,
}

/// Answer of `find` and `claims`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claims {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub source: SourceInfo,
    /// Claims that match, by name.
    pub claims: Vec<Claim>,
    /// For `:PORT`: sockets on that port where no claim has it.
    pub unclaimed: Vec<Socket>,
}

/// Answer of `claim`: the claims in the order asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claimed {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// The port was free, or its own program's, at this moment.
    pub time: Timestamp,
    /// Where it comes from.
    pub source: SourceInfo,
    /// The claim.
    pub claim: Claim,
    /// It was made now; otherwise it stood already.
    pub fresh: bool,
}

/// Answer of `claim` on the command line: one claim a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimedAll {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// Where they come from.
    pub source: SourceInfo,
    /// The claims, in the order asked.
    pub claims: Vec<Claim>,
    /// How many of them were made now.
    pub fresh: u64,
    /// Names that are not claimed, in the order asked: the first was refused, the others were not tried.
    pub not_claimed: Vec<String>,
}

/// Answer of `release` and `cleanup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Released {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// When.
    pub time: Timestamp,
    /// Where it comes from.
    pub source: SourceInfo,
    /// Nothing was done: these would be given back.
    pub dry_run: bool,
    /// Claims that were given back, as they were.
    pub released: Vec<Claim>,
    /// Names that match and belong to others.
    pub foreign: Vec<String>,
    /// Names that match and were kept because something is on their ports.
    pub kept: Vec<String>,
}

/// A git worktree, with the claims made in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorktreeClaims {
    /// `main`, or the name of a linked worktree.
    pub name: String,
    /// Its directory; null where git does not know it any more.
    pub path: Option<String>,
    /// The branch checked out there; null when HEAD is detached.
    pub branch: Option<String>,
    /// The claims.
    pub claims: Vec<Claim>,
}

/// Answer of `claims --worktree`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Worktrees {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub source: SourceInfo,
    /// The project.
    pub project: String,
    /// Its worktrees, the main one first.
    pub worktrees: Vec<WorktreeClaims>,
}

/// One name out of a file of another registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportRow {
    /// The file.
    pub file: String,
    /// The claim's name.
    pub name: String,
    /// The port that it has now, or would have; null where that is decided by claiming.
    pub port: Option<u16>,
    /// The port in the file.
    pub wanted: Option<u16>,
    /// `claimed` now; `kept`: it was so already; `would-claim`, with `--dry-run`; `refused`.
    pub result: String,
    /// Why it was refused, or has another port.
    pub sentence: Option<String>,
}

/// Answer of `import`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportAnswer {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// Nothing was done.
    pub dry_run: bool,
    /// What is in the files, in their order.
    pub rows: Vec<ImportRow>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// Answer of `rogue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rogue {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub source: SourceInfo,
    /// Listeners that nothing explains.
    pub sockets: Vec<Socket>,
    /// The listens of those that are gone, newest first; with `--since`.
    pub gone: Vec<Event>,
    /// There are more of those, older ones: say a later `--since`, or `--port`.
    pub gone_truncated: bool,
    /// Listeners whose process could not be seen: whether anything explains them is not known.
    pub unknown: u64,
}

/// Answer of `drift`: the registry against reality.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Where it comes from.
    pub source: SourceInfo,
    /// Claims on whose ports nothing of their own listens.
    pub claims: Vec<Claim>,
    /// Listeners that no claim has, and nothing but a project or nothing at all explains.
    pub unclaimed: Vec<Socket>,
}

/// A rule of the allow-list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AllowRule {
    /// The rule.
    pub rule: String,
    /// Uid of whose programs it is about; root's rules are about everybody's.
    pub owner: u32,
    /// User name of `owner`.
    pub owner_name: Option<String>,
    /// `command`, or `file` for one out of that user's configuration file.
    pub origin: String,
    /// Since when, of one that was given by command.
    pub created: Option<Timestamp>,
}

/// Answer of `rogue allowed`, and of `rogue allow` and `rogue disallow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AllowList {
    /// [`super::SCHEMA`]
    pub schema: u32,
    /// Where it comes from.
    pub source: SourceInfo,
    /// The rules.
    pub rules: Vec<AllowRule>,
    /// Whether the list was changed.
    pub changed: bool,
}

/// Wish for a port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimRequest {
    /// Name.
    pub name: String,
    /// This port.
    pub port: Option<u16>,
    /// A claim that has another port gives it up for this one: its program listens there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub moves: bool,
    /// A port of this range (`3000-3999`).
    pub range: Option<String>,
    /// None of these ports and ranges.
    pub exclude: Vec<String>,
    /// Ports of the ephemeral range too.
    pub ephemeral: bool,
    /// For so many milliseconds.
    pub ttl_ms: Option<u64>,
    /// tcp, udp or both; empty means tcp.
    pub protocols: Vec<String>,
    /// So many ports; 0 means 1.
    pub ports: u16,
    /// To be bound at this address.
    pub host: Option<String>,
    /// Directory of the project.
    pub root: Option<String>,
    /// Its git worktree.
    pub worktree: Option<String>,
    /// Agent it is for.
    pub agent: Option<String>,
    /// Session it is for.
    pub session: Option<String>,
}

/// Order to give back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Names, patterns, `:PORT`.
    pub patterns: Vec<String>,
    /// Keep those on whose ports anything is.
    pub only_dead: bool,
    /// Why, for the log.
    pub reason: Option<String>,
}

/// Order to give back what is not used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CleanupRequest {
    /// What was unused for so many milliseconds; without it, ghosts of 5 minutes and claims that were not used for a day.
    pub max_age_ms: Option<u64>,
    /// Only claims of this project; without an age, whatever theirs is.
    pub project: Option<String>,
    /// Say what it would be, and give nothing back.
    pub dry_run: bool,
}

/// How a claimed program was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthReport {
    /// The claim.
    pub name: String,
    /// The word.
    pub result: String,
    /// The sentence for the log.
    pub sentence: String,
}

/// Change of the allow-list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AllowRequest {
    /// The rule.
    pub rule: String,
    /// To be there, or not to be.
    pub allow: bool,
}

/// Whose drift.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftQuery {
    /// Only of this project.
    pub project: Option<String>,
}

/// Which rogue listeners.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RogueQuery {
    /// Those too that are gone, back to then.
    pub since: Option<Timestamp>,
    /// User name or uid.
    pub user: Option<String>,
    /// First port.
    pub from: Option<u16>,
    /// Last port.
    pub to: Option<u16>,
}
