//! The last line of `who` against the kernel: for every cause the situation is made for real, the verdict is asked for,
//! and the bind is really tried by `probe`, which must fare as it was told.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{fs, os::unix::process::CommandExt as _};

use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, require_bpf, require_netns, require_program, wait_until,
};
use serde_json::{Value, json};

/// Makes a socket as its arguments say, and keeps it: `ADDRESS PORT WORD…`, words being `listen`, `reuse`, `reuseport`,
/// `v6only`, `udp`, and `nobody` for a process of that user. What does not bind says its errno.
const HOLD: &str = "
import os, socket, sys
address, port, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
family = socket.AF_INET6 if ':' in address else socket.AF_INET
if 'nobody' in words:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(family, socket.SOCK_DGRAM if 'udp' in words else socket.SOCK_STREAM)
if 'reuse' in words:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if 'reuseport' in words:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
if family == socket.AF_INET6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if 'v6only' in words else 0)
try:
    s.bind((address, port))
except OSError as error:
    sys.exit(print(error.errno))
if 'listen' in words:
    s.listen()
print('held')
sys.stdin.read()
";

/// A connection from port 3100 that the kernel lent, in a process of its own.
const BORROW: &str = "
import socket, sys
listener = socket.socket()
listener.bind(('127.0.0.1', 4000))
listener.listen()
client = socket.socket()
client.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
client.bind(('127.0.0.1', 0))
client.connect(('127.0.0.1', 4000))
print(client.getsockname()[1])
sys.stdin.read()
";

fn hold(words: &str) -> Actor {
    let (actor, line) = try_to_hold(words);
    assert_eq!(line, "held", "{words}");
    actor
}

/// As [`hold`], for what may not succeed; gives what it said.
fn try_to_hold(words: &str) -> (Actor, String) {
    let mut actor = Actor::python(HOLD, &words.split(' ').collect::<Vec<_>>()).unwrap();
    let line = actor.line().unwrap();
    (actor, line)
}

fn verdict(portwatch: &Portwatch, target: &str) -> Value {
    let ran = portwatch.run(&["who", target, "--json"]).unwrap();
    ran.json().unwrap().pointer("/targets/0/verdict").cloned().unwrap_or_else(|| panic!("{ran:?}"))
}

/// The kernel's answer to real binds of `target`: plainly and with SO_REUSEADDR.
fn really(portwatch: &Portwatch, target: &str) -> (bool, bool, Value) {
    let ran = portwatch.run(&["probe", target, "--json"]).unwrap();
    let probe = ran.json().unwrap();
    let plain = probe["bindable"].as_bool().unwrap();
    assert_eq!(ran.code, Some(i32::from(!plain)), "{ran:?}");
    (plain, probe["with_reuse_addr"].as_bool().unwrap(), probe)
}

/// The verdict is the kernel's, and names this cause.
fn agree(portwatch: &Portwatch, target: &str, cause: Option<&str>) -> Value {
    let told = verdict(portwatch, target);
    let (plain, with, probe) = really(portwatch, target);
    assert_eq!(told["bindable"], plain, "{target}: {told} {probe}");
    // Whether an option would help may be unknown; what is said must be right.
    assert!(told["with_reuse_addr"].is_null() || told["with_reuse_addr"] == with, "{target}: {told} {probe}");
    assert_eq!(told["cause"], json!(cause), "{target}: {told}");
    told
}

/// What is held, what is asked for, and why the kernel refuses it.
const PLACES: [(&str, &str, Option<&str>); 11] = [
    ("127.0.0.1 3100 listen", "127.0.0.1:3100", Some("listening")),
    ("0.0.0.0 3100 listen", "127.0.0.1:3100", Some("listening")),
    ("127.0.0.1 3100 listen", "0.0.0.0:3100", Some("listening")),
    ("127.0.0.1 3100 listen", "127.0.0.2:3100", None),
    (":: 3100 listen", "127.0.0.1:3100", Some("listening")),
    (":: 3100 listen v6only", "127.0.0.1:3100", None),
    ("::1 3100 listen", "[::]:3100", Some("listening")),
    ("::1 3100 listen", "0.0.0.0:3100", None),
    ("127.0.0.1 3100", "127.0.0.1:3100", Some("bound")),
    ("127.0.0.1 3100 udp", "127.0.0.1:3100/udp", Some("bound")),
    ("127.0.0.1 3100 udp", "127.0.0.1:3100/tcp", None),
];

#[test]
fn every_cause_is_told_and_the_kernel_agrees() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::new()?;
            agree(&portwatch, "127.0.0.1:3100", None);
            agree(&portwatch, "3100", None);
            agree(&portwatch, "3100/udp", None);
            for (held, target, cause) in PLACES {
                let holder = hold(held);
                agree(&portwatch, target, cause);
                assert!(holder.finish()?.success());
            }
            // What this machine does not have.
            let told = agree(&portwatch, "192.0.2.9:3100", Some("address-not-here"));
            assert_eq!(told["errno_name"], "EADDRNOTAVAIL");
            agree(&portwatch, "[2001:db8::9]:3100", Some("address-not-here"));
            Ok(())
        })
        .unwrap();
}

#[test]
fn with_a_tool_the_verdict_is_the_kernels_or_not_known_and_known_where_the_tool_shows_the_socket() {
    if !(require_netns() && ["lsof", "netstat"].into_iter().all(require_program)) {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::new()?;
            for (held, target, cause) in PLACES {
                let holder = hold(held);
                let (plain, with, _) = really(&portwatch, target);
                let same_family = held.starts_with(':') == target.starts_with('[');
                let shown =
                    cause.is_some() && same_family && (held.contains("listen") || held.contains("udp"));
                for tool in ["lsof", "netstat"] {
                    let ran = portwatch.run(&["--source", tool, "who", target, "--json"])?;
                    let told = ran.json()?.pointer("/targets/0/verdict").cloned().unwrap();
                    let place = format!("{tool} {held} {target}: {told}");
                    assert!(told["bindable"].is_null() && !shown || told["bindable"] == plain, "{place}");
                    let with_reuse = &told["with_reuse_addr"];
                    assert!(with_reuse.is_null() || *with_reuse == with, "{place}");
                    assert!(!shown || told["cause"] == json!(cause), "{place}");
                    assert!(ran.code != Some(1) || plain, "never free where it is not: {place}");
                }
                assert!(holder.finish()?.success());
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_group_that_shares_its_port_is_joined_by_its_own_user_alone_as_was_told() {
    if !(require_netns() && require_bpf()) {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            // The kernel's tables do not tell who shares; its programs do.
            let portwatch = Portwatch::started(&[])?;
            for kind in ["listen", "udp"] {
                let target = if kind == "udp" { "127.0.0.1:3100/udp" } else { "127.0.0.1:3100" };
                let cause = if kind == "udp" { "bound" } else { "listening" };
                let member = hold(&format!("127.0.0.1 3100 reuseport nobody {kind}"));
                let told = agree(&portwatch, target, Some(cause));
                let sentence = told["sentence"].as_str().unwrap();
                assert!(sentence.contains(&format!("python3 ({})", member.pid())), "{sentence}");
                assert!(sentence.ends_with("With SO_REUSEPORT a socket of nobody could join."), "{sentence}");
                // And so it is: somebody else with the option may not, its own user may, and only with the option.
                let (_, line) = try_to_hold(&format!("127.0.0.1 3100 reuseport {kind}"));
                assert_eq!(line, "98", "of another user");
                let (_, line) = try_to_hold(&format!("127.0.0.1 3100 nobody {kind}"));
                assert_eq!(line, "98", "without the option");
                let joined = hold(&format!("127.0.0.1 3100 reuseport nobody {kind}"));
                agree(&portwatch, target, Some(cause));
                assert!(joined.finish()?.success() && member.finish()?.success());
                agree(&portwatch, target, None);
            }
            Ok(())
        })
        .unwrap();
}

/// Takes ports that the kernel chooses until it has no more: says them, and the errno of the end.
const EXHAUST: &str = "
import resource, socket, sys
kept, ports = [], []
listener = socket.create_server(('127.0.0.1', 4000), backlog=64)
while True:
    s = socket.socket(type=socket.SOCK_DGRAM if sys.argv[1] == 'udp' else socket.SOCK_STREAM)
    try:
        if sys.argv[1] == 'connect': s.connect(('127.0.0.1', 4000))
        else: s.bind(('127.0.0.1', 0))
    except OSError as error:
        print(' '.join(map(str, sorted(ports))))
        print(error.errno)
        break
    kept.append(s)
    ports.append(s.getsockname()[1])
sys.stdin.read()
";

#[test]
fn the_kernel_lends_the_ports_of_which_that_is_said_and_never_a_reserved_one() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::new()?;
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "3000 3007")?;
            fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", "3003,3005")?;
            for way in ["bind", "connect", "udp"] {
                let protocol = if way == "udp" { "/udp" } else { "" };
                let target = |port: u16| format!("127.0.0.1:{port}{protocol}");
                let mut lent = Vec::new();
                for port in 2998..3010 {
                    let told = agree(&portwatch, &target(port), None);
                    let sentence = told["sentence"].as_str().unwrap();
                    let (lends, reserved) = (
                        sentence.contains("may lend the port to"),
                        sentence.contains("The port is reserved"),
                    );
                    assert_eq!(reserved, matches!(port, 3003 | 3005), "{sentence}");
                    if lends {
                        lent.push(port.to_string());
                    }
                }
                let mut taker = Actor::python(EXHAUST, &[way])?;
                assert_eq!(taker.line()?, lent.join(" "), "{way}");
                let errno = if way == "connect" { "99" } else { "98" };
                assert_eq!(taker.line()?, errno, "{way}: it has no more");
                let cause = if way == "connect" { "connected" } else { "bound" };
                agree(&portwatch, &target(3004), Some(cause));
                // Kept back from whoever asks for any port, not from who asks for this one.
                agree(&portwatch, &target(3003), None);
                assert!(taker.finish()?.success());
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn an_outgoing_connection_that_borrowed_the_port_is_named_with_its_process() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::new()?;
            let mut client = Actor::python(BORROW, &[])?;
            let port = client.line()?;
            let told = agree(&portwatch, &format!("0.0.0.0:{port}"), Some("connected"));
            let sentence = told["sentence"].as_str().unwrap();
            let named = format!(
                "python3 ({}) has a connection from 127.0.0.1:{port} to 127.0.0.1:4000",
                client.pid()
            );
            assert!(sentence.contains(&named), "{sentence}");
            let ran = portwatch.run(&["who", &port])?;
            assert_eq!(ran.code, Some(0), "a process has it: {ran:?}");
            assert!(
                ran.stdout.contains(&format!("CONNECTED, not listening  python3 ({})", client.pid())),
                "{ran:?}"
            );
            // Another address is not its port.
            agree(&portwatch, &format!("127.0.0.2:{port}"), None);
            Ok(())
        })
        .unwrap();
}

#[test]
fn settings_of_the_namespace_are_told() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::new()?;
            fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "2000")?;
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "3000 3999")?;
            fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", "3100")?;
            let sentence =
                |target: &str| verdict(&portwatch, target)["sentence"].as_str().unwrap().to_owned();
            assert!(sentence("3100").contains("The port is reserved (net.ipv4.ip_local_reserved_ports)"));
            assert!(
                sentence("3200")
                    .contains("may lend the port to outgoing connections at any time (3000-3999)")
            );
            let told = verdict(&portwatch, "127.0.0.1:1900");
            assert_eq!(told["bindable"], Value::Null, "it depends on who asks: {told}");
            assert!(
                told["sentence"].as_str().unwrap().contains("EACCES for others: ports below 2000 need it")
            );
            // Root may, somebody else may not.
            assert!(really(&portwatch, "127.0.0.1:1900").0);
            let open = portwatch.folder().join("answer");
            let mut command = portwatch.command(&["probe", "127.0.0.1:1900", "--json", "--no-daemon"]);
            command
                .env_remove("PORTWATCH_CONFIG")
                .env("HOME", "/nonexistent")
                .stdout(fs::File::create(&open)?);
            let status = command.uid(65_534).status()?;
            let probe: Value = serde_json::from_str(&fs::read_to_string(&open)?)?;
            assert_eq!(probe.pointer("/addresses/0/plain/errno_name"), Some(&"EACCES".into()), "{probe}");
            assert_eq!(status.code(), Some(1));
            Ok(())
        })
        .unwrap();
}

#[test]
fn probes_leave_no_trace_in_the_record_unless_asked_for() {
    if !require_netns() {
        return;
    }
    for (flags, traces) in [(&[][..], false), (&["--all"][..], true)] {
        let netns = Netns::new().unwrap();
        netns
            .enter(|| {
                let mut portwatch = Portwatch::started(flags)?;
                let status = portwatch.run(&["status", "--json"])?.json()?;
                if status["source"]["source"] != "ebpf" {
                    // Polling sees no refused bind, so there is nothing to hide.
                    return Ok(());
                }
                let holder = hold("127.0.0.1 3100 listen");
                assert_eq!(portwatch.run(&["probe", "3100"])?.code, Some(1));
                // A UDP socket is a server's as soon as it is bound, and who had one has an end that is told.
                assert_eq!(portwatch.run(&["probe", "3101/udp"])?.code, Some(0));
                let (loser, errno) = Actor::bind("127.0.0.1", 3100)?;
                assert_eq!(errno, 98);
                let mine = |portwatch: &Portwatch| -> anyhow::Result<Vec<Value>> {
                    let log =
                        portwatch.run(&["log", "--port", "3100", "--type", "refused", "--json"])?.json()?;
                    Ok(log["events"].as_array().unwrap().clone())
                };
                let ours = netns.inode()?;
                let events = wait_until("the refused bind of somebody else", DEADLINE, || {
                    let mut events = mine(&portwatch).ok()?;
                    events.retain(|event| event["process"]["pid"] == loser.pid() || event["netns"] == ours);
                    events.iter().any(|event| event["process"]["pid"] == loser.pid()).then_some(events)
                })?;
                let own: Vec<_> = events.iter().filter(|e| e["process"]["comm"] == "portwatch").collect();
                assert_eq!(!own.is_empty(), traces, "{own:?}");
                assert!(
                    own.iter().all(|e| e["message"].as_str().is_some_and(|m| m.starts_with("self"))),
                    "{own:?}"
                );
                let log = portwatch.run(&["log", "--port", "3101", "--json"])?.json()?;
                let rows = log["events"].as_array().unwrap().iter();
                let own: Vec<_> = rows.filter(|e| e["process"]["comm"] == "portwatch").collect();
                assert_eq!(!own.is_empty(), traces, "{own:?}");
                drop(holder);
                portwatch.stop()?;
                Ok(())
            })
            .unwrap();
    }
}
