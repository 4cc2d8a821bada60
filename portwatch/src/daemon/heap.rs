//! The heap after start-up.

/// Gives back to the kernel what start-up has freed. Reading this kernel's BTF takes some 20 MB for a moment, and
/// the allocator keeps the pages between what stays, for the life of the daemon (malloc_trim(3)).
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no pointers; the allocator locks its arenas itself.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
