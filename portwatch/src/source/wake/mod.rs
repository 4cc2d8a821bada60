//! Interrupting a source that waits.

#[cfg(any(test, not(target_os = "linux")))]
#[cfg_attr(target_os = "linux", expect(unreachable_pub, reason = "here it is compiled for its test only"))]
#[cfg_attr(target_os = "linux", expect(clippy::unnecessary_wraps, reason = "the other one can fail"))]
mod condvar;
#[cfg(target_os = "linux")]
mod eventfd;

#[cfg(not(target_os = "linux"))]
pub use condvar::Wake;
#[cfg(target_os = "linux")]
pub use eventfd::Wake;
