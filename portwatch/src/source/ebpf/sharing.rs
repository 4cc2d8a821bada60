//! The sharing options of sockets as they are now, whoever set them since the bind: read in the kernel, by a walk over the
//! descriptors of the processes that have them. Nothing is held of a process beyond the one descriptor that the walk is at, and no
//! descriptor of it ever becomes one of ours.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use aya::{
    Ebpf,
    programs::{Iter, Program},
};
use portwatch_common::record::{SocketSharing, flag};

use super::{descriptors::read_while, hooks::SHARING};
use crate::model::{ProcessId, SocketOptions};

const SIZE: usize = size_of::<SocketSharing>();

/// The iterator, for one question.
pub(super) struct Options<'a> {
    pub(super) ebpf: &'a mut Ebpf,
    /// The kernel does not walk a single process (before 6.1).
    pub(super) unconfined: &'a mut bool,
    /// A walk over all descriptors costs little here.
    pub(super) cheap: bool,
}

impl Options<'_> {
    /// Of these sockets, each by a process that has it, by inode. A process that is gone has none, and where the kernel cannot walk a single
    /// one without a walk over everything that is long, nobody has.
    pub(super) fn of(&mut self, wanted: &[(ProcessId, u64)]) -> io::Result<HashMap<u64, SocketOptions>> {
        let mut found = HashMap::new();
        let mut processes: BTreeMap<u32, HashSet<u64>> = BTreeMap::new();
        for &(process, inode) in wanted {
            processes.entry(process.pid).or_default().insert(inode);
        }
        if processes.is_empty() {
            return Ok(found);
        }
        let Some(Program::Iter(program)) = self.ebpf.program_mut(SHARING.name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        for (&pid, inodes) in &mut processes {
            if *self.unconfined {
                break;
            }
            match of_process(program, pid) {
                Ok(file) => fill(&mut found, inodes, &file)?,
                // `task` is not in `union bpf_iter_link_info` yet, and what is beyond its end must be zero.
                Err(error) if error.raw_os_error() == Some(nix::libc::E2BIG) => *self.unconfined = true,
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
                Err(error) => return Err(error),
            }
        }
        if *self.unconfined && self.cheap {
            let link = program.attach().map_err(io::Error::other)?;
            let link = program.take_link(link).map_err(io::Error::other)?;
            let file = link.into_file().map_err(io::Error::other)?;
            fill(&mut found, &mut wanted.iter().map(|&(_, inode)| inode).collect(), &file)?;
        }
        Ok(found)
    }
}

/// Reads until everything that is wanted was found: a listener has a low number among thousands of connections.
fn fill(found: &mut HashMap<u64, SocketOptions>, wanted: &mut HashSet<u64>, file: &File) -> io::Result<()> {
    read_while::<SIZE>(file, |bytes| {
        for (inode, options) in bytes.as_chunks::<SIZE>().0.iter().filter_map(options) {
            if wanted.remove(&inode) {
                found.insert(inode, options);
            }
        }
        !wanted.is_empty()
    })
}

/// `None` where the kernel does not say where the options are.
fn options(bytes: &[u8; SIZE]) -> Option<(u64, SocketOptions)> {
    let [i0, i1, i2, i3, i4, i5, i6, i7, _, _, _, _, f0, f1, ..] = *bytes;
    let flags = u16::from_ne_bytes([f0, f1]);
    let has = |flag| Some(flags & flag != 0);
    let options = SocketOptions {
        reuse_addr: has(flag::REUSE_ADDR),
        reuse_port: has(flag::REUSE_PORT),
        v6_only: has(flag::V6_ONLY),
    };
    (flags & flag::OPTIONS_KNOWN != 0)
        .then_some((u64::from_ne_bytes([i0, i1, i2, i3, i4, i5, i6, i7]), options))
}

/// `link_create` of `union bpf_attr`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_length: u32,
    pad: u32,
}

/// `task` of `union bpf_iter_link_info`: one of them, the others zero.
#[repr(C)]
struct TaskInfo {
    tid: u32,
    pid: u32,
    pidfd: u32,
}

impl TaskInfo {
    const SIZE: u32 = 12;
}

const _: () = assert!(size_of::<TaskInfo>() == TaskInfo::SIZE as usize);

/// `iter_create` of `union bpf_attr`.
#[repr(C)]
struct IterCreate {
    link: u32,
    flags: u32,
}

/// A walk over the descriptors of one process, which aya does not offer.
fn of_process(program: &Iter, pid: u32) -> io::Result<File> {
    /// `BPF_LINK_CREATE`
    const LINK_CREATE: i32 = 28;
    /// `BPF_ITER_CREATE`
    const ITER_CREATE: i32 = 33;
    /// `BPF_TRACE_ITER`
    const TRACE_ITER: u32 = 28;
    let number = |fd: RawFd| u32::try_from(fd).map_err(io::Error::other);
    let fd = program.fd().map_err(io::Error::other)?;
    let info = TaskInfo { tid: 0, pid, pidfd: 0 };
    let link = bpf(
        LINK_CREATE,
        &LinkCreate {
            program: number(std::os::fd::AsFd::as_fd(fd).as_raw_fd())?,
            target: 0,
            attach_type: TRACE_ITER,
            flags: 0,
            info: (&raw const info).expose_provenance() as u64,
            info_length: TaskInfo::SIZE,
            pad: 0,
        },
    )?;
    Ok(bpf(ITER_CREATE, &IterCreate { link: number(link.as_raw_fd())?, flags: 0 })?.into())
}

/// A call of bpf(2) that gives a descriptor.
fn bpf<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads so many bytes of what is borrowed here, and of what that points to, which lives as long.
    let fd = unsafe {
        nix::libc::syscall(nix::libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
