//! A real child is killed while it writes.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{event, open, place};
use crate::{
    journal::{Entry, Reader},
    model::EventKind,
};

const PATH: &str = "PORTWATCH_TEST_CRASH_DATABASE";

/// Not a test of its own: what the child of the test below does until it is killed.
#[test]
fn child_that_writes_until_killed() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let opened = open(Path::new(&path));
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut n = 0_u16;
    while Instant::now() < deadline {
        n = n.wrapping_add(1);
        opened.writer.write(Entry::Event(event(n.into(), EventKind::Bind, n.max(1), 1)));
    }
}

#[test]
fn a_writer_killed_in_mid_burst_leaves_a_sound_database_and_says_so() {
    let (_directory, path) = place();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["journal::tests::crash::child_that_writes_until_killed", "--exact"])
        .env(PATH, &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let written = || Reader::open(&path).and_then(|r| r.count()).unwrap_or(0);
    while written() < 10_000 {
        assert!(Instant::now() < deadline, "the child wrote {} events", written());
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = written();

    let opened = open(&path);
    assert_eq!(opened.report.set_aside, None);
    assert!(!opened.report.fresh);
    let previous = opened.report.previous.unwrap();
    assert!(!previous.clean);
    assert!(opened.writer.status().events >= before);
    assert_eq!(opened.writer.close().error, None);
    let reader = Reader::open(&path).unwrap();
    let check: String = reader.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let rows: i64 = reader.connection.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!(reader.count().unwrap(), u64::try_from(rows).unwrap());
}
