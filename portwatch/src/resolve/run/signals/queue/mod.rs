//! Blocked signals as something to poll for and to read.

#[cfg(target_os = "linux")]
mod signalfd;
#[cfg(any(test, not(target_os = "linux")))]
mod sigwait;

#[cfg(target_os = "linux")]
pub(super) use signalfd::Queue;
#[cfg(not(target_os = "linux"))]
pub(super) use sigwait::Queue;
