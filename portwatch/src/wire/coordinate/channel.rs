//! Channels and messages.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ask, Method, Place};

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub uid: u32,
    /// That user's name.
    pub user: Option<String>,
    /// Every user may read and write it; otherwise its own user and root.
    pub shared: bool,
    /// Since when it is there.
    pub created: Timestamp,
    /// When something was said last.
    pub last: Timestamp,
    /// How many messages are kept.
    pub messages: u64,
    /// The number of its newest message.
    pub newest: Option<i64>,
    /// How many follow it at the daemon; null without one: then nobody knows.
    pub followers: Option<u64>,
}

/// Which channels there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelsQuery {
    /// At most so many; 1000 when it is not set.
    pub limit: Option<u32>,
}

/// Answer of `channels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Channels {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Those that the peer's user may use, by name.
    pub channels: Vec<Channel>,
    /// There are more: `total` says how many in all.
    pub truncated: bool,
    /// How many there are.
    pub total: u64,
    /// So many more are private to other users.
    pub hidden: u64,
}

impl Ask for ChannelsQuery {
    type Answer = Channels;
    const PLACE: Place =
        Place { method: Method::Get, path: "/v1/channels", summary: "which channels are there?" };
}

/// Order about a channel of the peer's user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelRequest {
    /// Its name.
    pub name: String,
    /// `share` with every user, `unshare`, or `remove` with all that was said in it.
    pub action: String,
}

/// What became of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelState {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// What was done: as it was ordered.
    pub action: String,
    /// The channel; as it was, where it was removed.
    pub channel: Channel,
}

impl Ask for ChannelRequest {
    type Answer = ChannelState;
    const PLACE: Place = Place {
        method: Method::Post,
        path: "/v1/channels",
        summary: "shares a channel of the peer's user with all, no longer, or removes it",
    };
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Its number in the database: it grows, and is never used again.
    pub id: i64,
    /// The channel.
    pub channel: String,
    /// When it was published.
    pub time: Timestamp,
    /// Who published it: an agent's name, a session's id, or `comm (pid)`.
    pub sender: String,
    /// `agent`, `session` or `process`.
    pub sender_kind: String,
    /// The sender's uid, as the kernel says.
    pub uid: u32,
    /// The sender's user name.
    pub user: Option<String>,
    /// The sender's process, where it is one.
    pub pid: Option<u32>,
    /// Its words, exactly as they were given.
    pub text: String,
}

/// Messages that were wanted and are not kept any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageGap {
    /// The reader has seen all with numbers up to this; null where it did not say.
    pub after: Option<i64>,
    /// Of the others, those with numbers up to this may be missing.
    pub through: i64,
}

/// Which messages were published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MessagesQuery {
    /// A channel, or a pattern in which `*` stands for anything.
    pub channel: String,
    /// Those with greater numbers than this, from the first of them on; without it the newest.
    pub after: Option<i64>,
    /// Only those published since, RFC 3339.
    pub since: Option<Timestamp>,
    /// At most so many; 100 when it is not set, at most 10000, and as many as have 256 kB of words.
    pub limit: Option<u32>,
    /// Where there is none, wait for one, at most so long; at most 20 s.
    pub wait_ms: u64,
}

/// Answer of `sub`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Messages {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// When it was true.
    pub time: Timestamp,
    /// Which database: numbers mean something in it alone.
    pub database: String,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Something that was wanted is not kept any more.
    pub gap: Option<MessageGap>,
    /// There are more: with `after` newer ones, else older ones.
    pub truncated: bool,
    /// The newest number in the database, whatever the channel: who goes on after it misses nothing that is yet to come.
    pub newest: i64,
    /// So many channels were meant.
    pub channels: u64,
    /// So many more are private to other users.
    pub hidden: u64,
}

impl Ask for MessagesQuery {
    type Answer = Messages;
    const PLACE: Place =
        Place { method: Method::Get, path: "/v1/messages", summary: "what was published in channels?" };
}

/// Order to publish a message. It is on disk when this is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublishRequest {
    /// The channel; one that is not there is made, and is the peer's user's.
    pub channel: String,
    /// Its words.
    pub text: String,
    /// As this agent.
    pub agent: Option<String>,
    /// As this session.
    pub session: Option<String>,
    /// Share the channel with every user.
    pub shared: bool,
}

/// Answer of `pub`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// [`crate::wire::SCHEMA`]
    pub schema: u32,
    /// The message, with its number.
    pub message: Message,
}

impl Ask for PublishRequest {
    type Answer = Published;
    const PLACE: Place =
        Place { method: Method::Post, path: "/v1/messages", summary: "publishes a message in a channel" };
}

/// Where messages are followed, as server-sent events.
pub const FOLLOW: &str = "/v1/messages/follow";

/// What is to be followed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FollowQuery {
    /// A channel, or a pattern in which `*` stands for anything. It need not be there yet.
    pub channel: String,
    /// Those with greater numbers than this; without it those that are yet to come.
    pub after: Option<i64>,
}

/// What a follower is told; one a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Followed {
    /// A message.
    Message(Message),
    /// Messages that are not kept any more.
    Gap(MessageGap),
}
