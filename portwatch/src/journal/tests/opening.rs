#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;
use std::{fs, io::Write as _, path::Path};

use rusqlite::{Connection, StatementStatus};

#[cfg(unix)]
use super::at;
use super::{event, open, place, process, recorded};
use crate::{
    journal::{
        Entry, Journal, JournalError, OpenReport, Options, Reader,
        open::{Depth, prepare},
        read::of_process,
        schema,
    },
    model::{EventFilter, EventKind},
};

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    format!("{}{suffix}", path.display()).into()
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files() {
    let (directory, _) = place();
    let path = directory.path().join("state/deep/portwatch.db");
    let opened = open(&path);
    opened.writer.write(Entry::Event(event(1, EventKind::Bind, 1, 1)));
    opened.writer.flush();
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(mode(&beside(&path, suffix)), 0o600, "{suffix}");
    }
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    drop(opened);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    // The files beside it are made with its mode by whoever reads first.
    let reader = Connection::open(&path).unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!(mode(&beside(&path, "-shm")), 0o644);
    let opened = open(&path);
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(mode(&beside(&path, suffix)), 0o600, "what others could read is closed to them: {suffix}");
    }
    drop(opened);
}

#[cfg(unix)]
#[test]
fn what_is_no_database_of_portwatchs_keeps_its_mode_also_behind_a_link() {
    let (directory, path) = place();
    let list = directory.path().join("list");
    let theirs = directory.path().join("theirs.db");
    fs::write(&list, "this is a shopping list\n".repeat(1000)).unwrap();
    Connection::open(&theirs).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    for target in [&list, &theirs] {
        fs::set_permissions(target, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(target, &path).unwrap();
        let error = crate::journal::Claims::open(&path, "b").unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. } | JournalError::Foreign { .. }), "{error}");
        assert_eq!(mode(target), 0o644, "{error}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_second_run_learns_how_the_first_one_ended() {
    let (_directory, path) = place();
    let first = open(&path);
    assert!(first.report.fresh);
    assert_eq!(first.report.previous, None);
    assert_eq!(first.writer.close().error, None);
    assert!(!beside(&path, "-wal").exists(), "an orderly end leaves one file");
    let second = open(&path);
    assert!(!second.report.fresh);
    assert!(second.report.previous.unwrap().clean);
    drop(second.writer);
    assert!(!open(&path).report.previous.unwrap().clean);
}

#[test]
fn every_earlier_schema_is_brought_forward_with_its_rows() {
    let (_directory, wanted) = place();
    drop(open(&wanted).writer);
    let shape = |path: &Path| -> Vec<String> {
        let connection = Connection::open(path).unwrap();
        let mut statement = connection
            .prepare("SELECT type || ' ' || name || ' ' || ifnull(sql, '') FROM sqlite_master ORDER BY 1")
            .unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    for from in 1..=schema::latest() {
        let (_directory, path) = place();
        let connection = Connection::open(&path).unwrap();
        schema::migrate(&connection, 0, from).unwrap();
        connection
            .execute_batch(
                "INSERT INTO boot VALUES (1, 'b');
                 INSERT INTO process (id, boot, pid, start_ticks, comm) VALUES (1, 1, 7, 8, 'node');
                 INSERT INTO event (at, type, evidence, boot, port, process) VALUES (5000, 2, 1, 1, 3100, 1);",
            )
            .unwrap();
        drop(connection);
        let opened = open(&path);
        assert_eq!(opened.report.migrated_from, (from < schema::latest()).then_some(from));
        drop(opened.writer);
        assert_eq!(shape(&path), shape(&wanted), "from schema {from}");
        let page = Reader::open(&path).unwrap().events(&EventFilter::default()).unwrap();
        assert_eq!(page.events[0].process.as_ref().unwrap().comm, "node");
    }
}

#[test]
fn a_step_that_fails_leaves_the_old_schema() {
    let (_directory, path) = place();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE event (mine)").unwrap();
    assert!(schema::migrate(&connection, 0, 1).is_err());
    assert_eq!(schema::version(&connection).unwrap(), 0);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let (_directory, path) = place();
    drop(open(&path).writer);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let error = Journal::open(&path, Options::default()).unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("update portwatch"), "{error}");
    assert!(matches!(Reader::open(&path), Err(JournalError::Newer { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let (_directory, path) = place();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)")
        .unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(Journal::open(&path, Options::default()), Err(JournalError::Foreign { .. })));
    assert!(matches!(Reader::open(&path), Err(JournalError::Foreign { .. })), "no empty list");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn where_nothing_can_be_written_what_was_kept_is_read_unless_some_of_it_is_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    // A name that a URI must spell.
    let path = directory.path().join("a #1?%.db");
    let named = crate::journal::claims::worker(&path, at(1));
    // What a full disk does to SQLite: the file in which readers and writers meet cannot be made.
    std::os::unix::fs::symlink("/nowhere/at all", beside(&path, "-shm")).unwrap();
    let claims = Reader::open(&path).unwrap().claims().unwrap();
    assert_eq!(claims.iter().map(|claim| &claim.name).collect::<Vec<_>>(), [&named]);
    fs::write(beside(&path, "-wal"), [0; 32]).unwrap();
    assert!(matches!(Reader::open(&path), Err(JournalError::Sqlite { .. })), "an answer of before is none");
}

#[test]
fn a_directory_in_its_place_gets_a_sentence() {
    let (directory, path) = place();
    fs::create_dir(&path).unwrap();
    for error in [Journal::open(&path, Options::default()).unwrap_err(), Reader::open(&path).unwrap_err()] {
        let sentence = error.to_string();
        assert!(sentence.contains("portwatch.db is a directory, not a database; move it away"), "{sentence}");
    }
    let mut left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    // Nothing else than the file by which openers take turns.
    assert_eq!(left, ["portwatch.db", "portwatch.turn"]);
}

#[test]
#[cfg_attr(windows, ignore = "numbers of errors are of Unix here")]
fn a_file_where_a_directory_should_be_gets_a_sentence_with_errno() {
    let (directory, _) = place();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let sentence = Journal::open(&file.join("portwatch.db"), Options::default()).unwrap_err().to_string();
    assert!(sentence.contains("/file") && sentence.contains("os error"), "{sentence}");
    assert!(sentence.contains("PORTWATCH_STATE"), "{sentence}");
}

/// The one set-aside file and the report of the open that made it.
fn opened_after_damage(path: &Path) -> (std::path::PathBuf, String) {
    let opened = open(path);
    let aside = opened.report.set_aside.expect("set aside");
    assert!(opened.report.fresh);
    opened.writer.write(Entry::Event(event(1, EventKind::Bind, 1, 1)));
    assert_eq!(opened.writer.close().error, None);
    assert_eq!(Reader::open(path).unwrap().count().unwrap(), 1);
    let name = aside.path.file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("portwatch.db.damaged-2"), "{name}");
    (aside.path, aside.problem)
}

#[test]
fn a_database_with_overwritten_pages_is_set_aside_not_deleted() {
    let (_directory, path) = place();
    let entries = (0..5000_u16).map(|n| Entry::Event(event(n.into(), EventKind::Bind, n + 1, 1)));
    drop(recorded(&path, std::iter::once(Entry::Process(process(1, "node"))).chain(entries)));
    let mut bytes = fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    for page in (pages / 2)..(pages / 2 + 10) {
        bytes[page * 4096..(page + 1) * 4096].fill(0xA5);
    }
    fs::write(&path, &bytes).unwrap();
    let (aside, problem) = opened_after_damage(&path);
    assert!(!problem.is_empty());
    assert_eq!(fs::read(aside).unwrap(), bytes, "byte for byte what it was");
}

#[test]
fn a_file_that_is_no_database_is_set_aside_not_deleted() {
    let (_directory, path) = place();
    let mut file = fs::File::create(&path).unwrap();
    for _ in 0..1000 {
        file.write_all(b"this is a shopping list\n").unwrap();
    }
    let (aside, _) = opened_after_damage(&path);
    assert_eq!(fs::metadata(aside).unwrap().len(), 24_000);
}

#[test]
fn a_statement_is_planned_once_whatever_is_bound_to_it() {
    let (_directory, path) = place();
    let reader = recorded(&path, (1..4).map(|pid| Entry::Process(process(pid, "node"))));
    let writer = prepare(&path, Depth::Head, &mut OpenReport::default()).unwrap();
    for connection in [&reader.connection, &writer] {
        let mut statement = connection.prepare(&of_process()).unwrap();
        for id in 1..4 {
            let pid: u32 = statement.query_row([id], |row| row.get("pid")).unwrap();
            assert_eq!(pid, id);
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
