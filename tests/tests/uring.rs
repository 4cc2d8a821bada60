//! Sockets that are bound and listen through io_uring: no system call says so, and they are seen all the same.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::process::Command;

use portwatch_tests::{Actor, Portwatch, free_port, require_bpf, require_uring};
use serde_json::Value;

const URING: &str = env!("CARGO_BIN_EXE_uring");
/// Nobody else's.
const ADDRESS: &str = "127.87.11.1";

/// The program, and what it says first: its port, or an errno.
fn uring(kind: &str, port: u16) -> (Actor, String) {
    let mut actor = Actor::start(Command::new(URING).args([kind, ADDRESS, &port.to_string()])).unwrap();
    let said = actor.line().unwrap();
    (actor, said)
}

fn begin() -> Option<Portwatch> {
    (require_bpf() && require_uring(URING)).then(|| Portwatch::started(&[]).unwrap())
}

fn process(event: &Value) -> (u64, Vec<&str>) {
    let command = event["process"]["command"].as_array().unwrap();
    let command = command.iter().map(|argument| argument.as_str().unwrap()).collect();
    (event["process"]["pid"].as_u64().unwrap(), command)
}

#[test]
fn a_bind_and_a_listen_through_io_uring_are_logged_with_their_process_and_who_answers() {
    let Some(portwatch) = begin() else { return };
    let free = free_port().unwrap();
    let (actor, port) = uring("bound", free);
    assert_eq!(port, free.to_string());
    let command = [URING, "bound", ADDRESS, &port];
    for kind in ["bind", "listen"] {
        let event = portwatch.wait_for(kind, &["--port", &port]).unwrap();
        assert_eq!(process(&event), (u64::from(actor.pid()), command.to_vec()), "{event}");
        assert_eq!((&event["address"], &event["evidence"]), (&ADDRESS.into(), &"kernel".into()), "{event}");
    }
    let who = portwatch.who(&format!("{ADDRESS}:{port}")).unwrap();
    let socket = &who["sockets"][0];
    assert_eq!(socket["state"], "listening", "{who:#}");
    assert_eq!(socket["holders"][0]["process"]["pid"], actor.pid(), "{who:#}");

    assert!(actor.finish().unwrap().success());
    portwatch.wait_for("close", &["--port", &port]).unwrap();
    assert_eq!(portwatch.who(&format!("{ADDRESS}:{port}")).unwrap()["state"], "free");
}

#[test]
fn a_listen_without_a_bind_through_io_uring_has_the_port_that_the_kernel_chose() {
    let Some(portwatch) = begin() else { return };
    let (actor, port) = uring("unbound", 0);
    let event = portwatch.wait_for("listen", &["--port", &port]).unwrap();
    assert_eq!(process(&event).0, u64::from(actor.pid()), "{event}");
    assert_eq!(event["asked_port"], 0, "{event}");
    assert!(actor.finish().unwrap().success());
}

#[test]
fn a_socket_in_a_ring_that_no_process_has_a_descriptor_of_is_its_last_known_holders() {
    let Some(portwatch) = begin() else { return };
    let (actor, port) = uring("direct", free_port().unwrap());
    let event = portwatch.wait_for("listen", &["--port", &port]).unwrap();
    assert_eq!(process(&event).0, u64::from(actor.pid()), "{event}");
    let who = portwatch.who(&format!("{ADDRESS}:{port}")).unwrap();
    assert_eq!(who["state"], "held", "{who:#}");
    let named = who.to_string();
    assert!(named.contains(&format!("\"pid\":{}", actor.pid())), "{who:#}");
    assert!(actor.finish().unwrap().success());
    portwatch.wait_for("close", &["--port", &port]).unwrap();
}

#[test]
fn a_bind_that_io_uring_was_refused_takes_nothing_from_who_holds_the_port() {
    let Some(portwatch) = begin() else { return };
    let (holder, port) = Actor::listener(ADDRESS, 0).unwrap();
    let (loser, errno) = uring("refused", port);
    assert_eq!(errno, nix::libc::EADDRINUSE.to_string());
    assert!(loser.finish().unwrap().success());
    let port = port.to_string();
    let who = portwatch.who(&format!("{ADDRESS}:{port}")).unwrap();
    assert_eq!(who["sockets"][0]["holders"][0]["process"]["pid"], holder.pid(), "{who:#}");
    // Where the hooks do not see it, README says so; where they do, the loser is named.
    for event in portwatch.events(&["--type", "refused", "--port", &port]).unwrap() {
        assert_eq!(process(&event).1[0], URING, "{event}");
    }
}
