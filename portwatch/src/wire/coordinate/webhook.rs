//! Webhooks, as documents. Secrets go in and never come out, but for one that was made, once.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ask, Method, Place};

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub uid: u32,
    /// That user's name.
    pub user: Option<String>,
    /// Where it leads.
    pub url: String,
    /// Types of events; empty means all.
    pub types: Vec<String>,
    /// Ports; empty means all.
    pub ports: Vec<u16>,
    /// A pattern, as in the log.
    pub filter: Option<String>,
    /// An event is tried so often.
    pub tries: u32,
    /// Since when.
    pub created: Timestamp,
    /// Events that wait.
    pub waiting: u64,
    /// Events that arrived.
    pub delivered: u64,
    /// Events that were given up.
    pub given_up: u64,
    /// Events that fell out of the queue because it was full.
    pub dropped: u64,
    /// Tries that failed since the last that did not.
    pub failures: u32,
    /// It rests until then, after a failure.
    pub rests_until: Option<Timestamp>,
}

/// An event on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Its number.
    pub id: i64,
    /// Of which webhook.
    pub webhook: i64,
    /// The event's id in the log; null for a test.
    pub event: Option<i64>,
    /// The event's type, or `test`.
    pub r#type: String,
    /// `waiting`, `delivered` or `given-up`.
    pub state: String,
    /// Since when it waits or waited.
    pub queued: Timestamp,
    /// When it was tried last.
    pub tried: Option<Timestamp>,
    /// How often it was tried.
    pub tries: u32,
    /// HTTP status of the last try.
    pub status: Option<u16>,
    /// How long the last try took, milliseconds.
    pub latency_ms: Option<u64>,
    /// Why the last try failed.
    pub problem: Option<String>,
}

/// Which webhooks there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksQuery {}

/// Answer of `webhook list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Webhooks {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// The asker's; root's are everybody's.
    pub webhooks: Vec<Webhook>,
}

impl Ask for WebhooksQuery {
    type Answer = Webhooks;
    const PLACE: Place =
        Place { method: Method::Get, path: "/v1/webhooks", summary: "which webhooks has the peer's user?" };
}

/// Order to add a webhook.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookRequest {
    /// `http://HOST[:PORT]/PATH`
    pub url: String,
    /// Types of events; empty means all.
    pub types: Vec<String>,
    /// Ports; empty means all.
    pub ports: Vec<u16>,
    /// A pattern, as in the log.
    pub filter: Option<String>,
    /// Signs what is sent; one is made where there is none.
    pub secret: Option<String>,
    /// An event is tried so often; 8 when absent.
    pub tries: Option<u32>,
}

impl std::fmt::Debug for WebhookRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookRequest").field("types", &self.types).finish_non_exhaustive()
    }
}

/// Answer of `webhook add` and `webhook remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookState {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// The webhook.
    pub webhook: Webhook,
    /// The secret that was made; null where one was given. It is told here and never again.
    pub secret: Option<String>,
}

impl Ask for WebhookRequest {
    type Answer = WebhookState;
    const PLACE: Place =
        Place { method: Method::Post, path: "/v1/webhooks", summary: "adds a webhook of the peer's user" };
}

/// Order to remove a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RemoveWebhookRequest {
    /// Its number.
    pub id: i64,
}

impl Ask for RemoveWebhookRequest {
    type Answer = WebhookState;
    const PLACE: Place = Place {
        method: Method::Post,
        path: "/v1/webhooks/remove",
        summary: "removes a webhook of the peer's user, with what waits for it",
    };
}

/// Order to send a test.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestWebhookRequest {
    /// The webhook's number.
    pub id: i64,
    /// Sends nothing and waits for the end of this delivery.
    pub delivery: Option<i64>,
}

/// Answer of `webhook test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookTest {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// The test.
    pub delivery: Delivery,
}

impl Ask for TestWebhookRequest {
    type Answer = WebhookTest;
    const PLACE: Place = Place {
        method: Method::Post,
        path: "/v1/webhooks/test",
        summary: "sends a test through a webhook of the peer's user, and waits for what becomes of it",
    };
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveriesQuery {
    /// By this webhook; by every one of the peer's user when absent.
    pub webhook: Option<i64>,
    /// At most so many, the newest; 100 when absent, 1000 at most.
    pub limit: Option<u64>,
}

/// Answer of `webhook log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deliveries {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Newest first.
    pub deliveries: Vec<Delivery>,
    /// There are older ones.
    pub truncated: bool,
}

impl Ask for DeliveriesQuery {
    type Answer = Deliveries;
    const PLACE: Place = Place {
        method: Method::Get,
        path: "/v1/webhooks/deliveries",
        summary: "what was sent, and what became of it?",
    };
}
