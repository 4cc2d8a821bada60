//! What several rooms need of Windows: wide text, handles, security, jobs.

mod job;
mod security;
mod token;

use std::{
    ffi::{OsStr, OsString},
    io,
    os::windows::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use windows_sys::Win32::{
    Foundation::{CloseHandle, HANDLE, INVALID_HANDLE_VALUE, MAX_PATH},
    System::SystemInformation::GetSystemDirectoryW,
};

pub(crate) use self::job::Job;
pub(crate) use self::security::{Guard, owner_of};
pub(crate) use self::token::{Sid, Token};

/// UTF-16 with a NUL at its end.
pub(crate) fn wide(text: &OsStr) -> Vec<u16> {
    text.encode_wide().chain([0]).collect()
}

/// The folder of the system's own programs, `C:\Windows\system32`. Not by the environment, which whoever starts a process makes.
pub(crate) fn system_folder() -> PathBuf {
    let mut text = [0_u16; MAX_PATH as usize];
    // SAFETY: the text is as long as is said, and written to.
    let length = unsafe { GetSystemDirectoryW(text.as_mut_ptr(), MAX_PATH) };
    // 0, or more than there is room for: a failure that no system is known to have.
    let length = usize::try_from(length).unwrap_or(0);
    let told = text.get(..length).filter(|text| !text.is_empty()).map(OsString::from_wide);
    told.map_or_else(|| PathBuf::from(r"C:\Windows\system32"), PathBuf::from)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_folder_is_one_with_its_programs() {
        assert!(system_folder().is_absolute());
        assert!(system_folder().join("cmd.exe").is_file(), "{}", system_folder().display());
    }
}
