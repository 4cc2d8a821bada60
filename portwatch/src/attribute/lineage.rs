//! Parent by parent.

use std::{num::NonZeroUsize, path::Path, sync::Arc};

use lru::LruCache;

use super::{
    Redaction, bound, command,
    pid::{PidDir, Stat},
};
use crate::model::{Ancestor, CommandLine, ProcessId, ProcessSeen};

/// Real chains have fewer than ten steps; a longer one is a loop of containers or a joke.
const MOST: usize = 16;

/// Where ancestors are read, and what is hidden of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) proc: &'a Path,
    pub(super) redaction: &'a Redaction,
}

/// Command lines of ancestors, which many processes share.
#[derive(Debug)]
pub(super) struct Ancestors {
    known: LruCache<ProcessId, Arc<Told>>,
}

#[derive(Debug)]
struct Told {
    comm: String,
    command: Option<CommandLine>,
}

impl Ancestors {
    pub(super) fn new() -> Self {
        Self { known: LruCache::new(NonZeroUsize::MIN.saturating_add(511)) }
    }

    pub(super) fn forget(&mut self, id: ProcessId) {
        self.known.pop(&id);
    }

    /// The lineage of a process: of one that lives by its `stat`, of one that is gone by what its event told.
    ///
    /// Where the parent at the event is not the parent now, it comes first, and what is true now follows.
    pub(super) fn of(
        &mut self,
        how: &Reading<'_>,
        id: ProcessId,
        now: Option<&Stat>,
        seen: Option<&ProcessSeen>,
    ) -> Vec<Ancestor> {
        bound::lineage(self.told(how, id, now, seen))
    }

    fn told(
        &mut self,
        how: &Reading<'_>,
        id: ProcessId,
        now: Option<&Stat>,
        seen: Option<&ProcessSeen>,
    ) -> Vec<Ancestor> {
        let told = seen.filter(|seen| seen.parent_pid != 0).map(|seen| Ancestor {
            pid: seen.parent_pid,
            start_ticks: None,
            comm: seen.parent_comm.clone().unwrap_or_default(),
            command: None,
        });
        let Some(now) = now else {
            let Some(told) = told else { return Vec::new() };
            let mut up = self.climb(how, told.pid, id.start_ticks, None);
            if up.is_empty() {
                up.push(told);
            }
            return up;
        };
        // A session leader was started by its parent; above that begins another session.
        if now.session == id.pid {
            let mut up = self.climb(how, now.parent, id.start_ticks, None);
            up.truncate(1);
            return with_first(told, now.parent, up);
        }
        let up = self.climb(how, now.parent, id.start_ticks, Some(now.session));
        with_first(told, now.parent, up)
    }

    /// From `pid` upwards to pid 1, or to the parent of the leader of `session`. A process that started after
    /// its child is another one under a used-again pid: there the chain ends.
    fn climb(&mut self, how: &Reading<'_>, pid: u32, born: u64, session: Option<u32>) -> Vec<Ancestor> {
        let mut up: Vec<Ancestor> = Vec::new();
        let (mut pid, mut born, mut session, mut last) = (pid, born, session, false);
        while pid != 0 && up.len() < MOST && up.iter().all(|above| above.pid != pid) {
            let Some((stat, told)) = self.read(how, pid).filter(|(stat, _)| stat.start_ticks <= born) else {
                break;
            };
            up.push(Ancestor {
                pid,
                start_ticks: Some(stat.start_ticks),
                comm: told.comm.clone(),
                command: told.command.clone(),
            });
            if last || pid == 1 {
                break;
            }
            let leader = *session.get_or_insert(stat.session);
            last = pid == leader;
            (pid, born) = (stat.parent, stat.start_ticks);
        }
        up
    }

    fn read(&mut self, how: &Reading<'_>, pid: u32) -> Option<(Stat, Arc<Told>)> {
        let directory = PidDir::open(how.proc, pid).ok()?;
        let stat = directory.stat().ok()?;
        let id = ProcessId { pid, start_ticks: stat.start_ticks };
        // exec changes the name, nearly always.
        if let Some(told) = self.known.get(&id).filter(|told| told.comm == stat.comm) {
            return Some((stat, Arc::clone(told)));
        }
        let told = Arc::new(Told {
            comm: stat.comm.clone(),
            command: command::read(&directory, &stat, how.redaction).map(bound::of_ancestor),
        });
        self.known.put(id, Arc::clone(&told));
        Some((stat, told))
    }
}

fn with_first(told: Option<Ancestor>, parent_now: u32, mut up: Vec<Ancestor>) -> Vec<Ancestor> {
    if let Some(told) = told.filter(|told| told.pid != parent_now) {
        up.insert(0, told);
    }
    up
}
