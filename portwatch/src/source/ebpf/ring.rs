//! The ring buffer: waiting for it and emptying it.

use std::{
    io,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::source::Wake;

/// While records keep coming they are collected for so long before the next look. The kernel notifies only
/// when the buffer was empty, so a burst costs a wake-up each millisecond instead of one for each record.
const COLLECT: Duration = Duration::from_millis(1);

const TOKEN_RING: u64 = 0;
const TOKEN_WAKE: u64 = 1;

/// The reading end.
pub(super) struct Ring {
    records: RingBuf<MapData>,
    /// Ring buffer and wake-up.
    both: Epoll,
    /// Wake-up alone.
    wake_only: Epoll,
    wake: Wake,
    /// The last look found something, then.
    busy_since: Option<Instant>,
}

impl Ring {
    pub(super) fn new(records: RingBuf<MapData>, wake: Wake) -> io::Result<Self> {
        let both = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        both.add(records.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TOKEN_RING))?;
        both.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TOKEN_WAKE))?;
        let wake_only = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        wake_only.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TOKEN_WAKE))?;
        Ok(Self { records, both, wake_only, wake, busy_since: None })
    }

    /// Waits for records, a wake-up or the timeout; true for a wake-up.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        if let Some(since) = self.busy_since {
            let left = COLLECT.saturating_sub(since.elapsed()).min(timeout);
            return if left.is_zero() { Ok(false) } else { self.sleep(left) };
        }
        let mut events = [EpollEvent::empty(); 2];
        let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX);
        let count = match self.both.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        if events.iter().take(count).any(|e| e.data() == TOKEN_WAKE) {
            self.wake.clear();
            return Ok(true);
        }
        Ok(false)
    }

    /// Sleeps until the time is over or a wake-up comes; records do not end it.
    fn sleep(&self, time: Duration) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); 1];
        // epoll counts in milliseconds; a part of one is rounded up.
        let millis = u16::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        match self.wake_only.wait(&mut events, EpollTimeout::from(millis)) {
            Ok(0) | Err(nix::Error::EINTR) => Ok(false),
            Ok(_) => {
                self.wake.clear();
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Hands at most `limit` records to `take`. Returns how many there were.
    pub(super) fn drain(&mut self, limit: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit {
            let Some(item) = self.records.next() else { break };
            take(&item);
            count += 1;
        }
        self.busy_since = (count > 0).then(Instant::now);
        count
    }
}
