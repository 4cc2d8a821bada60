//! Interrupting a source that waits.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A handle that ends a waiting [`super::Source::poll`] from any thread. Clones wake the same source.
#[derive(Debug, Clone)]
pub struct Wake(Arc<EventFd>);

impl Wake {
    /// A new one.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(EventFd::from_value_and_flags(0, flags)?)))
    }

    /// Ends the present or the next wait.
    pub fn wake(&self) {
        // A full counter (EAGAIN) means that a wake is pending already.
        let _ = self.0.write(1);
    }

    /// Takes a pending wake back, so that the next wait waits.
    pub fn clear(&self) {
        // EAGAIN means that none was pending.
        let _ = self.0.read();
    }

    /// Its own descriptor, to be registered with a reactor that needs to own one.
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
