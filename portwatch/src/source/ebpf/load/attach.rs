//! One program: into the kernel and out of it, and why not.

use std::{fs::File, io, path::PathBuf};

use aya::{
    BtfError, Ebpf,
    programs::{CgroupAttachMode, Program as Handle, ProgramError},
};

use super::machine::Machine;
use crate::source::ebpf::{
    hooks::{Attach, Program},
    mounts,
};

/// Why one program is not attached.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttachError {
    #[error("the object has no program of this name")]
    Absent,
    #[error("cgroup v2 is not mounted here, and could not be for the daemon alone: {0}")]
    NoCgroup(nix::Error),
    #[error("cannot open {path}: {error}")]
    Cgroup { path: PathBuf, error: io::Error },
    #[error("the kernel gives no BTF")]
    NoBtf,
    #[error("the kernel's BTF does not describe what these programs read")]
    NoLayout,
    #[error("io_uring keeps no result with a request here, which it does since 5.19")]
    NoResults,
    #[error("left out on request")]
    Without,
    #[error("the kernel has no kprobes")]
    NoKprobes,
    #[error("{0}")]
    Family(String),
    #[error("tracefs could not be mounted: {0}")]
    TraceFs(nix::Error),
    #[error("{}", summary(.0))]
    Program(#[from] ProgramError),
}

impl AttachError {
    /// The same failure, for the next program that meets it.
    fn again(&self) -> Self {
        match self {
            Self::Cgroup { path, error } => Self::Cgroup {
                path: path.clone(),
                error: error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error),
            },
            Self::NoCgroup(errno) => Self::NoCgroup(*errno),
            _ => Self::NoCgroup(nix::Error::EINVAL),
        }
    }

    /// What would help.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Absent => "rebuild the object: cargo xtask build-ebpf",
            Self::NoCgroup(_) => {
                "run as root, or mount cgroup v2: mount -t cgroup2 none /sys/fs/cgroup/unified; where ip netns exec hid it, \
                 nsenter --net=/run/netns/NAME does not"
            }
            Self::Cgroup { .. } => "run as root, or with CAP_DAC_READ_SEARCH",
            Self::NoBtf => "use a kernel with CONFIG_DEBUG_INFO_BTF",
            Self::TraceFs(_) => "mount tracefs: mount -t tracefs tracefs /sys/kernel/tracing",
            Self::Without => "start without leaving it out",
            Self::NoLayout => "report the kernel version; the other hooks work",
            Self::NoResults => "use a newer kernel",
            Self::NoKprobes => "use a kernel with CONFIG_KPROBE_EVENTS",
            Self::Family(_) => {
                "use a kernel that lets programs attach to its functions: BPF trampolines, and no lockdown"
            }
            Self::Program(error) if code(error).is_none_or(|code| code == nix::libc::EPERM) => {
                "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; see `portwatch doctor`"
            }
            Self::Program(_) => {
                "use a newer kernel; PORTWATCH_LOG=portwatch=debug has what this one's verifier complains about"
            }
        }
    }
}

/// The cause without the verifier's log, which goes to the log.
pub(super) fn summary(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            tracing::debug!(%verifier_log, "the kernel refused a program");
            format!("the kernel refused to load it: {io_error}")
        }
        other => other.to_string(),
    }
}

/// What the kernel answered.
fn code(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// Whether an error is about every program of its family.
pub(super) fn forbids(error: &ProgramError) -> bool {
    // EPERM: lockdown. ENOTSUPP, which the C library does not know: no trampolines.
    matches!(code(error), Some(nix::libc::EPERM | 524))
}

/// A link is multi by nature; aya hands the mode on as flags, of which a link takes none.
const MODE: CgroupAttachMode = CgroupAttachMode::Single;

pub(super) fn attach(ebpf: &mut Ebpf, machine: &Machine, program: Program) -> Result<(), AttachError> {
    let handle = ebpf.program_mut(program.name).ok_or(AttachError::Absent)?;
    let cgroup = || machine.cgroup.as_ref().map_err(AttachError::again);
    let btf = || machine.btf.as_ref().ok_or(AttachError::NoBtf);
    let mode = MODE;
    match (program.attach, handle) {
        (Attach::CgroupSock, Handle::CgroupSock(p)) => {
            p.load()?;
            p.attach(cgroup()?, mode)?;
        }
        (Attach::CgroupSockAddr, Handle::CgroupSockAddr(p)) => {
            p.load()?;
            p.attach(cgroup()?, mode)?;
        }
        (Attach::SockOps, Handle::SockOps(p)) => {
            p.load()?;
            p.attach(cgroup()?, mode)?;
        }
        (Attach::BtfTracePoint(name), Handle::BtfTracePoint(p)) => {
            p.load(name, btf()?)?;
            p.attach()?;
        }
        (Attach::BtfTracePointIfThere(name), Handle::BtfTracePoint(p)) => {
            match p.load(name, btf()?) {
                Err(ProgramError::Btf(BtfError::UnknownBtfTypeName { .. })) => return Ok(()),
                outcome => outcome?,
            }
            p.attach()?;
        }
        (Attach::Iterator(name), Handle::Iter(p)) => {
            p.load(name, btf()?)?;
            // Each pass attaches by itself; that it can is known now.
            let link = p.attach()?;
            p.detach(link)?;
        }
        (Attach::FEntry(function), Handle::FEntry(p)) => {
            p.load(function, btf()?)?;
            p.attach()?;
        }
        (Attach::FExit(function), Handle::FExit(p)) => {
            p.load(function, btf()?)?;
            p.attach()?;
        }
        (Attach::FExitIfThere(function), Handle::FExit(p)) => {
            match p.load(function, btf()?) {
                Err(ProgramError::Btf(BtfError::UnknownBtfTypeName { .. })) => return Ok(()),
                outcome => outcome?,
            }
            p.attach()?;
        }
        (Attach::KProbe(all, some), Handle::KProbe(p)) => {
            p.load()?;
            for function in all {
                p.attach(function, 0)?;
            }
            for function in some {
                match p.attach(function, 0) {
                    Err(ProgramError::SyscallError(error))
                        if error.io_error.raw_os_error() == Some(nix::libc::ENOENT) => {}
                    outcome => {
                        outcome?;
                    }
                }
            }
        }
        (Attach::TracePoint(category, name), Handle::TracePoint(p)) => {
            p.load()?;
            if machine.tracefs {
                p.attach(category, name)?;
            } else {
                let attach = || p.attach(category, name).map(drop);
                mounts::with_own("tracefs", "/sys/kernel/tracing", attach)
                    .map_err(AttachError::TraceFs)??;
            }
        }
        _ => return Err(AttachError::Absent),
    }
    Ok(())
}

/// Loads a program and sees that it can be attached, for [`attach_loaded`].
pub(super) fn try_out(ebpf: &mut Ebpf, machine: &Machine, program: Program) -> Result<(), AttachError> {
    match (program.attach, ebpf.program_mut(program.name).ok_or(AttachError::Absent)?) {
        (Attach::SockOps, Handle::SockOps(p)) => {
            p.load()?;
            let link = p.attach(machine.cgroup.as_ref().map_err(AttachError::again)?, MODE)?;
            p.detach(link)?;
        }
        (Attach::BtfTracePoint(name), Handle::BtfTracePoint(p)) => {
            p.load(name, machine.btf.as_ref().ok_or(AttachError::NoBtf)?)?;
            let link = p.attach()?;
            p.detach(link)?;
        }
        _ => return Err(AttachError::Absent),
    }
    Ok(())
}

/// Attaches a program that was tried out.
pub(super) fn attach_loaded(
    ebpf: &mut Ebpf,
    cgroup: &Result<File, AttachError>,
    program: Program,
) -> Result<(), AttachError> {
    match ebpf.program_mut(program.name).ok_or(AttachError::Absent)? {
        Handle::SockOps(p) => {
            p.attach(cgroup.as_ref().map_err(AttachError::again)?, MODE)?;
        }
        Handle::BtfTracePoint(p) => {
            p.attach()?;
        }
        _ => return Err(AttachError::Absent),
    }
    Ok(())
}

pub(super) fn unload(handle: &mut Handle) -> Result<(), ProgramError> {
    match handle {
        Handle::CgroupSock(p) => p.unload(),
        Handle::CgroupSockAddr(p) => p.unload(),
        Handle::SockOps(p) => p.unload(),
        Handle::BtfTracePoint(p) => p.unload(),
        Handle::Iter(p) => p.unload(),
        Handle::TracePoint(p) => p.unload(),
        Handle::FEntry(p) => p.unload(),
        Handle::FExit(p) => p.unload(),
        Handle::KProbe(p) => p.unload(),
        _ => Ok(()),
    }
}
