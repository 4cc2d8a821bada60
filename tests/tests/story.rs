//! The story of a port: who had it, who failed on it, how it ended. As people would try it by hand.

#![expect(clippy::panic, reason = "helpers of tests fail like tests")]

use nix::sys::signal::Signal;
use portwatch_tests::{Actor, DEADLINE, Portwatch, free_port, require_bpf, wait_until};
use serde_json::{Value, json};

fn field<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value:#}"))
}

#[test]
fn a_port_is_taken_fought_for_and_left_and_each_step_is_told() {
    if !require_bpf() {
        return;
    }
    let port = free_port().unwrap();
    let portwatch = Portwatch::started(&[]).unwrap();
    let asked = format!("127.10.0.1:{port}");

    // Before.
    let ran = portwatch.run(&["who", &asked]).unwrap();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stdout.starts_with(&format!("{asked}  free\n")), "{ran:?}");

    let program = "
import socket, sys
s = socket.socket()
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen()
print('ready')
sys.stdin.read()
sys.exit(3)
";
    let mut winner = Actor::python(program, &["127.10.0.1", &port.to_string()]).unwrap();
    winner.line().unwrap();
    let (loser, errno) = Actor::bind("127.10.0.1", port).unwrap();
    assert_eq!(errno, 98);
    portwatch.wait_for("refused", &["--port", &port.to_string()]).unwrap();

    // During.
    let target = portwatch.who(&asked).unwrap();
    assert_eq!(target["state"], "held");
    assert_eq!(*field(&target, "/sockets/0/holders/0/process/pid"), winner.pid());
    assert_eq!(*field(&target, "/sockets/0/state"), "listening");
    assert_eq!(*field(&target, "/sockets/0/evidence"), "kernel");
    assert_eq!(*field(&target, "/refused/0/process/pid"), loser.pid());
    assert_eq!(*field(&target, "/verdict/bindable"), false);
    let ran = portwatch.run(&["who", &asked]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let name = format!("{port}/tcp  LISTEN  python3 ({})  since ", winner.pid());
    assert!(ran.stdout.starts_with(&name), "{ran:?}");
    assert!(ran.stdout.contains("EADDRINUSE"), "{ran:?}");

    // After.
    let (winner_pid, loser_pid) = (winner.pid(), loser.pid());
    assert_eq!(winner.finish().unwrap().code(), Some(3));
    loser.finish().unwrap();
    portwatch.wait_for("exit", &["--pid", &winner_pid.to_string()]).unwrap();
    let target = portwatch.who(&asked).unwrap();
    assert_eq!(target["state"], "free");
    let ran = portwatch.run(&["who", &asked]).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let last = ran.stdout.lines().find(|line| line.starts_with("  last ")).unwrap();
    assert!(last.contains(&format!("({winner_pid}")) && last.ends_with("exited with code 3"), "{last}");

    // Without what the registry adds: the project of these tests may have claims of its own.
    let kinds = "bind,refused,listen,unlisten,close,exit";
    let events = portwatch.events(&["--since", "1m", "--port", &port.to_string(), "--type", kinds]).unwrap();
    let told: Vec<_> =
        events.iter().map(|e| (e["type"].as_str().unwrap(), e["process"]["pid"].clone())).collect();
    let (winner, loser) = (json!(winner_pid), json!(loser_pid));
    let expected =
        [("bind", &winner), ("listen", &winner), ("refused", &loser), ("close", &winner), ("exit", &winner)]
            .map(|(k, p)| (k, p.clone()));
    assert_eq!(told, expected);
    let refused = &events[2];
    assert_eq!((&refused["errno"], &refused["errno_name"]), (&json!(98), &json!("EADDRINUSE")));
    assert_eq!(refused["other"]["pid"], winner_pid, "who held it");
    assert!(field(refused, "/process/command/0").as_str().unwrap().ends_with("python3"));
    let exit = portwatch.events(&["--type", "exit", "--pid", &winner_pid.to_string()]).unwrap();
    assert_eq!(exit[0]["exit"]["code"], 3);
}

#[test]
fn a_script_that_binds_listens_and_is_gone_at_once_is_in_the_log_with_its_command_line() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    // It times itself: from the first call to the last, not the interpreter's start. Short, for the kernel's record
    // keeps 256 bytes of a command line, and nobody else sees this one.
    let program = "import os,socket,time as t
b=t.time()
s=socket.socket()
s.bind(('127.10.0.2',0))
s.listen()
os.write(1,b'%d %f\\n'%(s.getsockname()[1],t.time()-b))
os._exit(0)";
    let mut script = Actor::python(program, &["--config", "two words", "last"]).unwrap();
    let line = script.line().unwrap();
    let (port, seconds) = line.split_once(' ').unwrap();
    assert!(
        seconds.parse::<f64>().unwrap() < 0.2,
        "the machine was too busy for this to mean anything: {seconds} s"
    );
    let pid = script.pid().to_string();
    script.finish().unwrap();

    let exit = portwatch.wait_for("exit", &["--pid", &pid]).unwrap();
    assert_eq!(exit["exit"]["code"], 0);
    let events = portwatch.events(&["--port", port]).unwrap();
    let kinds: Vec<_> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    // Which of the two comes first is the kernel's affair: it closes what an ending process still has open.
    assert_eq!(kinds.get(..2), Some(&["bind", "listen"][..]));
    assert!(matches!(kinds.get(2..), Some(["close", "exit"] | ["exit", "close"])), "{kinds:?}");
    for event in events.iter().filter(|event| event["type"] != "exit") {
        assert_eq!(event["evidence"], "kernel");
        assert_eq!(event["random"], true, "the kernel chose the port");
        let command = event["process"]["command"].as_array().unwrap();
        assert!(command[0].as_str().unwrap().ends_with("python3"));
        assert_eq!(event["process"]["command_truncated"], false);
        assert_eq!(command[command.len() - 3..], [json!("--config"), json!("two words"), json!("last")]);
    }
}

#[test]
fn who_says_by_what_signal_the_last_holder_died_and_who_lost_since() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let (holder, port) = Actor::listener("127.10.0.3", 0).unwrap();
    let pid = holder.pid().to_string();
    holder.signal(Signal::SIGKILL).unwrap();
    holder.finish().unwrap();
    let exit = portwatch.wait_for("exit", &["--pid", &pid]).unwrap();
    assert_eq!(exit["exit"]["signal_name"], "SIGKILL");
    let ran = portwatch.run(&["who", &port.to_string()]).unwrap();
    assert!(ran.stdout.contains("killed by SIGKILL"), "{ran:?}");
}

#[test]
fn a_holder_that_closes_and_lives_on_has_closed_and_not_died() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let (holder, errno) = Actor::bind("127.10.0.4", 0).unwrap();
    assert_eq!(errno, 0);
    let program = "
import socket, sys
s = socket.socket()
s.bind(('127.10.0.4', 0))
s.listen()
print(s.getsockname()[1])
sys.stdin.readline()
s.close()
print('closed')
sys.stdin.read()
";
    let mut server = Actor::python(program, &[]).unwrap();
    let port = server.line().unwrap();
    server.say("").unwrap();
    server.line().unwrap();
    portwatch.wait_for("close", &["--port", &port]).unwrap();
    let ran = portwatch.run(&["who", &port]).unwrap();
    assert!(ran.stdout.contains("closed the socket"), "{ran:?}");
    drop(holder);
}

#[test]
fn a_listener_is_visible_before_anyone_could_have_connected() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    for _ in 0..20 {
        let (listener, port) = Actor::listener("127.10.0.5", 0).unwrap();
        let target = portwatch.who(&port.to_string()).unwrap();
        assert_eq!(target["state"], "held", "asked right after listen returned");
        assert_eq!(*field(&target, "/sockets/0/creator/pid"), listener.pid());
        drop(listener);
        let gone = wait_until("the port to be free", DEADLINE, || {
            (portwatch.who(&port.to_string()).unwrap()["state"] == "free").then_some(())
        });
        gone.unwrap();
    }
}
