//! A daemon that is kept waiting: what it knows is the answer all the same.

use portwatch_tests::{Actor, Netns, Portwatch, require_bpf};

#[test]
fn a_disk_that_does_not_write_keeps_no_answer_back() {
    if !require_bpf() {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
    let listener = |port| netns.enter(|| Ok(Actor::listener("127.0.0.1", port)?.0)).unwrap();
    // Somebody has the database, as a backup or a shell of sqlite3 may, and the journal's thread waits for them.
    let database = rusqlite::Connection::open(portwatch.database()).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let servers = [3100, 3101, 3102].map(listener);
    let words = ["who", "3100", "3101", "3102", "3103", "--json"];
    let answer = netns.enter(|| portwatch.run(&words)).unwrap().json().unwrap();
    for (index, server) in servers.iter().enumerate() {
        let target = answer.pointer(&format!("/targets/{index}")).unwrap();
        assert_eq!(target.pointer("/state"), Some(&"held".into()), "{target:#}");
        let pid = target.pointer("/sockets/0/holders/0/process/pid");
        assert_eq!(pid, Some(&server.pid().into()), "{target:#}");
    }
    // The kernel was looked at: that nobody is there is known.
    assert_eq!(answer.pointer("/targets/3/state"), Some(&"free".into()), "{answer:#}");
    database.execute_batch("ROLLBACK").unwrap();
}
