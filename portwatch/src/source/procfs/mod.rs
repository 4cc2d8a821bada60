//! Processes, by procfs: who holds a socket, and what the holder is.
//!
//! Turning an inode into a process is the whole cost of an answer: it is linear in all descriptors of the
//! machine. So descriptors are read through one directory handle per process, with reused buffers and no
//! allocation per descriptor.

mod facts;
mod holders;
mod stat;
#[cfg(test)]
mod tests;

use std::{
    ffi::CString,
    io::{self, Read},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, RawDir, openat};

pub use self::{
    facts::Kin,
    holders::{Descriptor, Descriptors, Found, Search, Wanted},
    stat::Stat,
};
pub use super::scan::HolderSearch;
use crate::model::ProcessId;

/// Directories and files are opened to read, never followed into another process's program.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);
const READ_DIR: OFlags = READ.union(OFlags::DIRECTORY);

/// A proc tree.
#[derive(Debug)]
pub struct ProcFs {
    root: OwnedFd,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl ProcFs {
    /// Opens the tree at `path`, which is `/proc` outside of tests.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = rustix::fs::open(path, READ_DIR, Mode::empty())?;
        Ok(Self { root, path: path.to_owned(), buffer: Vec::with_capacity(4096) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Inode of the network namespace of the calling thread.
    pub fn own_netns(&self) -> io::Result<u32> {
        let stat = rustix::fs::statat(&self.root, "thread-self/ns/net", rustix::fs::AtFlags::empty())?;
        u32::try_from(stat.st_ino).map_err(io::Error::other)
    }

    /// The network namespaces of processes that may be looked into, each with one process in it, and whether there are processes
    /// that may not.
    pub fn namespaces(&self) -> io::Result<(Vec<(u32, crate::model::Netns)>, bool)> {
        let mut found: Vec<(u32, crate::model::Netns)> = Vec::new();
        let mut closed = false;
        for pid in self.pids()? {
            let path = format!("{pid}/ns/net");
            let stat = match rustix::fs::statat(&self.root, path, rustix::fs::AtFlags::empty()) {
                Ok(stat) => stat,
                Err(error) => {
                    // Any other is of one that is gone meanwhile.
                    closed |= matches!(error, rustix::io::Errno::ACCESS | rustix::io::Errno::PERM);
                    continue;
                }
            };
            let Ok(inode) = u32::try_from(stat.st_ino) else { continue };
            let netns = crate::model::Netns(inode);
            if found.iter().all(|(_, known)| *known != netns) {
                found.push((pid, netns));
            }
        }
        Ok((found, closed))
    }

    /// Every pid, in the order of the directory.
    fn pids(&self) -> io::Result<Vec<u32>> {
        // The directory handle has a position: a fresh one starts at the beginning.
        let root = openat(&self.root, ".", READ_DIR, Mode::empty())?;
        let mut pids = Vec::with_capacity(1024);
        numbered(&root, &mut |pid| pids.push(pid))?;
        Ok(pids)
    }

    /// The start time of a living process; `None` when there is no such process (any more), or a dead one
    /// not yet reaped, which holds nothing.
    pub fn identify(&mut self, pid: u32) -> Option<ProcessId> {
        let bytes = self.read(&format!("{pid}/stat"), 4096).ok()?;
        let stat = Stat::parse(bytes)?;
        (!matches!(stat.state, b'Z' | b'X')).then_some(ProcessId { pid, start_ticks: stat.start_ticks })
    }

    /// Whether it is that process, stopped by a signal or a debugger: it does nothing until it is continued.
    pub fn is_stopped(&mut self, process: ProcessId) -> bool {
        let Ok(bytes) = self.read(&format!("{}/stat", process.pid), 4096) else { return false };
        // proc_pid_stat(5): `T` stopped on a signal, `t` by a tracer.
        Stat::parse(bytes)
            .is_some_and(|stat| stat.start_ticks == process.start_ticks && matches!(stat.state, b'T' | b't'))
    }

    /// The pid given out last in this pid namespace.
    fn newest_pid(&mut self) -> Option<u32> {
        let loadavg = self.read("loadavg", 256).ok()?;
        stat::number(loadavg.trim_ascii_end().rsplit(u8::is_ascii_whitespace).next()?)
    }

    /// The first `limit` bytes of a file below the root.
    fn read(&mut self, path: &str, limit: usize) -> io::Result<&[u8]> {
        let path = CString::new(path)?;
        let file = std::fs::File::from(openat(&self.root, &path, READ, Mode::empty())?);
        self.buffer.clear();
        file.take(u64::try_from(limit).unwrap_or(u64::MAX)).read_to_end(&mut self.buffer)?;
        Ok(&self.buffer)
    }
}

/// Calls `each` with every entry of a directory that is a number.
fn numbered(directory: &OwnedFd, each: &mut dyn FnMut(u32)) -> io::Result<()> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        if let Some(number) = stat::number(entry?.file_name().to_bytes()) {
            each(number);
        }
    }
    Ok(())
}
