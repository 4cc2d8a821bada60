//! Every kind of socket that can hold a port, in a network namespace of its own: seen, and named as what it is.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, require_bpf, wait_until};
use serde_json::{Value, json};

/// Runs Python in the namespace until it printed a line.
fn python(netns: &Netns, program: &str) -> (Actor, String) {
    let wrapped = format!("import os, socket, sys, time\n{program}\nsys.stdin.read()\n");
    let mut actor = netns.enter(|| Actor::python(&wrapped, &[])).unwrap();
    let line = actor.line().unwrap();
    (actor, line)
}

/// Sockets of the namespace on a port, by the live table; `count` of them.
fn sockets(portwatch: &Portwatch, netns: &Netns, port: &str, count: usize) -> Vec<Value> {
    let inode = netns.inode().unwrap();
    let mut last = Value::Null;
    let found = wait_until(&format!("{count} sockets on {port}"), DEADLINE, || {
        last = portwatch
            .run(&["ls", "--all", "--all-namespaces", "--port", port, "--json"])
            .unwrap()
            .json()
            .unwrap();
        let all = last["sockets"].as_array().unwrap();
        let here: Vec<_> = all.iter().filter(|s| s["netns"] == inode).cloned().collect();
        (here.len() == count).then_some(here)
    });
    found.unwrap_or_else(|error| panic!("{error}: {last:#}"))
}

fn begin() -> Option<(Netns, Portwatch)> {
    if !require_bpf() {
        return None;
    }
    Some((Netns::new().unwrap(), Portwatch::started(&[]).unwrap()))
}

#[test]
fn a_port_the_kernel_chose_is_random_and_an_asked_one_is_not() {
    let Some((netns, portwatch)) = begin() else { return };
    let (_any, port) =
        python(&netns, "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])");
    let [socket] = &sockets(&portwatch, &netns, &port, 1)[..] else { panic!() };
    assert_eq!((&socket["random"], &socket["asked_port"]), (&json!(true), &json!(0)));
    let (_asked, _) = python(&netns, "s = socket.create_server(('127.0.0.1', 3100)); print()");
    let [socket] = &sockets(&portwatch, &netns, "3100", 1)[..] else { panic!() };
    assert_eq!((&socket["random"], &socket["asked_port"]), (&json!(false), &json!(3100)));
}

#[test]
fn a_listen_without_a_bind_is_seen_with_its_port() {
    let Some((netns, portwatch)) = begin() else { return };
    let (actor, port) = python(&netns, "s = socket.socket(); s.listen(); print(s.getsockname()[1])");
    let [socket] = &sockets(&portwatch, &netns, &port, 1)[..] else { panic!() };
    assert_eq!((&socket["state"], &socket["random"]), (&json!("listening"), &json!(true)));
    assert_eq!(socket["creator"]["pid"], actor.pid());
}

#[test]
fn a_socket_that_is_bound_and_does_not_listen_is_named_as_the_blocker() {
    let Some((netns, portwatch)) = begin() else { return };
    let (actor, _) = python(&netns, "s = socket.socket(); s.bind(('127.0.0.1', 3100)); print()");
    let [socket] = &sockets(&portwatch, &netns, "3100", 1)[..] else { panic!() };
    assert_eq!((&socket["state"], &socket["creator"]["pid"]), (&json!("bound"), &json!(actor.pid())));
    let (_loser, errno) = netns.enter(|| Actor::bind("127.0.0.1", 3100)).unwrap();
    assert_eq!(errno, 98);
    let refused = portwatch.wait_for("refused", &["--port", "3100"]).unwrap();
    assert_eq!(refused["other"]["pid"], actor.pid());
    // Asked from inside, where the port is the asker's own.
    let ran = netns.enter(|| portwatch.run(&["who", "127.0.0.1:3100", "--no-daemon"])).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains(&format!("BOUND, not listening  python3 ({})", actor.pid())), "{ran:?}");
    assert!(ran.stdout.contains("is bound there without listening"), "{ran:?}");
}

#[test]
fn udp_is_apart_from_tcp() {
    let Some((netns, portwatch)) = begin() else { return };
    let (udp, _) =
        python(&netns, "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5300)); print()");
    let (tcp, _) = python(&netns, "s = socket.create_server(('127.0.0.1', 5300)); print()");
    let both = sockets(&portwatch, &netns, "5300", 2);
    let holder = |protocol: &str| {
        let socket = both.iter().find(|s| s["protocol"] == protocol).unwrap();
        socket["holders"][0]["process"]["pid"].clone()
    };
    assert_eq!((holder("udp"), holder("tcp")), (json!(udp.pid()), json!(tcp.pid())));
    let only = netns.enter(|| portwatch.who("5300/udp")).unwrap();
    let protocols: Vec<_> = only["sockets"].as_array().unwrap().iter().map(|s| &s["protocol"]).collect();
    assert_eq!(protocols, ["udp"]);
}

#[test]
fn udp_lite_has_ports_of_its_own_and_takes_none_of_udp() {
    let Some((netns, portwatch)) = begin() else { return };
    let program = "
udp = lambda *protocol: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, *protocol)
try: lite = udp(136)
except OSError: print('none'); sys.exit()
lite.bind(('127.0.0.1', 5300))
udp().bind(('127.0.0.1', 5300))
other = udp(); other.bind(('127.0.0.1', 5301))
print('bound')";
    let (_actor, line) = python(&netns, program);
    if line == "none" {
        eprintln!("SKIPPED: this kernel has no UDP-Lite");
        return;
    }
    // What came after it is told.
    sockets(&portwatch, &netns, "5301", 1);
    for way in [&[][..], &["--no-daemon"]] {
        let words = [&["who", "5300/udp", "--json"], way].concat();
        let ran = netns.enter(|| portwatch.run(&words)).unwrap();
        let target = ran.json().unwrap()["targets"][0].clone();
        assert_eq!((ran.code, &target["verdict"]["bindable"]), (Some(1), &json!(true)), "{target:#}");
        let ran = netns.enter(|| portwatch.run(&["probe", "5300/udp"])).unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

#[test]
fn ipv6_only_dual_stack_and_ipv4_are_told_apart() {
    let Some((netns, portwatch)) = begin() else { return };
    let program = "
dual = socket.socket(socket.AF_INET6); dual.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
dual.bind(('::', 3101)); dual.listen()
six = socket.socket(socket.AF_INET6); six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
six.bind(('::', 3102)); six.listen()
four = socket.create_server(('0.0.0.0', 3102))
print()";
    let (_actor, _) = python(&netns, program);
    let [dual] = &sockets(&portwatch, &netns, "3101", 1)[..] else { panic!() };
    assert_eq!((&dual["address"], &dual["v6_only"]), (&json!("::"), &json!(false)));
    let two = sockets(&portwatch, &netns, "3102", 2);
    let six = two.iter().find(|s| s["address"] == "::").unwrap();
    assert_eq!(six["v6_only"], true);
    assert!(two.iter().any(|s| s["address"] == "0.0.0.0"));
    // The kernel agrees that the dual one takes IPv4.
    let (_loser, errno) = netns.enter(|| Actor::bind("127.0.0.1", 3101)).unwrap();
    assert_eq!(errno, 98);
    let refused = portwatch.wait_for("refused", &["--port", "3101"]).unwrap();
    assert_eq!(refused["other"]["pid"], dual["creator"]["pid"]);
}

#[test]
fn two_programs_on_one_port_by_ipv4_and_ipv6_are_two() {
    let Some((netns, portwatch)) = begin() else { return };
    let (four, _) = python(&netns, "s = socket.create_server(('127.0.0.1', 3100)); print()");
    let (six, _) = python(&netns, "s = socket.create_server(('::1', 3100), family=socket.AF_INET6); print()");
    sockets(&portwatch, &netns, "3100", 2);
    let ran = netns.enter(|| portwatch.run(&["who", "3100"])).unwrap();
    let heads: Vec<_> = ran.stdout.lines().filter(|line| line.starts_with("3100/tcp  LISTEN")).collect();
    assert_eq!(heads.len(), 2, "{ran:?}");
    for pid in [four.pid(), six.pid()] {
        assert!(heads.iter().any(|head| head.contains(&format!("python3 ({pid})"))), "{ran:?}");
    }
}

#[test]
fn a_group_that_shares_a_port_is_shown_whole() {
    let Some((netns, portwatch)) = begin() else { return };
    let program = "
group = []
for _ in range(3):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(('127.0.0.1', 3100)); s.listen(); group.append(s)
print()";
    let (_actor, _) = python(&netns, program);
    let three = sockets(&portwatch, &netns, "3100", 3);
    assert!(three.iter().all(|s| s["reuse_port"] == true && s["state"] == "listening"));
}

#[test]
fn a_multipath_tcp_listener_is_one_listener() {
    let Some((netns, portwatch)) = begin() else { return };
    let program = "s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
s.bind(('127.0.0.1', 3100)); s.listen(); print()";
    let (actor, _) = python(&netns, program);
    let [socket] = &sockets(&portwatch, &netns, "3100", 1)[..] else { panic!() };
    assert_eq!(socket["holders"][0]["process"]["pid"], actor.pid());
    drop(actor);
    portwatch.wait_for("close", &["--port", "3100"]).unwrap();
    let kinds = portwatch.events(&["--port", "3100", "--type", "bind,listen,unlisten,close"]).unwrap();
    let own = kinds.iter().filter(|e| e["netns"] == netns.inode().unwrap());
    let kinds: Vec<_> = own.map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["bind", "listen", "close"]);
    sockets(&portwatch, &netns, "3100", 0);
}

#[test]
fn an_inherited_socket_has_its_binder_and_its_holders() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    // The binder goes; its child keeps the socket and says who it is.
    let program = "
import os, socket, sys
s = socket.create_server(('127.11.0.1', 0))
if os.fork():
    os._exit(0)
print(s.getsockname()[1], os.getpid(), flush=True)
sys.stdin.read()";
    let mut actor = Actor::python(program, &[]).unwrap();
    let (binder, line) = (actor.pid(), actor.line().unwrap());
    let (port, heir) = line.split_once(' ').unwrap();
    let target = wait_until("the heir alone", DEADLINE, || {
        let target = portwatch.who(port).unwrap();
        let holders = target["sockets"][0]["holders"].as_array()?.clone();
        (holders.len() == 1 && holders[0]["process"]["pid"] == heir.parse::<u32>().unwrap()).then_some(target)
    });
    assert_eq!(target.unwrap()["sockets"][0]["creator"]["pid"], binder);
    let ran = portwatch.run(&["who", port]).unwrap();
    let words = format!("python3 ({binder}), which does not hold it now; held by python3 ({heir})");
    assert!(ran.stdout.contains(&words), "{ran:?}");
    // The end of its input is the end of the heir.
    drop(actor);
    portwatch.wait_for("close", &["--port", port]).unwrap();
}

#[test]
fn the_same_port_in_two_namespaces_is_two_ports_and_no_conflict() {
    let Some((one, portwatch)) = begin() else { return };
    let other = Netns::new().unwrap();
    let (first, _) = python(&one, "s = socket.create_server(('127.0.0.1', 3100)); print()");
    let (second, _) = python(&other, "s = socket.create_server(('127.0.0.1', 3100)); print()");
    let pid = |netns| sockets(&portwatch, netns, "3100", 1)[0]["holders"][0]["process"]["pid"].clone();
    assert_eq!((pid(&one), pid(&other)), (json!(first.pid()), json!(second.pid())));
    let refused = portwatch.events(&["--type", "refused", "--port", "3100"]).unwrap();
    let ours = [one.inode(), other.inode()].map(|inode| json!(inode.unwrap()));
    assert!(refused.iter().all(|event| !ours.contains(&event["netns"])), "{refused:?}");
    // Whose port is meant depends on where one asks.
    let third = Netns::new().unwrap();
    let ran = third.enter(|| portwatch.run(&["who", "3100", "--no-daemon", "--json"])).unwrap();
    assert_eq!(ran.json().unwrap()["targets"][0]["state"], "free", "{ran:?}");
}
