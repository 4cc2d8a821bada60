//! What waits for a lock goes on where the daemon that it asked is gone.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use portwatch_tests::{DEADLINE, Portwatch, require_root, wait_until};
use serde_json::Value;

const SCAN: &[&str] = &["--source", "scan"];
/// Nobody of the machine.
const UID: u32 = 65_534;

fn line(portwatch: &Portwatch) -> Value {
    let answer = portwatch.run(&["locks", "--json"]).unwrap().json().unwrap();
    answer["locks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|lock| lock["name"] == "line")
        .cloned()
        .unwrap_or_default()
}

/// Starts it, and comes back when it is the last in the line.
fn join(portwatch: &Portwatch, mut waiter: Command) -> Child {
    let before = line(portwatch)["waiting"].as_u64().unwrap();
    let child = waiter.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("it to be in line", DEADLINE, || (line(portwatch)["waiting"] == before + 1).then_some(()))
        .unwrap();
    child
}

/// Comes back when each has had an answer, which it shows by saying for whom it waits. Where the daemon ends before the first one, there is no
/// place in the line that could be kept, and the command says that it failed.
fn answered(waiting: &mut [Child]) {
    for child in waiting {
        let stderr = child.stderr.as_mut().unwrap();
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            stderr.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        let line = String::from_utf8(line).unwrap();
        assert!(line.contains("line is waited for"), "{line}");
    }
}

/// Gives the lock back from `holder` on, and expects that each of `waiting` has it next.
fn in_order(waiting: Vec<Child>, holder: &str, unlock: impl Fn(&str), portwatch: &Portwatch) -> Vec<String> {
    let mut holder = holder.to_owned();
    let mut said = Vec::new();
    for (number, mut child) in waiting.into_iter().enumerate() {
        unlock(&holder);
        wait_until("the next to have it", DEADLINE, || child.try_wait().unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{number}: {text}");
        holder = format!("w{number}");
        assert_eq!(line(portwatch)["owner"], holder.as_str());
        said.push(text);
    }
    said
}

#[test]
fn a_place_in_the_line_outlives_the_daemon_that_gave_it() {
    let mut portwatch = Portwatch::started(SCAN).unwrap();
    portwatch.run(&["lock", "line", "--owner", "first"]).unwrap();
    let waiter = |portwatch: &Portwatch, number: u32| {
        portwatch.command(&["lock", "line", "--owner", &format!("w{number}"), "--wait", "2m"])
    };
    let mut waiting: Vec<Child> = (0..3).map(|number| join(&portwatch, waiter(&portwatch, number))).collect();
    answered(&mut waiting);
    portwatch.crash().unwrap();
    // Its own database is open to this user, so there it waits on; and the next daemon finds it in line.
    waiting.push(join(&portwatch, waiter(&portwatch, 3)));
    portwatch.start(SCAN).unwrap();
    portwatch.stop().unwrap();
    portwatch.start(SCAN).unwrap();
    let unlock = |holder: &str| {
        assert_eq!(portwatch.run(&["unlock", "line", "--owner", holder]).unwrap().code, Some(0));
    };
    in_order(waiting, "first", unlock, &portwatch);
}

#[test]
fn who_cannot_open_the_database_waits_for_the_next_daemon_and_keeps_its_place() {
    if !require_root() {
        return;
    }
    let mut portwatch = Portwatch::started(SCAN).unwrap();
    let mut waiting: Vec<Child> = {
        let others = portwatch.for_others().unwrap();
        assert_eq!(others.run(UID, &["lock", "line", "--owner", "first"]).unwrap().code, Some(0));
        let waiter = |number: u32| {
            others.command(UID, &["lock", "line", "--owner", &format!("w{number}"), "--wait", "2m"])
        };
        (0..3).map(|number| join(&portwatch, waiter(number))).collect()
    };
    answered(&mut waiting);
    portwatch.crash().unwrap();
    // Longer than a place is kept of somebody who is silent while there is somebody to ask.
    sleep(Duration::from_secs(6));
    portwatch.start(SCAN).unwrap();
    let others = portwatch.for_others().unwrap();
    let unlock = |holder: &str| {
        let ran = others.run(UID, &["unlock", "line", "--owner", holder]).unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
    };
    for text in in_order(waiting, "first", unlock, &portwatch) {
        assert!(text.contains("the daemon ended while line was waited for; waiting for it"), "{text}");
    }
}

#[test]
fn a_daemon_that_does_not_come_back_ends_the_wait_when_its_time_is_over() {
    if !require_root() {
        return;
    }
    let mut portwatch = Portwatch::started(SCAN).unwrap();
    portwatch.run(&["lock", "line", "--owner", "first"]).unwrap();
    let mut waiters: Vec<Child> = {
        let others = portwatch.for_others().unwrap();
        [
            &["lock", "line", "--owner", "w", "--wait", "3s"][..],
            &["with-lock", "line", "--wait", "3s", "--", "true"],
        ]
        .map(|words| join(&portwatch, others.command(UID, words)))
        .into()
    };
    answered(&mut waiters);
    let begun = Instant::now();
    portwatch.crash().unwrap();
    for waiter in waiters {
        let output = waiter.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(text.contains("the daemon ended and did not come back within"), "{text}");
        assert!(text.contains("the lock was not taken; start it again: portwatch start"), "{text}");
    }
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    portwatch.start(SCAN).unwrap();
    assert_eq!(line(&portwatch)["owner"], "first");
}
