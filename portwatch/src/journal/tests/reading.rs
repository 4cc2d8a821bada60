use std::{sync::Arc, time::Duration};

use super::{at, event, id, place, process, recorded};
use crate::{
    journal::{Entry, JournalError, Reader, code},
    model::{
        AskedPort, Event, EventFilter, EventKind, Evidence, ExitStatus, GapReason, LoggedEvent, LossCounts,
        Netns, Order, Phase, Port, ProcessId, Protocol, SignalOrigin, SignalSent, SocketKey, Viewer,
    },
};

fn ports(reader: &Reader, filter: &EventFilter) -> Vec<u16> {
    reader.events(filter).unwrap().events.iter().map(|e| e.event.port.unwrap().get()).collect()
}

#[test]
fn an_event_comes_back_as_it_went_in() {
    let (_directory, path) = place();
    let mut full = event(1, EventKind::Refused, 3100, 10);
    full.other = Some(id(11));
    full.errno = Some(98);
    full.exit = Some(ExitStatus {
        code: None,
        signal: Some(9),
        core_dumped: false,
        sent: Some(SignalSent { signal: 9, by: SignalOrigin::OutOfMemory, again: true }),
    });
    full.lost = Some(LossCounts { bind: 3, close: 4, ..LossCounts::default() });
    full.gap = Some(GapReason::NotWritten);
    full.since = Some(at(0));
    full.count = 7;
    full.message = Some("a sentence".to_owned());
    full.asked = AskedPort::KernelChosen;
    let mut scanned = Event::new(at(2), EventKind::Bind, Evidence::Scan);
    scanned.socket = Some(SocketKey::Inode { netns: Some(Netns(5)), inode: u64::MAX });
    scanned.netns = Some(Netns(5));
    scanned.address = Some("fe80::1".parse().unwrap());
    scanned.protocol = Some(Protocol::Udp);
    scanned.phase = Some(Phase::Bound);
    let reader = recorded(
        &path,
        [Entry::Process(process(10, "node")), Entry::Event(full.clone()), Entry::Event(scanned.clone())],
    );
    let page = reader.events(&EventFilter::default()).unwrap();
    assert_eq!(page.events.iter().map(|e| &e.event).collect::<Vec<_>>(), [&full, &scanned]);
    let first = &page.events[0];
    assert_eq!(first.process, Some(process(10, "node")));
    assert_eq!(first.other, None, "nobody described process 11, and nothing is made up");
}

#[test]
fn what_an_engine_told_once_stays_when_it_is_not_told_again() {
    let (_directory, path) = place();
    let told = process(1, "node");
    let mut silent = (*process(2, "node")).clone();
    let container = silent.container.as_mut().unwrap();
    (container.name, container.image, container.compose) = (None, None, None);
    let entries = [
        Entry::Process(Arc::clone(&told)),
        Entry::Process(Arc::new(silent)),
        Entry::Event(event(1, EventKind::Listen, 3100, 2)),
    ];
    let page = recorded(&path, entries).events(&EventFilter::default()).unwrap();
    assert_eq!(page.events[0].process.as_ref().unwrap().container, told.container);
    let rows: i64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM container", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1);
}

#[test]
fn every_word_has_the_number_that_the_table_of_words_says() {
    let (_directory, path) = place();
    let reader = recorded(&path, []);
    let mut words = Vec::new();
    words.extend(EventKind::ALL.map(|k| ("type", code::kind(k), k.as_str())));
    words.extend(Evidence::ALL.map(|e| ("evidence", code::evidence(e), e.as_str())));
    words.extend([Phase::Bound, Phase::Listening].map(|p| ("state", code::phase(p), p.as_str())));
    words.extend(SignalOrigin::ALL.map(|o| ("sent_by", code::sent_by(o), o.as_str())));
    words.extend(GapReason::ALL.map(|g| ("gap", code::gap(g), g.as_str())));
    for (topic, code, word) in &words {
        let found: String = reader
            .connection
            .query_row("SELECT word FROM word WHERE topic = ?1 AND code = ?2", (topic, code), |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(found, *word);
    }
    let rows: u32 = reader.connection.query_row("SELECT count(*) FROM word", [], |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(rows).unwrap(), words.len());
}

#[test]
fn a_limit_keeps_the_newest_and_says_that_there_are_more() {
    let (_directory, path) = place();
    let reader = recorded(&path, (1..=5).map(|n| Entry::Event(event(n.into(), EventKind::Bind, n, 10))));
    let mut filter = EventFilter { limit: Some(2), ..EventFilter::default() };
    assert_eq!(ports(&reader, &filter), [4, 5]);
    assert!(reader.events(&filter).unwrap().truncated);
    filter.order = Order::NewestFirst;
    assert_eq!(ports(&reader, &filter), [5, 4]);
    filter.limit = Some(5);
    assert!(!reader.events(&filter).unwrap().truncated);
    assert_eq!(reader.count().unwrap(), 5);
}

#[test]
fn each_condition_narrows_and_all_must_hold() {
    let (_directory, path) = place();
    let mut refused = event(4, EventKind::Refused, 3100, 30);
    refused.other = Some(id(10));
    let reader = recorded(
        &path,
        [
            Entry::Process(process(10, "node")),
            Entry::Process(process(30, "100%_python")),
            Entry::Event(event(1, EventKind::Bind, 3100, 10)),
            Entry::Event(event(2, EventKind::Listen, 3100, 10)),
            Entry::Event(event(3, EventKind::Listen, 3200, 30)),
            Entry::Event(refused),
        ],
    );
    let ids = |filter: EventFilter| -> Vec<i64> {
        reader.events(&filter).unwrap().events.iter().map(|e| e.id).collect()
    };
    let any = EventFilter::default();
    assert_eq!(ids(EventFilter { since: Some(at(2)), until: Some(at(4)), ..any.clone() }), [2, 3]);
    assert_eq!(ids(EventFilter { kinds: vec![EventKind::Listen], ..any.clone() }), [2, 3]);
    assert_eq!(ids(EventFilter { kinds: vec![EventKind::Refused, EventKind::Gap], ..any.clone() }), [4]);
    assert_eq!(ids(EventFilter { ports: vec![Port::new(3100).unwrap()], ..any.clone() }), [1, 2, 4]);
    assert_eq!(ids(EventFilter { pids: vec![10], ..any.clone() }), [1, 2, 4], "the other party counts too");
    assert_eq!(ids(EventFilter { protocol: Some(Protocol::Udp), ..any.clone() }), [0_i64; 0]);
    assert_eq!(ids(EventFilter { after_id: Some(3), ..any.clone() }), [4]);
    let pattern = |text: &str| EventFilter { pattern: Some(text.to_owned()), ..any.clone() };
    assert_eq!(ids(pattern("node server*")), [1, 2, 4]);
    assert_eq!(ids(pattern("100%_p")), [3, 4], "only * is special");
    assert_eq!(ids(pattern("10%%")), [0_i64; 0]);
    assert_eq!(ids(EventFilter { ports: vec![Port::new(3100).unwrap()], ..pattern("*PYTHON*") }), [4]);
}

#[test]
fn a_pattern_finds_only_what_the_asker_is_shown() {
    let (_directory, path) = place();
    let mut refused = event(3, EventKind::Refused, 3100, 30);
    refused.other = Some(id(10));
    // Of a user nobody knows.
    let mut unknown = (*process(40, "ruby")).clone();
    unknown.uid = None;
    let reader = recorded(
        &path,
        [
            Entry::Process(process(10, "node")),
            Entry::Process(Arc::new(unknown)),
            Entry::Event(event(1, EventKind::Listen, 3100, 10)),
            Entry::Event(event(2, EventKind::Listen, 3200, 40)),
            Entry::Event(refused),
        ],
    );
    let user = |uid, hidepid| Viewer::User { uid, hidepid };
    for (viewer, project, command, comm) in [
        (Viewer::Unrestricted, &[1, 2, 3][..], &[1, 2, 3][..], &[1, 3][..]),
        (user(0, true), &[1, 2, 3], &[1, 2, 3], &[1, 3]),
        (user(1000, true), &[1, 3], &[1, 3], &[1, 3]),
        (user(1001, false), &[], &[1, 2, 3], &[1, 3]),
        (user(1001, true), &[], &[], &[1, 3]),
    ] {
        for (pattern, expected) in [("myapp", project), ("server.js", command), ("node", comm)] {
            let filter = EventFilter { pattern: Some(pattern.to_owned()), viewer, ..EventFilter::default() };
            let ids: Vec<i64> = reader.events(&filter).unwrap().events.iter().map(|e| e.id).collect();
            assert_eq!(ids, expected, "{viewer:?} {pattern}");
            let counted: u64 = reader.summary(&filter).unwrap().counts.iter().map(|(_, count)| count).sum();
            assert_eq!(counted, u64::try_from(expected.len()).unwrap(), "{viewer:?} {pattern}");
        }
        let all = reader.summary(&EventFilter { viewer, ..EventFilter::default() }).unwrap();
        let named: Vec<bool> = all.most_active.iter().map(|activity| activity.project.is_some()).collect();
        let seen = |pid| (project.contains(&1) && pid == 10) || (project.contains(&2) && pid == 40);
        assert_eq!(named, [seen(10), seen(40)], "{viewer:?} {:?}", all.most_active);
    }
}

#[test]
fn a_free_port_tells_its_last_of_each_kind() {
    let (_directory, path) = place();
    let reader = recorded(
        &path,
        [
            Entry::Event(event(1, EventKind::Listen, 3100, 10)),
            Entry::Event(event(2, EventKind::Close, 3100, 10)),
            Entry::Event(event(3, EventKind::Listen, 3100, 20)),
            Entry::Event(event(4, EventKind::Close, 3100, 20)),
            Entry::Event(event(5, EventKind::Close, 3200, 30)),
        ],
    );
    let last = reader.last_of_port(Port::new(3100).unwrap(), Some(Protocol::Tcp), None).unwrap();
    assert_eq!(last.iter().map(|e| e.id).collect::<Vec<_>>(), [4, 3]);
    assert_eq!(last[0].event.process, Some(id(20)));
    assert!(reader.last_of_port(Port::new(3100).unwrap(), Some(Protocol::Udp), None).unwrap().is_empty());
}

#[test]
fn the_last_of_a_port_is_that_of_the_namespace_that_is_meant() {
    let (_directory, path) = place();
    let inside = |second, netns| {
        let mut event = event(second, EventKind::Close, 3100, 10);
        event.netns = netns;
        Entry::Event(event)
    };
    let others = (10..40).map(|second| inside(second, Some(Netns(8))));
    let reader = recorded(&path, [inside(1, None), inside(2, Some(Netns(7)))].into_iter().chain(others));
    let last = |netns| reader.last_of_port(Port::new(3100).unwrap(), None, netns).unwrap()[0].id;
    assert_eq!(
        [last(None), last(Some(Netns(8))), last(Some(Netns(7))), last(Some(Netns(9)))],
        [32, 32, 2, 1]
    );
}

#[test]
fn the_last_of_a_port_has_the_exits_of_those_who_bound_and_closed_it() {
    let (_directory, path) = place();
    let exit = |second, pid, code| {
        let mut exit = Event::new(at(second), EventKind::Exit, Evidence::Kernel);
        exit.process = Some(id(pid));
        exit.exit = Some(ExitStatus { code: Some(code), signal: None, core_dumped: false, sent: None });
        Entry::Event(exit)
    };
    let mut close = event(4, EventKind::Close, 3100, 20);
    close.other = Some(id(10));
    let reader = recorded(
        &path,
        [
            Entry::Event(event(1, EventKind::Listen, 3100, 10)),
            Entry::Event(event(2, EventKind::Close, 3200, 30)),
            exit(3, 10, 0),
            Entry::Event(close),
            exit(5, 20, 3),
            exit(6, 30, 9),
        ],
    );
    let last = |port| {
        let last = reader.last_of_port(Port::new(port).unwrap(), None, None).unwrap();
        last.iter().map(|e| e.id).collect::<Vec<_>>()
    };
    assert_eq!(last(3100), [5, 4, 3, 1]);
    assert_eq!(last(3200), [6, 2]);
}

#[test]
fn the_last_of_a_port_has_the_exit_of_the_parent_of_who_closed_it() {
    let (_directory, path) = place();
    let exit = |second, process| {
        let mut exit = Event::new(at(second), EventKind::Exit, Evidence::Kernel);
        exit.process = Some(process);
        Entry::Event(exit)
    };
    let closer = process(20, "nginx");
    let parent = &closer.lineage[0];
    let start_ticks = parent.start_ticks.unwrap();
    let reader = recorded(
        &path,
        [
            // Another one that had the parent's pid.
            exit(1, ProcessId { pid: parent.pid, start_ticks: start_ticks - 1 }),
            exit(2, ProcessId { pid: parent.pid, start_ticks }),
            Entry::Process(closer),
            Entry::Event(event(3, EventKind::Close, 3100, 20)),
        ],
    );
    let last = reader.last_of_port(Port::new(3100).unwrap(), None, None).unwrap();
    assert_eq!(last.iter().map(|e| e.id).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn a_summary_counts_pairs_and_ranks() {
    let (_directory, path) = place();
    let mut random = event(30, EventKind::Listen, 40000, 20);
    random.asked = AskedPort::KernelChosen;
    let mut gap = Event::new(at(31), EventKind::Gap, Evidence::Kernel);
    gap.lost = Some(LossCounts { bind: 5, exit: 1, ..LossCounts::default() });
    let reader = recorded(
        &path,
        [
            Entry::Process(process(10, "node")),
            Entry::Event(event(0, EventKind::Listen, 3100, 10)),
            Entry::Event(event(1, EventKind::Listen, 3200, 10)),
            Entry::Event(event(5, EventKind::Refused, 3100, 20)),
            Entry::Event(event(6, EventKind::Refused, 3100, 20)),
            Entry::Event(event(20, EventKind::Close, 3100, 10)),
            Entry::Event(random),
            Entry::Event(gap),
        ],
    );
    let summary = reader.summary(&EventFilter { until: Some(at(100)), ..EventFilter::default() }).unwrap();
    assert_eq!(summary.since, Some(at(0)));
    assert_eq!(
        summary.counts,
        [(EventKind::Listen, 3), (EventKind::Refused, 2), (EventKind::Close, 1), (EventKind::Gap, 1)]
    );
    assert_eq!(
        summary.most_active.iter().map(|a| (a.comm.as_str(), a.count)).collect::<Vec<_>>(),
        [("node", 3)]
    );
    let held: Vec<_> = summary.longest_held.iter().map(|h| (h.port.get(), h.seconds, h.open)).collect();
    assert_eq!(held, [(3200, 99, true), (40000, 70, true), (3100, 20, false)]);
    assert_eq!(summary.refused.iter().map(|r| (r.port.get(), r.count)).collect::<Vec<_>>(), [(3100, 2)]);
    assert_eq!((summary.random_listens, summary.lost), (1, 6));
}

#[test]
fn a_missing_journal_is_not_an_empty_one() {
    let (_directory, path) = place();
    assert!(matches!(Reader::open(&path), Err(JournalError::Missing { .. })));
}

#[test]
fn a_reader_sees_what_a_running_writer_has_flushed() {
    let (_directory, path) = place();
    let opened = super::open(&path);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.count().unwrap(), 0);
    opened.writer.write(Entry::Event(event(1, EventKind::Bind, 3100, 10)));
    let status = opened.writer.flush();
    assert_eq!((status.events, status.last_id, status.error), (1, 1, None));
    assert_eq!(reader.count().unwrap(), 1);
}

#[test]
fn every_query_of_the_guide_runs_and_finds_something() {
    const GUIDE: &str = include_str!("../../../../docs/sqlite.md");
    let (_directory, path) = place();
    let mut around = event(0, EventKind::Listen, 3100, 10);
    around.at = "2026-03-01T01:42:15.123456789Z".parse().unwrap();
    let mut refused = event(4, EventKind::Refused, 3100, 10);
    refused.other = Some(id(10));
    let gap = Event::new(at(5), EventKind::Gap, Evidence::Kernel);
    let reader = recorded(
        &path,
        [Entry::Process(process(10, "node")), Entry::Event(around), Entry::Event(refused), Entry::Event(gap)],
    );
    let worker = crate::journal::claims::worker(&path, "2026-03-01T01:30:00Z".parse().unwrap());
    assert_eq!(worker.to_string(), "myapp:worker");
    let queries: Vec<&str> =
        GUIDE.split("```sql").skip(1).map(|rest| rest.split("```").next().unwrap().trim()).collect();
    assert_eq!(queries.len(), 11);
    for query in queries {
        let mut statement = reader.connection.prepare(query).unwrap();
        assert!(statement.exists([]).unwrap(), "nothing found by {query}");
    }
    let time: String =
        reader.connection.query_row("SELECT time FROM events WHERE id = 1", [], |row| row.get(0)).unwrap();
    assert_eq!(time, "2026-03-01T01:42:15.123456Z");
}

#[test]
fn what_is_too_much_for_one_page_comes_page_by_page_and_each_event_once() {
    let (_directory, path) = place();
    let mut entries: Vec<Entry> = (10..13).map(|pid| Entry::Process(process(pid, "node"))).collect();
    // Many of one moment, as a look at everything gives them.
    entries.extend((0..100).map(|n| {
        let mut event = event(n / 60, EventKind::Listen, 3100 + u16::try_from(n % 3).unwrap(), 10);
        event.message = Some("\u{1}".repeat(200));
        Entry::Event(event)
    }));
    let reader = recorded(&path, entries);
    let port = |port| vec![Port::new(port).unwrap()];
    for (asked, after_id, expected) in
        [(vec![], None, 100), (vec![], Some(10), 90), (port(3100), None, 34), (port(3101), Some(10), 30)]
    {
        let mut filter = EventFilter {
            ports: asked,
            after_id,
            bytes: Some(40_000),
            order: Order::NewestFirst,
            ..EventFilter::default()
        };
        let (mut ids, mut pages) = (Vec::new(), 0);
        loop {
            let page = reader.events(&filter).unwrap();
            let size: usize = page.events.iter().map(LoggedEvent::json_bytes).sum();
            assert!(size <= 40_000 && !page.events.is_empty());
            pages += 1;
            ids.extend(page.events.iter().map(|event| event.id));
            let Some(last) = page.events.last().filter(|_| page.truncated) else { break };
            filter.until = Some(last.event.at + Duration::from_nanos(1));
            filter.before_id = Some(last.id);
        }
        assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
        assert_eq!(ids.len(), expected);
        assert!(pages > expected / 20, "{pages}");
    }
    let filter = EventFilter { bytes: Some(1), ..EventFilter::default() };
    let page = reader.events(&filter).unwrap();
    assert_eq!((page.events.len(), page.truncated), (1, true), "a page is never empty");
    let all = reader.events(&EventFilter { bytes: Some(1 << 20), ..EventFilter::default() }).unwrap();
    assert_eq!((all.events.len(), all.truncated), (100, false));
}
