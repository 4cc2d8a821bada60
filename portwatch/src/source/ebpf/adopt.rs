//! What was there before the programs were, or came unseen: they are told of it, so that its end is seen.

use std::collections::{HashMap, HashSet};

use super::{EbpfSource, snapshot};
use crate::{
    model::{Observation, Phase, ProcessId, Snapshot, SocketKey},
    source::{SourceError, convert, scan::HolderSearch},
};

/// `BPF_NOEXIST`
const NO_EXIST: u64 = 1;
/// `BPF_EXIST`
const EXIST: u64 = 2;

impl EbpfSource {
    /// The first delivery: what happened since the programs were attached, and the snapshot.
    pub(super) fn first(&mut self, out: &mut Vec<Observation>) -> Result<(), SourceError> {
        let before = self.look(HolderSearch::First)?;
        self.adopt(&before);
        self.follow(&before);
        self.take(self.full, out)?;
        // A socket that was closed between the first look and its adoption was closed unseen. The second
        // look is cheap, and what it does not find any more is let go.
        // A child that was made before its parent was followed was made unseen too: where it costs little, holders
        // are looked for again.
        let again = if self.pass.is_some() { HolderSearch::All } else { HolderSearch::None };
        let mut now = self.look(again)?;
        self.take(self.full, out)?;
        self.release_gone(&before, &now);
        if again == HolderSearch::None {
            keep_holders(&before, &mut now);
        }
        self.follow(&now);
        self.say(snapshot(now), out);
        Ok(())
    }

    /// Has the programs tell of the children, execs, signals and the end of holders that were found by looking.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) {
        /// No exec id: the process is announced with its next bind or listen.
        const UNANNOUNCED: u64 = u64::MAX;
        let holders: HashSet<ProcessId> =
            snapshot.sockets.iter().flat_map(|s| &s.holders).map(|h| h.process).collect();
        for process in holders {
            let start_ns = process.start_ticks.saturating_mul(convert::NS_PER_TICK);
            // Fails for one that is followed already, which is better: what a program wrote knows the start to the nanosecond. And where
            // the map is full, which the programs count too.
            let begun = self.processes.insert(process.pid, [start_ns, UNANNOUNCED], NO_EXIST).is_ok();
            if begun && !self.scanner.lives(process) {
                // It ended between the look and now, unseen.
                let _ = self.processes.remove(&process.pid);
            }
        }
    }

    /// Puts sockets that were found into the map of bound sockets, so that their end is seen. Whether there were such that no program had told of.
    pub(super) fn adopt(&mut self, snapshot: &Snapshot) -> bool {
        let mut new = false;
        for found in &snapshot.sockets {
            let SocketKey::Cookie(cookie) = found.socket.key else { continue };
            let netns = found.socket.endpoint.netns.map_or(0, |n| n.0);
            let listens = u32::from(found.socket.phase == Phase::Listening);
            let adopted = match self.bound.get(&cookie, 0) {
                // What a program wrote is as good, but for a listen that came by where none was.
                Ok([netns, port, 0]) if listens == 1 => self.bound.insert(cookie, [netns, port, 1], EXIST),
                Ok(_) => Ok(()),
                Err(_) => {
                    new = true;
                    self.bound.insert(cookie, [netns, 0, listens], NO_EXIST)
                }
            };
            if let Err(error) = adopted {
                tracing::debug!(cookie, %error, "socket not adopted");
            }
        }
        if let Some(left) = &mut self.left {
            left.adopt(snapshot);
        }
        if let Err(error) = self.adopted.set(0, 1, 0) {
            tracing::warn!(%error, "listens without bind cannot be told from older sockets");
        }
        new
    }

    pub(super) fn release_gone(&mut self, before: &Snapshot, now: &Snapshot) {
        let there: HashSet<SocketKey> = now.sockets.iter().map(|s| s.socket.key).collect();
        for found in &before.sockets {
            if let SocketKey::Cookie(cookie) = found.socket.key
                && !there.contains(&found.socket.key)
            {
                // Absent when the program saw the close, which is as good.
                let _ = self.bound.remove(&cookie);
            }
        }
    }
}

/// Holders found by the first look stand where the second found the same socket.
pub(super) fn keep_holders(before: &Snapshot, now: &mut Snapshot) {
    let known: HashMap<SocketKey, _> = before.sockets.iter().map(|s| (s.socket.key, s)).collect();
    for found in &mut now.sockets {
        if let Some(older) = known.get(&found.socket.key) {
            found.holders.clone_from(&older.holders);
            found.owner = older.owner;
        }
    }
    now.processes.clone_from(&before.processes);
}
