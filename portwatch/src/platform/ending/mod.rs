//! Asking a process of ours to end, in order: a signal, and on Windows an event. And being asked.
//!
//! Who asks needs the right to it: the kernel checks it, nobody here.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(all(unix, not(target_os = "linux")))]
mod kqueue;
#[cfg(all(unix, not(target_os = "linux")))]
use kqueue as system;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
use signals as asked;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;
#[cfg(windows)]
use windows as asked;

pub use self::asked::{Asked, detach, detached};
pub use self::system::Running;
