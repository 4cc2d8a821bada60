//! The daemon is killed while much happens: the next one says what may be missing, and nothing is left behind.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::{collections::BTreeSet, fs, process::Command};

use nix::libc;
use portwatch_tests::{Actor, Burst, DEADLINE, Portwatch, require_bpf, wait_until};
use rusqlite::{Connection, OpenFlags};

const BURST: &str = env!("CARGO_BIN_EXE_burst");

/// Programs, maps and links in the kernel, by bpftool: kind and id.
fn in_the_kernel() -> BTreeSet<(&'static str, u64)> {
    let mut all = BTreeSet::new();
    for kind in ["prog", "map", "link"] {
        let mut command = Command::new("bpftool");
        let output = command.args(["-j", kind]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
        let output = output.expect("bpftool (package bpftool)");
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let list = list.as_array().unwrap_or_else(|| panic!("{list}"));
        all.extend(list.iter().map(|entry| (kind, entry["id"].as_u64().unwrap())));
    }
    all
}

/// Those that a process has descriptors of.
fn held_by(pid: u32) -> BTreeSet<(&'static str, u64)> {
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        for (kind, label) in [("prog", "prog_id:"), ("map", "map_id:"), ("link", "link_id:")] {
            let ids = text.lines().filter_map(|line| line.strip_prefix(label)?.trim().parse().ok());
            held.extend(ids.map(|id| (kind, id)));
        }
    }
    held
}

#[test]
fn a_daemon_that_is_killed_in_a_burst_leaves_a_whole_journal_that_says_what_may_be_missing() {
    if !require_bpf() {
        return;
    }
    let mut burst = Burst::prepare(BURST, 31, 2, 20_000).unwrap();
    let mut portwatch = Portwatch::started(&[]).unwrap();
    let held = held_by(portwatch.pid().unwrap());
    assert!(
        held.iter().any(|(kind, _)| *kind == "prog") && held.iter().any(|(kind, _)| *kind == "map"),
        "{held:?}"
    );
    assert!(held.is_subset(&in_the_kernel()), "bpftool does not see {held:?}");
    burst.go().unwrap();
    let written = wait_until("some of the burst in the journal", DEADLINE, || {
        (portwatch.status().ok()?["events"].as_i64()? > 1000).then_some(())
    });
    written.unwrap();
    let status = portwatch.crash().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));

    // The kernel frees them after a grace period of its own.
    let gone = wait_until("the kernel to let go of a dead daemon's programs", DEADLINE, || {
        in_the_kernel().is_disjoint(&held).then_some(())
    });
    gone.unwrap();
    let journal =
        Connection::open_with_flags(portwatch.database(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let check = |pragma: &str| -> String { journal.query_row(pragma, [], |row| row.get(0)).unwrap() };
    assert_eq!(check("PRAGMA integrity_check"), "ok");
    let before: i64 = journal.query_row("SELECT max(id) FROM events", [], |row| row.get(0)).unwrap();
    assert!(before > 0);
    drop(journal);

    // Taken while nobody looked.
    let (holder, port) = Actor::listener("127.31.1.1", 0).unwrap();
    portwatch.start(&[]).unwrap();
    let gap = &portwatch.events(&["--type", "gap"]).unwrap();
    let gap = gap.iter().find(|gap| gap["gap"]["reason"] == "not-running").unwrap();
    assert!(gap["id"].as_i64().unwrap() > before);
    assert_eq!(gap["gap"]["lost"], serde_json::Value::Null, "what nobody saw cannot be counted");
    let since: jiff::Timestamp = gap["gap"]["since"].as_str().unwrap().parse().unwrap();
    assert!(since < gap["time"].as_str().unwrap().parse().unwrap());
    assert!(gap["message"].as_str().unwrap().contains("did not end in order"), "{gap:#}");
    let target = portwatch.who(&port.to_string()).unwrap();
    assert_eq!(target["sockets"][0]["holders"][0]["process"]["pid"], holder.pid());
    burst.finish().unwrap();
}

#[test]
fn a_daemon_that_ended_in_order_says_only_that_none_ran() {
    if !require_bpf() {
        return;
    }
    let mut portwatch = Portwatch::started(&[]).unwrap();
    assert!(portwatch.stop().unwrap().success());
    portwatch.start(&[]).unwrap();
    let events = portwatch.events(&["--type", "start,stop,gap"]).unwrap();
    let kinds: Vec<_> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["start", "stop", "gap", "start"]);
    assert_eq!(events[2]["gap"]["reason"], "not-running");
    assert_eq!(events[2]["message"], serde_json::Value::Null);
}

#[test]
fn a_damaged_journal_is_set_aside_and_said() {
    let mut portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    assert!(portwatch.stop().unwrap().success());
    fs::write(portwatch.database(), "this is no database").unwrap();
    let ran = portwatch.run(&["log"]).unwrap();
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("is damaged"), "{ran:?}");
    portwatch.start(&["--source", "scan"]).unwrap();
    let error = portwatch.wait_for("error", &[]).unwrap();
    let message = error["message"].as_str().unwrap();
    let aside = message.split(" is kept as ").nth(1).unwrap();
    assert_eq!(fs::read_to_string(aside).unwrap(), "this is no database", "{message}");
}

#[test]
fn who_follows_events_follows_on_through_ends_of_the_daemon_and_hears_what_the_journal_has() {
    let mut portwatch = Portwatch::started(&[]).unwrap();
    let (first, port) = Actor::listener("127.43.0.9", 0).unwrap();
    let port = port.to_string();
    let mut follow = portwatch.command(&["log", "-f", "--json", "--since", "1h"]);
    let beside = portwatch.folder().join("beside");
    let mut follow = Actor::start(follow.stderr(fs::File::create(&beside).unwrap())).unwrap();
    let mut heard: Vec<serde_json::Value> = Vec::new();
    let mut hear = |kind: &str, pid: u32| {
        loop {
            let event: serde_json::Value = serde_json::from_str(&follow.line().unwrap()).unwrap();
            let is_it = event["type"] == kind && event["process"]["pid"] == pid;
            heard.push(event);
            if is_it {
                break;
            }
        }
    };
    let mut begun = vec![u64::from(first.pid())];
    hear("listen", first.pid());
    first.finish().unwrap();
    for round in 0..4 {
        if round % 2 == 0 {
            portwatch.crash().unwrap();
        } else {
            portwatch.stop().unwrap();
        }
        portwatch.start(&[]).unwrap();
        let (again, _) = Actor::listener("127.43.0.9", port.parse().unwrap()).unwrap();
        begun.push(again.pid().into());
        hear("listen", again.pid());
        again.finish().unwrap();
    }
    let said = fs::read_to_string(&beside).unwrap();
    assert!(said.contains("the daemon ended") && said.contains("the daemon is back"), "{said}");
    // Each once, and in order; what the journal has is among it. (What came less than a tenth of a second before a kill may have been
    // shown and not be written.)
    let port: u16 = port.parse().unwrap();
    let pids = |events: &[serde_json::Value]| -> Vec<u64> {
        let its = events.iter().filter(|event| event["type"] == "listen" && event["port"] == port);
        its.map(|event| event["process"]["pid"].as_u64().unwrap()).collect()
    };
    assert_eq!(pids(&heard), begun);
    let words = ["log", "--json", "--limit", "0", "--type", "listen"];
    let kept = portwatch.run(&words).unwrap().json().unwrap()["events"].as_array().unwrap().clone();
    assert!(pids(&kept).len() > 1 && pids(&kept).iter().all(|pid| begun.contains(pid)), "{kept:?}");
}
