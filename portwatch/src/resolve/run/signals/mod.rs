//! What asks this process to end, or is to be passed on to the program, as something to wait for.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

pub use self::system::Signals;
