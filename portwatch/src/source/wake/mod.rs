//! Interrupting a source that waits.

#[cfg(any(test, not(unix)))]
#[cfg_attr(unix, expect(unreachable_pub, reason = "here it is compiled for its test only"))]
#[cfg_attr(unix, expect(clippy::unnecessary_wraps, reason = "the other ones can fail"))]
mod condvar;
#[cfg(target_os = "linux")]
mod eventfd;
#[cfg(all(unix, any(test, not(target_os = "linux"))))]
#[cfg_attr(target_os = "linux", expect(unreachable_pub, reason = "here it is compiled for its test only"))]
mod pipe;

#[cfg(unix)]
use std::{io, os::fd::BorrowedFd, time::Duration};

#[cfg(unix)]
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

#[cfg(not(unix))]
pub use condvar::Wake;
#[cfg(target_os = "linux")]
pub use eventfd::Wake;
#[cfg(all(unix, not(target_os = "linux")))]
pub use pipe::Wake;

/// Whether there is something to read within that time. A signal ends the wait.
#[cfg(unix)]
fn is_readable(descriptor: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    // Rounded up, so that a wait of less than a millisecond is not a spin.
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
