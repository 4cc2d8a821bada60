//! What of this machine decides which programs are tried, and what they attach to.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use portwatch_common::layout;

use super::{LoadOptions, attach::AttachError};
use crate::source::ebpf::{
    hooks::{Family, LISTEN_EXIT, Program, SHUTDOWN_EXIT, URING_COMPLETE},
    mounts,
    offsets::Offsets,
};

/// There where the kernel can probe its functions.
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe/type";

/// The programs at the ends of system calls; they serve together.
const AT_CALLS: [Program; 3] = [LISTEN_EXIT, SHUTDOWN_EXIT, URING_COMPLETE];

/// What they read.
const CALLS: &[usize] = &[
    layout::CALL_FIRST,
    layout::CALL_SECOND,
    layout::TASK_FILES,
    layout::FILES_TABLE,
    layout::TABLE_SIZE,
    layout::TABLE_FILES,
    layout::FILE_PRIVATE,
    layout::SOCKET_FILE,
    layout::SOCKET_SK,
    layout::SOCK_PROTOCOL,
    layout::SOCK_STATE,
    layout::SOCK_COOKIE,
    layout::SOCK_QUEUED,
    layout::SOCK_FLAGS,
    layout::SOCK_LINGER,
    layout::SOCK_SOURCE_PORT,
];

/// The machine as the loader needs it.
pub(super) struct Machine {
    pub(super) cgroup: Result<File, AttachError>,
    pub(super) btf: Option<aya::Btf>,
    /// tracefs is mounted where everybody sees it.
    pub(super) tracefs: bool,
    /// What programs on kernel functions read is known.
    sockets: bool,
    /// Why no program at the ends of system calls can serve.
    no_call: Option<fn() -> AttachError>,
    /// Why no probe can serve.
    no_probe: Option<fn() -> AttachError>,
    without: Vec<&'static str>,
}

impl Machine {
    pub(super) fn look(options: &LoadOptions, offsets: &Offsets) -> Self {
        let all = |words: &[usize]| words.iter().all(|&word| offsets.has(word));
        Self {
            cgroup: cgroup(options),
            btf: aya::Btf::from_sys_fs().ok(),
            tracefs: mounts::find(&options.proc, "tracefs").is_ok_and(|point| point.is_some()),
            sockets: all(&[
                layout::SOCKET_SK,
                layout::SOCK_PROTOCOL,
                layout::SOCK_STATE,
                layout::SOCK_COOKIE,
                layout::SOCK_FAMILY,
                layout::SOCK_LOCAL4,
                layout::SOCK_LOCAL6,
                layout::SOCK_LOCAL_PORT,
            ]),
            no_call: if offsets.has(layout::REQUEST_OPCODE) && !offsets.has(layout::REQUEST_RESULT) {
                Some(|| AttachError::NoResults)
            } else if all(CALLS) {
                None
            } else {
                Some(|| AttachError::NoLayout)
            },
            no_probe: if !Path::new(KPROBES).exists() {
                Some(|| AttachError::NoKprobes)
            } else if offsets.has(layout::REGISTER_RETURN) {
                None
            } else {
                Some(|| AttachError::NoLayout)
            },
            without: options.without.clone(),
        }
    }

    /// Why a program needs not be tried.
    pub(super) fn excludes(&self, program: Program) -> Option<AttachError> {
        if AT_CALLS.contains(&program)
            && let Some(reason) = self.no_call
        {
            return Some(reason());
        }
        match (program.attach.family(), self.no_probe) {
            _ if self.without.contains(&program.name) => Some(AttachError::Without),
            (Some(Family::Kprobe), Some(reason)) => Some(reason()),
            (Some(Family::Kprobe | Family::Fentry), _) if !self.sockets => Some(AttachError::NoLayout),
            _ => None,
        }
    }
}

/// The group whose sockets are watched. `ip netns exec` puts a /sys of its own in place, without what was mounted below it: the
/// hierarchy is one whoever mounts it, and is then mounted where nobody else sees it.
fn cgroup(options: &LoadOptions) -> Result<File, AttachError> {
    let open = |path: PathBuf| File::open(&path).map_err(|error| AttachError::Cgroup { path, error });
    if let Some(path) = &options.cgroup {
        return open(path.clone());
    }
    let mounted = mounts::find(&options.proc, "cgroup2").ok().flatten().map(open);
    match mounted {
        // Another mount may lie above it.
        Some(Ok(file)) if mounts::is_cgroup2(&file) => Ok(file),
        Some(Err(AttachError::Cgroup { path, error })) if error.kind() != io::ErrorKind::NotFound => {
            Err(AttachError::Cgroup { path, error })
        }
        _ => mounts::cgroup2().map_err(AttachError::NoCgroup),
    }
}
