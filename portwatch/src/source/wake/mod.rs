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

#[cfg(not(unix))]
pub use condvar::Wake;
#[cfg(target_os = "linux")]
pub use eventfd::Wake;
#[cfg(all(unix, not(target_os = "linux")))]
pub use pipe::Wake;
