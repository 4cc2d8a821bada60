//! Who may do what with an object, and whose it is.

use std::{ffi::OsStr, io, ptr};

use windows_sys::Win32::{
    Foundation::{ERROR_SUCCESS, HANDLE, LocalFree},
    Security::{
        Authorization::{
            ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1,
            SE_OBJECT_TYPE,
        },
        OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES,
    },
};

use super::{Sid, Token, done, wide};

/// Who may use a new object: the system and administrators, its maker, and whom it names besides. A maker who may do everything does so as
/// an administrator: the same person's processes that are not elevated are no more than other users'.
#[derive(Debug)]
pub(crate) struct Guard(PSECURITY_DESCRIPTOR);

impl Guard {
    /// `others` are entries in the security descriptor definition language; `flags` are those of our own entries.
    fn new(flags: &str, others: &str) -> io::Result<Self> {
        let token = Token::own()?;
        let own = token.user().ok_or_else(|| io::Error::other("this process's user is not known"))?.text()?;
        // The owner is as it would be by itself; said, since not every system (Wine) gives an object one unasked.
        let (owner, maker) = if token.uid() == Some(0) {
            ("BA", String::new())
        } else {
            (own.as_str(), format!("(A;{flags};GA;;;{own})"))
        };
        let text = format!("O:{owner}D:P(A;{flags};GA;;;SY)(A;{flags};GA;;;BA){maker}{others}");
        let text = wide(OsStr::new(&text));
        let mut descriptor = ptr::null_mut();
        // SAFETY: the text ends with a NUL, and the pointer is written to.
        done(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        })?;
        Ok(Self(descriptor))
    }

    /// For an object of one's own.
    pub(crate) fn private() -> io::Result<Self> {
        Self::new("", "")
    }

    /// For a directory and everything that will lie in it.
    pub(crate) fn private_directory() -> io::Result<Self> {
        Self::new("OICI", "")
    }

    /// For a pipe that every user of this machine may talk through. They read, write and wait
    /// (`FILE_GENERIC_READ | FILE_GENERIC_WRITE`), without the right to add data, which for a pipe is the right to
    /// serve it (`FILE_CREATE_PIPE_INSTANCE`). Whoever comes over the network may not.
    pub(crate) fn pipe_for_all() -> io::Result<Self> {
        Self::new("", "(D;;GA;;;NU)(A;;0x12019b;;;AU)")
    }

    /// To be given to a call that makes an object; it points into `self`.
    pub(crate) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or(0),
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and freed once.
        unsafe { LocalFree(self.0) };
    }
}

/// The number of the user who owns an open object: 0 for the system and administrators. Nobody can make another one
/// the owner of what is theirs.
pub(crate) fn owner_of(handle: HANDLE, kind: SE_OBJECT_TYPE) -> io::Result<u32> {
    let (mut owner, mut descriptor) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: both pointers are written to; a bad handle is an error.
    let error = unsafe {
        GetSecurityInfo(
            handle,
            kind,
            OWNER_SECURITY_INFORMATION,
            &raw mut owner,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut descriptor,
        )
    };
    if error != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(error.cast_signed()));
    }
    // SAFETY: it points into the descriptor, which is freed afterwards.
    let sid = unsafe { Sid::copy(owner) };
    // SAFETY: the call's own descriptor, freed once.
    unsafe { LocalFree(descriptor) };
    sid.map(|sid| sid.uid()).ok_or_else(|| io::Error::other("it has no owner"))
}
