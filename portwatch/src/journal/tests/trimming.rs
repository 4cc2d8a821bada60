use std::time::{Duration, Instant};

use super::{BOOT, event, id, open, place, process};
use crate::{
    journal::{Entry, Journal, Options, Reader},
    model::{Event, EventFilter, EventKind, Evidence, Timestamp},
};

/// Writes lines of now until `done`, or fails after a while.
fn until(writer: &crate::journal::Writer, reader: &Reader, done: impl Fn(&Reader) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done(reader) {
        assert!(Instant::now() < deadline, "{:?}", writer.status());
        writer.write(Entry::Event(Event::new(Timestamp::now(), EventKind::Note, Evidence::Kernel)));
        writer.flush();
    }
}

#[test]
fn old_events_go_and_their_ended_processes_with_them() {
    let (_directory, path) = place();
    // Written by one who keeps everything, and with a row of now behind them: whoever opens it next finds them old. Were
    // they written to a journal that trims, its look at the age of rows might come before them, and the next in a minute.
    let keeper = open(&path);
    let old = [
        Entry::Process(process(10, "gone")),
        Entry::Event(event(1, EventKind::Listen, 3100, 10)),
        Entry::Event(event(2, EventKind::Exit, 3100, 10)),
        Entry::Process(process(20, "running")),
        Entry::Event(event(3, EventKind::Listen, 3200, 20)),
        Entry::Event(Event::new(Timestamp::now(), EventKind::Note, Evidence::Kernel)),
    ];
    for entry in old {
        keeper.writer.write(entry);
    }
    keeper.writer.close();
    let boot_id = BOOT.to_owned();
    let opened = Journal::open(&path, Options { boot_id, ..Options::default() }).unwrap();
    let reader = Reader::open(&path).unwrap();
    until(&opened.writer, &reader, |r| {
        let filter = EventFilter { until: Some(super::at(100)), ..EventFilter::default() };
        r.events(&filter).unwrap().events.is_empty()
    });
    let processes = |r: &Reader| -> Vec<String> {
        let mut statement = r.connection.prepare("SELECT comm FROM process ORDER BY comm").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    until(&opened.writer, &reader, |r| processes(r) == ["running"]);
    opened.writer.write(Entry::Event(event(4, EventKind::Close, 3200, 20)));
    let mut close = event(4, EventKind::Close, 3200, 20);
    close.at = Timestamp::now();
    opened.writer.write(Entry::Event(close));
    opened.writer.flush();
    let page = reader.events(&EventFilter { pids: vec![20], ..EventFilter::default() }).unwrap();
    let last = page.events.last().unwrap();
    assert_eq!(last.event.process, Some(id(20)));
    assert_eq!(last.process.as_ref().unwrap().comm, "running", "a long-lived listener keeps its facts");
}

#[test]
fn a_journal_over_its_size_loses_its_oldest_rows_and_keeps_its_newest() {
    let (_directory, path) = place();
    let limit = 1 << 20;
    let options = Options { retention_bytes: limit, ..Options::default() };
    let opened = Journal::open(&path, options).unwrap();
    let total = 60_000;
    for n in 0..total {
        let mut event = event(0, EventKind::Bind, 3100, 10);
        event.at = Timestamp::now();
        event.message = Some(n.to_string());
        opened.writer.write(Entry::Event(event));
    }
    let status = opened.writer.flush();
    assert_eq!(status.last_id, total);
    let reader = Reader::open(&path).unwrap();
    until(&opened.writer, &reader, |r| {
        let page = |name| r.connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).unwrap();
        u64::from(page("page_count") - page("freelist_count")) * u64::from(page("page_size")) <= limit
    });
    let page =
        reader.events(&EventFilter { kinds: vec![EventKind::Bind], ..EventFilter::default() }).unwrap();
    assert_eq!(page.events.last().unwrap().event.message, Some((total - 1).to_string()));
    assert!(page.events.len() > 1000, "{} are left", page.events.len());
    assert!(page.events.first().unwrap().id > 1);
}
