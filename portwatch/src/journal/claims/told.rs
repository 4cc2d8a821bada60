//! What the log has said of a socket already.

use rusqlite::{OptionalExtension, params};

use super::Claims;
use crate::{
    journal::{JournalError, code},
    model::{Endpoint, EventKind, ProcessId, SocketKey},
};

/// The index of ports finds the few rows that may be meant.
pub(super) const SAID: &str = "SELECT 1 FROM event e LEFT JOIN process p ON p.id = e.process
     WHERE e.port = ?1 AND e.protocol = ?2 AND e.type = ?3 AND e.boot = ?4
         AND CASE WHEN ?5 IS NOT NULL THEN e.cookie = ?5
             ELSE e.inode = ?6 AND p.pid = ?7 AND p.start_ticks = ?8 END
     LIMIT 1";

impl Claims {
    /// Whether the log has told this of that socket in this boot. A number that a source gave tells none from others, and an
    /// inode, which is used again, only together with the socket's process.
    pub fn has_told(
        &self,
        kind: EventKind,
        (endpoint, key): (&Endpoint, SocketKey),
        process: Option<ProcessId>,
    ) -> Result<bool, JournalError> {
        let (cookie, inode) = match key {
            SocketKey::Cookie(cookie) => (Some(cookie.cast_signed()), None),
            SocketKey::Inode { inode, .. } => (None, Some(inode.cast_signed())),
            SocketKey::Numbered(_) => return Ok(false),
        };
        let look = || {
            self.connection
                .prepare_cached(SAID)?
                .query_row(
                    params![
                        endpoint.port.get(),
                        code::protocol(endpoint.protocol),
                        code::kind(kind),
                        self.boot,
                        cookie,
                        inode,
                        process.map(|id| id.pid),
                        process.map(|id| id.start_ticks.cast_signed()),
                    ],
                    |_| Ok(()),
                )
                .optional()
        };
        look().map(|row| row.is_some()).map_err(|error| self.failed("read", error))
    }
}
