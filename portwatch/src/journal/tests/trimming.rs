use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{BOOT, event, id, open, place, process};
use crate::{
    journal::{Entry, Journal, Options, Reader},
    model::{CommandLine, Event, EventFilter, EventKind, Evidence, Timestamp},
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

/// Bytes of pages in use.
fn used(reader: &Reader) -> u64 {
    let page = |name| reader.connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).unwrap();
    u64::from(page("page_count") - page("freelist_count")) * u64::from(page("page_size"))
}

fn count(reader: &Reader, condition: &str) -> u32 {
    let sql = format!("SELECT count(*) FROM event WHERE {condition}");
    reader.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
}

/// A process of this user.
fn of_user(pid: u32, uid: u32, size: usize) -> Entry {
    let mut process = process(pid, "node");
    let inner = Arc::make_mut(&mut process);
    inner.uid = Some(uid);
    inner.command = Some(CommandLine { args: vec!["x".repeat(size)], truncated: false });
    Entry::Process(process)
}

fn now(kind: EventKind, pid: Option<u32>) -> Entry {
    let mut event = event(0, kind, 3100, pid.unwrap_or(1));
    event.process = pid.map(id);
    event.at = Timestamp::now();
    Entry::Event(event)
}

/// 500 rows of one user, and an order and a start, before everything else.
fn quiet() -> Vec<Entry> {
    let mut rows = vec![of_user(10, 1001, 10), now(EventKind::Start, None), now(EventKind::Claim, None)];
    rows.extend((0..500).map(|_| now(EventKind::Listen, Some(10))));
    rows
}

#[test]
fn who_fills_the_journal_loses_its_own_rows_and_no_orders_go_for_them() {
    let (_directory, path) = place();
    let limit = 2 << 20;
    let boot_id = BOOT.to_owned();
    let opened =
        Journal::open(&path, Options { retention_bytes: limit, boot_id, ..Options::default() }).unwrap();
    opened.writer.write_batch(quiet());
    opened.writer.write(of_user(20, 1000, 10));
    let kinds = [EventKind::Bind, EventKind::Listen, EventKind::Close];
    opened.writer.write_batch((0..60_000).map(|n| now(kinds[n % 3], Some(20))));
    let last = opened.writer.flush().last_id;
    let reader = Reader::open(&path).unwrap();
    until(&opened.writer, &reader, |r| used(r) <= limit);
    assert_eq!(count(&reader, "process IN (SELECT id FROM process WHERE uid = 1001)"), 500);
    assert_eq!(count(&reader, "type IN (13, 26)"), 2, "the claim and the start");
    let of_flood = "process IN (SELECT id FROM process WHERE uid = 1000)";
    let left = count(&reader, of_flood);
    assert!((1000..59_000).contains(&left), "{left}");
    assert_eq!(count(&reader, &format!("{of_flood} AND id = {last}")), 1, "its newest stay");
    assert_eq!(count(&reader, &format!("{of_flood} AND id < {}", last - 50_000)), 0, "its oldest went");
    let status = opened.writer.close();
    assert_eq!(status.events, u64::from(count(&reader, "1")), "events are counted, not their numbers");
}

#[test]
fn who_fills_the_journal_with_processes_loses_them_and_their_events() {
    let (_directory, path) = place();
    let limit = 4 << 20;
    let boot_id = BOOT.to_owned();
    let opened =
        Journal::open(&path, Options { retention_bytes: limit, boot_id, ..Options::default() }).unwrap();
    // More rows than the other's, which are larger.
    opened.writer.write_batch(quiet());
    opened.writer.write_batch((0..5000).map(|_| now(EventKind::Listen, Some(10))));
    for pid in 100..1300 {
        let short =
            [of_user(pid, 1000, 6000), now(EventKind::Listen, Some(pid)), now(EventKind::Exit, Some(pid))];
        opened.writer.write_batch(short);
    }
    opened.writer.flush();
    let reader = Reader::open(&path).unwrap();
    until(&opened.writer, &reader, |r| used(r) <= limit);
    assert_eq!(count(&reader, "process IN (SELECT id FROM process WHERE uid = 1001)"), 5500);
    assert_eq!(count(&reader, "type IN (13, 26)"), 2);
    let left = count(&reader, "process IN (SELECT id FROM process WHERE uid = 1000)");
    assert!(left < 2200, "{left}");
    assert!(used(&reader) > limit / 10 * 9, "no more go than must: {left}, {}", used(&reader));
}

#[test]
fn where_orders_fill_the_journal_the_oldest_go() {
    let (_directory, path) = place();
    let limit = 2 << 20;
    let opened = Journal::open(&path, Options { retention_bytes: limit, ..Options::default() }).unwrap();
    opened.writer.write_batch((0..12_000).map(|_| now(EventKind::Claim, None)));
    opened.writer.write_batch((0..1000).map(|_| now(EventKind::Listen, Some(10))));
    opened.writer.write_batch((0..8000).map(|_| now(EventKind::Claim, None)));
    opened.writer.flush();
    let reader = Reader::open(&path).unwrap();
    until(&opened.writer, &reader, |r| used(r) <= limit);
    assert_eq!(count(&reader, "type = 2"), 1000);
}

#[test]
fn a_file_that_was_large_is_given_back_at_once_and_rows_are_written_meanwhile() {
    let (_directory, path) = place();
    let keeper = open(&path);
    keeper.writer.write(of_user(20, 1000, 10));
    let mut long = event(0, EventKind::Listen, 3100, 20);
    long.message = Some("x".repeat(3000));
    long.at = Timestamp::now();
    keeper.writer.write_batch(std::iter::repeat_n(Entry::Event(long), 8000));
    keeper.writer.close();
    let size = || std::fs::metadata(&path).unwrap().len();
    assert!(size() > 24 << 20, "{}", size());
    let limit = 2 << 20;
    let boot_id = BOOT.to_owned();
    let opened =
        Journal::open(&path, Options { retention_bytes: limit, boot_id, ..Options::default() }).unwrap();
    let reader = Reader::open(&path).unwrap();
    // In less than a minute, after which it was looked at again before.
    until(&opened.writer, &reader, |r| used(r) <= limit && size() < 4 << 20);
}

/// As after hours in which most rows came and went: the next id is far from the last.
fn leave_a_hole(path: &std::path::Path, table: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let sql = format!("UPDATE {table} SET id = id + 500000000 WHERE id = (SELECT max(id) FROM {table})");
    assert_eq!(connection.execute(&sql, []).unwrap(), 1);
}

#[test]
fn who_fills_the_journal_for_hours_loses_its_own_rows() {
    let (_directory, path) = place();
    let limit = 2 << 20;
    let options = || Options { retention_bytes: limit, boot_id: BOOT.to_owned(), ..Options::default() };
    let before = Journal::open(&path, options()).unwrap();
    // Whose rows are in front has the first of any that are looked at.
    before.writer.write_batch([of_user(10, 1001, 10), now(EventKind::Listen, Some(10))]);
    before.writer.write_batch(quiet());
    before.writer.write(now(EventKind::Claim, None));
    before.writer.close();
    leave_a_hole(&path, "event");
    let opened = Journal::open(&path, options()).unwrap();
    opened.writer.write(of_user(20, 1000, 10));
    let kinds = [EventKind::Bind, EventKind::Listen, EventKind::Close];
    opened.writer.write_batch((0..60_000).map(|n| now(kinds[n % 3], Some(20))));
    opened.writer.flush();
    let reader = Reader::open(&path).unwrap();
    until(&opened.writer, &reader, |r| used(r) <= limit);
    assert_eq!(count(&reader, "process IN (SELECT id FROM process WHERE uid = 1001)"), 501);
    assert_eq!(count(&reader, "type IN (13, 26)"), 3, "the claims and the start");
    assert!(count(&reader, "1") > 5000, "no more go than must");
}

#[test]
fn where_orders_fill_the_journal_for_hours_no_more_go_than_must() {
    let (_directory, path) = place();
    let limit = 2 << 20;
    let before = open(&path);
    before.writer.write(now(EventKind::Claim, None));
    before.writer.write_batch((0..20_000).map(|_| now(EventKind::Claim, None)));
    before.writer.close();
    leave_a_hole(&path, "event");
    let opened = Journal::open(&path, Options { retention_bytes: limit, ..Options::default() }).unwrap();
    let reader = Reader::open(&path).unwrap();
    until(&opened.writer, &reader, |r| used(r) <= limit);
    assert!(used(&reader) > limit / 10 * 9, "{}", used(&reader));
}

#[test]
fn whose_texts_are_long_is_told_by_their_bytes() {
    let (_directory, path) = place();
    let limit = 3 << 20;
    let boot_id = BOOT.to_owned();
    let opened =
        Journal::open(&path, Options { retention_bytes: limit, boot_id, ..Options::default() }).unwrap();
    // As many characters as the other's have, each of four bytes.
    let wide = |pid| match of_user(pid, 1000, 0) {
        Entry::Process(mut process) => {
            let inner = Arc::make_mut(&mut process);
            inner.command = Some(CommandLine { args: vec!["🦀".repeat(1000)], truncated: false });
            inner.cwd = Some("🦀".repeat(1000).into());
            Entry::Process(process)
        }
        event @ Entry::Event(_) => event,
    };
    for pid in 100..500 {
        opened.writer.write_batch([of_user(pid, 1001, 2000), now(EventKind::Listen, Some(pid))]);
        opened.writer.write(now(EventKind::Exit, Some(pid)));
    }
    for pid in 1100..1400 {
        let short = [wide(pid), now(EventKind::Listen, Some(pid)), now(EventKind::Exit, Some(pid))];
        opened.writer.write_batch(short);
    }
    opened.writer.flush();
    let reader = Reader::open(&path).unwrap();
    until(&opened.writer, &reader, |r| used(r) <= limit);
    assert_eq!(count(&reader, "process IN (SELECT id FROM process WHERE uid = 1001)"), 800);
    let left = count(&reader, "process IN (SELECT id FROM process WHERE uid = 1000)");
    assert!((100..600).contains(&left), "{left}");
}

#[test]
fn a_process_goes_with_the_last_event_that_named_it_and_is_written_again_when_another_does() {
    let (_directory, path) = place();
    let limit = 2 << 20;
    let boot_id = BOOT.to_owned();
    let opened =
        Journal::open(&path, Options { retention_bytes: limit, boot_id, ..Options::default() }).unwrap();
    for pid in [30, 31] {
        opened.writer.write_batch([of_user(pid, 1000, 10), now(EventKind::Listen, Some(pid))]);
    }
    opened.writer.write(now(EventKind::Exit, Some(30)));
    opened.writer.write(of_user(20, 1000, 10));
    opened.writer.write_batch((0..60_000).map(|_| now(EventKind::Bind, Some(20))));
    opened.writer.flush();
    let reader = Reader::open(&path).unwrap();
    until(&opened.writer, &reader, |r| used(r) <= limit);
    let rows = |pid: u32| -> u32 {
        let sql = "SELECT count(*) FROM process WHERE pid = ?1";
        reader.connection.query_row(sql, [pid], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(&reader, "type IN (2, 5)"), 0, "their events went");
    assert_eq!((rows(30), rows(31)), (0, 1), "one that has not ended stays");
    opened.writer.write(now(EventKind::Close, Some(30)));
    let status = opened.writer.flush();
    assert_eq!((status.error, rows(30)), (None, 1));
    assert_eq!(count(&reader, "type = 3 AND process IN (SELECT id FROM process WHERE pid = 30)"), 1);
}
