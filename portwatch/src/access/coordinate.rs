//! Coordination, whichever way it is reached.

use std::time::Duration;

use serde_json::Value;

use super::AccessError;
use crate::wire::coordinate::{Ask, FollowQuery, Followed, Place};

/// The one way in for everything of [`crate::wire::coordinate`]; [`order`] is its typed form.
pub trait Coordination {
    /// The answer to the order at `place`.
    fn coordinate(&self, place: &Place, order: &Value) -> Result<Value, AccessError>;
    /// The same of a daemon that may take so long to answer. What this process does itself takes as long as it takes.
    fn coordinate_within(&self, place: &Place, order: &Value, _: Duration) -> Result<Value, AccessError> {
        self.coordinate(place, order)
    }
    /// Messages as they are published: of a daemon by its stream of events, else by looking at the database again and again. Ends
    /// when `each` returns `false`, or the daemon ends.
    fn follow_messages(
        &self,
        query: &FollowQuery,
        each: &mut dyn FnMut(Followed) -> bool,
    ) -> Result<(), AccessError>;
}

/// Asks or orders; a daemon may take so long to answer, and as long as any answer may take where nothing is named.
pub fn order<A: Ask>(
    access: &(impl Coordination + ?Sized),
    ask: &A,
    within: Option<Duration>,
) -> Result<A::Answer, AccessError> {
    let internal = |error: serde_json::Error| AccessError::Internal(error.to_string());
    let order = serde_json::to_value(ask).map_err(internal)?;
    let value = match within {
        None => access.coordinate(&A::PLACE, &order)?,
        Some(within) => access.coordinate_within(&A::PLACE, &order, within)?,
    };
    serde_json::from_value(value).map_err(|error| AccessError::NotSeen {
        what: format!("the daemon answered something this portwatch does not understand ({error})"),
        remedy: "use the same version of both: portwatch restart".to_owned(),
    })
}
