//! A daemon that is there and says nothing: what is asked is answered without it, what is ordered is ordered once or not at all.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::Shutdown,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket},
    },
    unistd::Pid,
};
use portwatch_tests::{Actor, DEADLINE, Portwatch, Ran, free_port, http, wait_until};
use serde_json::{Value, json};

const SCAN: &[&str] = &["--source", "scan"];
/// A daemon that is seen to be stopped is given up after 1 s, any other that says nothing after 4 s; a busy machine takes its time.
const SOON: Duration = Duration::from_secs(10);

/// Stops or continues the daemon, which this test has started.
fn signal(portwatch: &Portwatch, signal: Signal) {
    let pid = portwatch.pid().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    let stat = format!("/proc/{pid}/stat");
    wait_until("its state", DEADLINE, || {
        let is_stopped = fs::read_to_string(&stat).ok()?.contains(") T ");
        (is_stopped == (signal == Signal::SIGSTOP)).then_some(())
    })
    .unwrap();
}

/// What it came to, which it did soon.
fn soon(portwatch: &Portwatch, words: &[&str]) -> Ran {
    let begun = Instant::now();
    let ran = portwatch.run_within(Duration::from_secs(90), words).unwrap();
    assert!(begun.elapsed() < SOON, "{words:?} took {:?}: {ran:?}", begun.elapsed());
    ran
}

fn names(portwatch: &Portwatch) -> Vec<String> {
    let claims = portwatch.run(&["claims", "--json"]).unwrap().json().unwrap();
    let names = claims["claims"].as_array().unwrap().iter();
    names
        .map(|claim| claim["name"].as_str().unwrap().to_owned())
        .filter(|name| name.starts_with("hang:"))
        .collect()
}

#[test]
fn questions_are_answered_without_a_daemon_that_is_stopped() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    let pid = portwatch.pid().unwrap();
    let (server, port) = Actor::listener("127.0.0.1", 0).unwrap();
    let port = port.to_string();
    assert_eq!(portwatch.run(&["claim", "hang:a"]).unwrap().code, Some(0));
    assert_eq!(portwatch.run(&["lock", "deploy", "--owner", "me"]).unwrap().code, Some(0));
    portwatch.wait_for("claim", &[]).unwrap();
    signal(&portwatch, Signal::SIGSTOP);

    let who = soon(&portwatch, &["who", &port, "--json"]);
    assert_eq!(who.code, Some(0), "{who:?}");
    let answer = who.json().unwrap();
    assert_eq!(
        answer["targets"][0]["sockets"][0]["holders"][0]["process"]["pid"],
        server.pid(),
        "{answer:#}"
    );
    let note = answer["source"]["note"].as_str().unwrap();
    assert!(note.contains(&format!("the daemon (pid {pid}) does not answer")), "{note}");
    let silent = &answer["source"]["degradations"][0];
    assert_eq!(silent["name"], "daemon-silent", "{silent:#}");
    assert!(silent["what"].as_str().unwrap().contains("it is stopped"), "{silent:#}");
    assert!(silent["remedy"].as_str().unwrap().contains(&format!("kill -CONT {pid}")), "{silent:#}");
    assert!(who.stderr.contains(&format!("the daemon (pid {pid}) did not answer within")), "{who:?}");
    assert!(who.stderr.contains("answered without it"), "{who:?}");

    for (words, said) in [
        (&["ls"][..], port.as_str()),
        (&["find", "hang:a"], "hang:a"),
        (&["claims"], "hang:a"),
        (&["env", "hang:*"], "="),
        (&["log", "--type", "claim"], "hang:a"),
        (&["locks"], "deploy"),
        (&["metrics"], "portwatch_"),
    ] {
        let ran = soon(&portwatch, words);
        assert_eq!(ran.code, Some(0), "{words:?}: {ran:?}");
        assert!(ran.stdout.contains(said), "{words:?}: {ran:?}");
        assert!(ran.stderr.contains(&format!("kill -CONT {pid}")), "{words:?}: {ran:?}");
    }
    let probe = soon(&portwatch, &["probe", &format!("127.0.0.1:{port}")]);
    assert_eq!(probe.code, Some(1), "{probe:?}");
    assert!(probe.stdout.contains("listens there"), "{probe:?}");
}

#[test]
fn status_and_doctor_say_that_the_daemon_hangs() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    let pid = portwatch.pid().unwrap();
    signal(&portwatch, Signal::SIGSTOP);
    let status = soon(&portwatch, &["status", "--json"]);
    assert_eq!((status.code, status.stderr.as_str()), (Some(3), ""), "{status:?}");
    let answer = status.json().unwrap();
    assert_eq!((&answer["running"], &answer["pid"]), (&json!(true), &json!(pid)), "{answer:#}");
    assert!(answer["hangs"].as_str().unwrap().contains("it is stopped"), "{answer:#}");
    let status = soon(&portwatch, &["status"]);
    assert!(status.stdout.starts_with(&format!("hangs  pid {pid}\n")), "{status:?}");
    assert!(status.stdout.contains(&format!("kill -CONT {pid}")), "{status:?}");
    let doctor = soon(&portwatch, &["doctor"]);
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    let first = doctor.stdout.lines().next().unwrap();
    assert!(first.starts_with("failed") && first.contains(&format!("the daemon (pid {pid})")), "{doctor:?}");
    signal(&portwatch, Signal::SIGCONT);
    let answer = portwatch.status().unwrap();
    assert_eq!((&answer["running"], &answer["hangs"]), (&json!(true), &Value::Null), "{answer:#}");
}

#[test]
fn what_is_ordered_of_a_daemon_that_is_stopped_is_not_carried_out_then_or_later() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    let session =
        portwatch.run(&["session", "start", "work", "--agent", "me", "--json"]).unwrap().json().unwrap();
    let session = session["session"]["id"].as_str().unwrap().to_owned();
    assert_eq!(portwatch.run(&["claim", "hang:kept"]).unwrap().code, Some(0));
    signal(&portwatch, Signal::SIGSTOP);
    for words in [
        &["claim", "hang:new"][..],
        &["release", "hang:kept"],
        &["cleanup"],
        &["lock", "deploy", "--owner", "me"],
        &["note", "--session", &session, "a note"],
        &["pub", "news", "a message"],
        &["run", "hang:run", "--", "true"],
    ] {
        let ran = soon(&portwatch, words);
        assert_eq!(ran.code, Some(3), "{words:?}: {ran:?}");
        assert!(ran.stderr.contains("nothing was ordered, and nothing has changed"), "{words:?}: {ran:?}");
        assert!(ran.stderr.contains("--no-daemon orders it without it"), "{words:?}: {ran:?}");
    }
    // So whoever wants it done now may do it: it is done once.
    let alone = portwatch.run(&["claim", "hang:alone", "--no-daemon", "-q"]).unwrap();
    assert_eq!(alone.code, Some(0), "{alone:?}");
    signal(&portwatch, Signal::SIGCONT);
    // What had come before this is over when it is answered: the daemon accepts in order.
    assert_eq!(portwatch.run(&["status"]).unwrap().code, Some(0));
    assert_eq!(names(&portwatch), ["hang:alone", "hang:kept"]);
    assert_eq!(portwatch.run(&["locks"]).unwrap().code, Some(1));
    assert_eq!(portwatch.run(&["channels"]).unwrap().code, Some(1));
    assert_eq!(portwatch.run(&["notes", "--session", &session]).unwrap().code, Some(1));
    assert_eq!(portwatch.events(&["--type", "claim"]).unwrap().len(), 2);
}

#[test]
fn an_order_of_somebody_who_has_gone_is_not_begun_when_the_daemon_goes_on() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    signal(&portwatch, Signal::SIGSTOP);
    let send = |name: &str| {
        let mut stream = UnixStream::connect(portwatch.socket()).unwrap();
        stream.write_all(&http::order("/v1/claims", &json!({ "name": name }))).unwrap();
        stream
    };
    for gone in ["hang:gone", "hang:left", "hang:away"] {
        drop(send(gone));
    }
    let mut waiting = send("hang:waiting");
    // Who says no more is gone too.
    let mut said = send("hang:said");
    said.shutdown(Shutdown::Write).unwrap();
    signal(&portwatch, Signal::SIGCONT);
    let answer = http::document(&mut waiting).unwrap();
    assert_eq!(answer["claim"]["name"], "hang:waiting", "{answer:#}");
    assert_eq!(said.read(&mut [0]).unwrap(), 0);
    assert_eq!(portwatch.run(&["status"]).unwrap().code, Some(0));
    assert_eq!(names(&portwatch), ["hang:waiting"]);
    let log = portwatch.log();
    let told = log.lines().filter(|line| line.contains("who ordered this has gone: it is not carried out"));
    assert_eq!(told.count(), 4, "{log}");
}

/// A listener of the test's where the daemon would be, which answers nothing by itself.
fn stand_in(portwatch: &Portwatch) -> UnixListener {
    UnixListener::bind(portwatch.socket()).unwrap()
}

#[test]
fn of_an_order_that_was_given_it_is_said_that_its_end_is_not_known() {
    let portwatch = Portwatch::new().unwrap();
    let listener = stand_in(&portwatch);
    let begun = Instant::now();
    let child = portwatch
        .command(&["claim", "hang:given"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let text = String::from_utf8(http::next_order(&mut stream).unwrap()).unwrap();
    assert!(text.starts_with("POST /v1/claims HTTP/1.1"), "{text}");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(said.contains("whether the order was carried out is not known"), "{said}");
    assert!(said.contains("before you order it again"), "{said}");
    assert!(!said.contains("--no-daemon"), "{said}");
    // The connection was broken off, so that a daemon that has not begun does not.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(!portwatch.database().exists(), "nobody did it in its place");
}

#[test]
fn a_daemon_that_is_there_is_waited_for() {
    let portwatch = Portwatch::new().unwrap();
    let words = ["claims", "--json"];
    let answer = portwatch.run(&words).unwrap().stdout;
    let listener = stand_in(&portwatch);
    let mut child = portwatch.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut next = || {
        wait_until("the next connection", DEADLINE, || match listener.accept() {
            Ok((stream, _)) => Some(Some(stream)),
            Err(_) => child.try_wait().unwrap().map(|_| None),
        })
        .unwrap()
        // The command waits for it.
        .unwrap()
    };
    let mut stream = next();
    let text = String::from_utf8(http::next_request(&mut stream).unwrap()).unwrap();
    assert!(text.starts_with("GET /v1/claims"), "{text}");
    // Longer than one that hangs is waited for.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        let mut other = next();
        let text = String::from_utf8(http::next_request(&mut other).unwrap()).unwrap();
        assert!(text.starts_with("GET /v1/alive"), "{text}");
        http::answer(&mut other, r#"{"schema":1,"pid":1}"#).unwrap();
    }
    http::answer(&mut stream, &answer).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), answer);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "it is no terminal");
}

/// Fills the queue of whoever listens there: the next would wait (EAGAIN, `unix_stream_connect`).
fn fill(address: &UnixAddr) -> Vec<OwnedFd> {
    let mut queue = Vec::new();
    loop {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let next = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        match connect(next.as_raw_fd(), address) {
            Ok(()) => queue.push(next),
            Err(error) => {
                assert_eq!(error, nix::errno::Errno::EAGAIN);
                return queue;
            }
        }
    }
}

#[test]
fn one_that_accepts_nobody_any_more_hangs() {
    let portwatch = Portwatch::new().unwrap();
    let address = UnixAddr::new(&portwatch.socket()).unwrap();
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &address).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let _queue = fill(&address);
    let status = soon(&portwatch, &["status"]);
    assert_eq!(status.code, Some(3), "{status:?}");
    assert!(status.stdout.contains("did not answer within"), "{status:?}");
    let claim = soon(&portwatch, &["claim", "hang:a"]);
    assert_eq!(claim.code, Some(3), "{claim:?}");
    assert!(claim.stderr.contains("nothing was ordered, and nothing has changed"), "{claim:?}");
}

#[test]
fn who_waits_for_a_lock_has_it_when_the_daemon_that_let_nobody_in_goes_on() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    signal(&portwatch, Signal::SIGSTOP);
    let queue = fill(&UnixAddr::new(&portwatch.socket()).unwrap());
    let mut lock = portwatch.command(&["lock", "hang", "--owner", "me", "--wait", "1m"]);
    let mut lock = lock.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    sleep(Duration::from_secs(2));
    assert!(lock.try_wait().unwrap().is_none(), "it waits");
    signal(&portwatch, Signal::SIGCONT);
    drop(queue);
    let ended = wait_until("the lock", DEADLINE, || lock.try_wait().unwrap()).unwrap();
    let mut said = String::new();
    lock.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(ended.code(), Some(0), "{said}");
}

#[test]
fn what_a_silent_daemon_keeps_is_not_told_from_another_database() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    let (_server, port) = Actor::listener("127.0.0.1", 0).unwrap();
    let home = portwatch.folder().join("home");
    fs::create_dir(&home).unwrap();
    // As root's place is fixed, only a directory of one's own can be another: it is named, and the socket is another's.
    let ask = |words: &[&str]| {
        let mut command = portwatch.command(words);
        command.env_remove("PORTWATCH_STATE").env("XDG_STATE_HOME", &home).env("HOME", &home);
        portwatch.run_command(command).unwrap()
    };
    signal(&portwatch, Signal::SIGSTOP);
    let who = ask(&["who", &port.to_string(), "--json"]);
    assert_eq!(who.code, Some(0), "{who:?}");
    let answer = who.json().unwrap();
    let note = answer["source"]["note"].as_str().unwrap();
    assert!(note.contains("claimed and locked with it, is not to be seen beside it"), "{note}");
    for words in [&["claims"][..], &["locks"], &["log"], &["find", "hang:a"]] {
        let ran = ask(words);
        assert_eq!(ran.code, Some(3), "{words:?}: {ran:?}");
        assert!(ran.stderr.contains("is not to be seen beside it"), "{words:?}: {ran:?}");
    }
    let claim = ask(&["claim", "hang:a"]);
    assert_eq!(claim.code, Some(3), "{claim:?}");
    assert!(!claim.stderr.contains("--no-daemon"), "{claim:?}");
}

#[test]
fn events_are_seen_beside_a_daemon_that_is_stopped() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    signal(&portwatch, Signal::SIGSTOP);
    let port = free_port().unwrap();
    let words =
        ["watch", "--port", &port.to_string(), "--type", "listen", "--limit", "1", "--source", "scan"];
    let mut child = portwatch.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("does not answer: events are seen by this process"), "{said}");
    let _server = Actor::listener("127.0.0.1", port).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(&port.to_string()), "{text}");
}

#[test]
fn a_daemon_that_is_stopped_can_be_ended_and_begins_nothing_before() {
    let mut portwatch = Portwatch::started(SCAN).unwrap();
    signal(&portwatch, Signal::SIGSTOP);
    let mut stream = UnixStream::connect(portwatch.socket()).unwrap();
    stream.write_all(&http::order("/v1/claims", &json!({ "name": "hang:late" }))).unwrap();
    drop(stream);
    let ended = soon(&portwatch, &["stop"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // It has ended, and is this process's to be taken note of.
    drop(portwatch.crash());
    portwatch.start(SCAN).unwrap();
    assert_eq!(names(&portwatch), [""; 0]);
}

#[test]
fn an_order_that_waits_behind_another_is_not_begun_when_who_gave_it_goes() {
    let portwatch = Portwatch::started(SCAN).unwrap();
    let send = |name: &str| {
        let mut stream = UnixStream::connect(portwatch.socket()).unwrap();
        stream.write_all(&http::order("/v1/claims", &json!({ "name": name }))).unwrap();
        stream
    };
    // Answered by the thread that has read what came before, twice: the first time it may have come in between.
    let is_there = || {
        for _ in 0..2 {
            let mut stream = UnixStream::connect(portwatch.socket()).unwrap();
            stream.write_all(b"GET /v1/alive HTTP/1.1\r\nhost: portwatch\r\n\r\n").unwrap();
            assert_eq!(http::document(&mut stream).unwrap()["pid"], portwatch.pid().unwrap());
        }
    };
    // Somebody has the database, and the first order waits for them.
    let database = rusqlite::Connection::open(portwatch.database()).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut first = send("hang:first");
    is_there();
    let gone = send("hang:gone");
    let mut last = send("hang:last");
    is_there();
    drop(gone);
    is_there();
    database.execute_batch("ROLLBACK").unwrap();
    for (stream, name) in [(&mut first, "hang:first"), (&mut last, "hang:last")] {
        let answer = http::document(stream).unwrap();
        assert_eq!(answer["claim"]["name"], name, "{answer:#}");
    }
    assert_eq!(names(&portwatch), ["hang:first", "hang:last"]);
}
