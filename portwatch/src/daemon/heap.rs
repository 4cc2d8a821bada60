//! Memory that the daemon does not need any more: after the start, and after a busy time.

use std::time::Duration;

use crate::platform::vitals::resident_bytes;

/// How often it looks whether a busy time has left something.
const LOOK: Duration = Duration::from_secs(20);
/// Less than this is not worth the allocator's walk through its arenas.
const WORTH: u64 = 1 << 20;

/// As few arenas as threads that allocate much: each keeps what it once had. Of glibc (mallopt(3)); before threads start.
pub(super) fn few_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no pointers; a number that it does not like changes nothing.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 2);
    }
}

/// Gives back to the kernel what is freed, and the pages of code that only a busy time ran. Reading this kernel's BTF at the
/// start takes some 20 MB for a moment, and the allocator keeps the pages between what stays, for the life of the daemon
/// (malloc_trim(3)).
pub(super) fn give_back() {
    trim();
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    // SAFETY: the callback keeps to what dl_iterate_phdr(3) promises it.
    unsafe {
        nix::libc::dl_iterate_phdr(Some(code::let_go), std::ptr::null_mut());
    }
}

/// Gives back what a busy time has left, for as long as the daemon runs. A heap that is full of what is in use is not walked
/// again until it grows.
pub(super) async fn breathe() {
    let mut least = resident_bytes().unwrap_or(u64::MAX);
    let mut every = tokio::time::interval(LOOK);
    loop {
        every.tick().await;
        let Some(now) = resident_bytes() else { return };
        if now > least.saturating_add(WORTH) {
            // It may take milliseconds, and callers wait for this thread.
            if tokio::task::spawn_blocking(give_back).await.is_err() {
                return;
            }
            least = resident_bytes().unwrap_or(u64::MAX);
        }
    }
}

fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no pointers; the allocator locks its arenas itself.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod code {
    use std::ffi::{c_int, c_void};

    use nix::libc::{_SC_PAGESIZE, MADV_DONTNEED, PF_W, PT_LOAD, dl_phdr_info, madvise, size_t, sysconf};

    /// Lets go of the program's own pages that nobody can have written to. They stay in the page cache, and what is used again
    /// comes back at its first use, 16 pages at a time (fault_around_bytes). Returns 1: the first object is the program.
    ///
    /// # Safety
    /// For `dl_iterate_phdr` alone, which gives a valid `info`.
    pub(super) unsafe extern "C" fn let_go(info: *mut dl_phdr_info, _: size_t, _: *mut c_void) -> c_int {
        // SAFETY: dl_iterate_phdr(3) gives a valid one, with dlpi_phnum headers.
        let (base, headers) = unsafe {
            let info = &*info;
            (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)))
        };
        // SAFETY: no pointers.
        let Ok(page) = u64::try_from(unsafe { sysconf(_SC_PAGESIZE) }) else { return 1 };
        for header in headers.iter().filter(|h| h.p_type == PT_LOAD && h.p_flags & PF_W == 0) {
            // Whole pages: the first and the last may be shared with a segment that is written to.
            let begin = (base + header.p_vaddr).next_multiple_of(page);
            let end = (base + header.p_vaddr + header.p_memsz) / page * page;
            if let (Ok(at), Ok(length)) = (usize::try_from(begin), usize::try_from(end.saturating_sub(begin)))
                && length > 0
            {
                // SAFETY: a mapping of the file that is never written to, as its flags say and as linkers without text
                // relocations, which is all of them by default, make it: MADV_DONTNEED reads the file again (madvise(2)).
                // Failure changes nothing.
                unsafe { madvise(std::ptr::with_exposed_provenance_mut(at), length, MADV_DONTNEED) };
            }
        }
        1
    }
}
