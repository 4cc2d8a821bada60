//! What one user may not see of another's processes is neither shown nor found by asking for it: in the log, its summary, the list
//! of sockets, the live stream, the HTTP interface and webhooks.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{fs, path::Path, process::Command};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use portwatch_tests::{Actor, DEADLINE, Others, Portwatch, free_port, require_bpf, require_root, wait_until};
use serde_json::Value;

const NOBODY: u32 = 65_534;
/// The name of a project, which is told by a working directory: the kernel shows it to the owner and root alone.
const PROJECT: &str = "skunkworks";
/// A word of a command line: everybody may read it, where `/proc` is not mounted to hide it.
const WORD: &str = "marzipan";

/// A server of this user in the secret project.
fn server(folder: &Path, address: &str) -> (Actor, u16) {
    let directory = folder.join("closed");
    fs::create_dir_all(&directory).unwrap();
    // A claim would make the name public: claims are for everybody to see.
    fs::write(directory.join(".portwatch.toml"), format!("project = '{PROJECT}'\nauto = false\n")).unwrap();
    let program = "
import socket, sys
s = socket.create_server((sys.argv[1], int(sys.argv[2])))
print('ready')
sys.stdin.read()";
    let port = free_port().unwrap();
    let mut command = Command::new("python3");
    command.args(["-S", "-u", "-c", program, address, &port.to_string(), WORD]).current_dir(&directory);
    let mut actor = Actor::start(&mut command).unwrap();
    assert_eq!(actor.line().unwrap(), "ready");
    (actor, port)
}

/// Asks over the socket as that user; the answer's body.
fn http(others: &Others<'_>, portwatch: &Portwatch, path: &str) -> String {
    let program = "
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'GET %s HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n' % sys.argv[2].encode())
data = b''
while True:
    more = s.recv(65536)
    if not more: break
    data += more
sys.stdout.write(data.split(b'\\r\\n\\r\\n', 1)[1].decode())";
    let mut python = others.around(NOBODY, Command::new("python3"));
    python.args(["-S", "-c", program, portwatch.socket().to_str().unwrap(), path]);
    let output = python.output().unwrap();
    assert!(output.status.success(), "{path} {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a word is found by root, and by nobody in any way of asking.
fn is_found_by_root_alone(portwatch: &Portwatch, others: &Others<'_>, word: &str, port: u16) {
    let port = port.to_string();
    wait_until("root to find it", DEADLINE, || {
        let ran = portwatch.run(&["log", "--filter", word, "--port", &port]).unwrap();
        (ran.code == Some(0)).then_some(())
    })
    .unwrap();
    for words in [
        &["log", "--filter", word][..],
        &["log", "--filter", &format!("*{word}*"), "--port", &port],
        &["log", "--filter", word, "--type", "listen", "--since", "1h"],
        &["log", "--summary", "--filter", word],
        &["log", "--filter", word, "--json"],
        &["log", "--summary", "--filter", word, "--json"],
    ] {
        let ran = others.run(NOBODY, words).unwrap();
        assert_eq!(ran.code, Some(1), "{words:?} {ran:?}");
    }
    for path in [
        format!("/v1/log?filter={word}"),
        format!("/v1/log?filter={word}&port={port}&newest_first=true"),
        format!("/v1/log?filter={word}&after_id=0"),
        format!("/v1/summary?filter={word}"),
    ] {
        let answer: Value = serde_json::from_str(&http(others, portwatch, &path)).unwrap();
        let rows = answer.get("events").or_else(|| answer.get("counts")).unwrap();
        assert!(rows.as_array().unwrap().is_empty(), "{path} {answer:#}");
        assert!(!answer.to_string().contains(word), "{path} {answer:#}");
    }
    // The stream, with what was there before.
    let path = format!("/v1/watch?filter={word}&backlog=true");
    let mut python = others.around(NOBODY, Command::new("python3"));
    let program = "
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'GET %s HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n' % sys.argv[2].encode())
for line in s.makefile():
    print(line.rstrip(), flush=True)";
    python.args(["-S", "-u", "-c", program, portwatch.socket().to_str().unwrap(), &path]);
    let mut follower = Actor::start(&mut python).unwrap();
    while !follower.line().unwrap().is_empty() {}
    // A lock by a name that has the word in it is seen by all: the first thing that this follower hears.
    let marker = format!("seen-{word}");
    assert_eq!(portwatch.run(&["lock", &marker, "--owner", "a"]).unwrap().code, Some(0));
    let heard = loop {
        let line = follower.line().unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            break serde_json::from_str::<Value>(data).unwrap();
        }
    };
    assert_eq!(heard["subject"], marker.as_str(), "{heard:#}");
}

#[test]
fn a_project_of_another_user_is_not_found_by_asking_for_it() {
    if !require_bpf() || !require_root() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let others = portwatch.for_others().unwrap();
    let (_server, port) = server(portwatch.folder(), "127.50.0.1");
    is_found_by_root_alone(&portwatch, &others, PROJECT, port);
    // The summary of everything names programs, and no project of another's.
    let number = port.to_string();
    for words in
        [&["log", "--summary", "--json"][..], &["log", "--summary"], &["log", "--port", &number, "--json"]]
    {
        let ran = others.run(NOBODY, words).unwrap();
        assert!(ran.code == Some(0) && !ran.text().contains(PROJECT), "{words:?} {ran:?}");
        assert!(portwatch.run(words).unwrap().text().contains(PROJECT), "root sees it: {words:?}");
    }
    // Nor does the list of sockets tell, by its filter or by its order.
    let listed = |words: &[&str]| portwatch.run(words).unwrap().code;
    assert_eq!(listed(&["ls", "--project", PROJECT]), Some(0));
    let asked = |project: &str| {
        let ran = others.run(NOBODY, &["ls", "--project", project, "--port", &number]).unwrap();
        (ran.code, ran.stdout)
    };
    let told = asked(PROJECT);
    assert!(told.0 == Some(3) && told.1.contains("may not be looked into"), "{told:?}");
    assert_eq!(told, asked("no-such"), "what is there is no other answer than what is not");
    // What everybody may read in /proc is found by everybody.
    assert_eq!(others.run(NOBODY, &["log", "--filter", WORD, "--port", &number]).unwrap().code, Some(0));
}

#[test]
fn a_command_line_is_not_found_either_where_proc_hides_it() {
    if !require_bpf() || !require_root() {
        return;
    }
    let mut portwatch = Portwatch::new().unwrap();
    // The daemon's own view of /proc is one that hides.
    std::thread::scope(|scope| {
        let hidden = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), Some("hidepid=2")).unwrap();
            portwatch.start(&[]).unwrap();
        });
        hidden.join().unwrap();
    });
    let others = portwatch.for_others().unwrap();
    let (_server, port) = server(portwatch.folder(), "127.50.0.2");
    is_found_by_root_alone(&portwatch, &others, WORD, port);
    is_found_by_root_alone(&portwatch, &others, PROJECT, port);
}

/// Answers 200 and prints each body.
const RECEIVER: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *a): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[test]
fn a_webhook_never_receives_what_its_user_may_not_see() {
    if !require_bpf() || !require_root() {
        return;
    }
    let mut portwatch = Portwatch::new().unwrap();
    fs::write(portwatch.folder().join("config.toml"), "[webhooks]\nallow = ['loopback']\n").unwrap();
    portwatch.start(&[]).unwrap();
    let others = portwatch.for_others().unwrap();
    let mut receiver = Actor::python(RECEIVER, &[]).unwrap();
    let url = format!("http://127.0.0.1:{}/", receiver.line().unwrap());
    let add = |more: &[&str]| {
        let ran = others.run(NOBODY, &[&["webhook", "add", &url, "--on"], more].concat()).unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
    };
    add(&["all", "--filter", PROJECT]);
    add(&["bind,listen,close", "--filter", WORD]);
    add(&["message,note,session,lock"]);
    let (server, port) = server(portwatch.folder(), "127.50.0.3");
    let agent = |words: &[&str]| {
        let ran = portwatch.run(&[words, &["--agent", "root-agent"]].concat()).unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
    };
    agent(&["session", "start", "open purpose"]);
    agent(&["note", "swordfish in a note"]);
    agent(&["pub", "plans", "swordfish in a message"]);
    assert!(server.finish().unwrap().success());
    // The last thing, and a word that ends it.
    agent(&["lock", "the-end"]);
    let mut bodies = Vec::new();
    let done = |bodies: &[Value]| {
        let has = |kind: &str| bodies.iter().any(|body| body["type"] == kind);
        has("lock") && has("listen") && has("note") && has("message")
    };
    while !done(&bodies) {
        bodies.push(serde_json::from_str::<Value>(&receiver.line().unwrap()).unwrap());
    }
    for body in &bodies {
        let text = body.to_string();
        assert!(!text.contains(PROJECT) && !text.contains("swordfish"), "{body:#}");
        for process in [&body["process"], &body["other"]] {
            assert!(process["cwd"].is_null() && process["exe"].is_null(), "{body:#}");
        }
    }
    let listen = bodies.iter().find(|body| body["type"] == "listen").unwrap();
    assert_eq!(listen["port"], port);
    assert!(listen["process"]["command"].to_string().contains(WORD), "what everybody may read: {listen:#}");
    // The first one, which asks for the project, had nothing to send.
    let ran = others.run(NOBODY, &["webhook", "list", "--json"]).unwrap();
    let list = ran.json().unwrap();
    let first = &list["webhooks"].as_array().unwrap()[0];
    assert_eq!((&first["delivered"], &first["waiting"]), (&0.into(), &0.into()), "{first:#}");
    // Root's own of the same wish gets it: the event is there to be found.
    let ran = portwatch.run(&["webhook", "add", &url, "--on", "listen", "--filter", PROJECT]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (_again, _) = self::server(portwatch.folder(), "127.50.0.4");
    loop {
        let body: Value = serde_json::from_str(&receiver.line().unwrap()).unwrap();
        if body["process"]["project"]["name"] == PROJECT {
            break;
        }
    }
}
