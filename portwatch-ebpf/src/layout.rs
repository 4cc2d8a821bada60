//! Reading kernel structures at the offsets that user space found in this kernel's BTF.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use portwatch_common::{
    layout::{self, ABSENT, Layout},
    record::flag,
};

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
