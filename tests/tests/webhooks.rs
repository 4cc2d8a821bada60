//! Webhooks of the real binary, with a real HTTP server that others wrote: delivered, signed, tried again, given up, bounded, and nowhere
//! that is not allowed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use portwatch_tests::{Actor, DEADLINE, Portwatch, Ran, free_port, require_bpf, require_root, wait_until};
use serde_json::Value;

/// Python's own HTTP server. Answers with the statuses of its arguments, the last one for ever; each request is a line of JSON, with whether
/// its signature is right as docs/webhooks.md says how to tell.
const SERVER: &str = r#"
import hashlib, hmac, http.server, json, sys, time
port, secret, statuses = int(sys.argv[1]), sys.argv[2].encode(), [int(s) for s in sys.argv[3:]]
def verified(secret, headers, body):
    sent = headers["Portwatch-Timestamp"]
    if abs(time.time() - int(sent)) > 300:
        return False
    expected = "v1=" + hmac.new(secret, sent.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, headers["Portwatch-Signature"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(json.dumps({"redirected": True}), flush=True)
        self.send_response(200); self.end_headers()
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        print(json.dumps({"at": time.monotonic(), "status": status, "path": self.path, "headers": dict(self.headers),
            "good": verified(secret, self.headers, body), "body": json.loads(body)}), flush=True)
        self.send_response(status)
        if status == 302: self.send_header("Location", "http://127.0.0.1:%d/elsewhere" % port)
        self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *a): pass
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

const SECRET: &str = "a secret of 24 bytes ...";

struct Server {
    actor: Actor,
    port: u16,
}

impl Server {
    fn start(port: u16, secret: &str, statuses: &[u16]) -> Self {
        let mut arguments = vec![port.to_string(), secret.to_owned()];
        arguments.extend(statuses.iter().map(u16::to_string));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut actor = Actor::python(SERVER, &arguments).unwrap();
        let port = actor.line().unwrap().parse().unwrap();
        Self { actor, port }
    }

    fn request(&mut self) -> Value {
        serde_json::from_str(&self.actor.line().unwrap()).unwrap()
    }
}

/// A daemon and the file of a secret.
fn daemon() -> (Portwatch, String) {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let file = portwatch.folder().join("key");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    (portwatch, file.to_str().unwrap().to_owned())
}

fn expect(portwatch: &Portwatch, words: &[&str], code: i32) -> Ran {
    let ran = portwatch.run(words).unwrap();
    assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
    ran
}

fn add(portwatch: &Portwatch, port: u16, more: &[&str]) -> String {
    let url = format!("http://127.0.0.1:{port}/hook?x=1");
    let words = [&["webhook", "add", &url, "--json"], more].concat();
    expect(portwatch, &words, 0).json().unwrap()["webhook"]["id"].to_string()
}

/// An event that is known by its name.
fn lock(portwatch: &Portwatch, name: &str) {
    expect(portwatch, &["lock", name, "--owner", "agent-x"], 0);
}

fn webhook(portwatch: &Portwatch, id: &str) -> Value {
    let list = portwatch.run(&["webhook", "list", "--json"]).unwrap().json().unwrap();
    let id: i64 = id.parse().unwrap();
    list["webhooks"].as_array().unwrap().iter().find(|w| w["id"] == id).unwrap().clone()
}

fn until(portwatch: &Portwatch, id: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, DEADLINE, || Some(webhook(portwatch, id)).filter(&condition)).unwrap()
}

#[test]
fn an_event_arrives_once_signed_and_as_its_user_would_see_it() {
    let (portwatch, key) = daemon();
    let mut server = Server::start(0, SECRET, &[200]);
    let id = add(&portwatch, server.port, &["--on", "lock", "--filter", "mine-*", "--secret-file", &key]);
    lock(&portwatch, "other");
    lock(&portwatch, "mine-1");
    lock(&portwatch, "mine-2");
    let first = server.request();
    assert_eq!(first["good"], true, "{first:#}");
    assert_eq!((&first["path"], &first["body"]["subject"]), (&"/hook?x=1".into(), &"mine-1".into()));
    let logged = &portwatch.events(&["--filter", "mine-1"]).unwrap()[0];
    assert_eq!(&first["body"], logged, "the document that the log shows");
    let headers = &first["headers"];
    assert_eq!(headers["portwatch-event-id"], logged["id"].to_string());
    assert_eq!(
        (&headers["portwatch-event-type"], &headers["portwatch-webhook"]),
        (&"lock".into(), &id.as_str().into())
    );
    assert_eq!(headers["portwatch-attempt"], "1");
    assert_eq!(headers["host"], format!("127.0.0.1:{}", server.port));
    assert_eq!(server.request()["body"]["subject"], "mine-2", "in order, and nothing twice or between");

    let found = until(&portwatch, &id, "both written down", |w| w["delivered"] == 2);
    assert_eq!((&found["waiting"], &found["failures"]), (&0.into(), &0.into()));
    let log = portwatch.run(&["webhook", "log", &id, "--json"]).unwrap().json().unwrap();
    assert_eq!(log["deliveries"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&log["deliveries"][0]["state"], &log["deliveries"][0]["status"]),
        (&"delivered".into(), &200.into())
    );
    for words in [
        &["webhook", "list"][..],
        &["webhook", "list", "--json"],
        &["webhook", "log"],
        &["webhook", "log", "--json"],
    ] {
        assert!(!expect(&portwatch, words, 0).stdout.contains(SECRET), "{words:?}");
    }
    assert!(!portwatch.log().contains(SECRET));
    let mode = fs::metadata(portwatch.database()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    expect(&portwatch, &["webhook", "test", &id], 0);
    let test = server.request();
    assert_eq!((&test["body"]["type"], &test["good"]), (&"test".into(), &true.into()));
    expect(&portwatch, &["webhook", "remove", &id], 0);
    expect(&portwatch, &["webhook", "remove", &id], 1);
    expect(&portwatch, &["webhook", "list"], 1);
}

#[test]
fn a_secret_is_made_where_none_is_given_and_told_once() {
    let (portwatch, _) = daemon();
    let port = free_port().unwrap();
    let url = format!("http://localhost:{port}/");
    let document = expect(&portwatch, &["webhook", "add", &url, "--on", "all", "--json"], 0).json().unwrap();
    let secret = document["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 64, "{document:#}");
    assert!(!expect(&portwatch, &["webhook", "list", "--json"], 0).stdout.contains(secret));
    let mut server = Server::start(port, secret, &[200]);
    expect(&portwatch, &["webhook", "test", &document["webhook"]["id"].to_string()], 0);
    while server.request()["body"]["type"] != "test" {}
}

#[test]
fn after_failures_it_is_tried_again_with_growing_pauses() {
    let (portwatch, key) = daemon();
    let mut server = Server::start(0, SECRET, &[500, 503, 500, 200]);
    let id = add(&portwatch, server.port, &["--on", "lock", "--secret-file", &key]);
    lock(&portwatch, "one");
    lock(&portwatch, "two");
    let tries: Vec<Value> = (0..5).map(|_| server.request()).collect();
    let subjects: Vec<&str> = tries.iter().map(|t| t["body"]["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["one", "one", "one", "one", "two"]);
    let attempts: Vec<&str> =
        tries.iter().map(|t| t["headers"]["portwatch-attempt"].as_str().unwrap()).collect();
    assert_eq!(attempts, ["1", "2", "3", "4", "1"]);
    let ids: Vec<&Value> = tries.iter().map(|t| &t["headers"]["portwatch-event-id"]).collect();
    assert!(ids[0] == ids[3] && ids[0] != ids[4], "{ids:?}");
    assert!(tries.iter().all(|t| t["good"] == true), "each is signed anew");
    let at: Vec<f64> = tries.iter().map(|t| t["at"].as_f64().unwrap()).collect();
    let pauses: Vec<f64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // A busy machine makes them longer, never shorter.
    assert!(pauses[0] >= 0.79 && pauses[1] >= 1.59 && pauses[2] >= 3.19, "{pauses:?}");
    until(&portwatch, &id, "an end of the failures", |w| w["delivered"] == 2 && w["failures"] == 0);
}

#[test]
fn nobody_there_is_tried_again_and_given_up_after_so_many_tries() {
    let (portwatch, key) = daemon();
    let port = free_port().unwrap();
    let id = add(&portwatch, port, &["--on", "lock", "--tries", "2", "--secret-file", &key]);
    lock(&portwatch, "lost");
    let error = portwatch.wait_for("error", &["--filter", &format!("webhook {id} gave up")]).unwrap();
    let event = portwatch.events(&["--type", "lock"]).unwrap()[0]["id"].to_string();
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("event {event} (lock) after 2 tries: it was not reached")),
        "{message}"
    );
    assert!(!message.contains(&port.to_string()), "where it leads is its user's business");
    assert_eq!(error["subject"], format!("webhook:{id}"));
    let log = portwatch.run(&["webhook", "log", &id, "--json"]).unwrap().json().unwrap();
    let lost = &log["deliveries"][0];
    assert_eq!((&lost["state"], &lost["tries"]), (&"given-up".into(), &2.into()));
    assert!(lost["problem"].as_str().unwrap().contains("refused the connection"), "{lost}");
    let ran = expect(&portwatch, &["webhook", "test", &id], 1);
    assert!(ran.stdout.contains("refused the connection"), "{ran:?}");
    // Somebody comes: the next event arrives.
    lock(&portwatch, "found");
    let mut server = Server::start(port, SECRET, &[200]);
    assert_eq!(server.request()["body"]["subject"], "found");
    until(&portwatch, &id, "its delivery", |w| w["delivered"] == 1 && w["given_up"] == 1);
}

#[test]
fn a_redirect_is_not_followed() {
    let (portwatch, key) = daemon();
    let mut server = Server::start(0, SECRET, &[302]);
    let id = add(&portwatch, server.port, &["--on", "lock", "--tries", "1", "--secret-file", &key]);
    let ran = expect(&portwatch, &["webhook", "test", &id], 1);
    assert!(ran.stdout.contains("302 Found; where that points is not followed"), "{ran:?}");
    assert_eq!(server.request()["status"], 302);
    lock(&portwatch, "x");
    let second = server.request();
    assert_eq!(
        (&second["status"], &second["body"]["subject"]),
        (&302.into(), &"x".into()),
        "nobody asked elsewhere between"
    );
    portwatch.wait_for("error", &["--filter", "it answered 302"]).unwrap();
}

#[test]
fn where_it_may_not_lead_nothing_is_sent() {
    let (portwatch, key) = daemon();
    for (url, code, part) in [
        ("http://10.0.0.5/", 3, "not among the places that webhooks may lead to"),
        ("http://169.254.169.254/latest/meta-data", 3, "never led to"),
        ("http://[::ffff:169.254.169.254]/", 3, "never led to"),
        ("http://0.0.0.0:80/", 3, "never led to"),
        ("https://127.0.0.1/", 2, "no TLS"),
        ("http://user:pw@127.0.0.1/", 2, "user or password"),
        ("http://127.0.0.1/\r\nX-Evil: 1", 2, "visible ASCII"),
        ("gopher://127.0.0.1/", 2, "http://HOST"),
    ] {
        let ran = expect(&portwatch, &["webhook", "add", url, "--on", "all"], code);
        assert!(ran.stderr.contains(part), "{url} {ran:?}");
    }
    // A name is judged by what it means when something is sent: these are spellings of the metadata service and of 10.0.0.1.
    for (url, part) in [("http://2852039166/", "never led to"), ("http://10.1/", "not among the places")] {
        let document =
            expect(&portwatch, &["webhook", "add", url, "--on", "lock", "--json"], 0).json().unwrap();
        let ran = expect(&portwatch, &["webhook", "test", &document["webhook"]["id"].to_string()], 1);
        assert!(ran.stdout.contains(part), "{url} {ran:?}");
    }
    for secret in ["short", ""] {
        fs::write(&key, secret).unwrap();
        expect(
            &portwatch,
            &["webhook", "add", "http://127.0.0.1:1/", "--on", "all", "--secret-file", &key],
            2,
        );
    }
    // What was allowed once is judged again when the configuration has changed.
    fs::write(&key, SECRET).unwrap();
    let mut server = Server::start(0, SECRET, &[200]);
    let id = add(&portwatch, server.port, &["--on", "lock", "--tries", "1", "--secret-file", &key]);
    expect(&portwatch, &["webhook", "test", &id], 0);
    assert_eq!(server.request()["good"], true);
    let mut portwatch = portwatch;
    portwatch.stop().unwrap();
    fs::write(portwatch.folder().join("config.toml"), "[webhooks]\nallow = ['10.9.9.9']\n").unwrap();
    portwatch.start(&["--source", "scan"]).unwrap();
    let ran = expect(&portwatch, &["webhook", "test", &id], 1);
    assert!(ran.stdout.contains("not among the places"), "{ran:?}");
}

#[test]
fn what_waited_when_the_daemon_was_killed_is_sent_by_the_next() {
    let (mut portwatch, key) = daemon();
    let port = free_port().unwrap();
    let id = add(&portwatch, port, &["--on", "lock", "--secret-file", &key]);
    for name in ["a", "b", "c"] {
        lock(&portwatch, name);
    }
    until(&portwatch, &id, "a first failure", |w| w["waiting"] == 3 && w["failures"].as_u64() > Some(0));
    portwatch.crash().unwrap();
    // Written while nobody sends.
    lock(&portwatch, "d");
    let mut server = Server::start(port, SECRET, &[200]);
    portwatch.start(&["--source", "scan"]).unwrap();
    for name in ["a", "b", "c", "d"] {
        let request = server.request();
        assert_eq!((&request["body"]["subject"], &request["good"]), (&name.into(), &true.into()));
    }
    until(&portwatch, &id, "all of them", |w| w["delivered"] == 4 && w["waiting"] == 0);
}

#[test]
fn the_queue_is_bounded_and_the_log_says_what_fell_out() {
    let (portwatch, key) = daemon();
    let port = free_port().unwrap();
    let id = add(&portwatch, port, &["--on", "note", "--secret-file", &key]);
    // 1,300 events at once, as the journal has them; nobody is there to take one. They are of now: what is older than retention goes.
    let mut database = rusqlite::Connection::open(portwatch.database()).unwrap();
    database.busy_timeout(DEADLINE).unwrap();
    let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    transaction
        .execute_batch(
            "WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 1300)
             INSERT INTO event (at, type, evidence, boot, count, message)
             SELECT unixepoch('now') * 1000000000, (SELECT code FROM word WHERE topic = 'type' AND word = 'note'),
                 (SELECT code FROM word WHERE topic = 'evidence' AND word = 'kernel'), (SELECT max(id) FROM boot), 1, 'x' || value
             FROM n",
        )
        .unwrap();
    transaction.commit().unwrap();
    let found = until(&portwatch, &id, "a full queue", |w| w["dropped"].as_u64() > Some(0));
    assert_eq!((&found["waiting"], &found["dropped"]), (&1000.into(), &300.into()));
    let error = portwatch.wait_for("error", &["--filter", "fell out of the queue"]).unwrap();
    assert!(error["message"].as_str().unwrap().starts_with("300 events fell out"), "{error}");
}

#[test]
fn a_flood_from_the_kernel_fills_the_queue_to_its_bound_and_the_rest_is_told_and_in_the_log() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let key = portwatch.folder().join("key");
    fs::write(&key, SECRET).unwrap();
    // Nobody is there to take one; the first tries fail, and the webhook rests while the flood comes.
    let nobody = free_port().unwrap();
    let port = free_port().unwrap();
    let more = ["--on", "listen,close", "--port", &port.to_string(), "--secret-file", key.to_str().unwrap()];
    let id = add(&portwatch, nobody, &more);
    let program = "
import socket, sys
for _ in range(1000):
    s = socket.create_server(('127.51.0.1', int(sys.argv[1])))
    s.close()
print('done')
sys.stdin.read()";
    let mut flood = Actor::python(program, &[&port.to_string()]).unwrap();
    assert_eq!(flood.line().unwrap(), "done");
    // 2000 events, and nothing of them is lost without a word: what does not wait fell out and was counted.
    let count = || {
        let events = portwatch.events(&["--type", "listen,close", "--port", &port.to_string()]).unwrap();
        u64::try_from(events.len()).unwrap()
    };
    let logged =
        wait_until("the flood in the log", DEADLINE, || Some(count()).filter(|&count| count == 2000));
    assert!(
        logged.is_ok() || !portwatch.events(&["--type", "gap"]).unwrap().is_empty(),
        "{} of 2000",
        count()
    );
    let logged = count();
    let found = until(&portwatch, &id, "all of it to wait or to have fallen out", |w| {
        let number = |field: &str| w[field].as_u64().unwrap();
        number("waiting") + number("dropped") + number("given_up") == logged
    });
    assert_eq!(found["waiting"], 1000, "the bound: {found}");
    assert_eq!(found["dropped"], logged - 1000, "{found}");
    // The recorder did not wait for it: somebody who listens now is seen.
    let (listener, seen) = Actor::listener("127.51.0.2", 0).unwrap();
    let target = portwatch.who(&seen.to_string()).unwrap();
    assert_eq!(target["sockets"][0]["holders"][0]["process"]["pid"], listener.pid());
    // The log tells of it once a minute, and of the rest with the daemon's end.
    let mut portwatch = portwatch;
    assert!(portwatch.stop().unwrap().success());
    let told = portwatch.events(&["--type", "error", "--filter", "fell out of the queue"]).unwrap();
    let count = |event: &Value| -> u64 {
        event["message"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(told.iter().map(count).sum::<u64>(), logged - 1000, "{told:#?}");
}

#[test]
fn anothers_webhook_can_be_neither_seen_nor_touched() {
    if !require_root() {
        return;
    }
    let (portwatch, key) = daemon();
    let server = Server::start(0, SECRET, &[200]);
    let id = add(&portwatch, server.port, &["--on", "lock", "--secret-file", &key]);
    let others = portwatch.for_others().unwrap();
    let nobody = |words: &[&str]| {
        let ran = others.run(65_534, words).unwrap();
        (ran.code, ran.text())
    };
    for words in [
        &["webhook", "list"][..],
        &["webhook", "remove", &id],
        &["webhook", "test", &id],
        &["webhook", "log", &id],
        &["webhook", "log"],
    ] {
        let (code, text) = nobody(words);
        assert_eq!(code, Some(1), "{words:?} {text}");
        assert!(!text.contains(&server.port.to_string()), "{words:?} {text}");
    }
    let (code, text) = nobody(&["webhook", "add", "http://127.0.0.1:9/", "--on", "all"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("[webhooks] allow"), "{text}");
    assert_eq!(webhook(&portwatch, &id)["waiting"], 0);
}
