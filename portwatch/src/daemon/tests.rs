//! The stages joined, driven by a source that says what it is told.

mod busy;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, OnceLock, mpsc},
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use super::{DaemonError, Headway, first_look, headway};
use super::{
    Desk, Handle, Lock, LockError, Pipeline,
    beside::Beside,
    handle::{Command, Reply},
    keeper::{AutoPolicy, Keeper},
};
use crate::{
    attribute::{Attributor, Roots},
    journal::{self, Claims, Journal, Pending, Request, WriterStatus},
    model::{
        AskedPort, BindRefused, BindRules, Bound, Closed, Completeness, Connections, Endpoint, Event,
        EventFilter, EventKind, Evidence, Holder, Listening, Netns, Observation, Owner, Phase, Port,
        ProcessId, ProcessSeen, Protocol, Seen, Sharing, Snapshot, SnapshotSocket, SocketKey, SocketOptions,
        SocketSeen, Timestamp,
    },
    query::{About, Answers, Around, Asked, Holding, Live, Space},
    registry::{Kind, PortSet, Terms},
    source::{
        Counters, Progress, Refresh, Source, SourceError, SourceKind, Wake,
        fake::{FakeFeed, FakeSource},
    },
    state::Policy,
};

const NETNS: Netns = Netns(4_026_531_840);
const WHO: ProcessId = ProcessId { pid: 4_000_001, start_ticks: 77 };

struct Rig {
    desk: Desk,
    feed: FakeFeed,
    handle: Handle,
    thread: std::thread::JoinHandle<Option<WriterStatus>>,
    directory: tempfile::TempDir,
}

fn snapshot() -> Observation {
    let now = Timestamp::now();
    let snapshot = Snapshot { begun: now, ended: now, bound_included: true, ..Snapshot::default() };
    Observation::new(now, Evidence::Scan, Seen::Snapshot(Box::new(snapshot)))
}

fn rig() -> Rig {
    rig_of(|source| Box::new(source))
}

fn rig_of(dressed: impl FnOnce(FakeSource) -> Box<dyn Source>) -> Rig {
    let rig = rig_before_the_first_look(dressed);
    rig.feed.see([snapshot()]);
    rig
}

fn rig_before_the_first_look(dressed: impl FnOnce(FakeSource) -> Box<dyn Source>) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let database: PathBuf = directory.path().join("portwatch.db");
    let opened = Journal::open(&database, journal::Options::default()).unwrap();
    let wake = Wake::new().unwrap();
    let (source, feed) = FakeSource::new(wake.clone());
    // A /proc with no process in it: what the events carried is all there is.
    let roots = Roots { proc: directory.path().join("proc"), cgroup: directory.path().join("cgroup") };
    let live = Live::new(Policy::default(), Attributor::new(roots), Some(NETNS));
    let (pipeline, handle) = Pipeline::new(dressed(source), wake, live, Some(opened.writer));
    let thread = std::thread::spawn(move || pipeline.run());
    let about = About {
        source: SourceKind::Fake,
        daemon: true,
        note: None,
        coverage: Vec::new(),
        degradations: Vec::new(),
    };
    let desk = Desk::new(handle.clone(), about, Some(database), None, Timestamp::now());
    Rig { desk, feed, handle, thread, directory }
}

fn socket(phase: Phase) -> SocketSeen {
    socket_on(3100, phase)
}

fn socket_on(port: u16, phase: Phase) -> SocketSeen {
    SocketSeen {
        key: SocketKey::Cookie(u64::from(port)),
        inode: None,
        endpoint: Endpoint {
            netns: Some(NETNS),
            protocol: Protocol::Tcp,
            address: IpAddr::from([127, 0, 0, 1]),
            port: Port::new(port).unwrap(),
        },
        phase,
        asked: AskedPort::Explicit(Port::new(port).unwrap()),
        options: SocketOptions::default(),
        uid: Some(1000),
        cgroup_id: None,
        attached: crate::model::Attached::Unknown,
    }
}

fn see(rig: &Rig, seen: impl IntoIterator<Item = Seen>) {
    rig.feed.see(seen.into_iter().map(|seen| Observation::new(Timestamp::now(), Evidence::Kernel, seen)));
}

fn process() -> Seen {
    Seen::Process(facts())
}

fn facts() -> ProcessSeen {
    ProcessSeen {
        id: WHO,
        parent_pid: 1,
        parent_comm: None,
        uid: Some(1000),
        gid: Some(1000),
        comm: "server".to_owned(),
        command: None,
        cgroup_id: None,
        evidence: Evidence::Kernel,
    }
}

fn listen() -> [Seen; 3] {
    listen_on(3100)
}

fn listen_on(port: u16) -> [Seen; 3] {
    [
        process(),
        Seen::Bound(Bound { socket: socket_on(port, Phase::Bound), by: Some(WHO) }),
        Seen::Listening(Listening { socket: socket_on(port, Phase::Listening), by: Some(WHO) }),
    ]
}

fn who(rig: &Rig) -> crate::query::TargetAnswer {
    let asked =
        Asked::Port { address: None, localhost: false, port: Port::new(3100).unwrap(), protocol: None };
    rig.desk.who(&[asked], Space::Own).unwrap().targets.remove(0)
}

/// Waits until `log` has an event of `kind`.
fn logged(rig: &Rig, kind: EventKind) -> Vec<crate::query::Record> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let events = rig.desk.log(&EventFilter::default()).unwrap().events;
        if events.iter().any(|r| r.event.kind == kind) {
            return events;
        }
        assert!(Instant::now() < deadline, "no {kind:?} in {events:?}");
        std::thread::yield_now();
    }
}

fn end(rig: Rig) -> tempfile::TempDir {
    rig.handle.stop();
    rig.thread.join().unwrap();
    rig.directory
}

#[test]
fn what_the_kernel_tells_is_answered_and_written_with_its_process() {
    let rig = rig();
    see(&rig, listen());
    let refused = BindRefused {
        key: None,
        listen: false,
        netns: Some(NETNS),
        protocol: Some(Protocol::Tcp),
        address: IpAddr::from([127, 0, 0, 1]),
        port: Port::new(3100),
        errno: 98,
        by: Some(WHO),
    };
    see(&rig, [Seen::Refused(refused)]);
    let events = logged(&rig, EventKind::Refused);
    let listened = events.iter().find(|r| r.event.kind == EventKind::Listen).unwrap();
    assert_eq!(listened.process.as_ref().unwrap().comm, "server");
    let answer = who(&rig);
    assert_eq!(answer.state, Holding::Held);
    assert_eq!(answer.sockets[0].socket.creator, Some(WHO));
    assert_eq!(answer.refused.len(), 1);
    see(&rig, [Seen::Closed(Closed { key: SocketKey::Cookie(3100), by: Some(WHO) })]);
    logged(&rig, EventKind::Close);
    let answer = who(&rig);
    assert_eq!(answer.state, Holding::Free);
    assert!(answer.last.iter().any(|r| r.event.kind == EventKind::Close));
    end(rig);
}

#[test]
fn events_are_counted_as_they_are_when_it_is_asked() {
    let rig = rig();
    see(&rig, listen());
    // They are written a moment after the pipeline has passed them on, and nothing wakes it then.
    let database = rig.directory.path().join("portwatch.db");
    let deadline = Instant::now() + Duration::from_secs(10);
    while journal::Reader::open(&database).unwrap().count().unwrap() < 2 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(rig.desk.status().unwrap().journal.unwrap().events, 2);
    assert_eq!(rig.desk.metrics().unwrap().events, Some(2));
    end(rig);
}

#[test]
fn a_port_that_could_not_be_looked_at_is_unknown_not_free() {
    let rig = rig();
    assert_eq!(who(&rig).state, Holding::Free);
    rig.feed.answer(Err(SourceError::Timeout { what: "sock_diag".to_owned(), seconds: 1 }));
    let answer = who(&rig);
    assert_eq!(answer.state, Holding::Unknown);
    assert!(answer.reason.unwrap().contains("sock_diag"));
    end(rig);
}

/// A look at the kernel that hangs until it is let go.
fn hang(rig: &Rig) -> mpsc::Sender<()> {
    let (go, wait) = mpsc::channel();
    rig.feed.hang_until(wait);
    go
}

#[test]
fn a_look_that_hangs_is_answered_with_what_is_known_and_its_age_and_never_with_free() {
    let rig = rig();
    see(&rig, listen());
    logged(&rig, EventKind::Listen);
    let go = hang(&rig);
    let asked = |port| Asked::Port {
        address: None,
        localhost: false,
        port: Port::new(port).unwrap(),
        protocol: None,
    };
    let answer = rig.desk.who(&[asked(3100), asked(3101)], Space::Own).unwrap();
    let [held, other] = &answer.targets[..] else { panic!("{answer:?}") };
    assert_eq!((held.state, held.sockets[0].socket.creator), (Holding::Held, Some(WHO)));
    assert_eq!(other.state, Holding::Unknown);
    for words in [other.reason.as_ref().unwrap(), answer.about.note.as_ref().unwrap()] {
        assert!(words.contains("within 2 s; what is known is") && words.contains("old"), "{words}");
    }
    // The doubt was of that answer alone.
    go.send(()).unwrap();
    let answer = rig.desk.who(&[asked(3101)], Space::Own).unwrap();
    assert_eq!((answer.targets[0].state, answer.about.note), (Holding::Free, None));
    end(rig);
}

#[test]
fn where_the_machine_can_be_looked_at_a_late_pipeline_does_not_keep_the_answer_back() {
    let mut rig = rig();
    see(&rig, listen());
    logged(&rig, EventKind::Listen);
    // What came since, which the pipeline has not taken in.
    let beside = Beside::new(|_| {
        let roots = Roots { proc: "/nonexistent".into(), cgroup: "/nonexistent".into() };
        let mut live = Live::new(Policy::default(), Attributor::new(roots), Some(NETNS));
        let newcomer = SocketSeen { key: SocketKey::Cookie(10), ..socket(Phase::Listening) };
        let endpoint = Endpoint { port: Port::new(3101).unwrap(), ..newcomer.endpoint };
        let sockets = [socket(Phase::Listening), SocketSeen { endpoint, ..newcomer }].map(|socket| {
            let holder = Holder { process: WHO, evidence: Evidence::Scan };
            SnapshotSocket { socket, holders: vec![holder], owner: Owner::Known }
        });
        let Seen::Snapshot(mut snapshot) = snapshot().seen else { panic!() };
        snapshot.sockets = sockets.into();
        live.set_completeness(Completeness::Complete);
        let now = Timestamp::now();
        live.take(Observation::new(now, Evidence::Scan, Seen::Snapshot(snapshot)), &mut Vec::new());
        // On a machine where a new socket takes IPv6 alone.
        let rules = BindRules { v6_only: Some(true), ..BindRules::default() };
        Ok((
            live,
            Around {
                of_processes: None,
                netns: Some(NETNS),
                connections: Some(Connections::default()),
                rules,
                sharing: Sharing::AsBound,
            },
        ))
    });
    rig.desk = rig.desk.with_beside(Some(beside));
    let go = hang(&rig);
    let asked = [3100, 3101, 3102].map(|port| Asked::Port {
        address: None,
        localhost: false,
        port: Port::new(port).unwrap(),
        protocol: None,
    });
    let answer = rig.desk.who(&asked, Space::Own).unwrap();
    let states: Vec<_> = answer.targets.iter().map(|t| t.state).collect();
    assert_eq!(states, [Holding::Held, Holding::Held, Holding::Free]);
    // A bind of it is told by the settings that were looked at beside, also where the sockets are those that were known.
    let any: IpAddr = "::".parse().unwrap();
    let six = Asked::Port {
        address: Some(any.into()),
        localhost: false,
        port: Port::new(3100).unwrap(),
        protocol: None,
    };
    let told = rig.desk.who(&[six], Space::Own).unwrap().targets.remove(0).verdict.unwrap();
    assert_eq!(told.bindable, Some(true), "{told:?}");
    // What was seen by the kernel is not made less sure.
    assert_eq!(answer.targets[0].sockets[0].socket.creator, Some(WHO));
    assert_eq!(answer.targets[1].sockets[0].socket.holders[0].process, WHO);
    assert!(answer.about.note.unwrap().contains("the recorder is behind"));
    go.send(()).unwrap();
    end(rig);
}

#[test]
fn a_watcher_gets_each_event_once_from_the_journal_or_live() {
    let rig = rig();
    see(&rig, listen());
    logged(&rig, EventKind::Listen);
    let mut subscription = rig.desk.subscribe(Some(&EventFilter::default())).unwrap();
    let before: Vec<_> = subscription.backlog.iter().map(|r| r.event.kind).collect();
    assert_eq!(before, [EventKind::Bind, EventKind::Listen]);
    see(&rig, [Seen::Closed(Closed { key: SocketKey::Cookie(3100), by: Some(WHO) })]);
    let live = subscription.live.blocking_recv().unwrap();
    assert_eq!(live.event.kind, EventKind::Close);
    end(rig);
}

/// A source during whose turns somebody tells and asks: what it brings is always older than the commands.
struct Interrupted {
    source: FakeSource,
    handle: Arc<OnceLock<(Handle, mpsc::SyncSender<Option<Pending>>)>>,
}

/// So many observations are a flood here.
const FLOOD: usize = 640;

impl Source for Interrupted {
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
        let done = self.source.poll(timeout, out);
        if out.len() >= FLOOD
            && let Some((handle, settled)) = self.handle.get()
        {
            let until = Instant::now() + Duration::from_secs(20);
            handle.send(Command::Settle(Reply::new(settled.clone(), until)));
            let told = Event::new(Timestamp::now(), EventKind::Ghost, Evidence::Inferred);
            handle.send(Command::Tell(Box::new(told)));
        }
        done
    }

    fn refresh(&mut self, scope: &Refresh, out: &mut Vec<Observation>) -> Result<(), SourceError> {
        self.source.refresh(scope, out)
    }

    fn counters(&self) -> Counters {
        self.source.counters()
    }
}

#[test]
fn in_a_flood_what_is_told_does_not_wait_for_its_end_and_what_is_settled_is_all_of_it() {
    let handle = Arc::new(OnceLock::new());
    let rig = rig_of(|source| Box::new(Interrupted { source, handle: Arc::clone(&handle) }));
    let (settled, is_settled) = mpsc::sync_channel(1);
    handle.set((rig.handle.clone(), settled)).unwrap();
    let listening = |number: u64| {
        let key = SocketKey::Cookie(1000 + number);
        let port = Port::new(20_000 + u16::try_from(number).unwrap()).unwrap();
        let one = socket(Phase::Listening);
        let socket = SocketSeen { key, endpoint: Endpoint { port, ..one.endpoint }, ..one };
        Seen::Listening(Listening { socket, by: None })
    };
    see(&rig, (0..FLOOD as u64).map(listening));
    let pending = is_settled.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    assert!(pending.wait(Duration::from_secs(20)));
    let reader = journal::Reader::open(&rig.directory.path().join("portwatch.db")).unwrap();
    let mut events = reader.events(&EventFilter::default()).unwrap().events;
    // In the order in which they were written.
    events.sort_by_key(|row| row.id);
    let kinds: Vec<EventKind> = events.iter().map(|row| row.event.kind).collect();
    let listens = kinds.iter().filter(|&&kind| kind == EventKind::Listen).count();
    assert_eq!(listens, FLOOD, "what was settled is in the journal");
    let ghost = kinds.iter().position(|&kind| kind == EventKind::Ghost).unwrap();
    assert!(ghost <= FLOOD / 4, "told after {ghost} of {FLOOD}");
    end(rig);
}

#[test]
fn what_ran_before_the_daemon_is_looked_at_once_the_machine_was_and_is_not_taken_for_gone_before() {
    let rig = rig_before_the_first_look(|source| Box::new(source));
    let database = rig.directory.path().join("portwatch.db");
    let mut claims = Claims::open(&database, "boot").unwrap();
    let (name, port) = ("shop:dev".parse().unwrap(), Port::new(3100).unwrap());
    let terms = Terms {
        range: "3100".parse().unwrap(),
        exclude: PortSet::default(),
        reserved: PortSet::default(),
        ephemeral: None,
        unprivileged_from: 1024,
    };
    let request = Request { kind: Kind::Auto, fixed: Some(port), ..Request::plain(&name, 1000, &terms) };
    claims.claim(&request, Timestamp::now(), &mut |_, _| None).unwrap();
    let policy = AutoPolicy { grace: Duration::ZERO, ..AutoPolicy::default() };
    let (changed, kept) = (Arc::clone(&rig.handle.changed), Claims::open(&database, "boot").unwrap());
    let keeper = Keeper::new(rig.handle.clone(), Arc::clone(&changed), kept, policy, None, None);
    let keeping = std::thread::spawn(move || keeper.run());
    let rogue = |port| {
        let deadline = Instant::now() + Duration::from_secs(30);
        let told = |r: &crate::query::Record| {
            r.event.kind == EventKind::Rogue && r.event.port.map(Port::get) == Some(port)
        };
        while !rig.desk.log(&EventFilter::default()).unwrap().events.iter().any(told) {
            assert!(Instant::now() < deadline, "{port} was not looked at");
            std::thread::yield_now();
        }
    };
    // Hooks tell before the first look: the keeper has worked, twice, when these are told.
    for port in [3201, 3202] {
        see(&rig, listen_on(port));
        rogue(port);
    }
    let found = |port| SnapshotSocket {
        socket: socket_on(port, Phase::Listening),
        holders: vec![Holder { process: WHO, evidence: Evidence::Scan }],
        owner: Owner::Known,
    };
    let now = Timestamp::now();
    let first = Snapshot {
        begun: now,
        ended: now,
        bound_included: true,
        sockets: vec![found(3100), found(3203)],
        processes: vec![facts()],
        ..Snapshot::default()
    };
    rig.feed.see([Observation::new(now, Evidence::Scan, Seen::Snapshot(Box::new(first)))]);
    rogue(3203);
    assert_eq!(claims.all().unwrap().len(), 1, "its program was there all the time");
    changed.stop();
    keeping.join().unwrap();
    end(rig);
}

#[test]
fn an_orderly_stop_is_the_last_row_and_marks_the_end_as_clean() {
    let rig = rig();
    see(&rig, listen());
    logged(&rig, EventKind::Listen);
    let directory = end(rig);
    let opened = Journal::open(&directory.path().join("portwatch.db"), journal::Options::default()).unwrap();
    assert!(opened.report.previous.unwrap().clean);
    opened.writer.close();
}

#[test]
fn a_second_daemon_is_refused_with_the_first_ones_pid() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portwatch.lock");
    assert_eq!(Lock::holder(&path).unwrap(), None);
    let lock = Lock::take(&path).unwrap();
    let Err(LockError::Held { holder: Some(holder) }) = Lock::take(&path) else { panic!("taken twice") };
    assert_eq!(holder.pid, std::process::id());
    drop(lock);
    assert_eq!(Lock::holder(&path).unwrap(), None);
}

#[cfg(unix)]
#[test]
fn a_lock_whose_file_was_removed_still_keeps_others_out_and_is_named_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portwatch.lock");
    let lock = Lock::take(&path).unwrap();
    assert!(!lock.renew().unwrap());
    for put_another in [false, true] {
        std::fs::remove_file(&path).unwrap();
        if put_another {
            std::fs::write(&path, "").unwrap();
        }
        assert!(matches!(Lock::take(&path), Err(LockError::Held { holder: None })));
        assert!(matches!(Lock::holder(&path), Err(LockError::Held { holder: None })));
        assert!(lock.renew().unwrap());
        assert_eq!(Lock::holder(&path).unwrap().unwrap().pid, std::process::id());
        let Err(LockError::Held { holder: Some(_) }) = Lock::take(&path) else { panic!("taken twice") };
    }
    drop(lock);
    Lock::take(&path).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn the_first_look_may_take_as_long_as_it_makes_headway_and_no_longer() {
    const PATIENCE: Duration = Duration::from_secs(1);
    let rig = rig_before_the_first_look(|source| Box::new(source));
    let of = |stat| Headway::of(stat, PATIENCE, Instant::now());
    let (tell, told) = mpsc::channel();
    // One that hangs: it sleeps until it is let go.
    let (go, gone) = mpsc::channel::<()>();
    let place = tell.clone();
    let hangs = std::thread::spawn(move || {
        place.send(headway::own_thread()).unwrap();
        let _ = gone.recv();
    });
    let begun = Instant::now();
    assert!(matches!(first_look(&rig.handle, of(told.recv().unwrap())), Err(DaemonError::NoSnapshot)));
    assert!(begun.elapsed() >= PATIENCE);
    drop(go);
    hangs.join().unwrap();
    // One that works for four times as long.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            tell.send(headway::own_thread()).unwrap();
            let begun = Instant::now();
            while begun.elapsed() < 4 * PATIENCE {
                std::thread::yield_now();
            }
            rig.feed.see([snapshot()]);
        });
        let begun = Instant::now();
        first_look(&rig.handle, of(told.recv().unwrap())).unwrap();
        assert!(begun.elapsed() >= 4 * PATIENCE);
    });
    end(rig);
}
