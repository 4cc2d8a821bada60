//! What is held is held, and who loses it or waits for it is told.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    fs,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portwatch_tests::{DEADLINE, Portwatch, wait_until};
use serde_json::Value;

const SCAN: &[&str] = &["--source", "scan"];

fn lock(portwatch: &Portwatch, name: &str) -> Value {
    let answer = portwatch.run(&["locks", "--json"]).unwrap().json().unwrap();
    answer["locks"].as_array().unwrap().iter().find(|lock| lock["name"] == name).cloned().unwrap_or_default()
}

fn start(portwatch: &Portwatch, words: &[&str]) -> Child {
    portwatch.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Starts it, and comes back when it is in line.
fn join(portwatch: &Portwatch, name: &str, owner: &str) -> Child {
    let before = lock(portwatch, name)["waiting"].as_u64().unwrap();
    let child = start(portwatch, &["lock", name, "--owner", owner, "--wait", "2m"]);
    wait_until("it to be in line", DEADLINE, || {
        (lock(portwatch, name)["waiting"] == before + 1).then_some(())
    })
    .unwrap();
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

fn said(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn done(portwatch: &Portwatch, words: &[&str]) {
    let ran = portwatch.run(words).unwrap();
    assert_eq!(ran.code, Some(0), "{words:?} {ran:?}");
}

#[test]
fn a_stopped_waiter_loses_its_place_and_gets_in_line_again_when_it_goes_on() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    done(&portwatch, &["lock", "line", "--owner", "first"]);
    let stopped = join(&portwatch, "line", "stopped");
    signal(&stopped, Signal::SIGSTOP);
    let mut next = join(&portwatch, "line", "next");
    // Longer than a place is kept of somebody who is silent.
    sleep(Duration::from_secs(6));
    done(&portwatch, &["unlock", "line", "--owner", "first"]);
    wait_until("the next that runs to have it", DEADLINE, || next.try_wait().unwrap()).unwrap();
    assert_eq!(said(next).0, Some(0));
    assert_eq!(lock(&portwatch, "line")["owner"], "next");
    signal(&stopped, Signal::SIGCONT);
    done(&portwatch, &["unlock", "line", "--owner", "next"]);
    let (code, text) = said(stopped);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(lock(&portwatch, "line")["owner"], "stopped");
}

#[test]
fn what_is_held_until_its_process_ends_is_not_shortened_by_extending_it() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    let end = portwatch.folder().join("end");
    let script = format!("while [ ! -e {} ]; do sleep 0.01; done", end.display());
    let holder = start(&portwatch, &["with-lock", "x", "--as", "a", "--", "sh", "-c", &script]);
    wait_until("it to be held", DEADLINE, || lock(&portwatch, "x")["pid"].is_u64().then_some(())).unwrap();
    done(&portwatch, &["lock", "x", "--as", "a", "--extend", "--ttl", "1ms"]);
    let held = lock(&portwatch, "x");
    assert!(held["expires"].is_null() && held["ttl"].is_null(), "{held}");
    let thief = portwatch.run(&["lock", "x", "--as", "thief"]).unwrap();
    assert_eq!(thief.code, Some(1), "{thief:?}");
    fs::write(end, "").unwrap();
    assert_eq!(said(holder), (Some(0), String::new()));
    // A second that has begun counts in the documents: 0 would be none.
    let taken = portwatch.run(&["lock", "short", "--as", "a", "--ttl", "1500ms", "--json"]).unwrap();
    assert_eq!(taken.json().unwrap()["lock"]["ttl"], 2);
}

#[test]
fn with_lock_says_when_the_lock_was_taken_away_while_the_program_ran() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    for (words, told) in [
        (&["unlock", "x", "--force"][..], "forced by"),
        (&["unlock", "x", "--as", "a"], "was taken away while the program ran (owner=a)"),
    ] {
        let end = portwatch.folder().join(words[2].trim_matches('-'));
        let script = format!("while [ ! -e {} ]; do sleep 0.01; done; exit 7", end.display());
        let holder = start(&portwatch, &["with-lock", "x", "--as", "a", "--", "sh", "-c", &script]);
        wait_until("it to be held", DEADLINE, || lock(&portwatch, "x")["pid"].is_u64().then_some(()))
            .unwrap();
        done(&portwatch, words);
        done(&portwatch, &["lock", "x", "--as", "thief"]);
        fs::write(end, "").unwrap();
        let (code, text) = said(holder);
        assert_eq!(code, Some(7), "the program's own");
        assert!(text.contains("x was taken away while the program ran") && text.contains(told), "{text}");
        assert_eq!(lock(&portwatch, "x")["owner"], "thief", "it is not given back for its new owner");
        done(&portwatch, &["unlock", "x", "--as", "thief"]);
    }
}

#[test]
fn who_waits_is_told_for_whom_and_at_once_where_it_waits_for_itself() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    done(&portwatch, &["lock", "x", "--as", "holder"]);
    let waiter = start(&portwatch, &["lock", "x", "--as", "other", "--wait", "2s"]);
    let (code, text) = said(waiter);
    assert_eq!(code, Some(1));
    assert!(text.contains("x is waited for: holder has it\n"), "{text}");
    let at_once = portwatch.run(&["lock", "x", "--as", "other", "--wait", "100ms"]).unwrap();
    assert!(!at_once.stderr.contains("waited for"), "short waits are nobody's trouble: {at_once:?}");

    let inner = format!("{} with-lock own --wait 500ms -- true; exit $?", portwatch.binary().display());
    let nested = portwatch.run(&["with-lock", "own", "--", "sh", "-c", &inner]).unwrap();
    assert_eq!(nested.code, Some(1), "{nested:?}");
    assert!(
        nested.stderr.contains("own is waited for: sh (") && nested.stderr.contains("both wait for ever"),
        "{nested:?}"
    );
}

#[test]
fn an_agent_named_by_an_empty_variable_of_a_script_takes_nothing() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    for words in [
        &["lock", "x", "--agent", ""][..],
        &["lock", "x", "--session="],
        &["session", "start", "work", "--as", ""],
        &["claim", "web:api", "--agent", ""],
    ] {
        let ran = portwatch.run(words).unwrap();
        assert_eq!(ran.code, Some(2), "{words:?} {ran:?}");
        assert!(ran.stderr.contains("is given an empty name; name one, or leave it out"), "{ran:?}");
    }
    let mut unset = portwatch.command(&["lock", "x"]);
    unset.env("PORTWATCH_AGENT", "");
    assert_eq!(portwatch.run_command(unset).unwrap().code, Some(0), "an empty variable is none");
}

#[test]
fn nothing_is_acknowledged_that_a_removed_database_would_lose() {
    let mut portwatch = Portwatch::started(SCAN).unwrap();
    done(&portwatch, &["session", "start", "important", "--agent", "a"]);
    fs::remove_file(portwatch.database()).unwrap();
    let begun = Instant::now();
    for words in [
        &["note", "after", "--agent", "a"][..],
        &["lock", "deploy", "--agent", "a"],
        &["claim", "web:api"],
        &["pub", "build", "done"],
    ] {
        let ran = portwatch.run(words).unwrap();
        assert!(ran.code != Some(0), "{words:?} {ran:?}");
        assert!(ran.stderr.contains("was removed while portwatch had it open"), "{words:?} {ran:?}");
        assert!(ran.stderr.contains("portwatch restart"), "{words:?} {ran:?}");
    }
    assert!(begun.elapsed() < DEADLINE, "it is said at once: {:?}", begun.elapsed());
    wait_until("the doctor to say it", Duration::from_secs(90), || {
        portwatch.run(&["doctor"]).unwrap().text().contains("was removed while").then_some(())
    })
    .unwrap();
    portwatch.stop().unwrap();
    portwatch.start(SCAN).unwrap();
    done(&portwatch, &["lock", "deploy", "--agent", "a"]);
}
