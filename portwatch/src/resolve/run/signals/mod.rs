//! What asks this process to end, or is to be passed on to the program, as something to wait for.

#[cfg(unix)]
mod queue;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

pub use self::system::Signals;
