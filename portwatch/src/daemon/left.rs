//! What the last run's record leaves open: its end is told when the first look does not find it.

use std::path::Path;

use super::own_netns;
use crate::{
    journal::{JournalError, OpenSocket, Reader, UNKNOWN_BOOT},
    model::{Endpoint, LeftOpen, Timestamp},
    source::SourceKind,
};

/// Sockets that the record leaves open and that this source would show. `last` is when the last run is known to have watched.
pub(super) fn open(database: &Path, boot_id: &str, last: Timestamp, source: SourceKind) -> Vec<LeftOpen> {
    let read = || -> Result<_, JournalError> {
        let reader = Reader::open(database)?;
        Ok((reader.left_open(boot_id)?, reader.last_source()?))
    };
    let (open, before) = match read() {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(%error, "what ended while no daemon was running will not be told");
            return Vec::new();
        }
    };
    let own = own_netns();
    // Where boots have no names, a socket of an earlier one may have the same numbers.
    let is_this_boot = boot_id != UNKNOWN_BOOT;
    open.into_iter()
        .filter(|open| shows(source, open))
        .filter_map(|OpenSocket { event, by, source, began }| {
            let here = event.netns.is_none() || event.netns == own;
            // The last run watched it to its own end; one of another kind may have had other eyes.
            let watched = here && source == before;
            Some(LeftOpen {
                endpoint: Endpoint {
                    netns: event.netns,
                    protocol: event.protocol?,
                    address: event.address?,
                    port: event.port?,
                },
                key: event.socket,
                phase: event.phase?,
                asked: event.asked,
                options: event.options,
                by: by.map(|process| (process, event.evidence)),
                since: if watched { last.max(event.at) } else { event.at },
                began: is_this_boot.then_some(began),
            })
        })
        .collect()
}

/// The kernel's own tables show every listener. A tool shows what it can, which is known of what it has shown before.
fn shows(source: SourceKind, open: &OpenSocket) -> bool {
    match source {
        SourceKind::Ebpf | SourceKind::Scan => true,
        SourceKind::Lsof | SourceKind::Netstat => open.source.as_deref() == Some(source.as_str()),
        _ => false,
    }
}
