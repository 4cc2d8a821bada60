//! portwatch's kernel programs. One file per hook family; which program serves which fact is decided in
//! user space (`portwatch/src/source/ebpf/hooks.rs`).
//!
//! Rules here: every program is small enough for the verifier of 5.10; contexts with a stable layout come
//! first; kernel structures are read only at offsets that user space resolved ([`layout`]); what a kernel
//! may refuse sits in a program of its own.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "atomic_xadd is the only atomic addition that BPF's first ISA has")]
#![expect(missing_docs, reason = "the macros make public items of every program")]

mod cgroup;
mod emit;
mod layout;
mod maps;
mod process;
mod sockops;
mod syscall;
mod task;
mod tcp_state;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier would refuse a program that could get here without ending.
    loop {}
}

/// Some helpers are only for programs that declare a compatible licence. The programs are offered under
/// either of the project's licences or the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
