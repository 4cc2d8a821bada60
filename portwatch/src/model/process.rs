//! Who: process identity and what is known of a process.

use std::{fmt, path::PathBuf};

use super::{Container, Evidence, Timestamp, Unit, Unproven};

/// A process is (pid, start time); a pid alone is reused and identifies nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// Thread-group id, in the initial pid namespace or the observer's own.
    pub pid: u32,
    /// Start time in ticks of 1/100 s since boot, as field 22 of `/proc/PID/stat` gives it.
    /// The kernel's `start_boottime` (ns) divided by 10,000,000 is the same number.
    pub start_ticks: u64,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pid.fmt(f)
    }
}

/// A command line: arguments, and whether the end was cut.
/// Bytes that are not UTF-8 were replaced by U+FFFD; the text is still hostile to a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommandLine {
    /// The arguments, `argv[0]` first.
    pub args: Vec<String>,
    /// The source kept only a prefix.
    pub truncated: bool,
}

impl CommandLine {
    /// Splits the NUL-separated bytes of a process's argument area. Bytes after a missing final NUL are kept.
    /// A program that writes a title over its arguments (redis) fills what is left with NULs: several at the end are
    /// no arguments.
    pub fn from_nul_separated(bytes: &[u8], truncated: bool) -> Self {
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        let padded = bytes.ends_with(b"\0\0");
        let text = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let bytes = bytes.get(..text).filter(|_| padded).unwrap_or(bytes);
        let args = if bytes.is_empty() {
            Vec::new()
        } else {
            bytes.split(|&b| b == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
        };
        Self { args, truncated }
    }
}

impl fmt::Display for CommandLine {
    /// The arguments joined by blanks, with `…` where the end was cut. For people, not for a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.args.join(" "))?;
        if self.truncated { f.write_str("…") } else { Ok(()) }
    }
}

/// What an event itself carried about a process: known even if the process is gone a millisecond later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSeen {
    /// Identity.
    pub id: ProcessId,
    /// Parent's pid at that moment, 0 when unknown.
    pub parent_pid: u32,
    /// Parent's comm.
    pub parent_comm: Option<String>,
    /// Real user id.
    pub uid: Option<u32>,
    /// Real group id.
    pub gid: Option<u32>,
    /// Name of the thread-group leader, at most 15 bytes.
    pub comm: String,
    /// Command line, as far as the event carried it.
    pub command: Option<CommandLine>,
    /// cgroup v2 id.
    pub cgroup_id: Option<u64>,
    /// How it was obtained.
    pub evidence: Evidence,
}

/// A process with everything that could be found out about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Identity.
    pub id: ProcessId,
    /// Start as a moment; `None` when boot time was not readable.
    pub started: Option<Timestamp>,
    /// Name of the thread-group leader, at most 15 bytes.
    pub comm: String,
    /// Command line.
    pub command: Option<CommandLine>,
    /// Executable.
    pub exe: Option<PathBuf>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Real user id.
    pub uid: Option<u32>,
    /// User name, as far as the machine's user database knows it.
    pub user: Option<String>,
    /// Control group.
    pub cgroup: Option<Cgroup>,
    /// systemd unit, by its control group.
    pub unit: Option<Unit>,
    /// Container, by its control group where only the system can have made that, else by its engine; its name and image
    /// by its engine.
    pub container: Option<Container>,
    /// The container that its control group is named after, where others could have made the group. It is that one only
    /// where `container` says so too.
    pub unproven: Option<Unproven>,
    /// Parent first, up to the session leader's parent or pid 1.
    pub lineage: Vec<Ancestor>,
    /// The project it works in.
    pub project: Option<Project>,
    /// Best evidence behind these facts: `Kernel` when only the event told, `Scan` when /proc confirmed.
    pub evidence: Evidence,
}

/// One step up in a lineage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// Its pid.
    pub pid: u32,
    /// Its start, when it could still be read.
    pub start_ticks: Option<u64>,
    /// Its comm.
    pub comm: String,
    /// Its command line.
    pub command: Option<CommandLine>,
}

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cgroup {
    /// cgroup v2 id (the inode of its directory), where known.
    pub id: Option<u64>,
    /// Path below the mount, e.g. `/user.slice/user-1000.slice`. On hybrid and v1 machines the most telling
    /// hierarchy's path. Empty when only the id is known.
    pub path: String,
}

/// What marked a directory as a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProjectKind {
    /// `.portwatch.toml`
    Portwatch,
    /// `.portdaddyrc`
    PortDaddy,
    /// `package.json`
    Node,
    /// `Cargo.toml`
    Rust,
    /// `pyproject.toml`
    Python,
    /// `go.mod`
    Go,
    /// A git root with none of the files above.
    Git,
}

impl ProjectKind {
    /// The word used in JSON and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Portwatch => "portwatch",
            Self::PortDaddy => "port-daddy",
            Self::Node => "node",
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Go => "go",
            Self::Git => "git",
        }
    }

    /// The inverse of [`ProjectKind::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Portwatch, Self::PortDaddy, Self::Node, Self::Rust, Self::Python, Self::Go, Self::Git]
            .into_iter()
            .find(|k| k.as_str() == word)
    }
}

/// The project a process works in: the nearest marked directory at or above its working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its directory.
    pub root: PathBuf,
    /// Its name: from the project file, else the directory's name.
    pub name: String,
    /// What marked it.
    pub kind: ProjectKind,
    /// The git worktree it lies in.
    pub worktree: Option<Worktree>,
    /// `Scan` when the working directory lies in it; `Inferred` when the working directory says nothing and
    /// the script named on the command line lies in it.
    pub evidence: Evidence,
}

/// A git worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    /// `main` for the main worktree, else the linked worktree's name.
    pub name: String,
    /// Its directory.
    pub root: PathBuf,
    /// Checked-out branch; `None` when HEAD is detached or unreadable.
    pub branch: Option<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExitStatus {
    /// Exit code, 0 to 255, when it ended by itself.
    pub code: Option<u8>,
    /// Signal number, when a signal ended it.
    pub signal: Option<u8>,
    /// A core was dumped.
    pub core_dumped: bool,
    /// The signal that ended it; where it ended by itself, the one that had asked for that shortly before.
    /// `None` where nobody saw one.
    pub sent: Option<SignalSent>,
}

/// A signal that was sent to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignalSent {
    /// Its number.
    pub signal: u8,
    /// Where it came from.
    pub by: SignalOrigin,
    /// The process was seen to send it to itself again after it had got it from there, as programs do that handle it and then end
    /// as they were told to.
    pub again: bool,
}

/// Where a signal came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignalOrigin {
    /// A process sent it; the event names it as the other party.
    Process,
    /// The kernel: a fault, a terminal, a timer, a closed pipe.
    Kernel,
    /// The kernel, because memory was short.
    OutOfMemory,
}

impl SignalOrigin {
    /// Every value.
    pub const ALL: [Self; 3] = [Self::Process, Self::Kernel, Self::OutOfMemory];

    /// The word used in JSON and the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Kernel => "kernel",
            Self::OutOfMemory => "oom-killer",
        }
    }
}

impl ExitStatus {
    /// Decodes the kernel's `task_struct.exit_code`, which has wait(2)'s layout.
    pub fn from_wait_status(status: u32) -> Self {
        let signal = u8::try_from(status & 0x7f).unwrap_or(0);
        if signal == 0 {
            Self {
                code: u8::try_from((status >> 8) & 0xff).ok(),
                signal: None,
                core_dumped: false,
                sent: None,
            }
        } else {
            Self { code: None, signal: Some(signal), core_dumped: status & 0x80 != 0, sent: None }
        }
    }
}
