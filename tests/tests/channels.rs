//! Channels on the real binary: every message in order, none lost, and nobody reads what is not his.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use portwatch_tests::{Actor, DEADLINE, Others, Portwatch, Ran, require_root, wait_until};
use serde_json::Value;

/// Without a daemon and with one: answers must not differ.
fn both(test: impl Fn(&Portwatch)) {
    test(&Portwatch::new().unwrap());
    test(&Portwatch::started(&["--source", "scan"]).unwrap());
}

fn says(portwatch: &Portwatch, words: &[&str], code: i32, parts: &[&str]) -> String {
    let ran = portwatch.run(words).unwrap();
    assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
    let text = format!("{}{}", ran.stdout, ran.stderr);
    for part in parts {
        assert!(text.contains(part), "{words:?} does not say {part}:\n{text}");
    }
    text
}

fn publish(portwatch: &Portwatch, channel: &str, text: &str) -> i64 {
    let ran = portwatch.run(&["pub", channel, text, "-q", "--agent", "a"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout.trim().parse().unwrap()
}

fn read(portwatch: &Portwatch, words: &[&str]) -> Value {
    portwatch.run(&[&["sub", "--json"], words].concat()).unwrap().json().unwrap()
}

fn texts(answer: &Value) -> Vec<&str> {
    answer["messages"].as_array().unwrap().iter().map(|m| m["text"].as_str().unwrap()).collect()
}

/// A follower, its words one JSON object a line.
fn follower(portwatch: &Portwatch, words: &[&str]) -> Actor {
    let mut command = portwatch.command(&[&["sub", "--json", "--follow"], words].concat());
    // What it says of its end belongs to the test's own output.
    Actor::start(command.stderr(Stdio::inherit())).unwrap()
}

fn line(follower: &mut Actor) -> Value {
    serde_json::from_str(&follower.line().unwrap()).unwrap()
}

#[test]
fn what_is_published_is_read_again_and_is_in_the_log() {
    both(|portwatch| {
        says(portwatch, &["channels"], 1, &["There is no channel."]);
        says(portwatch, &["sub", "builds"], 1, &["There is no such channel."]);
        says(
            portwatch,
            &["pub", "builds", "api:", "tests", "are", "green", "--agent", "agent-api"],
            0,
            &["Published #1 in builds"],
        );
        let shell = portwatch.run(&["pub", "builds", "two\nlines"]).unwrap();
        assert_eq!(shell.code, Some(0), "{shell:?}");
        says(portwatch, &["pub", "chat", "hello", "--agent", "agent-web"], 0, &["#3 in chat"]);
        let text = says(portwatch, &["sub", "builds"], 0, &["builds #1 agent-api: api: tests are green"]);
        assert!(text.contains(": two\\nlines\n"), "{text}");
        let all = read(portwatch, &["*"]);
        assert_eq!(texts(&all), ["api: tests are green", "two\nlines", "hello"]);
        let second = &all["messages"][1];
        assert_eq!(second["sender_kind"], "process");
        let own = u64::from(std::process::id());
        assert_eq!(second["pid"], own, "the process that ran the command: {second}");
        assert_eq!(second["uid"], nix::unistd::geteuid().as_raw());
        assert_eq!(all["newest"], 3);
        assert_eq!(texts(&read(portwatch, &["*", "--after", "1"])), ["two\nlines", "hello"]);
        assert_eq!(texts(&read(portwatch, &["*", "--history", "1"])), ["hello"]);
        assert_eq!(texts(&read(portwatch, &["c*", "--since", "1h"])), ["hello"]);
        says(portwatch, &["sub", "builds", "--history", "1"], 0, &["Only the newest 1 are shown"]);
        says(portwatch, &["sub", "*", "--after", "0", "--limit", "2"], 0, &["There are more: --after 2"]);
        says(portwatch, &["sub", "builds", "--after", "3"], 1, &["There is no such message."]);
        says(portwatch, &["channels"], 0, &["builds  private  2 messages", "chat    private  1 message"]);
        let log = portwatch.events(&["--type", "message"]).unwrap();
        let said: Vec<(&str, &str)> =
            log.iter().map(|e| (e["subject"].as_str().unwrap(), e["message"].as_str().unwrap())).collect();
        assert_eq!(said[0], ("builds", "#1 by agent-api, 20 bytes"));
        assert_eq!(said.len(), 3);
        assert!(said.iter().all(|(_, words)| !words.contains("green")), "words are for readers: {said:?}");
        says(portwatch, &["agents"], 0, &["agent-api", "agent-web"]);
        let status = portwatch.status().unwrap();
        assert_eq!(status["coordination"]["channels"]["total"], 2, "{status}");
        says(portwatch, &["channels", "--remove", "chat"], 0, &["Removed channel chat, with 1 message"]);
        says(portwatch, &["sub", "chat", "--after", "2"], 1, &["GAP: messages between #2 and #3"]);
    });
}

#[test]
fn so_many_messages_are_shown_as_are_asked_for() {
    let portwatch = Portwatch::new().unwrap();
    for at in 1..=30 {
        assert_eq!(publish(&portwatch, "many", "x"), at);
    }
    let count = |words: &[&str]| texts(&read(&portwatch, words)).len();
    assert_eq!(count(&["many"]), 20);
    assert_eq!((count(&["many", "--limit", "25"]), count(&["many", "--limit", "5"])), (25, 5));
    assert_eq!(count(&["many", "--history", "40"]), 30);
}

#[test]
fn standard_input_is_one_message() {
    both(|portwatch| {
        let from = |bytes: &[u8], words: &[&str]| {
            let mut child = portwatch
                .command(words)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // It may end before it has read all of too much.
            let _ = child.stdin.take().unwrap().write_all(bytes);
            let output = child.wait_with_output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
        };
        assert_eq!(from(b"from a pipe\n", &["pub", "x"]).code, Some(0));
        assert_eq!(from("b\u{fc}cher\r\nzwei\n".as_bytes(), &["pub", "x", "-"]).code, Some(0));
        assert_eq!(from(&vec![b'y'; 16 * 1024], &["pub", "x"]).code, Some(0));
        let long = from(&vec![b'y'; 1 << 20], &["pub", "x"]);
        assert!(
            long.code == Some(2) && long.stderr.contains("a message has at most 16384 bytes"),
            "{long:?}"
        );
        let alien = from(b"\xff\xfe", &["pub", "x"]);
        assert!(alien.code == Some(2) && alien.stderr.contains("is no UTF-8"), "{alien:?}");
        let empty = from(b"\n", &["pub", "x"]);
        assert!(empty.code == Some(2) && empty.stderr.contains("a message needs words"), "{empty:?}");
        let answer = read(portwatch, &["x"]);
        let long = "y".repeat(16 * 1024);
        assert_eq!(texts(&answer), ["from a pipe", "b\u{fc}cher\r\nzwei", long.as_str()]);
    });
}

#[test]
fn bad_input_is_one_sentence_and_changes_nothing() {
    both(|portwatch| {
        let long = "x".repeat(16 * 1024 + 1);
        for (words, code, sentence) in [
            (&["pub", "a b", "x"][..], 2, "is not the name of a channel"),
            (&["pub", "a*", "x"], 2, "is not the name of a channel"),
            (&["pub", "\u{1b}[2J", "x"], 2, "is not the name of a channel"),
            (&["pub", "x", ""], 2, "a message needs words"),
            (&["pub", "x", &long], 2, "a message has at most 16384 bytes"),
            (&["pub", "x", "y", "--agent", "a b"], 2, "is not the name of an agent"),
            (&["pub", "x", "y", "--session", "session-none"], 1, "there is no session session-none"),
            (&["sub", "a?"], 2, "is not the name of a channel"),
            (&["sub", "[a]*"], 2, "is not the name of a channel, or a pattern"),
            (&["sub", "x", "--since", "soon"], 2, "is not a time"),
            (&["sub", "x", "--after=-1"], 2, "--after"),
            (&["sub", "x", "--after", "7"], 1, "there is no message 7 yet, the newest is 0"),
            (&["sub", "x", "--after", "7", "--follow"], 1, "there is no message 7 yet"),
            (&["sub", "x", "--limit", "0"], 2, "--limit"),
            (&["channels", "--remove", "x"], 1, "there is no channel x"),
            (&["channels", "--share", "x"], 1, "there is no channel x"),
            (&["channels", "--share", "x", "--remove", "x"], 2, "cannot be used with"),
        ] {
            let ran = portwatch.run(words).unwrap();
            assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
            assert!(ran.stderr.contains(sentence) && ran.stdout.is_empty(), "{words:?} {ran:?}");
            assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
        }
        says(portwatch, &["channels"], 1, &[]);
        says(portwatch, &["agents"], 1, &["No agent is known"]);
        assert!(portwatch.events(&["--type", "message,heartbeat"]).unwrap().is_empty());
    });
}

#[test]
fn a_follower_hears_all_from_where_it_says_and_what_it_cannot_hear_any_more() {
    both(|portwatch| {
        let first = publish(portwatch, "x", "before");
        let after = first.to_string();
        let mut live = follower(portwatch, &["x", "--after", &after]);
        let mut pattern = follower(portwatch, &["*", "--history", "1"]);
        assert_eq!(line(&mut pattern)["text"], "before");
        // A message of another channel is not x's.
        publish(portwatch, "y", "aside");
        publish(portwatch, "x", "one");
        publish(portwatch, "x", "two\u{1b}[2J");
        for text in ["one", "two\u{1b}[2J"] {
            let heard = line(&mut live);
            assert_eq!((&heard["type"], &heard["text"]), (&"message".into(), &text.into()), "{heard}");
        }
        for text in ["aside", "one", "two\u{1b}[2J"] {
            assert_eq!(line(&mut pattern)["text"], text);
        }
        drop(live);
        drop(pattern);
        // While nobody follows, something is published, and some of it goes.
        for at in 0..5 {
            publish(portwatch, "x", &format!("away {at}"));
        }
        let database = rusqlite::Connection::open(portwatch.database()).unwrap();
        database.busy_timeout(DEADLINE).unwrap();
        database.execute_batch("DELETE FROM message WHERE text IN ('away 0', 'away 1')").unwrap();
        let mut back = follower(portwatch, &["x", "--after", "4"]);
        let gap = line(&mut back);
        assert_eq!((&gap["type"], &gap["after"], &gap["through"]), (&"gap".into(), &4.into(), &6.into()));
        for text in ["away 2", "away 3", "away 4"] {
            assert_eq!(line(&mut back)["text"], text);
        }
        drop(back);
        // `--limit` ends it.
        let ran = portwatch.run(&["sub", "x", "--after", "6", "--follow", "--limit", "2"]).unwrap();
        assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 2), "{ran:?}");
        if portwatch.pid().is_none() {
            assert!(
                ran.stderr.contains("no daemon answers: messages are looked for in the database"),
                "{ran:?}"
            );
        }
    });
}

#[test]
fn a_follower_waits_for_a_channel_and_is_counted_while_it_follows() {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let mut waiting = follower(&portwatch, &["new", "--after", "0"]);
    publish(&portwatch, "new", "first");
    assert_eq!(line(&mut waiting)["text"], "first");
    let followers = || {
        let answer = portwatch.run(&["channels", "--json"]).unwrap().json().unwrap();
        answer["channels"][0]["followers"].clone()
    };
    wait_until("the follower to be counted", DEADLINE, || (followers() == 1).then_some(())).unwrap();
    assert_eq!(portwatch.status().unwrap()["coordination"]["channels"]["followed"], 1);
    says(&portwatch, &["channels"], 0, &["1 follower"]);
    says(&portwatch, &["status"], 0, &["1 kept, 1 followed"]);
    drop(waiting);
    // The daemon notices when it next writes to it.
    publish(&portwatch, "new", "second");
    publish(&portwatch, "new", "third");
    wait_until("the follower to be gone", DEADLINE, || (followers() == 0).then_some(())).unwrap();
}

#[test]
fn a_message_waits_for_the_one_who_asks_over_http() {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let mut stream = UnixStream::connect(portwatch.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let question = "GET /v1/messages?channel=x&after=0&wait_ms=20000 HTTP/1.1\r\nhost: portwatch\r\n\r\n";
    stream.write_all(question.as_bytes()).unwrap();
    let first = publish(&portwatch, "x", "there");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let answer: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((texts(&answer), &answer["newest"]), (vec!["there"], &first.into()), "{answer}");
}

/// Runs it as that user and expects the code and the sentence.
fn as_user(others: &Others<'_>, uid: u32, words: &[&str], code: i32, sentence: &str) -> String {
    let ran = others.run(uid, words).unwrap();
    assert_eq!(ran.code, Some(code), "{uid} {words:?} {ran:?}");
    assert!(ran.text().contains(sentence), "{uid} {words:?} does not say {sentence}: {ran:?}");
    ran.text()
}

#[test]
fn a_channel_is_its_users_until_it_is_shared_and_root_sees_all() {
    if !require_root() {
        return;
    }
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let others = portwatch.for_others().unwrap();
    let says = |uid, words: &[&str], code, sentence| as_user(&others, uid, words, code, sentence);
    let (one, other, root) = (65_534, 65_533, 0);
    says(one, &["pub", "plans", "the password is swordfish"], 0, "Published #1");
    for (words, code, sentence) in [
        (&["pub", "plans", "graffiti"][..], 3, "channel plans is private to"),
        (&["sub", "plans"], 3, "channel plans is private to"),
        (&["sub", "plans", "--follow"], 3, "channel plans is private to"),
        (&["sub", "plans", "--after", "0"], 3, "portwatch channels --share plans"),
        (&["sub", "*"], 1, "1 more is private to another user."),
        (&["channels"], 1, "1 more is private to another user."),
        (&["channels", "--share", "plans"], 3, "channel plans belongs to"),
        (&["channels", "--remove", "plans"], 3, "channel plans belongs to"),
        (&["log", "--type", "message"], 0, "#1 by"),
    ] {
        let text = says(other, words, code, sentence);
        assert!(!text.contains("swordfish"), "{words:?} {text}");
    }
    says(root, &["sub", "plans"], 0, "swordfish");
    // Who follows everything hears of it from the moment that it may.
    let mut follows = Actor::start(
        others.command(other, &["sub", "*", "--follow", "--after", "1", "--json"]).stderr(Stdio::null()),
    )
    .unwrap();
    says(one, &["pub", "plans", "not for you"], 0, "#2");
    says(one, &["channels", "--share", "plans"], 0, "every user may read and write it");
    says(one, &["pub", "plans", "for all"], 0, "#3");
    let mut heard = Vec::new();
    while heard.last().is_none_or(|text| text != "for all") {
        heard.push(line(&mut follows)["text"].as_str().unwrap().to_owned());
    }
    // The second was said before it was shared; whether it is heard is a matter of moments, and of order it is none.
    assert!(heard.len() <= 2, "{heard:?}");
    says(other, &["pub", "plans", "thanks"], 0, "#4");
    assert_eq!(line(&mut follows)["uid"], 65_533);
    // A follower of the channel itself is told why it ends.
    let child = others
        .command(other, &["sub", "plans", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("both to follow", DEADLINE, || {
        let channels = portwatch.run(&["channels", "--json"]).unwrap().json().unwrap();
        (channels["channels"][0]["followers"] == 2).then_some(())
    })
    .unwrap();
    says(one, &["channels", "--unshare", "plans"], 0, "is private to");
    says(one, &["pub", "plans", "alone again"], 0, "#5");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("channel plans is private to"), "{text}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("alone again"));
    drop(follows);
    says(root, &["channels", "--remove", "plans"], 0, "Removed channel plans, with 5 messages");
}

#[test]
fn a_daemon_that_is_killed_while_many_publish_loses_no_message_and_no_order() {
    let mut portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    publish(&portwatch, "load", "begin");
    let mut follower = follower(&portwatch, &["load", "--after", "0"]);
    let acknowledged = Mutex::new(BTreeMap::<i64, String>::new());
    let count = AtomicUsize::new(0);
    let end = AtomicBool::new(false);
    let environment = portwatch.environment();
    let binary = portwatch.binary().to_owned();
    let work = |id: usize| {
        for turn in 0.. {
            if end.load(Ordering::Acquire) {
                break;
            }
            let text = format!("{id} {turn}");
            let mut command = environment.around(Command::new(&binary));
            let output = command
                .args(["pub", "load", &text, "-q"])
                .env("PORTWATCH_AGENT", format!("agent-{id}"))
                .stdin(Stdio::null())
                .output()
                .unwrap();
            if output.status.success() {
                let number = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
                let twice = acknowledged.lock().unwrap().insert(number, text);
                assert_eq!(twice, None, "a number was given twice: {number}");
                count.fetch_add(1, Ordering::AcqRel);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|id| scope.spawn(move || work(id))).collect();
        portwatch.crash_under_load(&["--source", "scan"], &count).unwrap();
        end.store(true, Ordering::Release);
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let last = publish(&portwatch, "load", "end");
    let acknowledged = acknowledged.into_inner().unwrap();
    let stored = read(&portwatch, &["load", "--after", "0", "--limit", "10000"]);
    assert!(stored["gap"].is_null() && stored["truncated"] == false, "{stored}");
    let stored: Vec<(i64, String)> = stored["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["id"].as_i64().unwrap(), m["text"].as_str().unwrap().to_owned()))
        .collect();
    assert!(stored.windows(2).all(|pair| pair[0].0 < pair[1].0), "in the order of their numbers");
    let there: BTreeMap<i64, String> = stored.iter().cloned().collect();
    let missing: Vec<_> = acknowledged.iter().filter(|(id, text)| there.get(id) != Some(text)).collect();
    assert!(missing.is_empty(), "of {} acknowledged, lost: {missing:?}", acknowledged.len());
    // Each sender's own are in the order in which it said them.
    for id in 0..4 {
        let prefix = format!("{id} ");
        let own: Vec<u32> =
            stored.iter().filter_map(|(_, text)| text.strip_prefix(&prefix)?.parse().ok()).collect();
        assert!(own.windows(2).all(|pair| pair[0] < pair[1]), "{id}: {own:?}");
    }
    // The follower was there all the time, through six ends of the daemon: it heard the same.
    let mut heard = Vec::new();
    while heard.last().is_none_or(|(id, _)| *id != last) {
        let message = line(&mut follower);
        assert_eq!(message["type"], "message", "{message}");
        heard.push((message["id"].as_i64().unwrap(), message["text"].as_str().unwrap().to_owned()));
    }
    drop(follower);
    assert_eq!(heard, stored);
}

/// Serves what the daemon at `real` answers, but the stream of messages first with each of `bad`, after which the connection ends.
fn front(listener: UnixListener, real: PathBuf, bad: &'static [&'static str]) -> std::thread::JoinHandle<()> {
    let serve = move |mut asked: UnixStream, left: &mut std::slice::Iter<'_, &str>| -> std::io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if asked.read(&mut byte)? == 0 {
                return Ok(());
            }
            head.extend(byte);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        if text.starts_with("GET /v1/messages/follow")
            && let Some(answer) = left.next()
        {
            return asked.write_all(answer.as_bytes());
        }
        assert!(text.starts_with("GET "), "{text}");
        let mut there = UnixStream::connect(&real)?;
        there.write_all(text.trim_end().as_bytes())?;
        there.write_all(b"\r\nconnection: close\r\n\r\n")?;
        std::io::copy(&mut there, &mut asked).map(drop)
    };
    std::thread::spawn(move || {
        let mut left = bad.iter();
        for asked in listener.incoming() {
            // A client that is gone, or a daemon that ended, is no concern of the front.
            drop(serve(asked.unwrap(), &mut left));
            if left.as_slice().is_empty() {
                break;
            }
        }
    })
}

/// Answers that no follower's user is to blame for.
const BAD: &[&str] = &[
    "",
    "no HTTP\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n{\"schema\":1,\"error\":{\"code\":\"bad-request\",\"message\":\"not this way\"}}",
    "HTTP/1.1 409 Conflict\r\nconnection: close\r\n\r\n{\"schema\":1,\"error\":{\"code\":\"refused\",\"message\":\"not there\"}}",
    "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n{\"schema\":1,\"error\":{\"code\":\"too-many-clients\",\"message\":\"full\"}}",
    "HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\noops",
    "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\ndata: {\"type\":\"mess",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e7\r\ndata: {\"type\":\"mess",
];

#[test]
fn a_follower_survives_whatever_bad_answer_a_daemon_gives_while_it_ends_or_begins() {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    publish(&portwatch, "load", "one");
    let place = portwatch.folder().join("front.sock");
    let front = front(UnixListener::bind(&place).unwrap(), portwatch.socket(), BAD);
    let mut command = portwatch.command(&["sub", "--json", "--follow", "load", "--after", "0"]);
    let mut follower =
        Actor::start(command.env("PORTWATCH_SOCKET", &place).stderr(Stdio::inherit())).unwrap();
    assert_eq!(line(&mut follower)["text"], "one");
    front.join().unwrap();
    publish(&portwatch, "load", "two");
    assert_eq!(line(&mut follower)["text"], "two");
}
