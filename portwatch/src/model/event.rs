//! What the live table reports and the journal keeps.

use std::{net::IpAddr, sync::Arc};

use super::{
    AskedPort, Evidence, ExitStatus, GapReason, LossCounts, Netns, Phase, Port, Process, ProcessId, Protocol,
    Socket, SocketKey, SocketOptions, Timestamp, Viewer,
};

/// How an `error` begins that tells that the wall clock was set: rows before it are dated by the old one.
pub const CLOCK_SET: &str = "the clock was set ";

/// Event types, as `log --type` names them. Types of later features are here from the start: the word list
/// is a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is its own word; docs/events.md explains them")]
pub enum EventKind {
    Bind,
    Refused,
    Listen,
    Unlisten,
    Close,
    Exit,
    Noise,
    Timewait,
    Claim,
    Release,
    Auto,
    Ghost,
    Conflict,
    Rogue,
    Health,
    Lock,
    Unlock,
    Extend,
    Session,
    Note,
    Message,
    Heartbeat,
    Gap,
    Start,
    Stop,
    Error,
}

impl EventKind {
    /// Every kind, in the order in which help lists them.
    pub const ALL: [Self; 26] = [
        Self::Bind,
        Self::Refused,
        Self::Listen,
        Self::Unlisten,
        Self::Close,
        Self::Exit,
        Self::Noise,
        Self::Timewait,
        Self::Claim,
        Self::Release,
        Self::Auto,
        Self::Ghost,
        Self::Conflict,
        Self::Rogue,
        Self::Health,
        Self::Lock,
        Self::Unlock,
        Self::Extend,
        Self::Session,
        Self::Note,
        Self::Message,
        Self::Heartbeat,
        Self::Gap,
        Self::Start,
        Self::Stop,
        Self::Error,
    ];

    /// The word used on the command line, in JSON and in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Refused => "refused",
            Self::Listen => "listen",
            Self::Unlisten => "unlisten",
            Self::Close => "close",
            Self::Exit => "exit",
            Self::Noise => "noise",
            Self::Timewait => "timewait",
            Self::Claim => "claim",
            Self::Release => "release",
            Self::Auto => "auto",
            Self::Ghost => "ghost",
            Self::Conflict => "conflict",
            Self::Rogue => "rogue",
            Self::Health => "health",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Extend => "extend",
            Self::Session => "session",
            Self::Note => "note",
            Self::Message => "message",
            Self::Heartbeat => "heartbeat",
            Self::Gap => "gap",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Error => "error",
        }
    }

    /// The inverse of [`EventKind::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == word)
    }
}

/// A change of the live table: an event, and the socket as it was right after (or, for a close, right before).
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What goes to the journal and to watchers.
    pub event: Event,
    /// The socket concerned, if one is.
    pub socket: Option<Socket>,
}

/// One line of the flight record. Flat on purpose: it is a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// How it is known.
    pub evidence: Evidence,
    /// Protocol, where it concerns a socket.
    pub protocol: Option<Protocol>,
    /// Local address.
    pub address: Option<IpAddr>,
    /// Local port.
    pub port: Option<Port>,
    /// Network namespace.
    pub netns: Option<Netns>,
    /// The socket's identity.
    pub socket: Option<SocketKey>,
    /// Phase the socket was in (for a close: what was closed; for a refusal: listening where it was bound and was to listen).
    pub phase: Option<Phase>,
    /// Port asked for.
    pub asked: AskedPort,
    /// Sharing options.
    pub options: SocketOptions,
    /// Who did it: binder, loser of a refused bind, last closer, the process that ended.
    pub process: Option<ProcessId>,
    /// The other party: for a refused bind who held the port (first of them), for a close the creator
    /// when another process closed, for an exit who sent the signal.
    pub other: Option<ProcessId>,
    /// How `other` is known: `Ambiguous` when several processes held the port and `other` is the first of them.
    pub other_evidence: Option<Evidence>,
    /// errno of a refused bind, positive.
    pub errno: Option<i32>,
    /// How a process ended.
    pub exit: Option<ExitStatus>,
    /// Lost records of a gap.
    pub lost: Option<LossCounts>,
    /// Why there is a gap.
    pub gap: Option<GapReason>,
    /// Beginning of a gap or of a summary.
    pub since: Option<Timestamp>,
    /// Number of events this one stands for (noise summaries); 1 otherwise.
    pub count: u64,
    /// The claim it is about, by name.
    pub claim: Option<String>,
    /// The lock, agent, session or channel it is about, by name.
    pub subject: Option<String>,
    /// A sentence for people: message of start, stop and error, note of a summary.
    pub message: Option<String>,
}

impl Event {
    /// An event of which nothing but time, kind and evidence is known.
    pub const fn new(at: Timestamp, kind: EventKind, evidence: Evidence) -> Self {
        Self {
            at,
            kind,
            evidence,
            protocol: None,
            address: None,
            port: None,
            netns: None,
            socket: None,
            phase: None,
            asked: AskedPort::Unknown,
            options: SocketOptions { reuse_addr: None, reuse_port: None, v6_only: None },
            process: None,
            other: None,
            other_evidence: None,
            errno: None,
            exit: None,
            lost: None,
            gap: None,
            since: None,
            count: 1,
            claim: None,
            subject: None,
            message: None,
        }
    }
}

/// An event as the journal gives it back.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEvent {
    /// Row id; grows with time of writing.
    pub id: i64,
    /// The event.
    pub event: Event,
    /// Facts of `event.process`.
    pub process: Option<Arc<Process>>,
    /// Facts of `event.other`.
    pub other: Option<Arc<Process>>,
}

/// Which end of the log comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Oldest first.
    #[default]
    OldestFirst,
    /// Newest first.
    NewestFirst,
}

/// Which events are wanted. Conditions are joined by "and"; an empty list means "any".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Only these kinds.
    pub kinds: Vec<EventKind>,
    /// Only these ports.
    pub ports: Vec<Port>,
    /// Only this protocol.
    pub protocol: Option<Protocol>,
    /// Only events of these pids (process or other).
    pub pids: Vec<u32>,
    /// Only rows after this id (for following).
    pub after_id: Option<i64>,
    /// A pattern with `*` over command line, comm, project, message, claim and subject.
    pub pattern: Option<String>,
    /// Who asks. A pattern looks at what this one is shown and at nothing else, or whether it is found would tell the rest.
    pub viewer: Viewer,
    /// Of the last nanosecond before `until` only rows before this id: where the page before this one ended.
    pub before_id: Option<i64>,
    /// At most so many (the newest of them); `None` is all.
    pub limit: Option<u64>,
    /// And not many more than so many bytes of them, as JSON.
    pub bytes: Option<usize>,
    /// Order of the answer.
    pub order: Order,
}
