//! By a pair of sockets, on systems without an eventfd: something to poll for together with other descriptors.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    time::Duration,
};

/// A handle that ends a waiting [`Source::poll`](crate::source::Source::poll) from any thread. Clones wake the same source.
#[derive(Debug, Clone)]
pub struct Wake(Arc<Ends>);

#[derive(Debug)]
struct Ends {
    told: UnixStream,
    heard: UnixStream,
}

impl Wake {
    /// A new one.
    pub fn new() -> io::Result<Self> {
        let (told, heard) = UnixStream::pair()?;
        told.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        Ok(Self(Arc::new(Ends { told, heard })))
    }

    /// Ends the present or the next wait.
    pub fn wake(&self) {
        // A full buffer (EAGAIN) means that wakes are pending already.
        let _ = (&self.0.told).write(&[1]);
    }

    /// Waits for a wake, at most so long; `true` when one is pending. It stays so until [`Wake::clear`].
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        super::is_readable(self.as_fd(), timeout)
    }

    /// Takes pending wakes back, so that the next wait waits.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        // Neither end is closed while this one is there; EAGAIN means that nothing is pending.
        while (&self.0.heard).read(&mut bytes).is_ok_and(|read| read == bytes.len()) {}
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.heard.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_ends_the_present_wait_and_the_next_until_it_is_cleared() {
        let wake = Wake::new().unwrap();
        assert!(!wake.wait(Duration::ZERO).unwrap());
        let other = wake.clone();
        let waker = std::thread::spawn(move || other.wake());
        assert!(wake.wait(Duration::from_mins(1)).unwrap());
        waker.join().unwrap();
        assert!(wake.wait(Duration::from_mins(1)).unwrap());
        wake.clear();
        assert!(!wake.wait(Duration::from_millis(1)).unwrap());
    }

    #[test]
    fn wakes_that_nobody_waits_for_do_not_stop_the_one_who_wakes_and_are_one() {
        let wake = Wake::new().unwrap();
        for _ in 0..1_000_000 {
            wake.wake();
        }
        assert!(wake.wait(Duration::ZERO).unwrap());
        wake.clear();
        assert!(!wake.wait(Duration::from_millis(1)).unwrap());
    }
}
