//! A running source of kernel programs, and what it said.
#![expect(clippy::unwrap_used, reason = "a scenario asserts")]

use std::{
    os::unix::fs::MetadataExt as _,
    time::{Duration, Instant},
};

use portwatch::{
    model::{BindRefused, Bound, Listening, Observation, Seen, SocketKey},
    source::{
        Source as _, Wake,
        ebpf::{EbpfSource, HookChoice, LoadOptions},
    },
};

use crate::DEADLINE;

/// The source. Its first snapshot is behind it.
pub(super) struct Watch {
    /// The source.
    pub(super) source: EbpfSource,
    /// Everything since [`Watch::begin`], in order.
    pub(super) seen: Vec<Seen>,
}

impl Watch {
    /// Starts one. Panics where kernel programs cannot be loaded.
    pub(super) fn start(hooks: HookChoice) -> Self {
        Self::with(&LoadOptions { hooks, ..LoadOptions::default() })
    }

    /// As [`Watch::start`], with options.
    pub(super) fn with(options: &LoadOptions) -> Self {
        let source = EbpfSource::start(options, Wake::new().unwrap());
        let source = source.map_err(|why| format!("{}: {}", why.what, why.remedy));
        let mut source = source.unwrap();
        let mut out = Vec::new();
        source.poll(Duration::ZERO, &mut out).unwrap();
        assert!(
            matches!(out.last(), Some(Observation { seen: Seen::Snapshot(_), .. })),
            "the first delivery ends with a snapshot"
        );
        Self { source, seen: Vec::new() }
    }

    /// Forgets what was said before.
    pub(super) fn begin(&mut self) {
        self.take(Duration::ZERO);
        self.seen.clear();
    }

    /// Takes in what there is now.
    pub(super) fn take(&mut self, wait: Duration) {
        let mut out = Vec::new();
        self.source.poll(wait, &mut out).unwrap();
        self.seen.extend(out.into_iter().map(|o| o.seen));
    }

    /// Takes in everything that has happened so far: once an event of ours that comes later is seen, nothing from
    /// before is on its way.
    pub(super) fn settle(&mut self) {
        let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        self.until(|s| bound_on(s, port).is_some());
    }

    /// Waits until something is seen, and returns what `pick` makes of it.
    pub(super) fn find<T>(&mut self, pick: impl Fn(&Seen) -> Option<T>) -> T {
        self.until(|seen| pick(seen).is_some());
        self.seen.iter().find_map(pick).unwrap()
    }

    /// Waits until something is seen.
    pub(super) fn until(&mut self, wanted: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !self.seen.iter().any(&wanted) {
            assert!(Instant::now() < deadline, "not seen in time; seen: {:#?}", self.seen);
            self.take(Duration::from_millis(100));
        }
    }
}

/// This process.
pub(super) fn me() -> u32 {
    std::process::id()
}

/// Inode of this thread's network namespace.
pub(super) fn own_netns() -> u64 {
    std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino()
}

/// A bind of this port.
pub(super) fn bound_on(seen: &Seen, port: u16) -> Option<&Bound> {
    match seen {
        Seen::Bound(b) if b.socket.endpoint.port.get() == port => Some(b),
        _ => None,
    }
}

/// A listen of this socket.
pub(super) fn listening(seen: &Seen, key: SocketKey) -> Option<Listening> {
    match seen {
        Seen::Listening(l) if l.socket.key == key => Some(l.clone()),
        _ => None,
    }
}

/// A refusal of one of our own binds.
pub(super) fn refused(seen: &Seen, errno: i32) -> Option<BindRefused> {
    match seen {
        Seen::Refused(r) if r.errno == errno && r.by.is_some_and(|p| p.pid == me()) => Some(r.clone()),
        _ => None,
    }
}

/// Whether it is the close of this socket.
pub(super) fn closed(seen: &Seen, key: SocketKey) -> bool {
    matches!(seen, Seen::Closed(c) if c.key == key)
}
