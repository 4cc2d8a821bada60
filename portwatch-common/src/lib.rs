//! The contract between portwatch's kernel programs and its user space: records and their one decoder.
//!
//! Everything here is built for both sides. The layout is asserted at compile time, so a record cannot
//! drift between the kernel object and the program that reads it.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod connection;
pub mod counter;
// Kernel programs write records and never read them.
#[cfg(not(target_arch = "bpf"))]
pub mod decode;
#[cfg(not(target_arch = "bpf"))]
pub mod encode;
pub mod layout;
pub mod record;
pub mod serves;
