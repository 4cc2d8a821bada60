use super::{BOOT, at, event, id, open, place};
use crate::{
    journal::{Entry, Journal, Options, Reader},
    model::{CLOCK_SET, Event, EventKind, Evidence, Phase, SocketKey},
};

fn start(second: i64, source: &str) -> Event {
    let mut start = Event::new(at(second), EventKind::Start, Evidence::Kernel);
    start.message = Some(format!("portwatch 0.1.0, source {source}"));
    start
}

fn with_key(mut event: Event, key: Option<SocketKey>, address: &str) -> Event {
    event.socket = key;
    event.address = Some(address.parse().unwrap());
    event
}

#[test]
fn what_began_and_did_not_end_is_left_open_with_who_made_it_and_what_saw_it() {
    let (_directory, path) = place();
    let inode = |inode| Some(SocketKey::Inode { netns: None, inode });
    let mut bound = event(2, EventKind::Bind, 3100, 7);
    bound.phase = Some(Phase::Bound);
    let mut deaf = event(4, EventKind::Unlisten, 3102, 7);
    (deaf.phase, deaf.process) = (Some(Phase::Bound), None);
    let rows = [
        start(1, "ebpf"),
        bound,
        event(3, EventKind::Listen, 3100, 8),
        // Came and went.
        event(3, EventKind::Listen, 3101, 9),
        event(5, EventKind::Close, 3101, 9),
        // Stopped listening, and is bound still.
        event(3, EventKind::Listen, 3102, 9),
        deaf,
        start(6, "lsof"),
        // Of two on one port one is left; so where there is no identity but the place.
        with_key(event(7, EventKind::Listen, 3103, 1), inode(70), "127.0.0.1"),
        with_key(event(7, EventKind::Listen, 3103, 2), inode(71), "127.0.0.1"),
        with_key(event(8, EventKind::Close, 3103, 1), inode(70), "127.0.0.1"),
        with_key(event(7, EventKind::Listen, 3104, 3), None, "127.0.0.1"),
        with_key(event(7, EventKind::Listen, 3104, 4), None, "::1"),
        with_key(event(8, EventKind::Close, 3104, 3), None, "127.0.0.1"),
        // Came again at the same place.
        with_key(event(9, EventKind::Listen, 3104, 5), None, "127.0.0.1"),
    ];
    let opened = open(&path);
    for row in rows {
        opened.writer.write(Entry::Event(row));
    }
    assert_eq!(opened.writer.close().error, None);
    let reader = Reader::open(&path).unwrap();
    let left = reader.left_open(BOOT).unwrap();
    let told: Vec<_> = left
        .iter()
        .map(|open| {
            let event = &open.event;
            (event.kind, event.port.unwrap().get(), open.by, open.source.as_deref().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            (EventKind::Listen, 3100, Some(id(8)), "ebpf"),
            (EventKind::Unlisten, 3102, Some(id(9)), "ebpf"),
            (EventKind::Listen, 3103, Some(id(2)), "lsof"),
            (EventKind::Listen, 3104, Some(id(4)), "lsof"),
            (EventKind::Listen, 3104, Some(id(5)), "lsof"),
        ]
    );
    let began: Vec<_> =
        left.iter().filter_map(|open| open.began).map(|began| (began.since, began.listening_since)).collect();
    assert_eq!(
        began,
        [
            (at(2), Some(at(3))),
            // Since it stopped listening it is bound as before.
            (at(3), None),
            (at(7), Some(at(7))),
            (at(7), Some(at(7))),
            // And not since another was there.
            (at(9), Some(at(9))),
        ]
    );
    assert!(left.iter().all(|open| open.began.is_some_and(|began| began.evidence == Evidence::Kernel)));
    assert_eq!(reader.last_source().unwrap().as_deref(), Some("lsof"));
    assert!(reader.left_open("another boot").unwrap().is_empty());
}

#[test]
fn a_port_that_was_taken_very_often_is_judged_by_its_latest_rows() {
    let (_directory, path) = place();
    let opened = open(&path);
    let socket = |second, kind, cookie| {
        with_key(event(second, kind, 3100, 1), Some(SocketKey::Cookie(cookie)), "127.0.0.1")
    };
    // Its beginning is older than the ends that are read.
    opened.writer.write(Entry::Event(socket(0, EventKind::Listen, 1)));
    for n in 2..1200 {
        let second = i64::try_from(n).unwrap();
        opened.writer.write(Entry::Event(socket(second, EventKind::Listen, n)));
        opened.writer.write(Entry::Event(socket(second, EventKind::Close, n)));
    }
    opened.writer.write(Entry::Event(socket(2000, EventKind::Listen, 2000)));
    assert_eq!(opened.writer.close().error, None);
    let left = Reader::open(&path).unwrap().left_open(BOOT).unwrap();
    let keys: Vec<_> = left.iter().map(|open| open.event.socket).collect();
    assert_eq!(keys, [Some(SocketKey::Cookie(2000))]);
}

#[test]
fn what_began_before_the_clock_was_set_has_no_time_and_what_began_after_has() {
    let (_directory, path) = place();
    let error = |second, message: String| {
        let mut error = Event::new(at(second), EventKind::Error, Evidence::Kernel);
        error.message = Some(message);
        Entry::Event(error)
    };
    let listen =
        |second, port, pid| Entry::Event(with_key(event(second, EventKind::Listen, port, pid), None, "::1"));
    let opened = open(&path);
    for entry in [
        listen(100, 3100, 1),
        // Back: by its time it is older than the row before.
        error(50, format!("{CLOCK_SET}back by 50s")),
        listen(60, 3101, 2),
        error(70, "the disk is full".to_owned()),
    ] {
        opened.writer.write(entry);
    }
    assert_eq!(opened.writer.close().error, None);
    let read = || Reader::open(&path).unwrap().left_open(BOOT).unwrap();
    let began = || -> Vec<_> { read().iter().map(|open| open.began.map(|began| began.since)).collect() };
    assert_eq!(began(), [None, Some(at(60))]);
    assert_eq!(read()[0].by, Some(id(1)), "who made it no clock decides");

    // What another boot tells of its clock says nothing of this one's.
    let options = Options {
        boot_id: "another boot".to_owned(),
        retention_age: std::time::Duration::MAX,
        ..Options::default()
    };
    let opened = Journal::open(&path, options).unwrap();
    opened.writer.write(error(80, format!("{CLOCK_SET}forward by 1h")));
    assert_eq!(opened.writer.close().error, None);
    assert_eq!(began(), [None, Some(at(60))]);
    // A bind before and a listen after: it is there since the bind.
    let opened = open(&path);
    opened.writer.write(error(90, format!("{CLOCK_SET}forward by 10s")));
    opened.writer.write(listen(95, 3101, 2));
    assert_eq!(opened.writer.close().error, None);
    assert_eq!(began(), [None, None]);
}
