//! What the daemon does by itself, where it was told to: health checks at an interval, the end of claims whose time has passed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{fs, process::Command};

use nix::sys::signal::Signal;
use portwatch_tests::{Actor, DEADLINE, Portwatch, free_port, wait_until};

/// Answers `/health` with the status that it was last told on its input.
const SERVER: &str = "import http.server, sys, threading
status = [200]
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(status[0] if self.path == '/health' else 404)
        self.send_header('content-length', '0'); self.end_headers()
    def log_message(self, *a): pass
s = http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H)
threading.Thread(target=s.serve_forever, daemon=True).start()
print('ready', flush=True)
for line in sys.stdin: status[0] = int(line)";

fn health_events(portwatch: &Portwatch) -> Vec<String> {
    let ran = portwatch.run(&["log", "--type", "health", "--json", "--limit", "0"]).unwrap();
    let events = ran.json().unwrap()["events"].as_array().unwrap().clone();
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

fn wait_for_event(portwatch: &Portwatch, count: usize, begins: &str) -> Vec<String> {
    wait_until(&format!("the health event '{begins}'"), DEADLINE, || {
        let events = health_events(portwatch);
        events.get(count - 1).is_some_and(|event| event.starts_with(begins)).then_some(events)
    })
    .unwrap()
}

#[test]
fn a_program_is_asked_at_the_interval_of_its_project_and_only_changes_are_told() {
    let portwatch = Portwatch::started(&[]).unwrap();
    let root = portwatch.folder().join("shop");
    fs::create_dir(&root).unwrap();
    let ask = |path: &str| {
        let text = format!("project = 'shop'\n[stacks.api.health]\npath = '{path}'\ninterval = '1s'\n");
        fs::write(root.join(".portwatch.toml"), text).unwrap();
    };
    ask("/health");
    fs::write(root.join("api.py"), SERVER).unwrap();
    let port = free_port().unwrap().to_string();
    let claimed = portwatch
        .command(&["claim", "shop:api", "--port", &port, "--ephemeral"])
        .current_dir(&root)
        .output()
        .unwrap();
    assert!(claimed.status.success(), "{claimed:?}");
    let start = || {
        let mut command = Command::new("python3");
        let mut actor = Actor::start(command.args(["api.py", &port]).current_dir(&root)).unwrap();
        assert_eq!(actor.line().unwrap(), "ready");
        actor
    };
    let mut server = start();
    wait_for_event(&portwatch, 1, "healthy: 200 OK");
    server.say("503").unwrap();
    wait_for_event(&portwatch, 2, "UNHEALTHY: 503 Service Unavailable");
    server.say("204").unwrap();
    wait_for_event(&portwatch, 3, "healthy: 204 No Content");
    let found = portwatch.run(&["find", "shop:api", "--json"]).unwrap().json().unwrap();
    assert_eq!(found["claims"][0]["health"]["result"], "healthy");
    server.signal(Signal::SIGKILL).unwrap();
    server.finish().unwrap();
    let events = wait_for_event(&portwatch, 4, "UNHEALTHY: its program is gone");
    assert_eq!(events.len(), 4, "an answer that is as before is no event: {events:?}");
    let health = portwatch.run(&["health", "shop:api", "--json"]).unwrap().json().unwrap();
    assert_eq!(health["checks"][0]["result"], "ghost");
    assert!(health["checks"][0]["last_healthy"].is_string(), "{health:#}");

    // The file is read again with each answer.
    let _server = start();
    wait_for_event(&portwatch, 5, "healthy");
    ask("/other");
    wait_for_event(&portwatch, 6, "UNHEALTHY: 404 Not Found");
}

#[test]
fn a_claim_whose_time_has_passed_ends_however_much_is_written_meanwhile() {
    let portwatch = Portwatch::started(&[]).unwrap();
    let run = |words: &[&str], code: i32| {
        let ran = portwatch.run(words).unwrap();
        assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
    };
    run(&["claim", "brief:api", "--ttl", "1s", "-q"], 0);
    let mut others = 0;
    wait_until("the claim to end", DEADLINE, || {
        others += 1;
        run(&["claim", &format!("other:n{others}"), "-q"], 0);
        (portwatch.run(&["find", "brief:api"]).unwrap().code == Some(1)).then_some(())
    })
    .unwrap();
    let released = portwatch.wait_for("release", &["--filter", "brief:api"]).unwrap();
    assert_eq!(released["message"], "its time has passed");
}
