//! A socket without a process to be named: held by the kernel, in flight between two processes, or of a process that may
//! not be looked into. Each is made for real and is told in words of its own; none is taken for free.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{os::unix::process::CommandExt as _, process::Command};

use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, Ran, Source, each_source, init_is_closed, require_bpf, require_netns,
    wait_until,
};
use serde_json::Value;

/// Runs Python in the namespace until it printed a line.
fn python(netns: &Netns, program: &str) -> Actor {
    let wrapped = format!("import array, os, socket, sys\n{program}\nprint()\nsys.stdin.read()\n");
    let mut actor = netns.enter(|| Actor::python(&wrapped, &[])).unwrap();
    actor.line().unwrap();
    actor
}

const IN_FLIGHT: &str = "
near, far = socket.socketpair()
s = socket.create_server(('127.0.0.1', 3100))
near.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [s.fileno()]))])
s.close()";

fn run(netns: &Netns, portwatch: &Portwatch, words: &[&str]) -> Ran {
    netns.enter(|| portwatch.run(words)).unwrap()
}

fn ip(netns: &Netns, words: &[&str]) {
    let status = netns.enter(|| Ok(Command::new("ip").args(words).status()?)).unwrap();
    assert!(status.success(), "ip {words:?}: {status}");
}

/// The one socket that `who` has, once its owner is as said.
fn owner(netns: &Netns, portwatch: &Portwatch, words: &[&str], owner: &str) -> Value {
    let words = [words, &["--json"]].concat();
    wait_until(&format!("{words:?}: {owner}"), DEADLINE, || {
        let ran = run(netns, portwatch, &words);
        let socket = ran.json().ok()?.pointer("/targets/0/sockets/0").cloned()?;
        (socket["owner"] == owner && ran.code == Some(0)).then_some(socket)
    })
    .unwrap()
}

/// Text without line breaks.
fn text(ran: &Ran) -> String {
    ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_port_of_a_vxlan_device_is_the_kernels_and_the_device_is_named() {
    if !(require_bpf() && require_netns()) {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
    let ip = |words: &[&str]| ip(&netns, words);
    ip(&["link", "add", "vx0", "type", "vxlan", "id", "7", "dstport", "4789", "local", "127.0.0.1"]);
    // It has its socket only while it is up.
    assert_eq!(run(&netns, &portwatch, &["who", "4789/udp"]).code, Some(1));
    ip(&["link", "set", "vx0", "up"]);
    for way in [&[][..], &["--no-daemon"]] {
        let words = [&["who", "4789/udp"], way].concat();
        let socket = owner(&netns, &portwatch, &words, "kernel");
        assert_eq!((&socket["device"], &socket["holders"]), (&"vxlan vx0".into(), &Value::Array(Vec::new())));
        let said = text(&run(&netns, &portwatch, &words));
        assert!(
            said.contains("held by the kernel") && said.contains("for network device vxlan vx0"),
            "{said}"
        );
        assert!(
            said.contains("would fail with EADDRINUSE: the kernel (vxlan device vx0) receives there"),
            "{said}"
        );
        let listed = text(&run(&netns, &portwatch, &[&["ls", "--all"], way].concat()));
        assert!(listed.contains("(kernel) vxlan vx0"), "{listed}");
    }
    // From another namespace it is the same device's.
    let other = Netns::new().unwrap();
    let inode = netns.inode().unwrap().to_string();
    let socket = owner(&other, &portwatch, &["who", "4789/udp", "--netns", &inode], "kernel");
    assert_eq!(socket["device"], "vxlan vx0");
    // The bind fails as was said, and works once the device is down.
    assert_eq!(run(&netns, &portwatch, &["probe", "0.0.0.0:4789/udp"]).code, Some(1));
    ip(&["link", "set", "vx0", "down"]);
    assert_eq!(run(&netns, &portwatch, &["probe", "0.0.0.0:4789/udp"]).code, Some(0));
    assert_eq!(run(&netns, &portwatch, &["who", "4789/udp"]).code, Some(1));
}

#[test]
fn a_socket_in_flight_has_no_process_and_its_binder_is_not_said_to_have_it() {
    if !(require_bpf() && require_netns()) {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
    let actor = python(&netns, IN_FLIGHT);
    let socket = owner(&netns, &portwatch, &["who", "3100"], "no-process");
    assert_eq!(socket["creator"]["pid"], actor.pid());
    assert_eq!(socket["holders"], Value::Array(Vec::new()));
    let said = text(&run(&netns, &portwatch, &["who", "3100"]));
    assert!(
        said.contains("no process holds it") && said.contains("in flight between two processes"),
        "{said}"
    );
    let bound = format!("bound by python3 ({}), which does not hold it now", actor.pid());
    assert!(said.contains(&bound), "{said}");
    let verdict = format!("a socket that no process has, bound by python3 ({}), listens on", actor.pid());
    assert!(said.contains(&verdict), "{said}");
    // Without kernel programs whoever is kept closed could have it, which is said, and never that it is free.
    let ran = run(&netns, &portwatch, &["who", "3100", "--no-daemon", "--json"]);
    let told = ran.json().unwrap()["targets"][0]["sockets"][0]["owner"].clone();
    assert_eq!(
        (ran.code, told),
        (Some(0), if init_is_closed() { "not-permitted" } else { "no-process" }.into())
    );
    drop(actor);
}

each_source![
    a_port_that_the_kernel_has_itself_is_told_by_a_look_as_far_as_it_shows_such_sockets,
    another_users_process_is_not_permitted_to_be_seen_and_the_answer_says_what_would_help,
];

fn a_port_that_the_kernel_has_itself_is_told_by_a_look_as_far_as_it_shows_such_sockets(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = Portwatch::on(source).unwrap();
    ip(&netns, &["link", "add", "vx0", "type", "vxlan", "id", "7", "dstport", "4789", "local", "127.0.0.1"]);
    ip(&netns, &["link", "set", "vx0", "up"]);
    let ran = run(&netns, &portwatch, &["who", "4789/udp", "--json"]);
    let target = ran.json().unwrap()["targets"][0].clone();
    if source.shows_sockets_without_process() {
        let owner = match (source.knows_devices(), init_is_closed()) {
            (true, _) => "kernel",
            (false, true) => "not-permitted",
            (false, false) => "no-process",
        };
        let device = if source.knows_devices() { "vxlan vx0".into() } else { Value::Null };
        let socket = &target["sockets"][0];
        assert_eq!((&socket["owner"], &socket["device"]), (&owner.into(), &device), "{ran:?}");
        assert_eq!((ran.code, &target["verdict"]["bindable"]), (Some(0), &false.into()), "{ran:?}");
    } else {
        let (state, code) = source.nothing_seen_of_udp();
        assert_eq!((ran.code, &target["state"]), (Some(code), &state.into()), "{ran:?}");
        assert_eq!(target["verdict"]["bindable"], Value::Null, "{ran:?}");
    }
}

fn another_users_process_is_not_permitted_to_be_seen_and_the_answer_says_what_would_help(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = Portwatch::on(source).unwrap();
    let actor = python(&netns, "s = socket.create_server(('127.0.0.1', 3100))");
    let as_stranger = |words: &[&str]| {
        let mut command = portwatch.command(words);
        command.env_remove("PORTWATCH_CONFIG").env("HOME", "/nonexistent").uid(65_534).gid(65_534);
        let output = netns.enter(|| Ok(command.output()?)).unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, answer) = as_stranger(&["who", "3100", "--json", "--no-daemon"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let (_, said) = as_stranger(&["who", "3100", "--no-daemon"]);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let target = &answer["targets"][0];
    if source.shows_sockets_without_process() {
        assert_eq!((code, &target["sockets"][0]["owner"]), (Some(0), &"not-permitted".into()), "{answer:#}");
        assert!(said.contains("not permitted to see the owner"), "{said}");
        assert!(said.contains("belongs to uid 0") && said.contains("run as root"), "{said}");
        // Whose it is is known of the socket, by number and by name.
        for user in ["0", "root"] {
            let (code, said) = as_stranger(&["ls", "--user", user, "--port", "3100", "--no-daemon"]);
            assert!(code == Some(0) && said.contains("3100"), "{user}, {code:?}: {said}");
        }
    } else {
        assert_eq!((code, &target["state"]), (Some(3), &"unknown".into()), "{answer:#}");
        assert!(said.contains("shows a plain user only the sockets of their own processes"), "{said}");
        assert!(said.contains("ask as root"), "{said}");
    }
    // Asked by pid, nothing seen is not nothing there.
    let (code, said) = as_stranger(&["who", &format!("pid:{}", actor.pid()), "--no-daemon"]);
    assert_eq!(code, Some(3), "{said}");
    let why = match source {
        Source::Lsof => "shows a plain user only the sockets of their own processes",
        Source::Scan | Source::Netstat => "may not be looked into",
    };
    assert!(said.contains(why), "{said}");
}
