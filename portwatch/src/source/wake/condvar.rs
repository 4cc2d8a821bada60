//! By a condition variable, on platforms whose sources wait for nothing but time.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A handle that ends a waiting [`Source::poll`](crate::source::Source::poll) from any thread. Clones wake the same
/// source.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<(Mutex<bool>, Condvar)>);

impl Wake {
    /// A new one. Never fails here.
    pub fn new() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// Ends the present or the next wait.
    pub fn wake(&self) {
        *self.pending() = true;
        self.0.1.notify_all();
    }

    /// Waits for a wake, at most so long; `true` when one is pending. It stays so until [`Wake::clear`].
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let waited = self.0.1.wait_timeout_while(self.pending(), timeout, |pending| !*pending);
        let (pending, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Ok(*pending)
    }

    /// Takes a pending wake back, so that the next wait waits.
    pub fn clear(&self) {
        *self.pending() = false;
    }

    /// A flag is whole whatever panicked beside it.
    fn pending(&self) -> MutexGuard<'_, bool> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
