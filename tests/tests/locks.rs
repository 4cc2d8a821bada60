//! Locks on the real binary: one holder at a time, in order, and free when the holder is gone.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::{
    signal::{Signal, kill},
    wait::{Id, WaitPidFlag, waitid},
};
use portwatch_tests::{Actor, DEADLINE, Portwatch, require_root, wait_until};
use serde_json::Value;

fn locks(portwatch: &Portwatch) -> Vec<Value> {
    portwatch.run(&["locks", "--json"]).unwrap().json().unwrap()["locks"].as_array().unwrap().clone()
}

fn pid(child: &Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// One without a daemon, or with one: answers must not differ.
fn both(test: impl Fn(&Portwatch)) {
    test(&Portwatch::new().unwrap());
    test(&Portwatch::started(&["--source", "scan"]).unwrap());
}

#[test]
fn only_the_owner_extends_and_gives_back_and_force_is_written_down() {
    both(|portwatch| {
        let run = |words: &[&str], code: i32| {
            let ran = portwatch.run(words).unwrap();
            assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
            format!("{}{}", ran.stdout, ran.stderr)
        };
        run(&["locks"], 1);
        let taken = run(&["lock", "db-migrations", "--owner", "agent-db", "--ttl", "10m"], 0);
        assert_eq!(taken, "Locked db-migrations for agent-db: expires in 10m\n");
        let lock = &locks(portwatch)[0];
        assert_eq!(
            (&lock["name"], &lock["owner"], &lock["ttl"]),
            (&"db-migrations".into(), &"agent-db".into(), &600.into())
        );
        assert!(lock["heldSince"].as_str().unwrap().ends_with('Z'), "{lock}");

        let refused = run(&["lock", "db-migrations", "--owner", "agent-web"], 1);
        assert!(
            refused.contains("db-migrations is held by agent-db") && refused.contains("--wait"),
            "{refused}"
        );
        let refused = run(&["lock", "db-migrations", "--owner", "agent-web", "--wait", "50ms"], 1);
        assert!(refused.contains("was not to be had within 50ms: agent-db has it"), "{refused}");
        for words in [
            &["unlock", "db-migrations", "--owner", "agent-web"][..],
            &["unlock", "db-migrations"],
            &["lock", "db-migrations", "--extend", "--owner", "agent-web"],
        ] {
            let refused = run(words, 1);
            assert!(refused.contains("is held by agent-db, not by"), "{refused}");
        }
        assert_eq!(&locks(portwatch)[0]["heldSince"], &lock["heldSince"], "nothing was changed");
        let extended = run(&["lock", "db-migrations", "--owner", "agent-db", "--extend", "--ttl", "20m"], 0);
        assert_eq!(extended, "Extended db-migrations for agent-db: expires in 20m\n");
        let forced = run(&["unlock", "db-migrations", "--force"], 0);
        assert_eq!(forced, "Lock db-migrations force-released (was held by agent-db)\n");
        run(&["unlock", "db-migrations", "--force"], 1);

        let events =
            portwatch.events(&["--type", "lock,unlock,extend", "--filter", "db-migrations"]).unwrap();
        let words: Vec<String> = events
            .iter()
            .map(|e| {
                format!(
                    "{} {} {}",
                    e["type"].as_str().unwrap(),
                    e["subject"].as_str().unwrap(),
                    e["message"].as_str().unwrap()
                )
            })
            .collect();
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        assert_eq!(
            words,
            [
                "lock db-migrations owner=agent-db  for 10m".to_owned(),
                "extend db-migrations owner=agent-db  +20m".to_owned(),
                format!("unlock db-migrations owner=agent-db  forced by {user}"),
            ]
        );
    });
}

#[test]
fn an_expired_lock_is_shown_and_taken_by_whoever_asks_next() {
    both(|portwatch| {
        portwatch.run(&["lock", "x", "--owner", "a", "--ttl", "1ms"]).unwrap();
        wait_until("the lock to expire", DEADLINE, || (locks(portwatch)[0]["expired"] == true).then_some(()))
            .unwrap();
        let shown = portwatch.run(&["locks"]).unwrap();
        assert!(shown.stdout.contains("(EXPIRED)"), "{shown:?}");
        let taken = portwatch.run(&["lock", "x", "--owner", "b"]).unwrap();
        assert!(taken.stdout.contains("It was held by a; its time had passed."), "{taken:?}");
        let late = portwatch.run(&["unlock", "x", "--owner", "a"]).unwrap();
        assert_eq!(late.code, Some(1), "who lost it cannot give it back: {late:?}");
    });
}

#[test]
fn locks_whose_time_has_passed_crowd_none_out_of_the_list_that_is_held() {
    both(|portwatch| {
        for name in ["a", "b", "c"] {
            portwatch.run(&["lock", name, "--owner", "o", "--ttl", "1ms"]).unwrap();
        }
        portwatch.run(&["lock", "z", "--owner", "o"]).unwrap();
        wait_until("three have expired", DEADLINE, || {
            (locks(portwatch).iter().filter(|lock| lock["expired"] == true).count() == 3).then_some(())
        })
        .unwrap();
        let cut = portwatch.run(&["locks", "--limit", "2", "--json"]).unwrap().json().unwrap();
        let names: Vec<&Value> = cut["locks"].as_array().unwrap().iter().map(|lock| &lock["name"]).collect();
        assert_eq!((names, &cut["truncated"]), (vec![&Value::from("a"), &"z".into()], &true.into()));
    });
}

#[test]
fn a_lock_ends_with_the_script_that_took_it() {
    both(|portwatch| {
        let script = format!("{} lock mine; echo taken; cat >/dev/null", portwatch.binary().display());
        let mut shell = portwatch.environment().around(Command::new("sh"));
        let mut script = Actor::start(shell.args(["-c", &script])).unwrap();
        while script.line().unwrap() != "taken" {}
        let lock = &locks(portwatch)[0];
        assert_eq!(lock["owner_kind"], "process");
        assert_eq!(lock["pid"], script.pid());
        assert!(lock["owner"].as_str().unwrap().starts_with("sh ("), "{lock}");
        assert_eq!(portwatch.run(&["lock", "mine"]).unwrap().code, Some(1));
        assert!(script.finish().unwrap().success());
        wait_until("the lock to be free", DEADLINE, || locks(portwatch).is_empty().then_some(())).unwrap();
        let unlock = portwatch.events(&["--type", "unlock"]).unwrap().pop().unwrap();
        let message = unlock["message"].as_str().unwrap();
        assert!(message.contains("ended with exit code 0") || message.contains("is gone"), "{message}");
    });
}

#[test]
fn with_lock_passes_the_exit_code_and_signals_on_and_frees_the_lock_however_it_ends() {
    both(|portwatch| {
        let code = |words: &[&str]| portwatch.run(words).unwrap().code;
        assert_eq!(code(&["with-lock", "x", "--", "sh", "-c", "exit 7"]), Some(7));
        assert!(locks(portwatch).is_empty());
        assert_eq!(code(&["with-lock", "x", "--", "sh", "-c", "kill -KILL $$"]), Some(137));
        assert!(locks(portwatch).is_empty());
        // Who had it for a shorter time than it worked is told.
        for (ttl, told) in [("1ms", true), ("1h", false)] {
            let ran = portwatch
                .run(&["with-lock", "x", "--ttl", ttl, "--", "sh", "-c", "sleep 0.1; exit 7"])
                .unwrap();
            assert_eq!((ran.code, ran.stderr.contains("the program ran longer")), (Some(7), told), "{ran:?}");
        }
        let missing = portwatch.run(&["with-lock", "x", "--", "/no/such/program"]).unwrap();
        assert_eq!(missing.code, Some(127), "{missing:?}");
        assert!(locks(portwatch).is_empty());

        let file = portwatch.folder().join("traps");
        let script = format!(
            "trap 'echo term > {}; exit 3' TERM; echo up > {0}.up; while :; do sleep 0.01; done",
            file.display()
        );
        let mut child = portwatch.command(&["with-lock", "x", "--", "sh", "-c", &script]).spawn().unwrap();
        wait_until("the program", DEADLINE, || fs::exists(file.with_extension("up")).unwrap().then_some(()))
            .unwrap();
        let lock = &locks(portwatch)[0];
        assert!(
            lock["owner"].as_str().unwrap().starts_with("sh ("),
            "the program's, not the wrapper's: {lock}"
        );
        assert_ne!(lock["pid"], child.id());
        assert_eq!(code(&["with-lock", "x", "--wait", "0s", "--", "true"]), Some(1), "it is held");
        kill(pid(&child), Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3), "the program's own");
        assert_eq!(fs::read_to_string(&file).unwrap(), "term\n");
        assert!(locks(portwatch).is_empty());
        fs::remove_file(file.with_extension("up")).unwrap();
    });
}

#[test]
fn a_lock_stays_with_the_program_when_only_its_wrapper_is_killed() {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let (ready, end) = (portwatch.folder().join("ready"), portwatch.folder().join("end"));
    let script = format!("echo > {}; while [ ! -e {} ]; do sleep 0.01; done", ready.display(), end.display());
    let mut wrapper = portwatch.command(&["with-lock", "x", "--", "sh", "-c", &script]).spawn().unwrap();
    wait_until("the program", DEADLINE, || ready.exists().then_some(())).unwrap();
    let program = wait_until("the lock to be the program's", DEADLINE, || {
        locks(&portwatch).first().filter(|l| l["owner"].as_str().unwrap().starts_with("sh (")).cloned()
    })
    .unwrap();
    kill(pid(&wrapper), Signal::SIGKILL).unwrap();
    wrapper.wait().unwrap();
    // The daemon has heard of the wrapper's end by the time it serves another command.
    assert_eq!(locks(&portwatch)[0]["pid"], program["pid"], "the program still runs");
    fs::write(end, "").unwrap();
    wait_until("the lock to end with the program", DEADLINE, || locks(&portwatch).is_empty().then_some(()))
        .unwrap();
}

/// What every contender does while it holds the lock: two at once would see each other's mark.
const WORK: &str = r#"
    if ! mkdir "$DIR/inside" 2>/dev/null; then echo "$ID" >> "$DIR/two-holders"; fi
    echo "$ID" >> "$DIR/order"
    rmdir "$DIR/inside"
"#;

fn contender(portwatch: &Portwatch, directory: &Path, id: usize) -> Child {
    let script = format!(
        "while [ ! -e $DIR/end ]; do {} with-lock arena -- sh -c '{WORK}' || echo \"$ID: $?\" >> $DIR/failed; done",
        portwatch.binary().display()
    );
    let mut command = portwatch.environment().around(Command::new("sh"));
    command.env("DIR", directory).env("ID", id.to_string()).args(["-c", &script]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

/// Lets the database itself write down who had which place in line when the lock was taken: with each turn the process that
/// took it, and the one that was first in line at that moment. What it says does not depend on how fast anything is.
fn write_down_turns(portwatch: &Portwatch) -> rusqlite::Connection {
    // There is a database with the first look.
    portwatch.run(&["locks"]).unwrap();
    let database = rusqlite::Connection::open(portwatch.database()).unwrap();
    database.busy_timeout(DEADLINE).unwrap();
    let triggers = "
        CREATE TABLE test_place (ticket INTEGER, pid INTEGER);
        CREATE TABLE test_turn (turn INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER, ticket INTEGER, first INTEGER);
        CREATE TRIGGER test_came AFTER INSERT ON lock_waiter BEGIN
            INSERT INTO test_place VALUES (NEW.ticket, NEW.waiting_pid);
        END;
        CREATE TRIGGER test_took AFTER INSERT ON lock BEGIN
            INSERT INTO test_turn (pid, ticket, first) VALUES (NEW.pid,
                (SELECT ticket FROM lock_waiter WHERE lock = NEW.name AND waiting_pid = NEW.pid),
                (SELECT min(ticket) FROM lock_waiter WHERE lock = NEW.name));
        END;";
    database.execute_batch(triggers).unwrap();
    database
}

/// 32 fight for 10 s, and until each had two turns. Who is in line is served in its order, and nobody goes before.
fn fight(portwatch: &Portwatch, contenders: usize, time: Duration) {
    let database = write_down_turns(portwatch);
    let directory = portwatch.folder().join("arena");
    fs::create_dir(&directory).unwrap();
    let mut all: Vec<Child> = (0..contenders).map(|id| contender(portwatch, &directory, id)).collect();
    let order = || -> Vec<usize> {
        let order = fs::read_to_string(directory.join("order")).unwrap_or_default();
        order.lines().map(|line| line.parse().unwrap()).collect()
    };
    let turns = |order: &[usize]| {
        let mut turns: HashMap<usize, usize> = HashMap::new();
        for id in order {
            *turns.entry(*id).or_default() += 1;
        }
        turns
    };
    let until = Instant::now() + time;
    wait_until("two turns of each", time + Duration::from_mins(1), || {
        let turns = turns(&order());
        let done = turns.len() == contenders && turns.values().all(|&count| count >= 2);
        (Instant::now() >= until && done).then_some(())
    })
    .unwrap();
    fs::write(directory.join("end"), "").unwrap();
    for child in &mut all {
        let done = wait_until("a contender to end", Duration::from_mins(1), || child.try_wait().unwrap());
        assert!(done.unwrap().success());
    }
    assert!(!directory.join("two-holders").exists(), "two held it at once");
    assert!(!directory.join("failed").exists(), "{:?}", fs::read_to_string(directory.join("failed")));
    let order = order();
    let log = portwatch.events(&["--type", "lock", "--filter", "arena"]).unwrap();
    assert_eq!(log.len(), order.len(), "each turn is in the log");
    let turns = turns(&order);
    let mut out = std::io::stdout();
    let (least, most) = (turns.values().min().unwrap(), turns.values().max().unwrap());
    writeln!(out, "{} turns in {time:?}, from {least} to {most} for each of {}", order.len(), turns.len())
        .unwrap();
    let number = |sql: &str| -> usize {
        let count: u32 = database.query_row(sql, [], |row| row.get(0)).unwrap();
        usize::try_from(count).unwrap()
    };
    assert_eq!(number("SELECT count(*) FROM test_turn"), order.len());
    let waited = number("SELECT count(*) FROM test_turn WHERE ticket IS NOT NULL");
    assert!(waited > order.len() / 2, "they did wait in line: {waited} of {}", order.len());
    // The documented bound: nobody takes it who is not the first in line, nobody past the line.
    let passed =
        number("SELECT count(*) FROM test_turn WHERE first IS NOT NULL AND ifnull(ticket, 0) <> first");
    assert_eq!(passed, 0, "of {} turns", order.len());
    // So each place of the line is served once, in the order in which they were given out.
    let disordered = number(
        "SELECT count(*) FROM test_turn a JOIN test_place p ON p.ticket = a.ticket AND p.pid = a.pid
             JOIN test_turn b ON b.turn > a.turn
             JOIN test_place q ON q.ticket = b.ticket AND q.pid = b.pid WHERE q.rowid < p.rowid",
    );
    assert_eq!(disordered, 0, "who came first was served first");
}

#[test]
fn of_32_that_fight_for_ten_seconds_never_two_hold_it_with_a_daemon() {
    fight(&Portwatch::started(&["--source", "scan"]).unwrap(), 32, Duration::from_secs(10));
}

#[test]
fn of_32_that_fight_for_ten_seconds_never_two_hold_it_without_a_daemon() {
    fight(&Portwatch::new().unwrap(), 32, Duration::from_secs(10));
}

#[test]
fn who_waits_is_served_in_the_order_of_arrival() {
    both(|portwatch| {
        portwatch.run(&["lock", "line", "--owner", "first"]).unwrap();
        let mut waiting = Vec::new();
        for id in 0..8_u64 {
            let child = portwatch
                .command(&["lock", "line", "--owner", &format!("w{id}"), "--wait", "60s"])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            waiting.push(child);
            wait_until("it to be in line", DEADLINE, || {
                (locks(portwatch)[0]["waiting"] == id + 1).then_some(())
            })
            .unwrap();
        }
        let barging = portwatch.run(&["lock", "line", "--owner", "late", "--wait", "0s"]).unwrap();
        assert_eq!(barging.code, Some(1));
        let mut holder = "first".to_owned();
        for (id, mut child) in waiting.into_iter().enumerate() {
            assert_eq!(portwatch.run(&["unlock", "line", "--owner", &holder]).unwrap().code, Some(0));
            let ended = wait_until("the next to have it", DEADLINE, || child.try_wait().unwrap()).unwrap();
            assert!(ended.success());
            holder = format!("w{id}");
            assert_eq!(locks(portwatch)[0]["owner"], holder.as_str());
        }
    });
}

#[test]
fn a_killed_holders_lock_is_free_within_100_ms_and_the_next_in_line_has_it() {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let (mut spans, mut heard) = (Vec::new(), Vec::new());
    for round in 0..10 {
        let name = format!("crash-{round}");
        let mut holder = Command::new("sleep").arg("600").spawn().unwrap();
        let mut witness = Command::new("sleep").arg("600").spawn().unwrap();
        let taken =
            portwatch.run(&["lock", &name, "--pid", &holder.id().to_string(), "--ttl", "1h"]).unwrap();
        assert_eq!(taken.code, Some(0), "{taken:?}");
        let mut next = portwatch
            .command(&["lock", &name, "--owner", "next", "--wait", "60s"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("it to be in line", DEADLINE, || {
            locks(&portwatch).iter().any(|l| l["name"] == *name && l["waiting"] == 1).then_some(())
        })
        .unwrap();
        let killed = jiff::Timestamp::now();
        kill(pid(&holder), Signal::SIGKILL).unwrap();
        kill(pid(&witness), Signal::SIGKILL).unwrap();
        witness.wait().unwrap();
        heard.push(jiff::Timestamp::now().as_microsecond() - killed.as_microsecond());
        wait_until("the next to have it", DEADLINE, || next.try_wait().unwrap()).unwrap();
        holder.wait().unwrap();
        let events = portwatch.events(&["--type", "unlock,lock", "--filter", &name]).unwrap();
        let time = |event: &Value| event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let [.., unlock, lock] = events.as_slice() else { panic!("{events:?}") };
        let message = unlock["message"].as_str().unwrap();
        assert!(message.contains(&format!("its process {} was killed by SIGKILL", holder.id())), "{message}");
        assert_eq!(lock["message"].as_str().unwrap(), "owner=next  for 5m");
        let micros = |event: &Value| time(event).as_microsecond() - killed.as_microsecond();
        spans.push((micros(unlock), micros(lock)));
    }
    spans.sort_unstable();
    heard.sort_unstable();
    writeln!(
        std::io::stdout(),
        "free and taken after the kill, in µs: {spans:?}; a parent hears of its child's end after {heard:?}"
    )
    .unwrap();
    // Half of them at least, and not counted what the machine takes to tell of an end at all: one that does other things is late
    // itself. A daemon that is not told of the end, and looks once a second, is later than this by far.
    assert!(spans[4].0 < 100_000 + 10 * heard[4], "{spans:?} {heard:?}");
}

#[test]
fn of_many_holders_killed_at_once_the_log_says_how_each_ended_whoever_found_it_dead() {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let mut holders: Vec<Child> =
        (0..60).map(|_| Command::new("sleep").arg("600").spawn().unwrap()).collect();
    for holder in &holders {
        let id = holder.id().to_string();
        let taken = portwatch.run(&["lock", &format!("many-{id}"), "--pid", &id, "--ttl", "1h"]).unwrap();
        assert_eq!(taken.code, Some(0), "{taken:?}");
    }
    for holder in &holders {
        kill(pid(holder), Signal::SIGKILL).unwrap();
    }
    // Dead, and not waited for: their pids stay theirs.
    for holder in &holders {
        waitid(Id::Pid(pid(holder)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    }
    // It asks while the daemon is at the ends of the first of them.
    assert!(locks(&portwatch).is_empty());
    for holder in &mut holders {
        holder.wait().unwrap();
    }
    let events = portwatch.events(&["--type", "unlock"]).unwrap();
    assert_eq!(events.len(), holders.len());
    for holder in &holders {
        let words = format!("its process {} was killed by SIGKILL", holder.id());
        let said = |event: &&Value| event["message"].as_str().unwrap().ends_with(&words);
        assert_eq!(events.iter().filter(said).count(), 1, "{words}: {events:?}");
    }
}

#[test]
fn names_and_times_that_are_none_change_nothing() {
    both(|portwatch| {
        for (words, code, sentence) in [
            (&["lock", "a b"][..], 2, "is not the name of a lock"),
            (&["lock", ""], 2, "is not the name of a lock"),
            (&["lock", "x", "--owner", "\u{1b}[2J"], 2, "is not the name of an agent"),
            (&["lock", "x", "--ttl", "soon"], 2, "is not a span of time"),
            (&["lock", "x", "--ttl", "40000d"], 2, "is not a span of time"),
            (&["lock", "x", "--ttl", "400d"], 2, "a year at most"),
            (&["lock", "x", "--pid", "4294967295"], 1, "pid 4294967295 is gone"),
            (&["lock", "x", "--pid", "0"], 2, "0 is not in 1.."),
            (&["unlock", "x"], 1, "there is no lock x"),
            (&["lock", "x", "--extend"], 1, "there is no lock x"),
        ] {
            let ran = portwatch.run(words).unwrap();
            assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
            assert!(ran.stderr.contains(sentence) && ran.stdout.is_empty(), "{words:?} {ran:?}");
            assert!(!ran.stderr.contains('\u{1b}') || ran.stderr.contains("not the name"), "{ran:?}");
        }
        assert!(locks(portwatch).is_empty());
        assert!(portwatch.events(&["--type", "lock,unlock,extend"]).unwrap().is_empty());
    });
}

/// As many connections as one user may have, each of them a stream that has begun; kept until standard input ends.
const KEEP: &str = "
import socket, sys
kept = []
for _ in range(64):
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(sys.argv[1])
    stream.sendall(b'GET /v1/messages/follow?channel=x HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n')
    assert stream.recv(12) == b'HTTP/1.1 200'
    kept.append(stream)
print(len(kept), flush=True)
sys.stdin.read()
";

#[test]
fn who_has_all_its_connections_waiting_can_still_give_the_lock_back() {
    if !require_root() {
        return;
    }
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let others = portwatch.for_others().unwrap();
    let uid = 65_534;
    let ran = others.run(uid, &["lock", "busy", "--owner", "holder"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut stream = others.around(uid, Command::new("/usr/bin/python3"));
    stream.args(["-c", KEEP]).arg(portwatch.socket()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut keeper = stream.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "64\n");
    let refused = others.run(uid, &["lock", "busy", "--owner", "late", "--wait", "1m"]).unwrap();
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("too many clients of this user wait already"), "{refused:?}");
    for words in
        [&["locks"][..], &["lock", "other", "--owner", "late"], &["unlock", "busy", "--owner", "holder"]]
    {
        let ran = others.run(uid, words).unwrap();
        assert_eq!(ran.code, Some(0), "{words:?} {ran:?}");
    }
    drop(keeper.stdin.take());
    assert!(keeper.wait().unwrap().success());
}
