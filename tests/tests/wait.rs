//! `wait`: against real servers, with a daemon and without.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
};

use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, Source, each_source, require_netns, wait_until};

/// Starts a command that is to wait.
fn waiting(portwatch: &Portwatch, arguments: &[&str]) -> std::io::Result<Child> {
    portwatch.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

fn code(mut child: Child) -> Option<i32> {
    wait_until("the end of wait", DEADLINE, || child.try_wait().ok().flatten()).ok()?.code()
}

each_source![
    free_comes_with_the_end_of_the_listener_and_not_before,
    listening_comes_with_the_listener_and_is_told_who,
];

fn free_comes_with_the_end_of_the_listener_and_not_before(source: Source) {
    for daemon in [false, true] {
        let mut portwatch = Portwatch::on(source).unwrap();
        if daemon {
            portwatch.start(&[]).unwrap();
        }
        let (listener, port) = Actor::listener("127.0.0.1", 0).unwrap();
        let port = port.to_string();
        let ran = portwatch.run(&["wait", &port, "--free", "--timeout", "50ms"]).unwrap();
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (Some(1), "", ""),
            "silent in a pipe"
        );
        let mut child = waiting(&portwatch, &["wait", &port, "--free", "--timeout", "20s"]).unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        listener.finish().unwrap();
        assert_eq!(code(child), Some(0), "{source:?}, with a daemon: {daemon}");
    }
}

fn listening_comes_with_the_listener_and_is_told_who(source: Source) {
    let portwatch = Portwatch::started_on(source).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = waiting(&portwatch, &["wait", &free.to_string(), "--listening", "--json"]).unwrap();
    let (listener, _) = Actor::listener("127.0.0.1", free).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["met"], true);
    let sentence = json["targets"][0]["sentence"].as_str().unwrap();
    assert!(sentence.contains(&format!("({}) listens", listener.pid())), "{sentence}");
}

#[test]
fn free_means_bindable_on_the_host_that_was_asked() {
    let portwatch = Portwatch::new().unwrap();
    let (_listener, port) = Actor::listener("127.0.0.1", 0).unwrap();
    let wait = |place: &str| portwatch.run(&["wait", place, "--free", "--timeout", "50ms"]).unwrap().code;
    assert_eq!(wait(&format!("127.0.0.2:{port}")), Some(0));
    assert_eq!(wait(&format!("127.0.0.1:{port}")), Some(1));
    assert_eq!(wait(&format!("localhost:{port}")), Some(1));
    assert_eq!(wait(&port.to_string()), Some(1));
    // No question of time, so no waiting.
    let ran = portwatch.run(&["wait", "192.0.2.1:3100", "--free", "--timeout", "1h"]).unwrap();
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("EADDRNOTAVAIL"), "{ran:?}");
}

#[test]
fn a_socket_that_is_bound_and_does_not_listen_is_not_free() {
    let portwatch = Portwatch::new().unwrap();
    let program = "
import socket, sys
s = socket.socket()
s.bind(('127.0.0.1', 0))
print(s.getsockname()[1])
sys.stdin.read()
";
    let mut actor = Actor::python(program, &[]).unwrap();
    let port = actor.line().unwrap();
    let ran = portwatch.run(&["wait", &port, "--free", "--timeout", "50ms", "--json"]).unwrap();
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("is bound and does not listen"), "{ran:?}");
    actor.finish().unwrap();
    assert_eq!(portwatch.run(&["wait", &port, "--free", "--timeout", "20s"]).unwrap().code, Some(0));
}

#[test]
fn a_port_on_ipv6_alone_is_free_for_ipv4() {
    let portwatch = Portwatch::new().unwrap();
    let program = "
import socket, sys
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.bind(('::', 0))
s.listen()
print(s.getsockname()[1])
sys.stdin.read()
";
    let mut actor = Actor::python(program, &[]).unwrap();
    let port = actor.line().unwrap();
    let wait =
        |place: &str, what: &str| portwatch.run(&["wait", place, what, "--timeout", "50ms"]).unwrap().code;
    assert_eq!(wait(&format!("0.0.0.0:{port}"), "--free"), Some(0));
    assert_eq!(wait(&format!("[::1]:{port}"), "--free"), Some(1));
    assert_eq!(wait(&format!("[::1]:{port}"), "--listening"), Some(0));
    assert_eq!(wait(&format!("127.0.0.1:{port}"), "--listening"), Some(1));
}

#[test]
fn time_wait_is_in_the_way_of_strict_servers_alone() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = Portwatch::new().unwrap();
    netns
        .enter(|| {
            let listener = TcpListener::bind("127.0.0.1:3100")?;
            let client = TcpStream::connect("127.0.0.1:3100")?;
            drop(listener.accept()?);
            drop(client);
            drop(listener);
            let lax = portwatch.run(&["wait", "3100", "--free", "--json"])?;
            assert_eq!(lax.code, Some(0), "{lax:?}");
            assert!(lax.stdout.contains("SO_REUSEADDR"), "{lax:?}");
            let strict =
                portwatch.run(&["wait", "3100", "--free", "--strict", "--timeout", "50ms", "--json"])?;
            assert_eq!(strict.code, Some(1), "{strict:?}");
            assert!(strict.stdout.contains("TIME_WAIT"), "{strict:?}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn healthy_is_what_answers_and_several_ports_are_waited_for_together() {
    let portwatch = Portwatch::new().unwrap();
    let program = "
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == '/health' else 503)
        self.end_headers()
    def log_message(self, *words): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port)
server.serve_forever()
";
    let mut server = Actor::python(program, &[]).unwrap();
    let port = server.line().unwrap();
    let good = portwatch.run(&["wait", &port, "--healthy", "--path", "/health"]).unwrap();
    assert_eq!(good.code, Some(0), "{good:?}");
    let bad = portwatch.run(&["wait", &port, "--healthy", "--timeout", "50ms", "--json"]).unwrap();
    assert_eq!(bad.code, Some(1));
    assert!(bad.stdout.contains("answers 503"), "{bad:?}");
    let (_other, other) = Actor::listener("127.0.0.1", 0).unwrap();
    let both = portwatch.run(&["wait", &port, &other.to_string(), "--listening"]).unwrap();
    assert_eq!(both.code, Some(0), "{both:?}");
}

#[test]
fn what_cannot_be_waited_for_is_a_usage_error() {
    let portwatch = Portwatch::new().unwrap();
    for words in [
        &["wait", "3100"][..],
        &["wait", "3100", "--free", "--listening"],
        &["wait", "70000", "--free"],
        &["wait", "3100", "--free", "--timeout", "5"],
        &["wait", "3100", "--listening", "--strict"],
    ] {
        let ran = portwatch.run(words).unwrap();
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}
