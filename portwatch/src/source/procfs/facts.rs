//! What a process is, as far as a snapshot tells.

use super::{ProcFs, Stat, stat::number};
use crate::model::{CommandLine, Evidence, ProcessId, ProcessSeen};

/// More of a command line than this is cut off.
const COMMAND_LIMIT: usize = 32 * 1024;

impl ProcFs {
    /// Facts of `id`; `None` when it is gone, or its pid belongs to another process by now.
    pub fn process(&mut self, id: ProcessId) -> Option<ProcessSeen> {
        let pid = id.pid;
        let (comm, parent_pid) = {
            let stat = Stat::parse(self.read(&format!("{pid}/stat"), 4096).ok()?)?;
            if stat.start_ticks != id.start_ticks {
                return None;
            }
            (text(stat.comm), stat.parent_pid)
        };
        let command = self
            .read(&format!("{pid}/cmdline"), COMMAND_LIMIT)
            .ok()
            .map(|bytes| CommandLine::from_nul_separated(bytes, bytes.len() == COMMAND_LIMIT));
        let (uid, gid) = match self.read(&format!("{pid}/status"), 4096) {
            Ok(bytes) => (real_id(bytes, b"Uid:"), real_id(bytes, b"Gid:")),
            Err(_) => (None, None),
        };
        let parent_comm = match parent_pid {
            0 => None,
            parent => self
                .read(&format!("{parent}/stat"), 4096)
                .ok()
                .and_then(|bytes| Some(text(Stat::parse(bytes)?.comm))),
        };
        // The pid may have been given to somebody else while its files were read.
        if self.identify(pid) != Some(id) {
            return None;
        }
        Some(ProcessSeen {
            id,
            parent_pid,
            parent_comm,
            uid,
            gid,
            comm,
            // A kernel thread, and a process that has erased its arguments, have none.
            command: command.filter(|command| !command.args.is_empty()),
            cgroup_id: None,
            evidence: Evidence::Scan,
        })
    }
}

/// Where a process stands among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kin {
    /// It.
    pub id: ProcessId,
    /// Its comm: hostile text.
    pub comm: String,
    /// Its parent's pid.
    pub parent: u32,
    /// Pid of the leader of its session.
    pub session: u32,
    /// That has a controlling terminal.
    pub on_terminal: bool,
    /// Its real uid.
    pub uid: Option<u32>,
}

impl ProcFs {
    /// A living process among others; `None` when it is gone, or was while it was looked at.
    pub fn kin(&mut self, pid: u32) -> Option<Kin> {
        let id = self.identify(pid)?;
        let bytes = self.read(&format!("{pid}/stat"), 4096).ok()?;
        let (comm, parent, session, on_terminal) = {
            let stat = Stat::parse(bytes)?;
            (text(stat.comm), stat.parent_pid, stat.session, stat.terminal != 0)
        };
        let uid = self.read(&format!("{pid}/status"), 4096).ok().and_then(|bytes| real_id(bytes, b"Uid:"));
        (self.identify(pid) == Some(id)).then_some(Kin { id, comm, parent, session, on_terminal, uid })
    }
}

/// First of the four numbers of a `Uid:` or `Gid:` line.
fn real_id(status: &[u8], key: &[u8]) -> Option<u32> {
    let line = status.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(key))?;
    number(line.split(u8::is_ascii_whitespace).find(|field| !field.is_empty())?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
