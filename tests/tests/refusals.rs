//! Every command of coordination, asked wrongly or by the wrong user: one clear sentence, the documented exit code, nothing changed.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{collections::BTreeSet, fs};

use portwatch_tests::{DEADLINE, Portwatch, Ran, require_root, wait_until};
use rusqlite::{Connection, types::Value};

/// Everything that is kept of coordination, row by row, and how much the log has of it.
fn kept(portwatch: &Portwatch) -> Vec<String> {
    let database = Connection::open(portwatch.database()).unwrap();
    database.busy_timeout(DEADLINE).unwrap();
    let mut kept = Vec::new();
    for sql in [
        "SELECT * FROM lock",
        "SELECT * FROM lock_waiter",
        "SELECT * FROM agent ORDER BY uid, name",
        "SELECT * FROM session",
        "SELECT * FROM note",
        "SELECT * FROM file_claim",
        "SELECT * FROM channel",
        "SELECT * FROM message",
        "SELECT * FROM publisher",
        "SELECT * FROM webhooks",
        "SELECT * FROM webhook_delivery",
        "SELECT type, subject, message FROM events
             WHERE type IN ('lock', 'unlock', 'extend', 'session', 'note', 'heartbeat', 'message')",
    ] {
        let mut statement = database.prepare(sql).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Value>>>()
        };
        let rows: Vec<Vec<Value>> = statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap();
        kept.extend(rows.iter().map(|row| format!("{sql}: {row:?}")));
    }
    kept
}

/// A command, the code that it ends with, and a part of what it says.
type Row<'a> = (&'a [&'a str], i32, &'a str);

/// The commands of coordination.
const COMMANDS: [&str; 16] = [
    "lock",
    "unlock",
    "locks",
    "with-lock",
    "agent",
    "agents",
    "session",
    "sessions",
    "note",
    "notes",
    "salvage",
    "pub",
    "sub",
    "channels",
    "webhook",
    "log",
];

fn check(portwatch: &Portwatch, rows: &[Row<'_>], run: impl Fn(&[&str]) -> Ran) {
    let before = kept(portwatch);
    assert!(before.len() >= 10, "there is something that could change: {before:#?}");
    for (words, code, sentence) in rows {
        let ran = run(words);
        assert_eq!(ran.code, Some(*code), "{words:?} {ran:?}");
        assert!(ran.stderr.contains(sentence), "{words:?} does not say '{sentence}': {ran:?}");
        // The argument parser says in two more lines how it is used.
        let sentences = ran.stderr.lines().filter(|line| !line.trim().is_empty()).count();
        let parser = ran.stderr.starts_with("error: ");
        assert!(sentences == 1 || parser, "{words:?} one sentence: {ran:?}");
        assert!(ran.stdout.is_empty() && !ran.stderr.contains("panicked"), "{words:?} {ran:?}");
        assert!(ran.stderr.len() < 600 && !ran.stderr.contains('\u{1b}'), "{words:?} {ran:?}");
        let after = kept(portwatch);
        let changed: Vec<&String> = after.iter().filter(|row| !before.contains(row)).collect();
        assert!(after == before, "{words:?} changed {changed:#?}");
    }
    let seen: BTreeSet<&str> = rows.iter().filter_map(|(words, ..)| words.first().copied()).collect();
    let missing: Vec<&&str> = COMMANDS.iter().filter(|command| !seen.contains(**command)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

/// One of each kind, of the user who runs `run`; gives the id of the session.
fn furnish(portwatch: &Portwatch, run: impl Fn(&[&str]) -> Ran) -> String {
    let done = |words: &[&str]| {
        let ran = run(words);
        assert_eq!(ran.code, Some(0), "{words:?} {ran:?}");
        ran.stdout.trim().to_owned()
    };
    done(&["agent", "register", "a", "--purpose", "to be left alone"]);
    let session = done(&["session", "start", "work", "-q", "--agent", "a", "--files", "/srv/app"]);
    done(&["note", "as it was", "--agent", "a"]);
    done(&["lock", "db", "--agent", "a", "--ttl", "1h"]);
    done(&["pub", "plans", "secret words", "--agent", "a"]);
    done(&["webhook", "add", "http://127.0.0.1:9/", "--on", "refused", "--port", "1"]);
    done(&["agent", "register", "sole", "--purpose", "left something"]);
    let database = Connection::open(portwatch.database()).unwrap();
    database.busy_timeout(DEADLINE).unwrap();
    let silent =
        "UPDATE agent SET seen = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-21 minutes') WHERE name = 'sole'";
    assert_eq!(database.execute(silent, []).unwrap(), 1);
    // That it is dead is told once.
    wait_until("it to be told", DEADLINE, || {
        let told = "SELECT count(*) FROM agent WHERE name = 'sole' AND told = 'dead'";
        run(&["agents"]);
        (database.query_row(told, [], |row| row.get::<_, i64>(0)).unwrap() == 1).then_some(())
    })
    .unwrap();
    session
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_cannot_be_meant_is_said_in_a_sentence_and_changes_nothing() {
    let portwatch = |daemon: bool| {
        let mut portwatch = Portwatch::new().unwrap();
        fs::write(portwatch.folder().join("config.toml"), "[webhooks]\nallow = ['loopback']\n").unwrap();
        if daemon {
            portwatch.start(&["--source", "scan"]).unwrap();
        }
        portwatch
    };
    for portwatch in [portwatch(false), portwatch(true)] {
        let run = |words: &[&str]| portwatch.run(words).unwrap();
        let session = furnish(&portwatch, run);
        let (note, message, purpose) = ("x".repeat(4097), "x".repeat(16_385), "x".repeat(501));
        let name = "x".repeat(129);
        let url = "http://127.0.0.1:9/";
        let rows: &[Row<'_>] = &[
            (&["lock", "a b"], 2, "'a b' is not the name of a lock"),
            (&["lock", &name], 2, "is not the name of a lock"),
            (&["lock", "../x"], 2, "is not the name of a lock"),
            (&["lock", "x", "--ttl", "soon"], 2, "'soon' is not a span of time"),
            (&["lock", "x", "--ttl", "0s"], 2, "'0s' is not a span of time"),
            (&["lock", "x", "--ttl", "400d"], 2, "a year at most"),
            (&["lock", "x", "--wait", "soon"], 2, "'soon' is not a span of time"),
            (&["lock", "x", "--owner", "\u{1b}[2J"], 2, "is not the name of an agent"),
            (&["lock", "x", "--session", "session-none"], 1, "there is no session session-none"),
            (&["lock", "x", "--pid", "4294967295"], 1, "pid 4294967295 is gone"),
            (&["lock", "x", "--pid", "0"], 2, "0 is not in 1.."),
            (&["lock", "x", "--extend"], 1, "there is no lock x"),
            (&["lock", "db", "--extend", "--owner", "b"], 1, "db is held by a, not by b"),
            (&["lock", "db", "--owner", "b"], 1, "db is held by a"),
            (&["lock", "db", "--wait", "50ms"], 1, "was not to be had within 50ms"),
            (&["unlock", "x"], 1, "there is no lock x"),
            (&["unlock", "x", "--force"], 1, "there is no lock x"),
            (&["unlock", "a b"], 2, "is not the name of a lock"),
            (&["unlock", "db", "--owner", "b"], 1, "db is held by a, not by b"),
            (&["with-lock", "a b", "--", "true"], 2, "is not the name of a lock"),
            (&["with-lock", "x", "--ttl", "never", "--", "true"], 2, "'never' is not a span of time"),
            (&["with-lock", "x"], 2, "required"),
            (&["with-lock", "db", "--wait", "0s", "--", "true"], 1, "db"),
            (&["locks", "--limit", "many"], 2, "invalid value 'many'"),
            (&["agent", "register", "a b"], 2, "is not the name of an agent"),
            (&["agent", "register", "b", "--purpose", &purpose], 2, "a purpose has at most 500 bytes"),
            (&["agent", "register", "b", "--purpose", "\u{1b}[2J"], 2, "a purpose has a control character"),
            (&["agent", "register", "b", "--pid", "4294967295"], 1, "pid 4294967295 is gone"),
            (&["agent", "register"], 2, "required"),
            (&["agent", "heartbeat", "nobody"], 1, "there is no agent nobody"),
            (&["agent", "unregister", "nobody"], 1, "there is no agent nobody"),
            (&["agents", "--limit", "-1"], 2, "-1"),
            (&["session", "start", "  "], 2, "a purpose needs words"),
            (&["session", "start", &purpose], 2, "a purpose has at most 500 bytes"),
            (&["session", "start", "again", "--agent", "a"], 1, "of agent a is active"),
            (&["session", "start", "b", "--agent", "b", "--files", "/srv/app/x"], 1, "is claimed by"),
            (&["session", "end", "--session", "session-none"], 1, "there is no session session-none"),
            (&["session", "end", "--agent", "b"], 1, "agent b has no active session"),
            (&["session", "abandon", "--session", "a b"], 2, "is not the name of a session"),
            (&["session", "claim", "a\nb", "--session", &session], 2, "a path has a control character"),
            (&["session", "claim", "--session", &session], 2, "required"),
            (
                &["session", "release", "x", "--session", "session-none"],
                1,
                "there is no session session-none",
            ),
            (&["sessions", "--limit", "x"], 2, "invalid value 'x'"),
            (&["note", "", "--session", &session], 2, "a note needs words"),
            (&["note", "\u{1b}[2Jgone", "--session", &session], 2, "a note has a control character"),
            (&["note", &note, "--session", &session], 2, "a note has at most 4096 bytes"),
            (&["note", "x", "--session", &session, "--type", "gossip"], 2, "'gossip' is no type of note"),
            (&["note", "x", "--session", "session-none"], 1, "there is no session session-none"),
            (&["notes", "--session", "../etc"], 2, "is not the name of a session"),
            (&["notes", "--session", "session-none"], 1, "there is no session session-none"),
            (&["salvage", "claim", "nobody", "--as", "b"], 1, "there is no agent nobody"),
            (&["salvage", "claim", "sole"], 1, "nobody was named who takes it over"),
            (&["salvage", "claim", "a b", "--as", "b"], 2, "is not the name of an agent"),
            (&["salvage", "claim", "a", "--as", "b"], 1, "agent a is active"),
            (&["salvage", "claim", "sole", "--as", "sole"], 1, "cannot take over its own work"),
            (&["salvage", "--limit", "x"], 2, "invalid value 'x'"),
            (&["pub", "a b", "x"], 2, "is not the name of a channel"),
            (&["pub", "x", ""], 2, "a message needs words"),
            (&["pub", "x", &message], 2, "a message has at most 16384 bytes"),
            (&["pub", "x", "y", "--agent", "a b"], 2, "is not the name of an agent"),
            (&["pub", "x", "y", "--session", "session-none"], 1, "there is no session session-none"),
            (&["sub", "a?"], 2, "is not the name of a channel"),
            (&["sub", "plans", "--since", "soon"], 2, "'soon' is not a time"),
            (&["sub", "plans", "--after", "99"], 1, "there is no message 99 yet"),
            (&["sub", "plans", "--after", "99", "--follow"], 1, "there is no message 99 yet"),
            (&["sub", "plans", "--limit", "0"], 2, "--limit"),
            (&["channels", "--remove", "none"], 1, "there is no channel none"),
            (&["channels", "--share", "none"], 1, "there is no channel none"),
            (&["channels", "--unshare", "a b"], 2, "is not the name of a channel"),
            (&["channels", "--share", "plans", "--remove", "plans"], 2, "cannot be used with"),
            (&["webhook", "add", "https://127.0.0.1/", "--on", "all"], 2, "https is not supported"),
            (
                &["webhook", "add", "http://127.0.0.1:+25104/", "--on", "all"],
                2,
                "a port is a number from 1 to 65535",
            ),
            (&["webhook", "add", "http://10.0.0.5/", "--on", "all"], 3, "not among the places"),
            (&["webhook", "add", "http://[64:ff9b::a9fe:a9fe]/", "--on", "all"], 3, "never led to"),
            (&["webhook", "add", "http://[64:ff9b:1::127.0.0.1]/", "--on", "all"], 3, "never led to"),
            (&["webhook", "add", url, "--on", "gossip"], 2, "invalid value 'gossip'"),
            (&["webhook", "add", url, "--on", "all", "--tries", "21"], 2, "21 is not in 1..=20"),
            (&["webhook", "add", url, "--on", "all", "--filter", ""], 2, "a pattern has 1 to 256 bytes"),
            (&["webhook", "add", url, "--on", "all", "--secret-file", "/nonexistent"], 2, "cannot be read"),
            (&["webhook", "remove", "99"], 1, "you have no webhook 99"),
            (&["webhook", "log", "99"], 1, "you have no webhook 99"),
            (&["log", "--type", "gossip"], 2, "invalid value 'gossip'"),
        ];
        check(&portwatch, rows, run);
        let code = if portwatch.pid().is_some() { 1 } else { 5 };
        assert_eq!(run(&["webhook", "test", "99"]).code, Some(code));
    }
}

#[test]
fn what_is_another_users_stays_as_it_is_whoever_asks() {
    if !require_root() {
        return;
    }
    let mut portwatch = Portwatch::new().unwrap();
    fs::write(portwatch.folder().join("config.toml"), "[webhooks]\nallow = ['loopback']\n").unwrap();
    portwatch.start(&["--source", "scan"]).unwrap();
    let others = portwatch.for_others().unwrap();
    let (owner, stranger) = (65_534, 65_533);
    let session = furnish(&portwatch, |words| others.run(owner, words).unwrap());
    let own = std::process::id().to_string();
    let rows: &[Row<'_>] = &[
        (&["lock", "db", "--owner", "a"], 1, "db is held by a (nobody)"),
        (&["lock", "db", "--owner", "a", "--extend"], 3, "belongs to nobody"),
        (&["lock", "db", "--wait", "50ms"], 1, "was not to be had within 50ms"),
        (&["lock", "x", "--session", &session], 3, &format!("{session} belongs to nobody")),
        (&["lock", "x", "--session", "session-0000"], 1, "there is no session session-0000"),
        (&["lock", "x", "--pid", &own], 3, "is another user's"),
        (&["unlock", "db", "--owner", "a"], 3, "belongs to nobody"),
        (&["unlock", "db", "--force"], 3, "belongs to nobody"),
        (&["unlock", "db", "--pid", &own], 3, "is another user's"),
        (&["with-lock", "db", "--wait", "0s", "--", "true"], 1, "db"),
        (&["locks", "--limit", "none"], 2, "invalid value"),
        (&["agent", "heartbeat", "a"], 3, "agent a belongs to nobody"),
        (&["agent", "unregister", "a"], 3, "agent a belongs to nobody"),
        (&["agent", "register", "mine", "--pid", &own], 3, "is another user's"),
        (&["agents", "--limit", "none"], 2, "invalid value"),
        (&["session", "end", "--session", &session], 3, "belongs to nobody"),
        (&["session", "abandon", "--session", &session], 3, "belongs to nobody"),
        (&["session", "claim", "/srv/other", "--session", &session], 3, "belongs to nobody"),
        (&["session", "release", "/srv/app", "--session", &session], 3, "belongs to nobody"),
        (&["sessions", "--limit", "none"], 2, "invalid value"),
        (&["note", "graffiti", "--session", &session], 3, "belongs to nobody"),
        (&["note", "graffiti", "--agent", "a"], 1, "agent a has no active session"),
        (&["notes", "--session", &session], 3, "belong to nobody; only that user and root may read them"),
        (&["salvage", "claim", "sole", "--as", "thief"], 3, "agent sole belongs to nobody"),
        (&["pub", "plans", "graffiti"], 3, "channel plans is private to nobody"),
        (&["pub", "plans", "graffiti", "--shared"], 3, "channel plans is private to nobody"),
        (&["pub", "own", "x", "--session", &session], 3, "belongs to nobody"),
        (&["sub", "plans"], 3, "channel plans is private to nobody"),
        (&["sub", "plans", "--follow"], 3, "channel plans is private to nobody"),
        (&["channels", "--share", "plans"], 3, "channel plans belongs to nobody"),
        (&["channels", "--unshare", "plans"], 3, "channel plans belongs to nobody"),
        (&["channels", "--remove", "plans"], 3, "channel plans belongs to nobody"),
        (&["webhook", "remove", "1"], 1, "you have no webhook 1"),
        (&["webhook", "test", "1"], 1, "you have no webhook 1"),
        (&["webhook", "log", "1"], 1, "you have no webhook 1"),
        (&["log", "--type", "gossip"], 2, "invalid value"),
    ];
    check(&portwatch, rows, |words| others.run(stranger, words).unwrap());
    // The same that was refused to the stranger is done for the owner.
    for words in [
        &["unlock", "db", "--owner", "a"][..],
        &["session", "end", "--session", &session],
        &["channels", "--remove", "plans"],
        &["webhook", "remove", "1"],
        &["agent", "unregister", "a"],
    ] {
        let ran = others.run(owner, words).unwrap();
        assert_eq!(ran.code, Some(0), "{words:?} {ran:?}");
    }
}
