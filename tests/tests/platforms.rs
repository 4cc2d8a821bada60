//! The fallbacks of other platforms, on this one: lsof and netstat as they come from Debian, against real sockets. What
//! they cannot tell is asserted, too: it must be unknown, never "free".

use std::{net::TcpListener, os::unix::process::CommandExt as _};

use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, Ran, require_netns, require_program, wait_until};
use serde_json::Value;

const TOOLS: [&str; 2] = ["lsof", "netstat"];

/// Whether the tools are here.
fn ready() -> bool {
    require_netns() && TOOLS.into_iter().all(require_program)
}

fn who(portwatch: &Portwatch, tool: &str, what: &str) -> anyhow::Result<Ran> {
    portwatch.run(&["--no-daemon", "--source", tool, "--json", "who", what])
}

/// The sockets of the first target.
fn sockets(ran: &Ran) -> anyhow::Result<Vec<Value>> {
    let answer = ran.json()?;
    Ok(answer.pointer("/targets/0/sockets").and_then(Value::as_array).cloned().unwrap_or_default())
}

fn pids(socket: &Value) -> Vec<u64> {
    let holders = socket["holders"].as_array().into_iter().flatten();
    holders.filter_map(|holder| holder.pointer("/process/pid")?.as_u64()).collect()
}

#[test]
fn each_tool_names_the_holder_of_listeners_and_udp_sockets_of_both_families() {
    if !ready() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::new()?;
            let udp = "
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(('::', 0))
print(s.getsockname()[1])
sys.stdin.read()
";
            for address in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
                let (actor, port) = Actor::listener(address, 0)?;
                for tool in TOOLS {
                    let ran = who(&portwatch, tool, &port.to_string())?;
                    assert_eq!(ran.code, Some(0), "{tool} {address} {ran:?}");
                    let [socket] = &sockets(&ran)?[..] else { panic!("{tool} {address} {ran:?}") };
                    assert_eq!(socket["address"], address, "{tool} {socket}");
                    assert_eq!(socket["evidence"], "scan", "{tool} {socket}");
                    assert_eq!(pids(socket), [u64::from(actor.pid())], "{tool} {socket}");
                    assert_eq!(ran.json()?["source"]["source"], tool);
                }
            }
            let mut actor = Actor::python(udp, &[])?;
            let port = actor.line()?;
            for tool in TOOLS {
                let ran = who(&portwatch, tool, &format!("{port}/udp"))?;
                let [socket] = &sockets(&ran)?[..] else { panic!("{tool} {ran:?}") };
                assert_eq!(
                    (pids(socket), &socket["protocol"]),
                    (vec![u64::from(actor.pid())], &"udp".into())
                );
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_port_on_which_a_tool_shows_nothing_is_unknown_and_not_free() {
    if !ready() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::new()?;
            // Bound without listening: neither tool shows it, and a bind would fail.
            let program = "
import socket, sys
s = socket.socket()
s.bind(('127.0.0.1', 0))
print(s.getsockname()[1])
sys.stdin.read()
";
            let mut actor = Actor::python(program, &[])?;
            let port = actor.line()?;
            for tool in TOOLS {
                let ran = who(&portwatch, tool, &port)?;
                assert_eq!(ran.code, Some(3), "{tool} {ran:?}");
                assert!(ran.stdout.contains("bound without listening"), "{tool} {ran:?}");
            }
            assert!(actor.finish()?.success());
            Ok(())
        })
        .unwrap();
}

#[test]
fn lsof_shows_every_holder_netstat_one_and_a_socket_in_flight_only_netstat() {
    if !ready() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::new()?;
            let program = "
import os, signal, socket, sys
s = socket.create_server(('127.0.0.1', 0))
child = os.fork()
if child == 0:
    signal.pause()
flying = socket.create_server(('127.0.0.1', 0))
near, far = socket.socketpair()
socket.send_fds(near, [b'x'], [flying.fileno()])
print(s.getsockname()[1], flying.getsockname()[1], child)
flying.close()
print('closed')
sys.stdin.read()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
";
            let mut actor = Actor::python(program, &[])?;
            let words = actor.line()?;
            let words: Vec<u64> = words.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            let [port, flying, child] = words[..] else { panic!("{words:?}") };
            assert_eq!(actor.line()?, "closed");
            let own = u64::from(actor.pid());

            let ran = who(&portwatch, "lsof", &port.to_string())?;
            let mut found = pids(&sockets(&ran)?[0]);
            found.sort_unstable();
            let mut both = vec![own, child];
            both.sort_unstable();
            assert_eq!(found, both, "{ran:?}");
            let ran = who(&portwatch, "netstat", &port.to_string())?;
            let found = pids(&sockets(&ran)?[0]);
            assert!(found.len() == 1 && both.contains(&found[0]), "{ran:?}");

            let ran = who(&portwatch, "netstat", &flying.to_string())?;
            // Some machines keep pid 1 closed even to root. Then it could be the holder, and the answer says so.
            let closed = std::fs::read_dir("/proc/1/fd").is_err();
            let owner = if closed { "not-permitted" } else { "no-process" };
            assert_eq!(sockets(&ran)?[0]["owner"], owner, "{ran:?}");
            let ran = who(&portwatch, "lsof", &flying.to_string())?;
            assert_eq!((ran.code, sockets(&ran)?), (Some(3), Vec::new()), "{ran:?}");
            assert!(actor.finish()?.success());
            Ok(())
        })
        .unwrap();
}

#[test]
fn to_a_plain_user_netstat_hides_names_and_lsof_hides_sockets_and_both_say_so() {
    if !ready() || !nix::unistd::geteuid().is_root() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::new()?;
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let port = listener.local_addr()?.port().to_string();
            let as_nobody = |tool: &str| -> anyhow::Result<Ran> {
                let mut command =
                    portwatch.command(&["--no-daemon", "--source", tool, "--json", "who", &port]);
                // Where it may not look for state and configuration.
                command
                    .env_remove("PORTWATCH_CONFIG")
                    .env_remove("XDG_CONFIG_HOME")
                    .env("HOME", "/none")
                    .env("PORTWATCH_STATE", "/none")
                    .uid(65534)
                    .gid(65534);
                let output = command.output()?;
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                Ok(Ran {
                    code: output.status.code(),
                    stdout: text(&output.stdout),
                    stderr: text(&output.stderr),
                })
            };
            let ran = as_nobody("netstat")?;
            assert_eq!(sockets(&ran)?[0]["owner"], "not-permitted", "{ran:?}");
            let ran = as_nobody("lsof")?;
            assert_eq!((ran.code, sockets(&ran)?), (Some(3), Vec::new()), "{ran:?}");
            assert!(ran.stdout.contains("plain user"), "{ran:?}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_daemon_on_a_tool_records_what_comes_and_goes() {
    if !ready() {
        return;
    }
    for tool in TOOLS {
        let netns = Netns::new().unwrap();
        netns
            .enter(|| {
                let portwatch = Portwatch::started(&["--source", tool])?;
                let (actor, port) = Actor::listener("127.0.0.1", 0)?;
                let pid = u64::from(actor.pid());
                let events = |kind: &str| -> Option<Vec<Value>> {
                    let port = port.to_string();
                    let ran = portwatch
                        .run(&["--json", "log", "--type", kind, "--port", &port, "--limit", "0"])
                        .ok()?;
                    let events = ran.json().ok()?["events"].as_array()?.clone();
                    (!events.is_empty()).then_some(events)
                };
                let listens = wait_until("the listen in the log", DEADLINE, || events("listen"))?;
                assert_eq!(listens.len(), 1, "{tool} {listens:?}");
                assert_eq!(listens[0]["evidence"], "scan", "{tool} {listens:?}");
                let ran = portwatch.run(&["--json", "who", &port.to_string()])?;
                assert_eq!((ran.code, pids(&sockets(&ran)?[0])), (Some(0), vec![pid]), "{tool} {ran:?}");
                actor.finish()?;
                let closes = wait_until("the close in the log", DEADLINE, || events("close"))?;
                assert_eq!((closes.len(), &closes[0]["evidence"]), (1, &"scan".into()), "{tool} {closes:?}");
                let status = portwatch.run(&["--json", "status"])?.json()?;
                assert_eq!(status["source"]["source"], tool);
                Ok(())
            })
            .unwrap();
    }
}
