//! Sessions, files and notes.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ask, Method, Place};

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// What for.
    pub purpose: String,
    /// `active`, `completed` or `abandoned`.
    pub state: String,
    /// Its user.
    pub uid: u32,
    /// Its user's name.
    pub user: Option<String>,
    /// The agent that works on it.
    pub agent: Option<String>,
    /// Without an agent: the leader of its terminal, with which it ends.
    pub pid: Option<u32>,
    /// Directory that its files are named from.
    pub root: Option<String>,
    /// When it began.
    pub created: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How, where somebody or something said so.
    pub outcome: Option<String>,
    /// How many notes it has.
    pub notes: u64,
    /// The paths it claims now.
    pub files: Vec<String>,
}

/// Which sessions there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsQuery {
    /// All that are kept, and not only the active ones and those that ended within a day.
    pub all: bool,
    /// At most so many, the newest; 1000 when it is not set.
    pub limit: Option<u32>,
}

/// Answer of `sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sessions {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Newest first.
    pub sessions: Vec<Session>,
    /// There are more: `total` says how many in all.
    pub truncated: bool,
    /// How many were asked for.
    pub total: u64,
}

impl Ask for SessionsQuery {
    type Answer = Sessions;
    const PLACE: Place =
        Place { method: Method::Get, path: "/v1/sessions", summary: "which sessions are there?" };
}

/// Order to begin a session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartRequest {
    /// What for.
    pub purpose: String,
    /// The agent that works on it; without one it belongs to the terminal of the process that asks.
    pub agent: Option<String>,
    /// Directory that its files are named from, absolute.
    pub root: Option<String>,
    /// Files it claims, absolute. All of them, or nothing is begun where another session has one.
    pub files: Vec<String>,
    /// Claim them even where others have.
    pub force: bool,
}

/// A claim that another session has too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conflict {
    /// The path that was wanted.
    pub path: String,
    /// The claim in its way.
    pub claimed: String,
    /// The session that has it.
    pub session: String,
    /// Uid of its user. Claims of other users than root and one's own are in nobody's way, and are told all the same.
    pub uid: u32,
    /// Name of that user, where one is known.
    pub user: Option<String>,
}

/// A session as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionState {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// The session.
    pub session: Session,
    /// Claims that others have too: of one's own user and root only with `force`. Of each kind the first 200.
    pub conflicts: Vec<Conflict>,
    /// So many more there are.
    pub more_conflicts: u64,
    /// Of files to give back: those that it did not claim.
    pub not_claimed: Vec<String>,
}

impl Ask for StartRequest {
    type Answer = SessionState;
    const PLACE: Place = Place { method: Method::Post, path: "/v1/sessions", summary: "begins a session" };
}

/// Order to end a session: its files and locks are free.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EndRequest {
    /// By id; without one the agent's, else that of the terminal of the process that asks.
    pub session: Option<String>,
    /// As this agent.
    pub agent: Option<String>,
    /// Its work was left, and is not done.
    pub abandon: bool,
    /// How it ended.
    pub outcome: Option<String>,
}

impl Ask for EndRequest {
    type Answer = SessionState;
    const PLACE: Place = Place {
        method: Method::Post,
        path: "/v1/sessions/end",
        summary: "ends a session, done or abandoned",
    };
}

/// Order to claim files for a session, or to give them back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilesRequest {
    /// By id; without one the agent's, else that of the terminal of the process that asks.
    pub session: Option<String>,
    /// As this agent.
    pub agent: Option<String>,
    /// Absolute paths. A directory stands for all that is in it.
    pub files: Vec<String>,
    /// Claim them even where others have.
    pub force: bool,
    /// Give them back.
    pub release: bool,
}

impl Ask for FilesRequest {
    type Answer = SessionState;
    const PLACE: Place = Place {
        method: Method::Post,
        path: "/v1/sessions/files",
        summary: "claims files for a session, or gives them back",
    };
}

/// A note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// Grows with time.
    pub id: i64,
    /// The session.
    pub session: String,
    /// When it was written.
    pub time: Timestamp,
    /// `note`, `progress`, `blocked`, `unblocked`, `error`, `decision` or `handoff`.
    #[serde(rename = "type")]
    pub kind: String,
    /// By this agent.
    pub agent: Option<String>,
    /// Its words.
    pub text: String,
}

/// Order to write a note into a session. It is on disk when this is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NoteRequest {
    /// By id; without one the agent's, else that of the terminal of the process that asks.
    pub session: Option<String>,
    /// As this agent.
    pub agent: Option<String>,
    /// Its type; `note` when it is not set.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its words.
    pub text: String,
}

/// Answer of `note`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Noted {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// The note.
    pub note: Note,
}

impl Ask for NoteRequest {
    type Answer = Noted;
    const PLACE: Place =
        Place { method: Method::Post, path: "/v1/notes", summary: "writes a note into a session" };
}

/// Which notes a session has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NotesQuery {
    /// By id; without one the agent's, else that of the terminal of the process that asks.
    pub session: Option<String>,
    /// As this agent.
    pub agent: Option<String>,
    /// Only this type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// At most so many, the newest; 1000 when it is not set.
    pub limit: Option<u32>,
}

/// Answer of `notes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notes {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// The session.
    pub session: Session,
    /// Oldest first.
    pub notes: Vec<Note>,
    /// There are older ones: `total` says how many in all.
    pub truncated: bool,
    /// How many there are.
    pub total: u64,
}

impl Ask for NotesQuery {
    type Answer = Notes;
    const PLACE: Place = Place {
        method: Method::Get,
        path: "/v1/notes",
        summary: "what was noted in a session of the peer's user?",
    };
}
