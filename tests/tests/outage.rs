//! What waits for a lock goes on where the daemon that it asked is gone.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portwatch_tests::{DEADLINE, Portwatch, http, require_root, wait_until};
use serde_json::{Value, json};

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
    let waiting: Vec<Child> = {
        let others = portwatch.for_others().unwrap();
        assert_eq!(others.run(UID, &["lock", "line", "--owner", "first"]).unwrap().code, Some(0));
        let waiter = |number: u32| {
            others.command(UID, &["lock", "line", "--owner", &format!("w{number}"), "--wait", "2m"])
        };
        (0..3).map(|number| join(&portwatch, waiter(number))).collect()
    };
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
    let waiters: Vec<Child> = {
        let others = portwatch.for_others().unwrap();
        [
            &["lock", "line", "--owner", "w", "--wait", "3s"][..],
            &["with-lock", "line", "--wait", "3s", "--", "true"],
        ]
        .map(|words| join(&portwatch, others.command(UID, words)))
        .into()
    };
    let begun = Instant::now();
    portwatch.crash().unwrap();
    let remedies = [
        "start it again (portwatch start), and portwatch locks tells whether the lock was given at the last moment",
        "nothing was run; start it again: portwatch start",
    ];
    for (waiter, remedy) in waiters.into_iter().zip(remedies) {
        let output = waiter.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(text.contains("the daemon ended and did not come back within"), "{text}");
        assert!(text.contains(remedy), "{text}");
    }
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    portwatch.start(SCAN).unwrap();
    assert_eq!(line(&portwatch)["owner"], "first");
}

/// Asks the daemon in the name of this process; its answer.
fn ask(portwatch: &Portwatch, request: &[u8]) -> Value {
    let mut stream = UnixStream::connect(portwatch.socket()).unwrap();
    stream.write_all(request).unwrap();
    http::document(&mut stream).unwrap()
}

fn order(owner: &str) -> Vec<u8> {
    http::order("/v1/locks", &json!({ "name": "line", "agent": owner, "ttl_ms": 60_000, "wait_ms": 1 }))
}

/// Starts it with a daemon that reads its order and ends before it does anything.
fn cut(portwatch: &Portwatch, mut command: Command) -> Child {
    drop(fs::remove_file(portwatch.socket()));
    let dying = UnixListener::bind(portwatch.socket()).unwrap();
    fs::set_permissions(portwatch.socket(), Permissions::from_mode(0o666)).unwrap();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stream, _) = dying.accept().unwrap();
    let text = String::from_utf8(http::next_order(&mut stream).unwrap()).unwrap();
    assert!(text.starts_with("POST /v1/locks HTTP/1.1"), "{text}");
    drop(dying);
    child
}

/// Its exit code, and what it said.
fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn whose_first_order_is_cut_off_waits_for_the_next_daemon_as_long_as_it_has_time() {
    if !require_root() {
        return;
    }
    let mut portwatch = Portwatch::new().unwrap();
    // Who cannot open the database has nobody to ask until then.
    let waiter = |owner: &str, wait: &str| {
        let others = portwatch.for_others().unwrap();
        others.command(UID, &["lock", "line", "--owner", owner, "--wait", wait])
    };
    let (code, text) = ended(cut(&portwatch, waiter("hasty", "1s")));
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("the daemon ended and did not come back within"), "{text}");
    // A database of one's own is another one than that of a daemon of which only the socket is known.
    let home = portwatch.folder().join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(UID), Some(UID)).unwrap();
    let mut elsewhere = waiter("elsewhere", "1s");
    elsewhere.env_remove("PORTWATCH_STATE").env("XDG_STATE_HOME", &home);
    let (code, text) = ended(cut(&portwatch, elsewhere));
    assert_eq!(code, Some(5), "{text}");
    // Without a time to wait nobody waits for a daemon.
    let (code, text) = ended(cut(&portwatch, waiter("now", "0s")));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("broke off"), "{text}");

    let patient = cut(&portwatch, waiter("patient", "2m"));
    portwatch.start(SCAN).unwrap();
    let (code, text) = ended(patient);
    assert_eq!(code, Some(0), "{text}");
    let held = line(&portwatch);
    assert_eq!((&held["owner"], &held["waiting"]), (&json!("patient"), &json!(0)), "{held}");
}

#[test]
fn whose_first_order_is_cut_off_has_the_lock_from_the_database_where_it_may_open_that() {
    let portwatch = Portwatch::new().unwrap();
    for words in [
        &["lock", "line", "--owner", "own", "--wait", "2m"][..],
        &["with-lock", "program", "--wait", "2m", "--", "true"],
    ] {
        let (code, text) = ended(cut(&portwatch, portwatch.command(words)));
        assert_eq!(code, Some(0), "{text}");
    }
    assert_eq!(line(&portwatch)["owner"], "own");
}

#[test]
fn an_order_whose_answer_was_lost_is_carried_out_once() {
    let mut portwatch = Portwatch::started(SCAN).unwrap();
    // The line: asked twice by one process, which never heard of its place, also of the next daemon.
    portwatch.run(&["lock", "line", "--owner", "first"]).unwrap();
    let one = ask(&portwatch, &order("w"));
    assert_eq!((&one["state"], &one["ahead"]), (&json!("waiting"), &json!(0)), "{one}");
    portwatch.crash().unwrap();
    portwatch.start(SCAN).unwrap();
    let two = ask(&portwatch, &order("w"));
    assert_eq!((&two["ticket"], &two["ahead"]), (&one["ticket"], &json!(0)), "{one} {two}");
    assert_eq!(line(&portwatch)["waiting"], 1);
    portwatch.run(&["unlock", "line", "--owner", "first"]).unwrap();
    assert_eq!(ask(&portwatch, &order("w"))["state"], "taken");
    assert_eq!(line(&portwatch)["waiting"], 0);
    portwatch.run(&["unlock", "line", "--owner", "w"]).unwrap();

    // The lock: a daemon carries the order out and ends before its answer is read.
    let real = portwatch.folder().join("real");
    fs::rename(portwatch.socket(), &real).unwrap();
    let between = UnixListener::bind(portwatch.socket()).unwrap();
    let child = portwatch
        .command(&["lock", "line", "--owner", "w", "--wait", "2m", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = between.accept().unwrap();
    let asked = http::next_order(&mut stream).unwrap();
    fs::remove_file(portwatch.socket()).unwrap();
    fs::rename(&real, portwatch.socket()).unwrap();
    let given = ask(&portwatch, &asked);
    assert_eq!(given["state"], "taken", "{given}");
    portwatch.crash().unwrap();
    drop((stream, between));
    portwatch.start(SCAN).unwrap();
    let output = child.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{answer}");
    assert_eq!(answer["state"], "extended", "{answer}");
    assert_eq!(answer["lock"]["heldSince"], given["lock"]["heldSince"], "{answer}");
    assert!(given["lock"]["heldSince"].is_string(), "{given}");
    let held = line(&portwatch);
    assert_eq!((&held["owner"], &held["waiting"]), (&json!("w"), &json!(0)), "{held}");
}

/// A listener of the test's where the daemon would be.
fn stand_in(portwatch: &Portwatch) -> UnixListener {
    drop(fs::remove_file(portwatch.socket()));
    UnixListener::bind(portwatch.socket()).unwrap()
}

/// Starts `with-lock line` with a stand-in that gives it the lock, which it has in the database, and has read the order that gives
/// it to the program `script`.
fn handing_over(portwatch: &Portwatch, script: &str) -> (Child, UnixListener, UnixStream) {
    let listener = stand_in(portwatch);
    let child = portwatch
        .command(&["with-lock", "line", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    http::next_order(&mut stream).unwrap();
    let pid = child.id().to_string();
    let taken =
        portwatch.run(&["lock", "line", "--pid", &pid, "--ttl", "1h", "--no-daemon", "--json"]).unwrap();
    assert_eq!(taken.code, Some(0), "{taken:?}");
    http::answer(&mut stream, &taken.stdout).unwrap();
    let text = String::from_utf8(http::next_order(&mut stream).unwrap()).unwrap();
    assert!(text.starts_with("POST /v1/locks/hand-over HTTP/1.1"), "{text}");
    (child, listener, stream)
}

/// Ends it by `signal`.
fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn a_program_has_its_lock_where_the_daemon_ended_before_it_gave_it() {
    let portwatch = Portwatch::new().unwrap();
    let file = portwatch.folder().join("pid");
    let (mut child, listener, stream) =
        handing_over(&portwatch, &format!("echo $$ > {}; exec sleep 60", file.display()));
    drop((stream, listener));
    let pid: u32 = wait_until("the program", DEADLINE, || {
        fs::read_to_string(&file).unwrap_or_default().trim().parse().ok()
    })
    .unwrap();
    wait_until("it to have the lock", DEADLINE, || (line(&portwatch)["pid"] == pid).then_some(())).unwrap();
    // Killing the wrapper leaves the lock held.
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    let second = portwatch.run(&["with-lock", "line", "--wait", "0s", "--", "true"]).unwrap();
    assert_eq!(second.code, Some(1), "{second:?}");
    assert_eq!(line(&portwatch)["pid"], pid);
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    // The program had its stderr too.
    assert_eq!(ended(child).1, "");
}

#[test]
fn a_daemon_that_hangs_when_the_lock_is_given_keeps_nothing_from_the_program() {
    let portwatch = Portwatch::new().unwrap();
    let ready = portwatch.folder().join("ready");
    let script = format!("trap 'exit 7' TERM; echo > {}; while :; do sleep 0.1; done", ready.display());
    let (child, _listener, _stream) = handing_over(&portwatch, &script);
    wait_until("its trap", DEADLINE, || ready.exists().then_some(())).unwrap();
    let begun = Instant::now();
    signal(&child, Signal::SIGTERM);
    let (code, text) = ended(child);
    assert_eq!(code, Some(7), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn who_cannot_be_given_the_lock_is_told() {
    let portwatch = Portwatch::new().unwrap();
    let (child, _listener, _stream) = handing_over(&portwatch, "sleep 20");
    let (code, text) = ended(child);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("line could not be given to the program ("), "{text}");
    assert!(text.contains("it is held by this `portwatch with-lock`, and ends with it"), "{text}");
}

#[test]
fn who_waits_for_a_daemon_that_says_nothing_waits_little_longer_than_it_was_told() {
    let portwatch = Portwatch::new().unwrap();
    let _listener = stand_in(&portwatch);
    let begun = Instant::now();
    let waiters: Vec<Child> =
        [&["lock", "line", "--wait", "2s"][..], &["with-lock", "line", "--wait", "2s", "--", "true"]]
            .into_iter()
            .map(|words| {
                portwatch.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
    for waiter in waiters {
        let (code, text) = ended(waiter);
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains("did not answer within 7 s"), "{text}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
