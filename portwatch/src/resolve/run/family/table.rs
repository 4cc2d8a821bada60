//! By the table of sockets, which names a process for each, and the parents of that process.

use crate::{
    model::{Phase, ProcessId, Protocol, SocketSeen},
    resolve::{ResolveError, look},
    source::{
        process::Processes,
        scan::{HolderSearch, Look},
    },
};

/// Real chains have fewer than ten steps.
const MOST: usize = 16;

/// Looks for the sockets of a program and of what it started.
#[derive(Debug)]
pub(in crate::resolve::run) struct Family {
    child: u32,
    look: Option<Box<dyn Look>>,
}

impl Family {
    pub(in crate::resolve::run) const fn new(child: u32) -> Self {
        Self { child, look: None }
    }

    /// The sockets that its processes serve over this protocol now. What a program started whose own parent has ended is
    /// not found.
    pub(in crate::resolve::run) fn sockets(
        &mut self,
        protocol: Protocol,
    ) -> Result<Vec<SocketSeen>, ResolveError> {
        let look = match &mut self.look {
            Some(look) => look,
            none => none.insert(look()?),
        };
        let wanted = match protocol {
            Protocol::Tcp => Phase::Listening,
            Protocol::Udp => Phase::Bound,
        };
        let mut processes = Processes::open()?;
        let snapshot = look.snapshot(&[], HolderSearch::First)?;
        let mine = snapshot.sockets.into_iter().filter(|s| {
            s.socket.endpoint.protocol == protocol
                && s.socket.phase == wanted
                && s.holders.iter().any(|holder| descends(holder.process, self.child, &mut processes))
        });
        Ok(mine.map(|s| s.socket).collect())
    }
}

/// Whether `child` is the process, or started it, or started who did.
fn descends(process: ProcessId, child: u32, processes: &mut Processes) -> bool {
    let mut at = process;
    for _ in 0..MOST {
        if at.pid == child {
            return true;
        }
        let Some(parent) = processes.process(at).map(|seen| seen.parent_pid).filter(|&pid| pid != 0) else {
            return false;
        };
        // A process that began after its child has the pid of somebody who is gone.
        match processes.identify(parent) {
            Ok(id) if id.start_ticks <= at.start_ticks => at = id,
            _ => return false,
        }
    }
    false
}
