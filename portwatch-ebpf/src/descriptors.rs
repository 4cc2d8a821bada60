//! Every socket descriptor of every process in one pass, for whoever reads the iterator's file. aya-ebpf has no macro
//! for iterators; a section name is all there is to it.

use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write};
use portwatch_common::{
    layout,
    record::{SocketDescriptor, SocketSharing},
};

use crate::layout::{address_of, field, options};

/// `struct bpf_iter_meta`
#[repr(C)]
struct Meta {
    seq: *mut seq_file,
}

/// `struct bpf_iter__task_file`. The kernel aligns each pointer to 8 bytes.
#[repr(C)]
pub(crate) struct TaskFile {
    meta: *const Meta,
    task: *const core::ffi::c_void,
    fd: u32,
    file: *const core::ffi::c_void,
}

/// `SOCKFS_MAGIC`: inodes of this file system are sockets and nothing else.
const SOCKFS: u64 = 0x534f_434b;

/// Called for each descriptor, and once more with neither task nor file at the end.
#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
extern "C" fn descriptors(ctx: *const TaskFile) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let (meta, task, fd, file) = unsafe { ((*ctx).meta, (*ctx).task, (*ctx).fd, (*ctx).file) };
    let (task, file) = (address_of(task), address_of(file));
    let Some(inode) = inode_of_socket(file) else { return 0 };
    let leader = field::<u64>(task, layout::TASK_LEADER).unwrap_or(0);
    let found = SocketDescriptor {
        inode: field::<u64>(inode, layout::INODE_NUMBER).unwrap_or(0),
        start_ns: field::<u64>(leader, layout::TASK_START).unwrap_or(0),
        pid: field::<u32>(task, layout::TASK_TGID).unwrap_or(0),
        fd,
    };
    // SAFETY: `meta` comes from the context; the helper takes our stack and its size. Where the buffer is full the
    // kernel calls again for this descriptor.
    unsafe {
        bpf_seq_write((*meta).seq, (&raw const found).cast(), size_of::<SocketDescriptor>() as u32);
    }
    0
}

/// The same, for whoever wants to know of a process's sockets which options they have now. A program of its own: the pass over
/// all descriptors does not read what it does not need.
#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
extern "C" fn sharing(ctx: *const TaskFile) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let (meta, task, file) = unsafe { ((*ctx).meta, (*ctx).task, (*ctx).file) };
    let (task, file) = (address_of(task), address_of(file));
    let Some(inode) = inode_of_socket(file) else { return 0 };
    let Some(socket) = field::<u64>(file, layout::FILE_PRIVATE) else { return 0 };
    let Some(sock) = field::<u64>(socket, layout::SOCKET_SK) else { return 0 };
    let found = SocketSharing {
        inode: field::<u64>(inode, layout::INODE_NUMBER).unwrap_or(0),
        pid: field::<u32>(task, layout::TASK_TGID).unwrap_or(0),
        flags: options(sock),
        pad: 0,
    };
    // SAFETY: as above.
    unsafe {
        bpf_seq_write((*meta).seq, (&raw const found).cast(), size_of::<SocketSharing>() as u32);
    }
    0
}

/// The inode behind a file, where that is a socket.
#[inline(always)]
fn inode_of_socket(file: u64) -> Option<u64> {
    let inode = field::<u64>(file, layout::FILE_INODE)?;
    let super_block = field::<u64>(inode, layout::INODE_SUPER)?;
    (field::<u64>(super_block, layout::SUPER_MAGIC)? == SOCKFS).then_some(inode)
}
