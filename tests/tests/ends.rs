//! What ended who held a port, and who asked for that: real programs, real signals.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::process::Command;

use nix::sys::signal::Signal;
use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, require_bpf, wait_until};
use serde_json::Value;

/// A server that tidies up and then ends as it was told to: it gives back the default action and raises the signal again.
const ENDS_AS_ASKED: &str = "
import os, signal
def end(number, frame):
    s.close()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
signal.signal(signal.SIGTERM, end)";

/// A daemon, and its namespace, whose ports are the ones that are asked about.
struct Rig {
    netns: Netns,
    portwatch: Portwatch,
}

impl Rig {
    fn begin() -> Option<Self> {
        if !require_bpf() {
            return None;
        }
        let netns = Netns::new().unwrap();
        let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
        Some(Self { netns, portwatch })
    }

    /// A Python program that listens on 3100 until its input ends.
    fn server(&self, program: &str) -> Actor {
        let whole = format!(
            "import socket, sys{program}\ns = socket.create_server(('127.0.0.1', 3100)); print()\nsys.stdin.read()"
        );
        let mut actor = self.netns.enter(|| Actor::python(&whole, &[])).unwrap();
        actor.line().unwrap();
        actor
    }

    /// Its end, as `who 3100` has it, and what `who` says to people.
    fn end_of(&self, pid: u32) -> (Value, String) {
        let mut last = Value::Null;
        let exit = wait_until("the exit in the answer", DEADLINE, || {
            last = self.portwatch.run_inside(&["who", "3100", "--json"]).unwrap().json().unwrap();
            let events = last["targets"][0]["last"].as_array()?;
            events.iter().find(|e| e["type"] == "exit" && e["process"]["pid"] == pid).cloned()
        });
        let exit = exit.unwrap_or_else(|error| panic!("{error}: {last:#}"));
        let text = self.portwatch.run_inside(&["who", "3100"]).unwrap().stdout;
        (exit, text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// A shell that sends a signal with its own kill, and has ended; gives its pid.
fn shell_sends(signal: &str, pid: u32) -> u32 {
    let mut shell = Command::new("bash")
        .args(["-c", "kill -s \"$1\" \"$2\"", "bash", signal, &pid.to_string()])
        .spawn()
        .unwrap();
    assert!(shell.wait().unwrap().success());
    shell.id()
}

#[test]
fn who_sent_a_signal_first_is_told_where_the_process_handled_it_and_raised_it_again() {
    let Some(rig) = Rig::begin() else { return };
    let server = rig.server(ENDS_AS_ASKED);
    let pid = server.pid();
    let shell = shell_sends("TERM", pid);
    server.end().unwrap();
    let (exit, text) = rig.end_of(pid);
    assert_eq!((&exit["other"]["pid"], &exit["other"]["comm"]), (&shell.into(), &"bash".into()), "{exit:#}");
    let how = &exit["exit"];
    assert_eq!((&how["signal_name"], &how["sent_signal_name"]), (&"SIGTERM".into(), &"SIGTERM".into()));
    assert_eq!((&how["sent_by"], &how["sent_again"]), (&"process".into(), &true.into()), "{exit:#}");
    let sentence = format!("killed by SIGTERM from bash ({shell}), raised again by itself");
    assert!(text.contains(&sentence), "{text}");
}

/// Python itself does so with what it was interrupted by, once it has shown where that was.
#[test]
fn an_interrupted_python_names_who_interrupted_it() {
    let Some(rig) = Rig::begin() else { return };
    let server = rig.server("");
    let pid = server.pid();
    let shell = shell_sends("INT", pid);
    server.end().unwrap();
    let (exit, text) = rig.end_of(pid);
    assert_eq!(
        (&exit["other"]["pid"], &exit["exit"]["sent_again"]),
        (&shell.into(), &true.into()),
        "{exit:#}"
    );
    let sentence = format!("killed by SIGINT from bash ({shell}), raised again by itself");
    assert!(text.contains(&sentence), "{text}");
}

#[test]
fn of_two_that_asked_the_later_is_told() {
    let Some(rig) = Rig::begin() else { return };
    let program = "
import os, signal
def first(number, frame):
    # The next one may come as soon as it is said.
    signal.signal(number, end)
    print('handled')
def end(number, frame):
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
signal.signal(signal.SIGTERM, first)";
    let mut server = rig.server(program);
    let pid = server.pid();
    server.signal(Signal::SIGTERM).unwrap();
    assert_eq!(server.line().unwrap(), "handled");
    let shell = shell_sends("TERM", pid);
    server.end().unwrap();
    let (exit, _) = rig.end_of(pid);
    assert_eq!(
        (&exit["other"]["pid"], &exit["exit"]["sent_again"]),
        (&shell.into(), &true.into()),
        "{exit:#}"
    );
}

#[test]
fn who_ends_itself_unasked_is_its_own_sender() {
    let Some(rig) = Rig::begin() else { return };
    let server = rig.server(
        "
import os, signal
signal.signal(signal.SIGUSR1, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))",
    );
    let pid = server.pid();
    shell_sends("USR1", pid);
    server.end().unwrap();
    let (exit, text) = rig.end_of(pid);
    assert_eq!(
        (&exit["other"]["pid"], &exit["exit"]["sent_again"]),
        (&pid.into(), &false.into()),
        "{exit:#}"
    );
    assert!(text.contains("killed by SIGTERM from itself"), "{text}");
}
