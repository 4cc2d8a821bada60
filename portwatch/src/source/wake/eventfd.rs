//! By an eventfd, which a source can wait for together with a ring buffer.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A handle that ends a waiting [`Source::poll`](crate::source::Source::poll) from any thread. Clones wake the same source.
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

    /// Waits for a wake, at most so long; `true` when one is pending. It stays so until [`Wake::clear`].
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        super::is_readable(self.as_fd(), timeout)
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
