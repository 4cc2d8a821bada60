//! The registry on the real binary: it feeds itself, keeps its word under contention and a crash, and obeys owners only.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    collections::HashSet,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use portwatch_tests::{
    Actor, DEADLINE, Portwatch, Ran, free_port, in_own_netns, kernel_tells, require_root, wait_until,
};
use serde_json::Value;

fn project(portwatch: &Portwatch, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = portwatch.folder().join(name);
    fs::create_dir_all(&root).unwrap();
    for (file, text) in files {
        fs::write(root.join(file), text).unwrap();
    }
    root
}

fn run_in(portwatch: &Portwatch, directory: &Path, words: &[&str]) -> Ran {
    let output = portwatch.command(words).current_dir(directory).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn claims(portwatch: &Portwatch, pattern: &str) -> Vec<Value> {
    let ran = portwatch.run(&["find", pattern, "--json"]).unwrap();
    ran.json().unwrap()["claims"].as_array().unwrap().clone()
}

/// Waits until a claim is there in a state.
fn wait_for(portwatch: &Portwatch, name: &str, state: &str) -> anyhow::Result<Value> {
    wait_until(&format!("{name} to be {state}"), DEADLINE, || {
        claims(portwatch, name).into_iter().find(|claim| claim["state"] == state)
    })
}

const GRACE: &str = "[auto]\ngrace = '200ms'\n";

const NODE: &str = "require('http').createServer((q, r) => r.end('ok'))
    .listen(+process.argv[2], '127.0.0.1', () => console.log('ready'));
process.stdin.resume(); process.stdin.on('end', () => process.exit(0));";

const PYTHON: &str = "import socket, sys
s = socket.socket(); s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); print('ready', flush=True)
sys.stdin.read()";

const RUST: &str = r#"fn main() {
    let port = std::env::args().nth(1).unwrap();
    let _listener = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}"#;

fn start(directory: &Path, program: &Path, arguments: &[&str]) -> Actor {
    let mut actor = Actor::start(Command::new(program).args(arguments).current_dir(directory)).unwrap();
    assert_eq!(actor.line().unwrap(), "ready");
    actor
}

#[test]
fn dev_servers_are_claimed_by_sensible_names_with_no_call_and_end_with_their_programs() {
    // A project of the same name elsewhere on the machine would have the names, and these numbers.
    in_own_netns(three_dev_servers);
}

fn three_dev_servers() {
    let portwatch = Portwatch::started(&[]).unwrap();
    let shop = project(
        &portwatch,
        "shop",
        &[
            ("package.json", r#"{"name": "@acme/shop", "scripts": {"dev": "node server.js"}}"#),
            (".portwatch.toml", &format!("project = 'shop'\n{GRACE}")),
            ("server.js", NODE),
        ],
    );
    let mail = project(
        &portwatch,
        "mail",
        &[("pyproject.toml", "[project]\nname = 'mail'\n"), ("worker.py", PYTHON)],
    );
    let ledger =
        project(&portwatch, "ledger", &[("Cargo.toml", "[package]\nname = 'ledger'\n"), ("main.rs", RUST)]);
    let rustc = Command::new("rustc").args(["-o", "books", "main.rs"]).current_dir(&ledger).status().unwrap();
    assert!(rustc.success());

    let ports = [0; 3].map(|_| free_port().unwrap().to_string());
    let node = start(&shop, Path::new("node"), &["server.js", &ports[0]]);
    let _python = start(&mail, Path::new("python3"), &["worker.py", &ports[1]]);
    let _rust = start(&ledger, &ledger.join("books"), &[&ports[2]]);
    for (name, port) in ["shop:server", "mail:worker", "ledger:books"].iter().zip(&ports) {
        let claim = wait_for(&portwatch, name, "live").unwrap();
        assert_eq!(claim["kind"], "auto");
        assert_eq!(claim["port"].to_string(), *port);
        // By the record's own clock, which other work on the machine does not slow down.
        let listened = log(&portwatch, &["--type", "listen", "--port", port]);
        let listened: jiff::Timestamp = listened[0]["time"].as_str().unwrap().parse().unwrap();
        let created: jiff::Timestamp = claim["created"].as_str().unwrap().parse().unwrap();
        let after = created.as_millisecond() - listened.as_millisecond();
        assert!(after < 1000, "{name} was claimed {after} ms after it began to listen");
    }
    assert!(node.finish().unwrap().success());
    wait_until("the automatic claim to end with its program", DEADLINE, || {
        claims(&portwatch, "shop:*").is_empty().then_some(())
    })
    .unwrap();
    let released = log(&portwatch, &["--type", "release", "--filter", "shop:server"]);
    assert_eq!(released[0]["message"], "its program has ended");
}

fn log(portwatch: &Portwatch, words: &[&str]) -> Vec<Value> {
    let words: Vec<&str> = ["log", "--json", "--limit", "0"].iter().chain(words).copied().collect();
    let events = || portwatch.run(&words).unwrap().json().unwrap()["events"].as_array().unwrap().clone();
    wait_until(&format!("{words:?}"), DEADLINE, || Some(events()).filter(|events| !events.is_empty()))
        .unwrap()
}

#[test]
fn a_claimed_program_that_crashes_leaves_a_ghost_with_time_and_cause_and_a_stranger_is_a_conflict() {
    let portwatch = Portwatch::started(&[]).unwrap();
    let shop = project(&portwatch, "shop", &[("package.json", r#"{"name": "shop"}"#), ("a.py", PYTHON)]);
    let other = project(&portwatch, "other", &[("package.json", r#"{"name": "other"}"#), ("a.py", PYTHON)]);
    let claimed = run_in(&portwatch, &shop, &["claim", "api", "-q"]);
    assert_eq!(claimed.code, Some(0), "{claimed:?}");
    let port = claimed.stdout.trim().to_owned();
    assert_eq!(claims(&portwatch, "shop:api")[0]["state"], "idle");
    let server = start(&shop, Path::new("python3"), &["a.py", &port]);
    wait_for(&portwatch, "shop:api", "live").unwrap();
    // It accepts, which is all that is asked of it.
    assert_eq!(portwatch.run(&["health", "shop:api", "--tcp"]).unwrap().code, Some(0));
    server.signal(Signal::SIGKILL).unwrap();
    server.finish().unwrap();
    let ghost = wait_until("a ghost with its cause", DEADLINE, || {
        claims(&portwatch, "shop:api")
            .pop()
            .filter(|c| c["state"] == "ghost" && (!kernel_tells() || c["ended"]["exit"]["signal"] == 9))
    })
    .unwrap();
    assert!(ghost["ended"]["time"].is_string());
    // It was well when it was asked; that it is gone is a change, and asking again is none.
    for _ in 0..2 {
        let health = portwatch.run(&["health", "shop:api", "--json"]).unwrap();
        let check = &health.json().unwrap()["checks"][0];
        assert_eq!((health.code, &check["result"]), (Some(1), &Value::from("ghost")));
        assert!(check["last_healthy"].is_string(), "{check}");
    }
    let changes = log(&portwatch, &["--type", "health", "--filter", "shop:api"]);
    let changes: Vec<&str> = changes.iter().map(|event| event["message"].as_str().unwrap()).collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(
        changes[0].starts_with("healthy") && changes[1].starts_with("UNHEALTHY: nothing listens"),
        "{changes:?}"
    );
    let told = log(&portwatch, &["--type", "ghost", "--filter", "shop:api"]);
    assert_eq!(told[0]["claim"], "shop:api");

    let _stranger = start(&other, Path::new("python3"), &["a.py", &port]);
    let squatted = wait_for(&portwatch, "shop:api", "squatted").unwrap();
    assert_eq!(squatted["strangers"][0]["holders"][0]["process"]["project"]["name"], "other");
    assert_eq!(log(&portwatch, &["--type", "conflict"])[0]["claim"], "shop:api");
    let list = portwatch.run(&["ls", "--port", &port, "--json"]).unwrap().json().unwrap();
    assert_eq!(list["sockets"][0]["standing"], "conflict");
    let health = portwatch.run(&["health", "shop:api", "--json"]).unwrap();
    assert_eq!(
        (health.code, &health.json().unwrap()["checks"][0]["result"]),
        (Some(1), &Value::from("stranger"))
    );
    let sentence = health.json().unwrap()["checks"][0]["sentence"].as_str().unwrap().to_owned();
    assert!(sentence.starts_with("project other has the port: python3 "), "{sentence}");
}

#[test]
fn a_one_liner_on_a_random_port_is_rogue_with_its_script_named_also_after_it_has_gone() {
    let portwatch = Portwatch::started(&[]).unwrap();
    let home = project(
        &portwatch,
        "home",
        &[(
            "scratch.sh",
            "python3 -c 'import socket, sys; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); s.listen()
print(s.getsockname()[1], flush=True); sys.stdin.read()'\ntrue\n",
        )],
    );
    let mut script = Actor::start(Command::new("sh").arg("scratch.sh").current_dir(&home)).unwrap();
    let port = script.line().unwrap();
    let words = ["rogue", "--port", &port, "--since", "5m", "--json"];
    let rogue = wait_until("the rogue listener", DEADLINE, || {
        portwatch.run(&words).unwrap().json().unwrap()["sockets"].as_array()?.first().cloned()
    })
    .unwrap();
    let random = if kernel_tells() { Value::from(true) } else { Value::Null };
    assert_eq!((&rogue["standing"], &rogue["random"]), (&Value::from("rogue"), &random));
    let named = |process: &Value| process["lineage"][0]["command"] == serde_json::json!(["sh", "scratch.sh"]);
    assert!(named(&rogue["holders"][0]["process"]), "{rogue}");
    let text = portwatch.run(&["rogue", "--port", &port]).unwrap().stdout;
    assert!(text.contains("random") == kernel_tells() && text.contains("scratch.sh"), "{text}");
    // The list is of what is there; the event comes when the registry has been asked.
    let by = if kernel_tells() { "random  by sh scratch.sh (" } else { "by sh scratch.sh (" };
    wait_until("the rogue listener in the log", DEADLINE, || {
        let told = portwatch.run(&["log", "--type", "rogue", "--port", &port]).unwrap().stdout;
        told.contains(by).then_some(())
    })
    .unwrap();
    script.finish().unwrap();
    let gone = wait_until("the rogue listener among the gone", DEADLINE, || {
        let answer = portwatch.run(&words).unwrap().json().unwrap();
        answer["gone"].as_array()?.first().filter(|_| answer["sockets"] == serde_json::json!([])).cloned()
    })
    .unwrap();
    assert!(named(&gone["process"]), "{gone}");

    let allowed = portwatch.run(&["rogue", "allow", "s.listen()"]).unwrap();
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    assert_eq!(portwatch.run(&words[..5]).unwrap().code, Some(1), "what is allowed is not rogue");
}

/// How long callers compete.
const CONTEST: Duration = Duration::from_secs(10);

#[test]
fn sixteen_callers_with_and_without_a_daemon_get_no_port_twice_and_a_crash_loses_none() {
    let mut portwatch = Portwatch::started(&[]).unwrap();
    let end = Instant::now() + CONTEST;
    // A user other than root may have a thousand.
    let most = if nix::unistd::geteuid().is_root() { usize::MAX } else { 1000 / 16 };
    let ports: Vec<(String, u16)> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..16)
            .map(|caller| {
                let portwatch = &portwatch;
                scope.spawn(move || {
                    let mut got = Vec::new();
                    while Instant::now() < end && got.len() < most {
                        let name = format!("caller{caller}:n{}", got.len());
                        let mut words = vec!["claim", &name, "-q", "--range", "10000-30000"];
                        if caller % 2 == 0 {
                            words.push("--no-daemon");
                        }
                        let ran = portwatch.run(&words).unwrap();
                        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
                        let port = ran.stdout.trim().parse().unwrap();
                        got.push((name, port));
                    }
                    got
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let different: HashSet<u16> = ports.iter().map(|(_, port)| *port).collect();
    assert_eq!(different.len(), ports.len(), "a port was given twice");
    assert!(ports.len() > 16, "{} claims", ports.len());
    portwatch.crash().unwrap();
    portwatch.start(&[]).unwrap();
    let kept: HashSet<(String, u16)> = claims(&portwatch, "*")
        .iter()
        .map(|claim| {
            (claim["name"].as_str().unwrap().to_owned(), claim["port"].as_u64().unwrap().try_into().unwrap())
        })
        .collect();
    for claim in ports {
        assert!(kept.contains(&claim), "{claim:?} was acknowledged and is lost");
    }
}

#[test]
fn another_user_cannot_renew_or_release_a_claim_and_root_can() {
    if require_root() {
        // What else runs on the machine has claims, and "every claim" means those too.
        in_own_netns(owners_only);
    }
}

fn owners_only() {
    let portwatch = Portwatch::started(&[]).unwrap();
    fs::set_permissions(portwatch.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let as_user = |uid: u32, words: &[&str]| {
        let mut command = portwatch.command(words);
        let output = command.uid(uid).gid(uid).current_dir("/").stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    };
    let claimed = as_user(65_534, &["claim", "myapp:api", "-q"]);
    assert_eq!(claimed.code, Some(0), "{claimed:?}");
    let before = claims(&portwatch, "myapp:*");
    assert_eq!(before[0]["owner"], 65_534);
    for words in [
        &["claim", "myapp:api", "-q"][..],
        &["release", "myapp:api"],
        &["release", "*", "--yes"],
        &["claim", "thief:api", "--port", claimed.stdout.trim()],
    ] {
        let ran = as_user(65_533, words);
        let expected = if words[0] == "claim" && words[1] == "thief:api" { 1 } else { 3 };
        assert_eq!(ran.code, Some(expected), "{words:?} {ran:?}");
        assert!(ran.stderr.contains("65534") || ran.stderr.contains("nobody"), "{ran:?}");
    }
    assert_eq!(claims(&portwatch, "myapp:*"), before, "nothing changed");
    // A pattern means one's own; a name means that claim.
    for (words, code) in [(&["release", "*", "--yes"][..], 0), (&["release", "mine:api", "myapp:api"], 3)] {
        assert_eq!(as_user(65_533, &["claim", "mine:api", "-q"]).code, Some(0));
        let ran = as_user(65_533, words);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stdout.contains("Released mine:api"), "{ran:?}");
        assert!(ran.stdout.contains("Not yours, and kept:"), "{ran:?}");
    }
    assert_eq!(claims(&portwatch, "myapp:*"), before, "nothing changed");
    assert_eq!(portwatch.run(&["release", "myapp:api"]).unwrap().code, Some(0));
    let told = log(&portwatch, &["--type", "release", "--filter", "myapp:api"]);
    let message = told[0]["message"].as_str().unwrap();
    assert!(message.starts_with("by root") && message.contains("it was"), "{message}");
}

#[test]
fn what_is_wrong_is_said_in_a_sentence_and_nothing_is_changed() {
    let portwatch = Portwatch::new().unwrap();
    let bare = project(&portwatch, "bare", &[]);
    let bad = |toml: &str| project(&portwatch, "bad", &[(".portwatch.toml", toml)]);
    let say = |directory: &Path, words: &[&str], code: i32, part: &str| {
        let ran = run_in(&portwatch, directory, words);
        assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
        assert!(ran.stderr.contains(part) && !ran.stderr.contains("panicked"), "{words:?} {ran:?}");
    };
    for (words, part) in [
        (&["claim", "MyApp:Web"][..], "say myapp:web"),
        (&["claim", "a:b:c:d"], "project:stack"),
        (&["claim", "a:b", "--range", "9-5"], "the smaller first"),
        (&["claim", "a:b", "--range", "0-70000"], "not a range"),
        (&["claim", "a:b", "--port", "70000"], "not a port"),
        (&["claim", "a:b", "--ttl", "soon"], "span of time"),
        (&["find", "a::b"], "not a pattern"),
        (&["release", "*"], "--yes"),
        (&["claim"], ".portwatch.toml"),
        (&["rogue", "allow", "port:x"], "not a range"),
        (&["rogue", "allow", "com:node"], "did you mean comm:node?"),
        (&["health", "--header", "x y: z"], "not the name of a header"),
    ] {
        say(&bare, words, 2, part);
    }
    say(&bad("projct = 'x'"), &["claim"], 2, "did you mean 'project'");
    say(&bad("project = "), &["claim"], 2, "line 1");
    say(&bad("[ranges]\nweb = '9-5'"), &["claim"], 2, "ranges.web");
    say(&bare, &["release", "a:b"], 1, "nothing is claimed");
    say(&bare, &["claim", "a:b", "--host", "192.0.2.1", "--port", "3100"], 1, "one of its own addresses");
    say(&bare, &["claim", "a:b", "--host", "192.0.2.1"], 1, "one of its own addresses");
    let one = run_in(&portwatch, &bare, &["claim", "a:b", "--range", "3100-3100", "-q"]);
    assert_eq!(one.stdout, "3100\n", "{one:?}");
    say(&bare, &["claim", "c:d", "--range", "3100-3100"], 1, "1 claimed");
    say(&bare, &["claim", "c:d", "--range", "3100-3100"], 1, "a:b");
    assert_eq!(claims(&portwatch, "*").len(), 1);

    let connection = rusqlite::Connection::open(portwatch.database()).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    let before = fs::read(portwatch.database()).unwrap();
    say(&bare, &["claim", "c:d"], 3, "schema 999");
    say(&bare, &["find"], 3, "schema 999");
    assert_eq!(fs::read(portwatch.database()).unwrap(), before);
    fs::remove_file(portwatch.database()).unwrap();
    let others = rusqlite::Connection::open(portwatch.database()).unwrap();
    others.execute_batch("CREATE TABLE services (id TEXT)").unwrap();
    drop(others);
    say(&bare, &["claim", "c:d"], 3, "another program's");
    say(&bare, &["find"], 3, "another program's");
    fs::write(portwatch.database(), b"no database at all, but long enough to be looked at".repeat(20))
        .unwrap();
    say(&bare, &["claim", "c:d"], 3, "portwatch.db");
}

#[test]
fn what_is_free_unowned_or_half_meant_is_said_so() {
    let portwatch = Portwatch::new().unwrap();
    let home = project(&portwatch, "home", &[]);
    let run = |words: &[&str]| run_in(&portwatch, &home, words);
    let port = free_port().unwrap();
    let free = run(&["find", &format!(":{port}")]);
    assert_eq!(free.code, Some(1), "{free:?}");
    assert!(free.stdout.replace('\n', " ").contains(&format!("portwatch who {port}")), "{free:?}");

    let first = run(&["claim", "a:b", "-q", "--range", &format!("{port}-{port}")]);
    assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""), "{first:?}");
    let again = run(&["claim", "a:b", "-q", "--range", "3100-3199"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), first.stdout.as_str()), "{again:?}");
    assert!(again.stderr.contains(&format!("a:b keeps {port}")), "{again:?}");

    assert_eq!(run(&["rogue", "allow", "comm:node"]).code, Some(0));
    let absent = run(&["rogue", "disallow", "comm:nod", "comm:node"]);
    assert_eq!(absent.code, Some(1), "one of them was not there: {absent:?}");
    assert!(absent.stdout.contains("comm:nod is not on the list"), "{absent:?}");
    assert_eq!(run(&["rogue", "allowed"]).code, Some(1));
}

#[test]
fn a_project_file_that_cannot_be_read_is_not_none() {
    let portwatch = Portwatch::new().unwrap();
    if !require_root() {
        return;
    }
    fs::set_permissions(portwatch.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let shut = project(&portwatch, "shut", &[(".portwatch.toml", "project = 'shut'\n")]);
    fs::set_permissions(shut.join(".portwatch.toml"), fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = portwatch.command(&["claim"]);
    let ran = Ran::of(command.uid(65_534).gid(65_534).current_dir(&shut).stdin(Stdio::null())).unwrap();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("shut/.portwatch.toml") && ran.stderr.contains("Permission"), "{ran:?}");
}

#[test]
fn root_reads_no_file_through_a_link_because_another_users_claim_leads_there() {
    if !require_root() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    fs::set_permissions(portwatch.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let theirs =
        project(&portwatch, "theirs", &[("a.py", PYTHON), ("own.toml", "[stacks.api]\nhealth = '/own'\n")]);
    let secret = project(&portwatch, "secret", &[("x.toml", "[stacks.api]\nhealth = '/linked'\n")]);
    for path in [&theirs, &theirs.join("own.toml")] {
        nix::unistd::chown(path, Some(65_534.into()), Some(65_534.into())).unwrap();
    }
    let mut claim = portwatch.command(&["claim", "theirs:api", "-q", "--port"]);
    let port = free_port().unwrap().to_string();
    claim.arg(&port).uid(65_534).gid(65_534).current_dir(&theirs).stdin(Stdio::null());
    let file = theirs.join(".portwatch.toml");
    fs::copy(theirs.join("own.toml"), &file).unwrap();
    nix::unistd::chown(&file, Some(65_534.into()), Some(65_534.into())).unwrap();
    assert_eq!(Ran::of(&mut claim).unwrap().code, Some(0));
    let mut server = Command::new("/usr/bin/python3");
    let mut server =
        Actor::start(server.args(["a.py", &port]).uid(65_534).gid(65_534).current_dir(&theirs)).unwrap();
    assert_eq!(server.line().unwrap(), "ready");
    wait_for(&portwatch, "theirs:api", "live").unwrap();
    let asked = || {
        let ran = portwatch.run(&["health", "theirs:api", "--timeout", "100ms", "--json"]).unwrap();
        ran.json().unwrap()["checks"][0]["endpoint"].as_str().unwrap().to_owned()
    };
    assert!(asked().ends_with(&format!("{port}/own")), "{}", asked());
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(secret.join("x.toml"), &file).unwrap();
    assert!(asked().ends_with(&format!("{port}/")), "{}", asked());
}

#[test]
fn claims_are_told_to_whoever_follows_the_log() {
    let portwatch = Portwatch::started(&[]).unwrap();
    portwatch.run(&["claim", "a:first", "-q"]).unwrap();
    let words = ["log", "--follow", "--type", "claim,release", "--json"];
    let mut follower = Actor::start(&mut portwatch.command(&words)).unwrap();
    let mut next = || serde_json::from_str::<Value>(&follower.line().unwrap()).unwrap();
    assert_eq!(next()["claim"], "a:first", "what was before");
    portwatch.run(&["release", "a:first"]).unwrap();
    let released = next();
    assert_eq!((&released["type"], &released["claim"]), (&Value::from("release"), &Value::from("a:first")));
}
