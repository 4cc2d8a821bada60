//! The claims office on the real binary, where it says no: to one of several names, and to a user who has enough.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use portwatch_tests::{Actor, DEADLINE, Portwatch, Ran, Source, each_source, kernel_tells, require_root};
use serde_json::{Value, json};

/// Listens on a port that the kernel chooses until its input ends.
const LISTENER: &str = "import socket, sys
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); print(s.getsockname()[1]); sys.stdin.read()";

fn ran(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn a_claim_of_several_names_that_is_refused_one_says_what_was_done_and_what_not() {
    let portwatch = Portwatch::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let root = portwatch.folder().join("shop");
    fs::create_dir(&root).unwrap();
    let file = format!("project = 'shop'\n[stacks.a]\n[stacks.b]\nport = {port}\n[stacks.c]\n");
    fs::write(root.join(".portwatch.toml"), file).unwrap();
    let run = |words: &[&str]| ran(portwatch.command(words).current_dir(&root));

    let quiet = run(&["claim", "-q"]);
    assert_eq!((quiet.code, quiet.stdout.as_str()), (Some(1), ""), "{quiet:?}");
    let first = portwatch.run(&["find", "shop:a", "--json"]).unwrap().json().unwrap();
    let words = format!("Claimed: shop:a ({}). Not claimed: shop:b, shop:c", first["claims"][0]["port"]);
    assert!(quiet.stderr.contains(&format!("port {port} is in use")), "{quiet:?}");
    assert!(quiet.stderr.replace('\n', " ").contains(&words), "{quiet:?} {words}");

    let document = run(&["claim", "--json"]);
    assert_eq!(document.code, Some(1), "{document:?}");
    let answer = document.json().unwrap();
    assert_eq!(answer["not_claimed"], json!(["shop:b", "shop:c"]));
    assert_eq!((&answer["claims"][0]["name"], &answer["fresh"]), (&json!("shop:a"), &json!(0)));
    let table = run(&["claim"]);
    assert!(table.stdout.contains("shop:a") && !table.stdout.contains("shop:b"), "{table:?}");
    let kept = portwatch.run(&["find", "--json"]).unwrap().json().unwrap();
    assert_eq!(kept["claims"].as_array().unwrap().len(), 1, "nothing else was claimed");

    drop(taken);
    let all = run(&["claim", "--json"]);
    assert_eq!((all.code, &all.json().unwrap()["not_claimed"]), (Some(0), &json!([])), "{all:?}");
}

#[test]
fn one_user_gets_so_many_ports_and_others_still_get_theirs() {
    if !require_root() {
        return;
    }
    let portwatch = Portwatch::started(&["--ports-per-user", "3"]).unwrap();
    fs::set_permissions(portwatch.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let as_user = |uid: u32, words: &[&str]| ran(portwatch.command(words).uid(uid).gid(uid).current_dir("/"));
    for (words, code) in [
        (&["claim", "a:one", "--ports", "2", "-q"][..], 0),
        (&["claim", "a:two", "--ports", "2"], 1),
        (&["claim", "a:two", "-q"], 0),
        (&["claim", "a:two", "-q"], 0),
        (&["claim", "a:three"], 1),
        (&["claim", "a:three", "--no-daemon"], 3),
    ] {
        let ran = as_user(65_534, words);
        assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
        if code == 1 {
            assert!(ran.stderr.contains("one user may have 3"), "{ran:?}");
            assert!(ran.stderr.contains("portwatch cleanup"), "{ran:?}");
        }
    }
    assert_eq!(as_user(65_533, &["claim", "b:one", "-q"]).code, Some(0));
    assert_eq!(portwatch.run(&["claim", "r:one", "--ports", "9", "-q"]).unwrap().code, Some(0));
    assert_eq!(as_user(65_534, &["release", "a:one"]).code, Some(0));
    assert_eq!(as_user(65_534, &["claim", "a:three", "-q"]).code, Some(0));
}

#[test]
fn what_is_rogue_is_told_as_it_appears_to_whoever_watches_for_it() {
    let portwatch = Portwatch::started(&[]).unwrap();
    let user = nix::unistd::geteuid().to_string();
    let nobody = Actor::start(&mut portwatch.command(&["rogue", "--watch", "--json", "--user", "4000000"]));
    let mut nobody = nobody.unwrap();
    let words = ["rogue", "--watch", "--json", "--user", &user];
    let mut watch = Actor::start(&mut portwatch.command(&words)).unwrap();
    // One after the other: those that begin before the watcher has connected are not told to it.
    let end = Instant::now() + DEADLINE;
    let mut listeners = Vec::new();
    let told: Value = loop {
        assert!(Instant::now() < end, "nothing was told of {} listeners", listeners.len());
        let mut listener = Command::new("python3");
        // Not where the test runs: that is a project, which would explain it.
        listener.args(["-S", "-u", "-c", LISTENER]).current_dir(portwatch.folder());
        let mut listener = Actor::start(&mut listener).unwrap();
        let port: u16 = listener.line().unwrap().parse().unwrap();
        listeners.push((listener, port));
        if let Ok(line) = watch.line_within(Duration::from_millis(500)) {
            let event: Value = serde_json::from_str(&line).unwrap();
            if listeners.iter().any(|(_, port)| event["port"] == *port) {
                break event;
            }
        }
    };
    let random = if kernel_tells() { json!(true) } else { Value::Null };
    assert_eq!((&told["type"], &told["random"]), (&json!("rogue"), &random), "{told}");
    assert_eq!(told["process"]["comm"], "python3");
    nobody.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(nobody.line().is_err(), "a listener of another user was told");
}

/// Begins to listen where nothing explains it, and comes back with its port when that was told.
fn rogue(portwatch: &Portwatch) -> (Actor, String) {
    let mut listener = Command::new("python3");
    let listener = listener.args(["-S", "-u", "-c", LISTENER]).current_dir(portwatch.folder());
    let mut listener = Actor::start(listener).unwrap();
    let port = listener.line().unwrap();
    portwatch.wait_for("rogue", &["--port", &port]).unwrap();
    (listener, port)
}

#[test]
fn what_is_rogue_is_told_once_by_a_daemon_with_kernel_programs_too() {
    told_once(&mut Portwatch::started(&[]).unwrap());
}

each_source![what_is_rogue_is_told_once_however_often_the_daemon_is_started];

fn what_is_rogue_is_told_once_however_often_the_daemon_is_started(source: Source) {
    told_once(&mut Portwatch::started_on(source).unwrap());
}

fn told_once(portwatch: &mut Portwatch) {
    let (_old, port) = rogue(portwatch);
    let mut others = Vec::new();
    for _ in 0..2 {
        portwatch.stop().unwrap();
        portwatch.start(&[]).unwrap();
        // All that is there is looked at before, or together with, the first of these.
        others.extend([rogue(portwatch), rogue(portwatch)]);
    }
    let told = |port: &str| portwatch.events(&["--type", "rogue", "--port", port]).unwrap().len();
    assert_eq!(told(&port), 1);
    assert_eq!(others.iter().map(|(_, port)| told(port)).collect::<Vec<_>>(), [1; 4]);
}
