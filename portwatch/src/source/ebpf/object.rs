//! The compiled kernel programs, as they were built by `cargo xtask build-ebpf`.

/// The object, aligned as an ELF parser wants it.
pub(super) fn bytes() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/prebuilt/portwatch.bpf.o"))
}
