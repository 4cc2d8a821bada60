//! Processes that end together.

use std::{io, mem, os::windows::io::AsRawHandle as _, process::Child, ptr};

use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, SetInformationJobObject,
    TerminateJobObject,
};

use super::{Handle, done};

/// The exit code of processes that are ended: what `taskkill /F` gives.
const ENDED: u32 = 1;

/// A process and all that it starts from here on. They end with this value, and so with this process, however it ends;
/// [`Job::let_go`] leaves them alone.
#[derive(Debug)]
pub(crate) struct Job(Handle);

impl Job {
    /// Around a process that has just begun: what it has started already is none of it.
    pub(crate) fn around(child: &Child) -> io::Result<Self> {
        // SAFETY: no attributes and no name are the defaults.
        let job = Self(Handle::new(unsafe { CreateJobObjectW(ptr::null(), ptr::null()) })?);
        job.limit(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)?;
        // SAFETY: both handles are open.
        done(unsafe { AssignProcessToJobObject(job.0.raw(), child.as_raw_handle()) })?;
        Ok(job)
    }

    /// Ends all of them at once.
    pub(crate) fn end(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        done(unsafe { TerminateJobObject(self.0.raw(), ENDED) })
    }

    /// What is left of them goes on without this process.
    pub(crate) fn let_go(self) -> io::Result<()> {
        self.limit(0)
    }

    fn limit(&self, flags: u32) -> io::Result<()> {
        // SAFETY: all zero is a valid value of it.
        let mut limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = unsafe { mem::zeroed() };
        limits.BasicLimitInformation.LimitFlags = flags;
        let size = u32::try_from(size_of_val(&limits)).unwrap_or(0);
        // SAFETY: the limits live until the call returns and are as long as is said.
        done(unsafe {
            SetInformationJobObject(
                self.0.raw(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size,
            )
        })
    }
}
