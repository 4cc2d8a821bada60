//! Each way of not being well has a word of its own, seen with real servers.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{collections::HashMap, fmt::Write as _, fs, path::Path, process::Command};

use portwatch_tests::{Actor, DEADLINE, Portwatch, Ran, free_port, in_own_netns, wait_until};
use serde_json::Value;

/// Does with a port what its first word says. Ends with its standard input.
const SERVER: &str = "import socket, sys, threading
kind, port = sys.argv[1], int(sys.argv[2])
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', port))
def answer():
    while True:
        c, _ = s.accept()
        if kind == 'foreign': print('asked', flush=True)
        elif kind == 'ssh': c.sendall(b'SSH-2.0-x\\r\\n')
        else: c.recv(4096); c.sendall(b'HTTP/1.1 %s\\r\\ncontent-length: 0\\r\\n\\r\\n' % kind.encode())
        c.close()
if kind != 'bound':
    s.listen()
    if kind != 'silent': threading.Thread(target=answer, daemon=True).start()
print('ready', flush=True)
sys.stdin.readline()
print('ended', flush=True)";

const STACKS: [&str; 9] = ["fine", "bound", "shadow", "silent", "wrong", "picky", "ssh", "foreign", "gone"];

fn start(directory: &Path, kind: &str, port: &str) -> Actor {
    let words = ["server.py", kind, port];
    let mut actor = Actor::start(Command::new("python3").args(words).current_dir(directory)).unwrap();
    assert_eq!(actor.line().unwrap(), "ready");
    actor
}

#[test]
fn each_way_of_not_being_well_has_a_word_of_its_own() {
    in_own_netns(one_of_each);
}

fn one_of_each() {
    let portwatch = Portwatch::started(&[]).unwrap();
    let project = |name: &str, more: &str| {
        let root = portwatch.folder().join(name);
        fs::create_dir(&root).unwrap();
        fs::write(root.join(".portwatch.toml"), format!("project = '{name}'\n{more}")).unwrap();
        fs::write(root.join("server.py"), SERVER).unwrap();
        root
    };
    let ports: HashMap<&str, String> =
        STACKS.into_iter().chain(["idle"]).map(|name| (name, free_port().unwrap().to_string())).collect();
    let mut stacks = String::new();
    for (name, port) in &ports {
        let health = match *name {
            "silent" => "{ path = '/up', timeout = '300ms' }",
            "picky" => "{ path = '/up', timeout = '20s', status = [204, 205] }",
            _ => "{ path = '/up', timeout = '20s' }",
        };
        writeln!(stacks, "[stacks.{name}]\nport = {port}\nhealth = {health}").unwrap();
    }
    let (shop, other) = (project("shop", &stacks), project("other", "auto = false\n"));
    let run = |words: &[&str]| Ran::of(portwatch.command(words).current_dir(&shop)).unwrap();
    assert_eq!(run(&["claim"]).code, Some(0));

    let own = |name: &str, kind: &str| start(&shop, kind, &ports[name]);
    let gone = own("gone", "200 OK");
    let _own = [
        own("fine", "200 OK"),
        own("bound", "bound"),
        own("shadow", "bound"),
        own("silent", "silent"),
        own("wrong", "503 Service Unavailable"),
        own("picky", "200 OK"),
        own("ssh", "ssh"),
    ];
    let mut strangers =
        [start(&other, "foreign", &ports["foreign"]), start(&other, "foreign", &ports["shadow"])];
    let wait_for = |name: &str, state: &str| {
        wait_until(&format!("{name} to be {state}"), DEADLINE, || {
            let found = run(&["find", &format!("shop:{name}"), "--json"]).json().unwrap();
            (found["claims"][0]["state"] == state).then_some(())
        })
        .unwrap();
    };
    for name in STACKS {
        wait_for(name, if name == "foreign" { "squatted" } else { "live" });
    }
    assert!(gone.finish().unwrap().success());
    wait_for("gone", "ghost");

    let all = run(&["health", "--json"]);
    assert_eq!(all.code, Some(1), "{all:?}");
    let all = all.json().unwrap();
    let told: HashMap<&str, &Value> =
        all["checks"].as_array().unwrap().iter().map(|c| (c["name"].as_str().unwrap(), c)).collect();
    for (name, result, healthy, sentence) in [
        ("fine", "healthy", Some(true), "200 OK, "),
        (
            "bound",
            "refused",
            Some(false),
            "connection refused: its program is bound to the port and does not",
        ),
        ("shadow", "stranger", Some(false), "project other has the port: python3 "),
        ("silent", "timeout", Some(false), "timeout after 300 ms"),
        ("wrong", "wrong-status", Some(false), "503 Service Unavailable, "),
        ("picky", "wrong-status", Some(false), "200 OK, "),
        ("ssh", "no-http", Some(false), "no HTTP: "),
        ("foreign", "stranger", Some(false), "project other has the port: python3 "),
        ("gone", "ghost", Some(false), "nothing listens (connection refused): its program is gone"),
        ("idle", "idle", None, "nothing was started there yet"),
    ] {
        let check = told[format!("shop:{name}").as_str()];
        assert_eq!(
            (&check["result"], check["healthy"].as_bool()),
            (&Value::from(result), healthy),
            "{check}"
        );
        assert!(check["sentence"].as_str().unwrap().starts_with(sentence), "{check}");
        let alone = run(&["health", &format!("shop:{name}")]);
        assert_eq!(alone.code, Some(i32::from(name != "fine")), "{alone:?}");
        let logged = run(&["log", "--type", "health", "--filter", &format!("shop:{name}"), "--json"]);
        let logged = logged.json().unwrap()["events"].as_array().unwrap().len();
        assert_eq!(logged > 0, check["endpoint"].is_string(), "what was asked is history: {name}");
    }
    let sentence = |name: &str| told[name]["sentence"].as_str().unwrap();
    assert!(sentence("shop:picky").ends_with("; wanted 204 or 205"), "{}", sentence("shop:picky"));
    assert!(
        !sentence("shop:ssh").contains("cancel"),
        "why, and not what it led to: {}",
        sentence("shop:ssh")
    );

    // A stranger is never asked: the project's headers are not for it.
    for stranger in &mut strangers {
        stranger.say("end").unwrap();
        assert_eq!(stranger.line().unwrap(), "ended");
    }
}
