//! The fallbacks of other platforms, on this one: lsof and netstat as they come from Debian, against real sockets. What
//! they cannot tell is asserted, too: it must be unknown, never "free".

use std::{collections::BTreeMap, net::TcpListener, os::unix::process::CommandExt as _};

use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, Ran, require_netns, require_program, require_root, wait_until,
};
use serde_json::Value;

const TOOLS: [&str; 2] = ["lsof", "netstat"];

/// With what they stand in for.
const SOURCES: [&str; 3] = ["scan", "lsof", "netstat"];

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

/// Every kind of socket, by a program and a child that inherited all of them; `bound` does not listen.
const KINDS: &str = "
import os, signal, socket, sys
def made(family, kind, address, only=None):
    s = socket.socket(family, kind)
    if only is not None:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    s.bind((address, 0))
    return s
V4, V6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
bound = made(V4, TCP, '127.0.0.1')
listening = [made(V4, TCP, '127.0.0.1'), made(V4, TCP, '0.0.0.0'), made(V6, TCP, '::1'), made(V6, TCP, '::', False),
    made(V6, TCP, '::', True)]
for s in listening:
    s.listen()
udp = [made(V4, UDP, '127.0.0.1'), made(V4, UDP, '0.0.0.0'), made(V6, UDP, '::1'), made(V6, UDP, '::', False)]
talking = made(V4, UDP, '127.0.0.1')
talking.connect(udp[0].getsockname())
child = os.fork()
if child == 0:
    signal.pause()
print(bound.getsockname()[1], child)
sys.stdin.read()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
";

/// The numbers of the program's next line.
fn numbers<const N: usize>(actor: &mut Actor) -> anyhow::Result<[u64; N]> {
    let line = actor.line()?;
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|_| anyhow::anyhow!("{N} numbers expected: {line}"))
}

/// Two pids, in the order in which tables are compared.
fn pair(a: u64, b: u64) -> Vec<u64> {
    vec![a.min(b), a.max(b)]
}

/// Each socket that `ls` shows, and its processes.
fn table(ran: &Ran) -> anyhow::Result<BTreeMap<String, Vec<u64>>> {
    let document = ran.json()?;
    let sockets = document.get("sockets").and_then(Value::as_array).into_iter().flatten();
    let place = |s: &Value| format!("{} {} {} {}", s["protocol"], s["address"], s["port"], s["state"]);
    let sorted = |mut pids: Vec<u64>| {
        pids.sort_unstable();
        pids
    };
    Ok(sockets.map(|s| (place(s), sorted(pids(s)))).collect())
}

#[test]
fn what_the_tools_list_is_what_the_scan_lists_but_for_what_they_cannot_know() {
    if !ready() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::new()?;
            let mut actor = Actor::python(KINDS, &[])?;
            let [bound, child] = numbers(&mut actor)?;
            let both = pair(u64::from(actor.pid()), child);
            let list = |source: &str| -> anyhow::Result<BTreeMap<String, Vec<u64>>> {
                let ran = portwatch.run(&["--no-daemon", "--source", source, "ls", "--all", "--json"])?;
                assert_eq!(ran.code, Some(0), "{source} {ran:?}");
                table(&ran)
            };
            let mut truth = list("scan")?;
            assert!(truth.values().all(|pids| *pids == both), "{truth:#?}");
            // Linux before 6.8 does not tell of it either.
            truth.retain(|place, _| !place.contains(&format!(" {bound} ")));
            assert_eq!(truth.len(), 10, "{truth:#?}");
            assert_eq!(list("lsof")?, truth);
            let netstat = list("netstat")?;
            assert!(netstat.keys().eq(truth.keys()), "{netstat:#?} {truth:#?}");
            assert!(
                netstat.values().all(|pids| matches!(pids[..], [pid] if both.contains(&pid))),
                "{netstat:#?}"
            );
            assert!(actor.finish()?.success());
            Ok(())
        })
        .unwrap();
}

#[test]
fn claims_a_new_holder_and_what_ended_meanwhile_are_told_by_a_daemon_on_each_source() {
    if !ready() {
        return;
    }
    for source in SOURCES {
        let netns = Netns::new().unwrap();
        netns
            .enter(|| {
                let mut portwatch = Portwatch::started(&["--source", source])?;
                let claimed = portwatch.run(&["claim", "tools:web", "--range", "24000-24099", "-q"])?;
                let port = claimed.stdout.trim().to_owned();
                // Nothing ties the program to the claim: to have the port is to squat on it.
                let state = |wanted: &str| {
                    wait_until(&format!("the claim to be {wanted}"), DEADLINE, || {
                        let found = portwatch.run(&["find", "tools:web", "--json"]).ok()?.json().ok()?;
                        (found.pointer("/claims/0/state")? == wanted).then_some(())
                    })
                };
                let number: u16 = port.parse()?;
                let (first, _) = Actor::listener("127.0.0.1", number)?;
                state("squatted")?;
                let holder = |target: &Value| target.pointer("/sockets/0/holders/0/process/pid").cloned();
                let target = portwatch.who(&port)?;
                assert_eq!(holder(&target), Some(first.pid().into()), "{source} {target:#}");
                let named = |event: &Value| (event["process"]["pid"].clone(), event["evidence"].clone());
                let expected = (Value::from(first.pid()), Value::from("scan"));
                let listen = portwatch.wait_for("listen", &["--port", &port])?;
                assert_eq!(named(&listen), expected, "{source} {listen:#}");
                first.finish()?;
                let close = portwatch.wait_for("close", &["--port", &port])?;
                assert_eq!(named(&close), expected, "who had it last: {source} {close:#}");
                // A tool that shows nothing does not say that there is nothing.
                state(if source == "scan" { "idle" } else { "unknown" })?;

                // Another program on the same port is another socket.
                let (second, _) = Actor::listener("127.0.0.1", number)?;
                let pid = u64::from(second.pid());
                wait_until("the second holder", DEADLINE, || {
                    (holder(&portwatch.who(&port).ok()?)? == pid).then_some(())
                })?;
                let waited = portwatch.run(&["wait", &port, "--listening", "--timeout", "20s", "--json"])?;
                assert!(
                    waited.code == Some(0) && waited.stdout.contains(&pid.to_string()),
                    "{source} {waited:?}"
                );
                let plan = portwatch.run(&["free", "--dry-run", "--json", &port])?.json()?;
                assert_eq!(plan["targets"][0]["processes"][0]["process"]["pid"], pid, "{source} {plan:#}");

                // While nobody looked.
                portwatch.stop()?;
                second.finish()?;
                portwatch.start(&["--source", source])?;
                let target = portwatch.who(&port)?;
                let gone = if source == "scan" { "free" } else { "unknown" };
                assert!(target.get("state").is_some_and(|state| state == gone), "{source} {target:#}");
                let status = portwatch.status()?;
                assert_eq!(status["source"]["source"], source, "{status:#}");
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{source}: {error:#}"));
    }
}

#[test]
fn a_close_that_no_daemon_saw_is_told_by_the_next_one_with_what_is_known_of_its_time() {
    if !ready() {
        return;
    }
    for source in SOURCES {
        let netns = Netns::new().unwrap();
        netns
            .enter(|| {
                let mut portwatch = Portwatch::started(&["--source", source])?;
                let (gone, port) = Actor::listener("127.0.0.1", 0)?;
                let (stays, kept) = Actor::listener("127.0.0.1", 0)?;
                for port in [port, kept] {
                    portwatch.wait_for("listen", &["--port", &port.to_string()])?;
                }
                portwatch.crash()?;
                let dead = jiff::Timestamp::now();
                gone.finish()?;
                // On the same port somebody else, whom no row is about.
                let (other, _) = Actor::listener("127.0.0.1", port)?;
                let again = jiff::Timestamp::now();
                portwatch.start(&["--source", source])?;
                let close = portwatch.wait_for("close", &["--port", &port.to_string()])?;
                let moment = |field: &str| -> anyhow::Result<jiff::Timestamp> {
                    Ok(close[field].as_str().unwrap_or_default().parse()?)
                };
                assert_eq!(close["evidence"], "scan", "{source} {close:#}");
                assert!(moment("since")? <= dead && again <= moment("time")?, "{source} {close:#}");
                assert_eq!(close["process"], Value::Null, "nobody saw who: {source} {close:#}");
                let said = portwatch.run(&["log", "--type", "close"])?.stdout;
                assert!(said.contains("while no daemon was running"), "{source} {said}");
                stays.finish()?;
                other.finish()?;
                portwatch.wait_for("close", &["--port", &kept.to_string()])?;
                wait_until("the end of the other", DEADLINE, || {
                    let closes = portwatch.events(&["--type", "close", "--port", &port.to_string()]).ok()?;
                    (closes.len() == 2).then_some(())
                })?;
                let kept = portwatch.events(&["--type", "close", "--port", &kept.to_string()])?;
                assert_eq!((kept.len(), &kept[0]["since"]), (1, &Value::Null), "{source} {kept:#?}");
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{source}: {error:#}"));
    }
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
                // UDP sockets have no such state; lsof shows only those that some process has open.
                let ran = who(&portwatch, tool, &format!("{port}/udp"))?;
                assert_eq!(ran.code, Some(if tool == "netstat" { 1 } else { 3 }), "{tool} {ran:?}");
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
            let [port, flying, child] = numbers(&mut actor)?;
            assert_eq!(actor.line()?, "closed");
            let own = u64::from(actor.pid());

            let ran = who(&portwatch, "lsof", &port.to_string())?;
            let mut found = pids(&sockets(&ran)?[0]);
            found.sort_unstable();
            let both = pair(own, child);
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
    if !ready() || !require_root() {
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

#[test]
fn what_starts_the_daemon_from_boot_on_is_well_formed_and_runs_a_command_that_there_is() {
    if !require_program("python3") {
        return;
    }
    let program = "
import plistlib, sys, xml.etree.ElementTree
agent = plistlib.load(open(sys.argv[1], 'rb'))
assert agent['Label'] == 'portwatch' and agent['RunAtLoad'] is True, agent
assert agent['KeepAlive'] == {'SuccessfulExit': False}, agent
program, *words = agent['ProgramArguments']
assert program.endswith('/portwatch'), program
print(*words)
names = {'': 'http://schemas.microsoft.com/windows/2004/02/mit/task'}
task = xml.etree.ElementTree.parse(sys.argv[2]).getroot()
find = lambda path: task.find(path, names).text
assert task.find('Triggers/BootTrigger', names) is not None
assert find('Principals/Principal/UserId') == 'S-1-5-18' and find('Settings/ExecutionTimeLimit') == 'PT0S'
assert find('Actions/Exec/Command').endswith('\\\\portwatch.exe')
print(find('Actions/Exec/Arguments'))
";
    let file = |name: &str| format!("{}/../packaging/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut python = std::process::Command::new("python3");
    python.args(["-c", program, &file("macos/portwatch.plist"), &file("windows/portwatch-task.xml")]);
    let ran = Ran::of(&mut python).unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "daemon\ndaemon\n"), "{ran:?}");
    let portwatch = Portwatch::new().unwrap();
    let mut help = portwatch.command(&["daemon", "--help"]);
    assert!(Ran::of(&mut help).unwrap().stdout.contains("foreground"));
}
