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
#![expect(
    clippy::cast_possible_truncation,
    reason = "fields are taken apart by casts; a checked conversion is code that the verifier must walk"
)]
#![expect(clippy::inline_always, reason = "a call costs, and old verifiers check each function by itself")]
#![expect(clippy::needless_pass_by_value, reason = "the macros hand contexts over by value")]
#![expect(clippy::needless_borrows_for_generic_args, reason = "map keys live on the stack either way")]

mod cgroup;
mod descriptors;
mod emit;
mod family;
mod fentry;
mod kprobe;
mod layout;
mod maps;
mod process;
mod refused;
mod signal;
mod sockops;
mod syscall;
mod task;
mod tcp_state;
mod time_wait;
mod told;

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
