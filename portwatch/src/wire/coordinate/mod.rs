//! Coordination, as documents: one type for each thing that can be asked or ordered, with its place in the API and the type
//! of its answer.

mod serve;

mod agent;
mod channel;
mod counts;
mod lock;
mod session;
mod table;
mod webhook;

pub use agent::{
    Agent, AgentState, Agents, AgentsQuery, DeadAgent, HeartbeatRequest, RegisterRequest, Salvage,
    SalvageQuery, SalvageRequest, Salvaged, UnregisterRequest, Wreck,
};
pub use channel::{
    Channel, ChannelRequest, ChannelState, Channels, ChannelsQuery, FOLLOW, FollowQuery, Followed, Message,
    MessageGap, Messages, MessagesQuery, PublishRequest, Published,
};
pub use counts::{AgentCounts, ChannelCounts, CoordinationCounts, LockCounts, SessionCounts};
pub use lock::{
    ExtendRequest, Freed, HandOverRequest, LeaveRequest, Lock, LockRequest, LockState, Locks, LocksQuery,
    UnlockRequest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
pub use serve::{LONGEST_WAIT, Serve, dispatch};
pub use session::{
    Conflict, EndRequest, FilesRequest, Note, NoteRequest, Noted, Notes, NotesQuery, Session, SessionState,
    Sessions, SessionsQuery, StartRequest,
};
pub use table::{Visit, every};
pub use webhook::{
    Deliveries, DeliveriesQuery, Delivery, RemoveWebhookRequest, TestWebhookRequest, Webhook, WebhookRequest,
    WebhookState, WebhookTest, Webhooks, WebhooksQuery,
};

/// How it is asked over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A question, in the query of the address.
    Get,
    /// An order, in a JSON body.
    Post,
}

/// Where the API takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// How.
    pub method: Method,
    /// The path.
    pub path: &'static str,
    /// What it does, in few words.
    pub summary: &'static str,
}

/// Something that can be asked or ordered.
pub trait Ask: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// What it is answered with.
    type Answer: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
    /// Where.
    const PLACE: Place;
}

/// An order that was followed and has nothing to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// [`super::SCHEMA`]
    pub schema: u32,
}

impl Default for Done {
    fn default() -> Self {
        Self { schema: super::SCHEMA }
    }
}
