//! The eBPF source on the real kernel. Where BPF is not to be had these tests say so and pass, unless
//! `PORTWATCH_REQUIRE=ebpf` declares that it is. What must hold on every kernel and with every family of hooks is a
//! scenario: `tests/src/kernel`.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "ebpf/ends.rs"]
mod ends;
mod support;
