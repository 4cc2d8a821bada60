//! What others ask does not keep the pipeline from its work, nor its work them.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mpsc,
};

use super::{
    super::handle::{Command, Reply, lock},
    Arc, Connections, Counters, Duration, Evidence, FakeSource, Handle, Instant, NETNS, Observation,
    OnceLock, Progress, Protocol, Refresh, Rig, Seen, Snapshot, SocketKey, Source, SourceError, SourceKind,
    Timestamp, end, listen, rig_of, see,
};
use crate::{
    model::{Attached, ConnectionScope},
    query::{Answers as _, ListFilter},
};

/// A look at interfaces takes so long here.
const LOOK: Duration = Duration::from_millis(5);

/// No reader of these tests has the table for so long.
const READERS: Duration = Duration::from_secs(1);

/// A source whose looks take long, and which sees whether somebody may read meanwhile.
struct Slow {
    source: FakeSource,
    handle: Arc<OnceLock<Handle>>,
    /// Looks at connections, and those of them during which the table was free.
    looks: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Source for Slow {
    fn kind(&self) -> SourceKind {
        self.source.kind()
    }

    fn coverage(&self) -> Vec<crate::model::Coverage> {
        self.source.coverage()
    }

    fn degradations(&self) -> Vec<crate::model::Degradation> {
        self.source.degradations()
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<Observation>) -> Result<Progress, SourceError> {
        self.source.poll(timeout, out)
    }

    fn refresh(&mut self, scope: &Refresh, out: &mut Vec<Observation>) -> Result<(), SourceError> {
        self.source.refresh(scope, out)
    }

    fn connections(&mut self, _: &ConnectionScope) -> Result<Option<Connections>, SourceError> {
        // A reader may just have it; this thread, if it has it, keeps it for as long as it looks.
        let begun = Instant::now();
        let is_free = self.handle.get().is_some_and(|handle| {
            std::iter::repeat_with(|| Mutex::try_lock(&handle.live).is_ok())
                .take_while(|_| begun.elapsed() < READERS)
                .any(|is_free| is_free)
        });
        self.looks.0.fetch_add(1, Ordering::Relaxed);
        self.looks.1.fetch_add(usize::from(is_free), Ordering::Relaxed);
        Ok(Some(Connections::default()))
    }

    fn attached(&mut self) -> Result<Vec<(SocketKey, Attached)>, SourceError> {
        let begun = Instant::now();
        while begun.elapsed() < LOOK {
            std::hint::spin_loop();
        }
        Ok(Vec::new())
    }

    fn counters(&self) -> Counters {
        self.source.counters()
    }
}

fn slow() -> (Rig, Arc<(AtomicUsize, AtomicUsize)>) {
    let (handle, looks) = (Arc::new(OnceLock::new()), Arc::default());
    let rig =
        rig_of(|source| Box::new(Slow { source, handle: Arc::clone(&handle), looks: Arc::clone(&looks) }));
    handle.set(rig.handle.clone()).unwrap();
    (rig, looks)
}

/// Waits until there are so many listening and so many bound sockets in the table; what is asked of the pipeline would make it look.
fn has(rig: &Rig, counts: (usize, usize)) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if lock(&rig.handle.live).counts() == counts {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn who_asks_again_and_again_does_not_keep_the_source_unheard() {
    let (rig, _) = slow();
    let is_over = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    let is_heard = std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    rig.desk.list(&ListFilter::default()).unwrap();
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let begun = Instant::now();
        while asked.load(Ordering::Relaxed) < 20 && begun.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        see(&rig, listen());
        let is_heard = has(&rig, (1, 0));
        is_over.store(true, Ordering::Relaxed);
        is_heard
    });
    assert!(is_heard, "after {} answers", asked.load(Ordering::Relaxed));
    end(rig);
}

#[test]
fn the_table_may_be_read_while_connections_are_looked_at() {
    let (rig, looks) = slow();
    let [process, bound, _] = listen();
    see(&rig, [process, bound]);
    assert!(has(&rig, (0, 1)));
    // It is not shown any more: a connection, or gone.
    let now = Timestamp::now();
    let shot = Snapshot {
        begun: now,
        ended: now,
        namespaces: vec![NETNS],
        protocols: vec![Protocol::Tcp],
        bound_included: true,
        ..Snapshot::default()
    };
    rig.feed.see([Observation::new(now, Evidence::Scan, Seen::Snapshot(Box::new(shot)))]);
    assert!(has(&rig, (0, 0)));
    assert_eq!((looks.0.load(Ordering::Relaxed), looks.1.load(Ordering::Relaxed)), (1, 1));
    end(rig);
}

#[test]
fn what_nobody_waits_for_any_more_is_not_looked_at() {
    let (rig, looks) = slow();
    let now = Instant::now();
    let (late, is_late) = mpsc::sync_channel(1);
    let (awaited, is_awaited) = mpsc::sync_channel(1);
    for (reply, until) in [(late, now), (awaited, now + Duration::from_secs(20))] {
        let scope = ConnectionScope::Processes { pids: vec![1] };
        rig.handle.send(Command::Around(scope, Vec::new(), Reply::new(reply, until)));
    }
    is_awaited.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(is_late.try_recv().unwrap_err(), mpsc::TryRecvError::Disconnected);
    assert_eq!(looks.0.load(Ordering::Relaxed), 1);
    end(rig);
}
