//! What several rooms need of Windows: wide text, handles, security, jobs.

mod job;
mod security;
mod token;

use std::{ffi::OsStr, io, os::windows::ffi::OsStrExt};

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, INVALID_HANDLE_VALUE};

pub(crate) use self::job::Job;
pub(crate) use self::security::{Guard, owner_of};
pub(crate) use self::token::{Sid, Token};

/// UTF-16 with a NUL at its end.
pub(crate) fn wide(text: &OsStr) -> Vec<u16> {
    text.encode_wide().chain([0]).collect()
}

/// A handle that is closed with this value.
#[derive(Debug)]
pub(crate) struct Handle(HANDLE);

// SAFETY: a handle is a number that names an object of the kernel; any thread may use it.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// Takes what a call gave; both values that calls give for a failure are one.
    pub(crate) fn new(handle: HANDLE) -> io::Result<Self> {
        if handle.is_null() || handle == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(handle))
    }

    /// To be given to a call; it stays open as long as `self` lives.
    pub(crate) const fn raw(&self) -> HANDLE {
        self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and closed nowhere else.
        unsafe {
            CloseHandle(self.0);
        }
    }
}

/// What a call that gives a BOOL came to.
pub(crate) fn done(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
