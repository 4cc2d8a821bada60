//! `free` and `who` under a real systemd, which runs as pid 1: services and the sockets that start them are stopped by it, and
//! it itself never is.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
};

use portwatch_tests::{DEADLINE, Netns, Portwatch, Systemd, require_netns, require_systemd, wait_until};
use serde_json::Value;

/// Serves on 3100, and is started again whenever it ends.
const WEB: &str = "[Service]
ExecStart=/usr/bin/socat TCP-LISTEN:3100,bind=127.0.0.1,fork,reuseaddr EXEC:cat
Restart=always
RestartSec=100ms
SuccessExitStatus=143
";

/// The same, started by what only starts it.
const WRAPPED: &str = "[Service]
ExecStart=/bin/sh -c \"/usr/bin/socat TCP-LISTEN:3101,bind=127.0.0.1,fork,reuseaddr EXEC:cat; exit 1\"
Restart=always
RestartSec=100ms
SuccessExitStatus=143
";

/// What somebody typed into a terminal of a service: a shell that reads its input, and a server below it.
const EDITOR: &str = "[Service]
ExecStart=/usr/bin/python3 -S -c \"import subprocess, time; \
shell = subprocess.Popen(['/bin/bash'], stdin=subprocess.PIPE, text=True); \
print('/usr/bin/socat TCP-LISTEN:3102,bind=127.0.0.1,fork,reuseaddr EXEC:cat', file=shell.stdin); \
print('true', file=shell.stdin); \
shell.stdin.flush(); \
time.sleep(600)\"
";

const SOCKET: &str = "[Socket]
ListenStream=127.0.0.1:3103
";

/// Greets who comes.
const ACTIVATED: &str = "[Service]
ExecStart=/usr/bin/python3 -S -c \"import socket, time; \
s = socket.socket(fileno=3); \
s.accept()[0].send(b'hi'); \
time.sleep(600)\"
";

fn started(netns: &Netns, units: &[(&str, &str)], start: &[&str]) -> Option<Systemd> {
    let systemd = require_systemd(netns, units)?;
    systemd.ctl(&[&["start"][..], start].concat()).unwrap();
    Some(systemd)
}

/// Waits for a server on an address of 127.0.0.1. Nobody connects: socat starts a process for each connection, which has the
/// socket too for a moment.
fn listens(netns: &Netns, port: u16) {
    let local = format!("{:08X}:{port:04X}", u32::from_ne_bytes([127, 0, 0, 1]));
    wait_until("a server", DEADLINE, || {
        let table = netns.enter(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?)).unwrap();
        let listens = |line: &str| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next() == Some(&local) && fields.nth(1) == Some("0A")
        };
        table.lines().any(listens).then_some(())
    })
    .unwrap();
}

fn target(systemd: &Systemd, portwatch: &Portwatch, words: &[&str]) -> Value {
    let ran = systemd.portwatch(portwatch, &[words, &["--json"]].concat()).unwrap();
    let answer = ran.json().unwrap_or_else(|error| panic!("{error:#}: {ran:?}"));
    answer["targets"][0].clone()
}

/// Nobody has the port, and systemd has started nothing again.
fn stays_free(netns: &Netns, systemd: &Systemd, port: u16, unit: &str) {
    assert_eq!(systemd.property(unit, "ActiveState").unwrap(), "inactive", "{}", systemd.log());
    assert_eq!(systemd.property(unit, "NRestarts").unwrap(), "0");
    drop(netns.enter(|| Ok(TcpListener::bind(("127.0.0.1", port))?)).unwrap());
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", systemd.pid())).unwrap(), "systemd\n");
}

#[test]
fn a_service_is_stopped_by_its_manager_which_would_start_it_again() {
    if !require_netns() {
        return;
    }
    let (netns, portwatch) = (Netns::new().unwrap(), Portwatch::new().unwrap());
    let units = [("web.service", WEB), ("wrapped.service", WRAPPED)];
    let Some(systemd) = started(&netns, &units, &["web.service", "wrapped.service"]) else { return };
    // The second's main process is the shell, which ends with what it started.
    for (port, unit) in [(3100, "web.service"), (3101, "wrapped.service")] {
        listens(&netns, port);
        let asked = port.to_string();
        let who = target(&systemd, &portwatch, &["who", &asked]);
        let holder = &who["sockets"][0]["holders"][0]["process"];
        assert_eq!((&holder["unit"]["name"], &holder["comm"]), (&unit.into(), &"socat".into()), "{who:#}");

        let plan = systemd.portwatch(&portwatch, &["free", &asked, "--dry-run"]).unwrap();
        let pid = holder["pid"].to_string();
        assert!(plan.stdout.contains(&format!("held by socat ({pid}) of a unit of systemd")), "{plan:?}");
        assert!(plan.stdout.contains(&format!("systemctl stop -- {unit}")), "{plan:?}");
        assert!(plan.stdout.contains("TCP-LISTEN") && plan.stdout.contains("since "), "{plan:?}");
        let ran = systemd.portwatch(&portwatch, &["free", &asked, "--yes"]).unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.ends_with(&format!(": {unit} stopped\n")), "{ran:?}");
        stays_free(&netns, &systemd, port, unit);
    }
}

#[test]
fn what_was_typed_into_a_terminal_of_a_service_is_ended_and_the_service_stays() {
    if !require_netns() {
        return;
    }
    let (netns, portwatch) = (Netns::new().unwrap(), Portwatch::new().unwrap());
    let Some(systemd) = started(&netns, &[("editor.service", EDITOR)], &["editor.service"]) else { return };
    listens(&netns, 3102);
    let main = systemd.property("editor.service", "MainPID").unwrap();
    let ran = systemd.portwatch(&portwatch, &["free", "3102", "--yes", "--json"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let freed = ran.json().unwrap();
    let ended = &freed["targets"][0]["processes"][0];
    assert_eq!(ended["outcome"], "signalled", "{freed:#}");
    assert_eq!(ended["note"], "it runs within editor.service, which stays", "{freed:#}");
    assert_eq!(systemd.property("editor.service", "MainPID").unwrap(), main);
    assert_eq!(systemd.property("editor.service", "ActiveState").unwrap(), "active");
}

#[test]
fn a_socket_unit_is_stopped_before_its_service_and_pid_1_is_never_a_target() {
    if !require_netns() {
        return;
    }
    let (netns, portwatch) = (Netns::new().unwrap(), Portwatch::new().unwrap());
    let units = [("act.socket", SOCKET), ("act.service", ACTIVATED)];
    let Some(systemd) = started(&netns, &units, &["act.socket"]) else { return };
    let who = target(&systemd, &portwatch, &["who", "3103"]);
    let holder = &who["sockets"][0]["holders"][0]["process"];
    assert_eq!((&holder["pid"], &holder["comm"]), (&1.into(), &"systemd".into()), "{who:#}");

    // Nobody has come yet: only pid 1 has it.
    let free = |words: &[&str]| target(&systemd, &portwatch, &[&["free", "3103"][..], words].concat());
    let plan = free(&["--dry-run"]);
    assert_eq!(
        (&plan["state"], &plan["processes"]),
        (&"planned".into(), &Value::Array(Vec::new())),
        "{plan:#}"
    );
    assert_eq!(plan["units"][0]["command"], "systemctl stop -- act.socket act.service", "{plan:#}");
    assert_eq!(free(&["--yes"])["state"], "freed");
    stays_free(&netns, &systemd, 3103, "act.service");
    assert_eq!(systemd.property("act.socket", "ActiveState").unwrap(), "inactive");

    // The first connection starts the service, which has the socket with pid 1: one order stops both.
    systemd.ctl(&["start", "act.socket"]).unwrap();
    let mut greeting = String::new();
    netns
        .enter(|| Ok(TcpStream::connect(("127.0.0.1", 3103))?.take(2).read_to_string(&mut greeting)?))
        .unwrap();
    assert_eq!(greeting, "hi");
    let who = target(&systemd, &portwatch, &["who", "3103"]);
    let holders = who["sockets"][0]["holders"].as_array().unwrap();
    let comms: Vec<&Value> = holders.iter().map(|holder| &holder["process"]["comm"]).collect();
    assert_eq!(comms, ["systemd", "python3"], "{who:#}");
    let plan = free(&["--dry-run"]);
    assert_eq!(plan["units"][1], Value::Null, "{plan:#}");
    assert_eq!(plan["units"][0]["command"], "systemctl stop -- act.socket act.service", "{plan:#}");
    assert_eq!(plan["units"][0]["processes"][0]["comm"], "python3", "{plan:#}");
    let freed = free(&["--yes", "--time-wait"]);
    assert_eq!(freed["state"], "freed", "{freed:#}");
    let sentence = freed["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("act.socket and act.service stopped"), "{freed:#}");
    stays_free(&netns, &systemd, 3103, "act.service");
}

#[test]
fn a_users_manager_is_never_a_target_and_stops_its_own_units() {
    if !require_netns() {
        return;
    }
    let (netns, mut portwatch) = (Netns::new().unwrap(), Portwatch::new().unwrap());
    portwatch.give("XDG_RUNTIME_DIR", "/run/user/0");
    let units = [("user/own.socket", SOCKET), ("user/own.service", ACTIVATED), ("user/web.service", WEB)];
    let Some(systemd) = started(&netns, &units, &["user@0.service"]) else { return };
    let user = |words: &[&str]| systemd.ctl(&[&["--user"][..], words].concat()).unwrap();
    user(&["start", "own.socket", "web.service"]);
    listens(&netns, 3100);
    let main = systemd.property("user@0.service", "MainPID").unwrap();
    let who = target(&systemd, &portwatch, &["who", "3103"]);
    let holder = &who["sockets"][0]["holders"][0]["process"];
    assert_eq!((holder["pid"].to_string(), &holder["comm"]), (main.clone(), &"systemd".into()), "{who:#}");
    for (port, command) in [
        ("3103", "systemctl --user stop -- own.socket own.service"),
        ("3100", "systemctl --user stop -- web.service"),
    ] {
        let plan = target(&systemd, &portwatch, &["free", port, "--dry-run"]);
        assert_eq!(plan["units"][0]["command"], command, "{plan:#}");
        let freed = target(&systemd, &portwatch, &["free", port, "--yes"]);
        assert_eq!(
            (&freed["state"], &freed["processes"]),
            (&"freed".into(), &Value::Array(Vec::new())),
            "{freed:#}"
        );
    }
    assert_eq!(systemd.property("user@0.service", "MainPID").unwrap(), main);
    assert_eq!(systemd.property("user@0.service", "ActiveState").unwrap(), "active");
}
