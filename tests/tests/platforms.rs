//! The fallbacks of other platforms, on this one: lsof and netstat as they come from Debian, against real sockets, beside what
//! they stand in for. What they cannot tell is asserted, too: it must be unknown, never "free".

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::collections::BTreeMap;

use portwatch_tests::{
    Actor, Netns, Portwatch, Ran, Source, each_source, init_is_closed, require_netns, require_program,
};
use serde_json::Value;

each_source![
    the_holder_of_listeners_and_udp_sockets_of_both_families_is_named,
    a_port_on_which_nothing_is_shown_is_free_only_where_everything_is_shown,
    every_holder_or_one_is_shown_and_a_socket_in_flight_where_sockets_are_looked_at,
    names_of_programs_that_end_lines_hide_nothing_and_make_nothing_unknown,
    what_acts_looks_for_itself_whatever_the_source,
];

fn who(portwatch: &Portwatch, what: &str) -> anyhow::Result<Ran> {
    portwatch.run(&["--no-daemon", "--json", "who", what])
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

fn the_holder_of_listeners_and_udp_sockets_of_both_families_is_named(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::on(source)?;
            let udp = "
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(('::', 0))
print(s.getsockname()[1])
sys.stdin.read()
";
            for address in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
                let (actor, port) = Actor::listener(address, 0)?;
                let ran = who(&portwatch, &port.to_string())?;
                assert_eq!(ran.code, Some(0), "{address} {ran:?}");
                let [socket] = &sockets(&ran)?[..] else { panic!("{address} {ran:?}") };
                assert_eq!(socket["address"], address, "{socket}");
                assert_eq!(socket["evidence"], "scan", "{socket}");
                assert_eq!(pids(socket), [u64::from(actor.pid())], "{socket}");
                assert_eq!(ran.json()?["source"]["source"], source.name());
            }
            let mut actor = Actor::python(udp, &[])?;
            let port = actor.line()?;
            let ran = who(&portwatch, &format!("{port}/udp"))?;
            let [socket] = &sockets(&ran)?[..] else { panic!("{ran:?}") };
            assert_eq!((pids(socket), &socket["protocol"]), (vec![u64::from(actor.pid())], &"udp".into()));
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
    if !(require_netns() && Source::ALL.into_iter().all(Source::ready)) {
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

fn a_port_on_which_nothing_is_shown_is_free_only_where_everything_is_shown(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::on(source)?;
            // Bound without listening: no tool shows it, and a bind would fail.
            let program = "
import socket, sys
s = socket.socket()
s.bind(('127.0.0.1', 0))
print(s.getsockname()[1])
sys.stdin.read()
";
            let mut actor = Actor::python(program, &[])?;
            let port = actor.line()?;
            let ran = who(&portwatch, &port)?;
            if source.is_whole() {
                assert_eq!((ran.code, &sockets(&ran)?[0]["state"]), (Some(0), &"bound".into()), "{ran:?}");
            } else {
                assert_eq!((ran.code, sockets(&ran)?), (Some(3), Vec::new()), "{ran:?}");
                assert!(ran.stdout.contains("bound without listening"), "{ran:?}");
                // What is said to do about it does it.
                let trial = format!("portwatch probe 127.0.0.1:{port}");
                let place = format!("127.0.0.1:{port}");
                let said = portwatch.run(&["who", &place, "--no-daemon", "--source", source.name()])?;
                assert!(
                    said.stdout.replace("\n  ", " ").contains(&format!("{trial} really tries")),
                    "{said:?}"
                );
                assert_eq!(portwatch.run(&["probe", &place])?.code, Some(1));
            }
            // UDP sockets have no such state; lsof shows only those that some process has open.
            let (state, code) = source.nothing_seen_of_udp();
            let ran = who(&portwatch, &format!("{port}/udp"))?;
            assert_eq!(
                (ran.code, &ran.json()?["targets"][0]["state"]),
                (Some(code), &state.into()),
                "{ran:?}"
            );
            assert!(actor.finish()?.success());
            let (state, code) = source.nothing_seen();
            let ran = who(&portwatch, &port)?;
            assert_eq!(
                (ran.code, &ran.json()?["targets"][0]["state"]),
                (Some(code), &state.into()),
                "{ran:?}"
            );
            Ok(())
        })
        .unwrap();
}

fn every_holder_or_one_is_shown_and_a_socket_in_flight_where_sockets_are_looked_at(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::on(source)?;
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

            let ran = who(&portwatch, &port.to_string())?;
            let mut found = pids(&sockets(&ran)?[0]);
            found.sort_unstable();
            let both = pair(own, child);
            if source.shows_every_holder() {
                assert_eq!(found, both, "{ran:?}");
            } else {
                assert!(found.len() == 1 && both.contains(&found[0]), "{ran:?}");
            }

            let ran = who(&portwatch, &flying.to_string())?;
            if source.shows_sockets_without_process() {
                let owner = if init_is_closed() { "not-permitted" } else { "no-process" };
                assert_eq!(sockets(&ran)?[0]["owner"], owner, "{ran:?}");
            } else {
                assert_eq!((ran.code, sockets(&ran)?), (Some(3), Vec::new()), "{ran:?}");
            }
            assert!(actor.finish()?.success());
            Ok(())
        })
        .unwrap();
}

fn names_of_programs_that_end_lines_hide_nothing_and_make_nothing_unknown(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::on(source)?;
            let program = "
import ctypes, os, socket, sys
if len(sys.argv) < 3:
    name = sys.argv[1].encode().decode('unicode_escape').encode('latin1')
    os.execv('/usr/bin/python3', [name, '-S', '-u', '-c', open('/proc/self/cmdline').read().split(chr(0))[4], sys.argv[1], 'x'])
ctypes.CDLL(None).prctl(15, b'a\\ntcp6 0 0', 0, 0, 0)
s = socket.create_server(('127.0.0.1', 0))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(s.getsockname())
print(s.getsockname()[1])
sys.stdin.read()
";
            let names = ["\\ntcp", "/a/b\\ntcp6 0 0", "x\\n\\n\\nudp 0", "\\xff\\xfe \\t1/x"];
            let mut all = Vec::new();
            for name in names {
                let mut actor = Actor::python(program, &[name])?;
                let port = actor.line()?;
                let ran = who(&portwatch, &port)?;
                let [tcp, udp] = &sockets(&ran)?[..] else { panic!("{name} {ran:?}") };
                assert_eq!([pids(tcp), pids(udp)], [[u64::from(actor.pid())], [u64::from(actor.pid())]], "{name}");
                assert_eq!(ran.json()?["source"]["degradations"], Value::Array(Vec::new()), "{name} {ran:?}");
                all.push(actor);
            }
            // What nobody has is as free as without them.
            let (state, code) = source.nothing_seen_of_udp();
            let ran = who(&portwatch, "9/udp")?;
            assert_eq!((ran.code, &ran.json()?["targets"][0]["state"]), (Some(code), &state.into()), "{ran:?}");
            Ok(())
        })
        .unwrap();
}

/// A table that names one process of several, or leaves out what is bound, would not do for what ends processes and gives out
/// ports.
fn what_acts_looks_for_itself_whatever_the_source(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::started_on(source)?;
            let program = "
import os, signal, socket, sys
bound = socket.socket()
bound.bind(('127.0.0.1', 0))
s = socket.create_server(('127.0.0.1', 0))
child = os.fork()
if child == 0:
    signal.pause()
print(s.getsockname()[1], bound.getsockname()[1], child)
sys.stdin.read()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
";
            let mut actor = Actor::python(program, &[])?;
            let [port, bound, child] = numbers(&mut actor)?;
            for way in [&[][..], &["--no-daemon"]] {
                let run = |words: &[&str]| portwatch.run(&[words, way].concat());
                let plan = run(&["free", &port.to_string(), "--dry-run", "--json"])?.json()?;
                let processes = plan["targets"][0]["processes"].as_array().unwrap();
                let shown: Vec<_> = processes.iter().map(|p| p["process"]["pid"].clone()).collect();
                assert_eq!(shown, [Value::from(actor.pid()), child.into()], "{plan:#}");
                let bound = bound.to_string();
                let waited = run(&["wait", &bound, "--free", "--timeout", "50ms"])?;
                assert_eq!(waited.code, Some(1), "{waited:?}");
                let plan = run(&["free", &bound, "--dry-run", "--json"])?.json()?;
                assert_eq!(plan["targets"][0]["processes"][0]["process"]["pid"], actor.pid(), "{plan:#}");
                assert_eq!(run(&["claim", "a:b", "--port", &bound])?.code, Some(1));
            }
            assert!(actor.finish()?.success());
            Ok(())
        })
        .unwrap();
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
