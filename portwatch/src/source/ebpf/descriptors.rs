//! Every socket descriptor of the machine in one pass over the kernel's own tables: for 100,000 descriptors a
//! twentieth of what reading `/proc/*/fd` takes.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt as _,
    time::{Duration, Instant},
};

use aya::{Ebpf, programs::Program};
use portwatch_common::record::SocketDescriptor;

use super::hooks::DESCRIPTORS;
use crate::{
    model::ProcessId,
    source::{
        convert::NS_PER_TICK,
        procfs::{Descriptor, Descriptors},
    },
};

const SIZE: usize = size_of::<SocketDescriptor>();

/// Descriptors in one call. The kernel has a reference to the one that it is at, and whoever closes that meanwhile has its port until the
/// call ends (`fput` leaves the last reference to the way out of the system call): so calls are short.
const IN_ONE_CALL: usize = 16;

/// The iterator, for one look.
pub(super) struct Table<'a> {
    pub(super) ebpf: &'a mut Ebpf,
    /// How long the last pass took.
    pub(super) took: &'a mut Option<Duration>,
}

impl Descriptors for Table<'_> {
    fn all(&mut self) -> io::Result<Vec<Descriptor>> {
        let begun = Instant::now();
        let bytes = read::<SIZE>(&self.open()?)?;
        *self.took = Some(begun.elapsed());
        let (records, rest) = bytes.as_chunks::<SIZE>();
        if !rest.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the iterator ended inside a descriptor"));
        }
        Ok(records.iter().filter_map(descriptor).collect())
    }

    /// The iterator shows the tasks of its reader's pid namespace (`task_file_seq_get_next`); the first one has all.
    fn sees_all(&self) -> bool {
        sees_every_pid() == Some(true)
    }
}

/// Whether this process is in the first pid namespace, whose pids the kernel tells its programs; `None` where that cannot be read.
pub(super) fn sees_every_pid() -> Option<bool> {
    /// `PROC_PID_INIT_INO` (include/linux/proc_ns.h).
    const FIRST: u64 = 0xefff_fffc;
    std::fs::metadata("/proc/self/ns/pid").ok().map(|file| file.ino() == FIRST)
}

impl Table<'_> {
    /// A pass begins with a link of its own, which ends with the file.
    fn open(&mut self) -> io::Result<File> {
        let Some(Program::Iter(program)) = self.ebpf.program_mut(DESCRIPTORS.name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let link = program.attach().map_err(io::Error::other)?;
        let link = program.take_link(link).map_err(io::Error::other)?;
        link.into_file().map_err(io::Error::other)
    }
}

/// Everything that an iterator writes, in records of this size.
fn read<const SIZE: usize>(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1 << 16);
    read_while::<SIZE>(file, |some| {
        bytes.extend_from_slice(some);
        true
    })?;
    Ok(bytes)
}

/// What an iterator writes, in records of this size, some at a time, as long as `more` wants more.
pub(super) fn read_while<const SIZE: usize>(
    mut file: &File,
    mut more: impl FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    let mut call = [[0; SIZE]; IN_ONE_CALL];
    let call = call.as_flattened_mut();
    loop {
        match file.read(call) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                if !more(call.get(..length).unwrap_or_default()) {
                    return Ok(());
                }
            }
            // A million descriptors without a socket: the kernel takes a breath.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// `None` where the start of the process was not readable: a pid alone is no identity. The first process starts before
/// the clock does.
fn descriptor(bytes: &[u8; SIZE]) -> Option<Descriptor> {
    let [i0, i1, i2, i3, i4, i5, i6, i7, s0, s1, s2, s3, s4, s5, s6, s7, p0, p1, p2, p3, f0, f1, f2, f3] =
        *bytes;
    let inode = u64::from_ne_bytes([i0, i1, i2, i3, i4, i5, i6, i7]);
    let start_ns = u64::from_ne_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let pid = u32::from_ne_bytes([p0, p1, p2, p3]);
    if start_ns == 0 && pid != 1 || pid == 0 {
        return None;
    }
    let process = ProcessId { pid, start_ticks: start_ns / NS_PER_TICK };
    Some(Descriptor { process, fd: u32::from_ne_bytes([f0, f1, f2, f3]), inode })
}
