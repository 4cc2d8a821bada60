//! Everything that can be asked of the bureau, once: routes, schema and the way in process are made of this list.

use super::{
    AgentsQuery, ChannelRequest, ChannelsQuery, DeliveriesQuery, EndRequest, ExtendRequest, FilesRequest,
    HandOverRequest, HeartbeatRequest, LeaveRequest, LockRequest, LocksQuery, MessagesQuery, NoteRequest,
    NotesQuery, PublishRequest, RegisterRequest, RemoveWebhookRequest, SalvageQuery, SalvageRequest, Serve,
    SessionsQuery, StartRequest, TestWebhookRequest, UnlockRequest, UnregisterRequest, WebhookRequest,
    WebhooksQuery,
};

/// Something done for every type that can be asked.
pub trait Visit {
    /// For one of them.
    fn visit<A: Serve>(&mut self);
}

/// Visits every one.
pub fn every(visitor: &mut impl Visit) {
    visitor.visit::<LocksQuery>();
    visitor.visit::<LockRequest>();
    visitor.visit::<UnlockRequest>();
    visitor.visit::<ExtendRequest>();
    visitor.visit::<HandOverRequest>();
    visitor.visit::<LeaveRequest>();
    visitor.visit::<AgentsQuery>();
    visitor.visit::<RegisterRequest>();
    visitor.visit::<HeartbeatRequest>();
    visitor.visit::<UnregisterRequest>();
    visitor.visit::<SessionsQuery>();
    visitor.visit::<StartRequest>();
    visitor.visit::<EndRequest>();
    visitor.visit::<FilesRequest>();
    visitor.visit::<NoteRequest>();
    visitor.visit::<NotesQuery>();
    visitor.visit::<SalvageQuery>();
    visitor.visit::<SalvageRequest>();
    visitor.visit::<WebhooksQuery>();
    visitor.visit::<WebhookRequest>();
    visitor.visit::<RemoveWebhookRequest>();
    visitor.visit::<TestWebhookRequest>();
    visitor.visit::<DeliveriesQuery>();
    visitor.visit::<ChannelsQuery>();
    visitor.visit::<ChannelRequest>();
    visitor.visit::<MessagesQuery>();
    visitor.visit::<PublishRequest>();
}
