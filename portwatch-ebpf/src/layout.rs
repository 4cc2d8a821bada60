//! Reading kernel structures at the offsets that user space found in this kernel's BTF.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel, generated};
use portwatch_common::{
    layout::{self, ABSENT, Layout},
    record::flag,
};

use crate::told::bytes;

/// How much of a socket's beginning [`Head`] holds: addresses, options, namespace, cookie and flags of `struct sock_common`, as it is on every
/// kernel of 64 bits.
const HEAD: usize = 104;

/// Set by the loader before loading, then frozen: the verifier takes its words for constants and removes
/// what is absent.
#[unsafe(no_mangle)]
static LAYOUT: Layout = [ABSENT; layout::END];

/// One word of the table.
#[inline(always)]
pub(crate) fn word(index: usize) -> u32 {
    // SAFETY: a constant index below END. Volatile, because the value in the object is not the one at run time.
    unsafe { core::ptr::read_volatile((&raw const LAYOUT).cast::<u32>().add(index)) }
}

/// Reads a field of the structure at `base`; `None` when absent or not readable.
#[inline(always)]
pub(crate) fn field<T>(base: u64, index: usize) -> Option<T> {
    let offset = word(index);
    if offset == ABSENT || base == 0 {
        return None;
    }
    // SAFETY: bpf_probe_read_kernel checks the address and fails on a bad one.
    unsafe {
        bpf_probe_read_kernel(core::ptr::with_exposed_provenance::<T>((base + u64::from(offset)) as usize))
    }
    .ok()
}

/// Loads a field of the structure at `base`, a pointer that the verifier knows the type of; `absent` where there is none. A load costs a tenth of a
/// read, and the kernel guards it likewise: from a bad address it takes zeros.
///
/// No `Option`: its absent value is moved around unwritten, which old verifiers refuse.
#[inline(always)]
pub(crate) fn load<T: Copy>(base: u64, index: usize, absent: T) -> T {
    load_at(base, index, 0, absent)
}

/// The same some bytes behind the field's beginning.
#[inline(always)]
pub(crate) fn load_at<T: Copy>(base: u64, index: usize, more: u32, absent: T) -> T {
    let offset = word(index);
    if offset == ABSENT || base == 0 {
        return absent;
    }
    let from = core::ptr::with_exposed_provenance::<T>((base + u64::from(offset) + u64::from(more)) as usize);
    // SAFETY: the verifier allows no load but of a field, aligned as the kernel has it. Volatile: one load of its own width.
    unsafe { from.read_volatile() }
}

/// The task that runs, for [`of_task`].
#[inline(always)]
pub(crate) fn current_task() -> u64 {
    if word(layout::TASK_TYPED) == ABSENT {
        // SAFETY: a helper without arguments.
        return unsafe { bpf_get_current_task() };
    }
    // SAFETY: as above.
    unsafe { generated::bpf_get_current_task_btf() }.expose_provenance() as u64
}

/// A field of the task that runs, or of a structure that such a field points to; `absent` where there is none.
#[inline(always)]
pub(crate) fn of_task<T: Copy>(base: u64, index: usize, absent: T) -> T {
    if word(layout::TASK_TYPED) != ABSENT {
        return load(base, index, absent);
    }
    let offset = word(index);
    if offset == ABSENT || base == 0 {
        return absent;
    }
    let mut value = absent;
    let from = core::ptr::with_exposed_provenance((base + u64::from(offset)) as usize);
    // SAFETY: the helper checks the address, and writes the whole value: zeros where it fails.
    let _ = unsafe { generated::bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, from) };
    value
}

/// A kernel pointer as a number. The verifier allows no arithmetic on a socket pointer; read back from the
/// stack by a helper, it is a number like any other.
#[inline(always)]
pub(crate) fn address_of(pointer: *const core::ffi::c_void) -> u64 {
    let on_stack = pointer;
    // SAFETY: reads our own stack.
    unsafe { bpf_probe_read_kernel((&raw const on_stack).cast::<u64>()) }.unwrap_or(0)
}

/// Inode of a socket's network namespace; 0 when not readable.
#[inline(always)]
pub(crate) fn netns(sock: u64) -> u32 {
    match field::<u64>(sock, layout::SOCK_NET) {
        Some(net) => field::<u32>(net, layout::NET_INODE).unwrap_or(0),
        None => 0,
    }
}

/// A socket's cookie as far as it has one already; 0 when not readable.
#[inline(always)]
pub(crate) fn cookie(sock: u64) -> u64 {
    field(sock, layout::SOCK_COOKIE).unwrap_or(0)
}

/// The sharing options of a socket, as bits of [`flag`].
#[inline(always)]
pub(crate) fn options(sock: u64) -> u16 {
    field(sock, layout::SOCK_OPTIONS).map_or(0, option_flags)
}

/// The same from the byte that holds them.
#[inline(always)]
pub(crate) fn option_flags(byte: u8) -> u16 {
    let byte = u32::from(byte);
    let mut flags = flag::OPTIONS_KNOWN;
    if byte & word(layout::SOCK_REUSE_MASK) != 0 {
        flags |= flag::REUSE_ADDR;
    }
    if byte & word(layout::SOCK_REUSEPORT_MASK) != 0 {
        flags |= flag::REUSE_PORT;
    }
    if byte & word(layout::SOCK_IPV6ONLY_MASK) != 0 {
        flags |= flag::V6_ONLY;
    }
    flags
}

/// Whether the kernel itself made the socket; such a socket is never released through a descriptor.
#[inline(always)]
pub(crate) fn made_by_kernel(sock: u64) -> bool {
    match field::<u8>(sock, layout::SOCK_KERN) {
        Some(byte) => u32::from(byte) & word(layout::SOCK_KERN_MASK) != 0,
        None => false,
    }
}

/// The program's socket of MPTCP that this subflow belongs to; 0 for any other socket.
#[inline(always)]
fn program_of(subflow: u64) -> u64 {
    let Some(socket) = field::<u64>(subflow, layout::SOCK_SOCKET) else { return 0 };
    let program = field::<u64>(socket, layout::SOCKET_SK).unwrap_or(0);
    if program == subflow { 0 } else { program }
}

/// Of a program's socket of MPTCP, the subflow that binds and listens for it; 0 where it has none, or this kernel does not tell.
#[inline(always)]
pub(crate) fn subflow_of(program: u64) -> u64 {
    field::<u64>(program, layout::MPTCP_FIRST).unwrap_or(0)
}

/// Whether no release of a program's socket tells of the end of this one.
#[inline(always)]
pub(crate) fn ends_unseen(sock: u64) -> bool {
    made_by_kernel(sock) && {
        let program = program_of(sock);
        program == 0 || subflow_of(program) != sock
    }
}

/// The socket behind a descriptor of the current process; 0 where it is none. Another thread may have put another file there meanwhile: whoever does
/// that while a system call on it runs does not know either on which one it runs.
#[inline(always)]
pub(crate) fn socket_at(descriptor: u32) -> u64 {
    let files = of_task::<u64>(current_task(), layout::TASK_FILES, 0);
    let table = of_task::<u64>(files, layout::FILES_TABLE, 0);
    if descriptor >= of_task::<u32>(table, layout::TABLE_SIZE, 0) {
        return 0;
    }
    // A pointer to pointers has no type.
    let array = of_task::<u64>(table, layout::TABLE_FILES, 0);
    let slot = core::ptr::with_exposed_provenance::<u64>((array + 8 * u64::from(descriptor)) as usize);
    // SAFETY: bpf_probe_read_kernel checks the address and fails on a bad one.
    socket_of(unsafe { bpf_probe_read_kernel(slot) }.unwrap_or(0))
}

/// The socket of a file; 0 where it is none.
#[inline(always)]
pub(crate) fn socket_of(file: u64) -> u64 {
    let socket = field::<u64>(file, layout::FILE_PRIVATE).unwrap_or(0);
    // A socket knows its file; what other files keep there is not a socket and knows nothing.
    if file == 0 || field::<u64>(socket, layout::SOCKET_FILE) != Some(file) {
        return 0;
    }
    field::<u64>(socket, layout::SOCKET_SK).unwrap_or(0)
}

/// Whether the program's socket that this subflow of MPTCP belongs to is not being closed: its listener stops because it was shut down.
/// A close shuts it in both directions before (`__mptcp_close`), a shutdown leaves that as it is (`mptcp_disconnect`).
#[inline(always)]
pub(crate) fn is_shut_down_only(subflow: u64) -> bool {
    let program = program_of(subflow);
    program != 0 && field::<u8>(program, layout::SOCK_SHUTDOWN) == Some(0)
}

/// The beginning of a socket, where its addresses are: one read instead of one for each.
pub(crate) struct Head {
    words: MaybeUninit<[u64; HEAD / 8]>,
    sock: u64,
}

impl Head {
    /// Nothing yet, and no fields to ask for. No constant: the compiler zeroes a whole one, and byte by byte.
    #[inline(always)]
    pub(crate) fn unread(sock: u64) -> Self {
        Self { words: MaybeUninit::uninit(), sock }
    }

    /// Filled in place: a copy would not fit the stack. Where it cannot be read it is zeros.
    #[inline(always)]
    pub(crate) fn read(&mut self) -> bool {
        // SAFETY: the helper checks the address; it writes the whole array, zeros where it fails.
        unsafe {
            generated::bpf_probe_read_kernel(
                self.words.as_mut_ptr().cast(),
                HEAD as u32,
                core::ptr::with_exposed_provenance(self.sock as usize),
            ) == 0
        }
    }

    /// Inode of its network namespace; 0 when not readable.
    #[inline(always)]
    pub(crate) fn netns(&self) -> u32 {
        let net = self.field::<u64>(layout::SOCK_NET).unwrap_or(0);
        field::<u32>(net, layout::NET_INODE).unwrap_or(0)
    }

    /// A field of the socket; one that this kernel has elsewhere is read by itself.
    #[inline(always)]
    pub(crate) fn field<T: Copy>(&self, index: usize) -> Option<T> {
        let offset = word(index) as usize;
        // A read that may be unaligned goes byte by byte.
        if offset > HEAD - size_of::<T>() || !offset.is_multiple_of(align_of::<T>()) {
            return field(self.sock, index);
        }
        // SAFETY: within the array and aligned, as was just checked; all of it was written by `read`.
        Some(unsafe { self.words.as_ptr().cast::<u8>().add(offset).cast::<T>().read() })
    }

    /// The socket's cookie as far as it has one already; 0 when not readable.
    #[inline(always)]
    pub(crate) fn cookie(&self) -> u64 {
        self.field(layout::SOCK_COOKIE).unwrap_or(0)
    }

    /// Its sharing options, as bits of [`flag`].
    #[inline(always)]
    pub(crate) fn options(&self) -> u16 {
        self.field::<u8>(layout::SOCK_OPTIONS).map_or(0, option_flags)
    }

    /// An IPv6 address, written to `out`: four words, by which the kernel aligns it too.
    #[inline(always)]
    pub(crate) fn copy(&self, index: usize, out: &mut [u8; 16]) -> bool {
        let Some(address) = self.field(index) else { return false };
        *out = bytes(address);
        true
    }

    /// An IPv4 address, as the IPv6 address that maps it (RFC 4291, 2.5.5.2).
    #[inline(always)]
    pub(crate) fn mapped(&self, index: usize, out: &mut [u8; 16]) -> bool {
        let Some(v4) = self.field::<u32>(index) else { return false };
        *out = bytes([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), v4]);
        true
    }
}
