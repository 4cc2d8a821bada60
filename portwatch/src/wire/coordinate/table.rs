//! Everything that can be asked of the bureau, once: routes, schema and the way in process are made of this list.

use super::{ExtendRequest, HandOverRequest, LeaveRequest, LockRequest, LocksQuery, Serve, UnlockRequest};

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
}
