//! Whether a process holds a socket, by the system's tables of sockets.

use std::io;

use super::Member;
use crate::{model::ProcessId, resolve::look, source::scan::HolderSearch};

/// Whether this process has a socket on one of these places.
pub(super) fn holds(process: ProcessId, member: &Member) -> io::Result<bool> {
    let ports: Vec<_> = member.sockets.iter().map(|socket| socket.port).collect();
    let snapshot = look().and_then(|mut look| look.snapshot(&ports, HolderSearch::All));
    let snapshot = snapshot.map_err(|error| io::Error::other(error.to_string()))?;
    Ok(snapshot.sockets.iter().any(|seen| {
        member.sockets.contains(&seen.socket.endpoint)
            && seen.holders.iter().any(|holder| holder.process == process)
    }))
}
