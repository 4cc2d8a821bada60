//! What happens when the database cannot be written.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{event, open, place, process};
use crate::{
    journal::{Entry, Reader},
    model::{EventFilter, EventKind, GapReason},
};

#[test]
fn what_could_not_be_written_is_counted_exactly_once_writing_works_again() {
    let (_directory, path) = place();
    let opened = open(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    opened.writer.write(Entry::Process(process(10, "node")));
    for _ in 0..3 {
        opened.writer.write(Entry::Event(event(1, EventKind::Bind, 3100, 10)));
        opened.writer.write(Entry::Event(event(2, EventKind::Close, 3100, 10)));
    }
    let status = opened.writer.flush();
    assert_eq!(status.unwritten, 6);
    let sentence = status.error.unwrap();
    assert!(sentence.contains("locked by another process"), "{sentence}");
    opened.writer.write(Entry::Event(event(3, EventKind::Note, 3100, 10)));
    assert_eq!(opened.writer.flush().unwritten, 7);

    other.execute_batch("COMMIT").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while opened.writer.status().error.is_some() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    opened.writer.write(Entry::Event(event(4, EventKind::Listen, 3100, 10)));
    opened.writer.flush();
    let page = Reader::open(&path).unwrap().events(&EventFilter::default()).unwrap();
    let gap = page.events.iter().find(|e| e.event.kind == EventKind::Gap).unwrap();
    assert_eq!(gap.event.gap, Some(GapReason::NotWritten));
    let lost = gap.event.lost.unwrap();
    assert_eq!((lost.bind, lost.close, lost.total()), (3, 3, 6));
    assert!(gap.event.message.as_ref().unwrap().starts_with("7 events could not be written"));
    let listen = page.events.iter().find(|e| e.event.kind == EventKind::Listen).unwrap();
    assert_eq!(listen.process.as_ref().unwrap().comm, "node", "facts of processes wait for better times");
}
