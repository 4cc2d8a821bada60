//! What was told of which socket: each thing once, also where another daemon told it.

use std::collections::HashMap;

use crate::{
    journal::{ClaimError, Claims},
    model::{EventKind, Port, Protocol, SocketKey},
    query::KnownSocket,
};

/// The last that was told of the one who listens on a port.
#[derive(Debug, Default)]
pub(super) struct News {
    told: HashMap<(Protocol, Port), (EventKind, SocketKey)>,
}

impl News {
    /// Whether this was not told yet of the socket; from now on it was. The first look after a start of the daemon asks the log: a
    /// restart is no reason to tell everything again, and to call every webhook.
    pub(super) fn is(
        &mut self,
        kind: EventKind,
        socket: &KnownSocket,
        claims: &Claims,
    ) -> Result<bool, ClaimError> {
        let seen = &socket.socket.seen;
        let place = (seen.endpoint.protocol, seen.endpoint.port);
        let is_new = match self.told.get(&place) {
            Some(told) => *told != (kind, seen.key),
            None => !claims.has_told(kind, (&seen.endpoint, seen.key), socket.first())?,
        };
        self.told.insert(place, (kind, seen.key));
        Ok(is_new)
    }

    /// Nobody listens there any more.
    pub(super) fn forget(&mut self, place: (Protocol, Port)) {
        self.told.remove(&place);
    }
}
