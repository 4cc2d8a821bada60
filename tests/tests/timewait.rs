//! Who left connections in TIME_WAIT: real connections, the real daemon, and what the kernel then says to a bind.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    time::Instant,
};

use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, Source, each_source, require_bpf, require_netns, wait_until,
};
use serde_json::Value;

/// Serves so many connections of its own, closes each first, then the listener. Arguments: port, number, `reuse`
/// for SO_REUSEADDR, `fork` for a child that closes.
const SERVER: &str = "
import os, socket, sys
port, count, words = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
listener = socket.socket()
if 'reuse' in words:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('127.0.0.1', port))
listener.listen(64)
for _ in range(count):
    client = socket.create_connection(('127.0.0.1', port))
    server, _ = listener.accept()
    if 'fork' in words:
        child = os.fork()
        if child == 0:
            # The parent's descriptor is closed first, so that this one is the last.
            os.read(0, 1)
            server.shutdown(socket.SHUT_WR)
            os._exit(0)
        server.close()
        print(child)
        os.waitpid(child, 0)
    else:
        server.close()
    client.close()
listener.close()
print('left')
sys.stdin.read()
";

/// Binds with SO_REUSEADDR and says the errno.
const REUSE: &str = "
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    s.bind(('127.0.0.1', int(sys.argv[1])))
    print(0)
except OSError as error:
    print(error.errno)
";

/// The first target of `who` as JSON.
fn who(portwatch: &Portwatch, arguments: &[&str]) -> Value {
    let ran = portwatch.run(&[&["who", "--json"], arguments].concat()).unwrap();
    ran.json().unwrap().pointer("/targets/0").cloned().unwrap_or_else(|| panic!("{ran:?}"))
}

/// As [`who`], once this many are in TIME_WAIT: the last packet of a connection may still be on its way.
fn who_with(portwatch: &Portwatch, target: &str, count: u64) -> Value {
    wait_until(&format!("{count} in TIME_WAIT on {target}"), DEADLINE, || {
        let answer = who(portwatch, &[target]);
        (answer["traffic"]["time_wait"] == count).then_some(answer)
    })
    .unwrap()
}

fn binds(port: u16) -> (i32, i32) {
    let (_, plain) = Actor::bind("127.0.0.1", port).unwrap();
    let mut with = Actor::python(REUSE, &[&port.to_string()]).unwrap();
    (plain, with.line().unwrap().parse().unwrap())
}

#[test]
fn who_names_the_owner_and_the_seconds_of_a_port_in_time_wait() {
    if !require_bpf() || !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::started(&[])?;
            for (port, words, with) in [("3100", "reuse", 0), ("3200", "", 98)] {
                let mut server = Actor::python(SERVER, &[port, "5", words])?;
                assert_eq!(server.line()?, "left");
                let answer = who_with(&portwatch, port, 5);
                assert_eq!(answer["state"], "free");
                let traffic = &answer["traffic"];
                assert_eq!(traffic["time_wait_at_least"], true, "loopback: {traffic}");
                let owner = &traffic["time_wait_owners"][0];
                assert_eq!(owner["process"]["pid"], server.pid(), "{owner}");
                assert_eq!(owner["process"]["evidence"], "kernel");
                assert_eq!(owner["connections"], 5);
                let left = owner["expires_in_ms"].as_u64().unwrap();
                assert!((1..=60_000).contains(&left), "{left}");
                let verdict = &answer["verdict"];
                assert_eq!((&verdict["cause"], &verdict["bindable"]), (&"time-wait".into(), &false.into()));
                assert_eq!(verdict["with_reuse_addr"], with == 0, "{verdict}");
                assert!(verdict["free_in_ms"].as_u64().is_some_and(|ms| ms <= 60_000), "{verdict}");
                // And so it is.
                assert_eq!(binds(port.parse()?), (98, with), "{verdict}");

                let text = portwatch.run(&["who", port])?.stdout;
                let named =
                    format!("at least 5 in TIME_WAIT (left by python3 ({}), last expires in ", server.pid());
                assert!(text.contains(&named), "{text}");
            }
            let list = portwatch.run(&["ls", "--time-wait", "--port", "3100", "--json"])?;
            assert_eq!(list.code, Some(0), "{list:?}");
            let list = list.json()?;
            let rows = list["time_wait"].as_array().unwrap();
            assert_eq!(rows.len(), 5);
            assert!(
                rows.iter().all(|row| row["peer_address"] == "127.0.0.1" && row["reuse_addr"] == true),
                "{list}"
            );
            Ok(())
        })
        .unwrap();
}

each_source![without_kernel_programs_nobody_is_named_and_the_answer_says_so];

fn without_kernel_programs_nobody_is_named_and_the_answer_says_so(source: Source) {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::on(source)?;
            let mut server = Actor::python(SERVER, &["3100", "2", "reuse"])?;
            assert_eq!(server.line()?, "left");
            if !source.shows_traffic() {
                let answer = who(&portwatch, &["3100"]);
                assert_eq!(
                    (&answer["state"], &answer["traffic"]),
                    (&"unknown".into(), &Value::Null),
                    "{answer:#}"
                );
                // A bind without SO_REUSEADDR fails: that it would succeed must not be said.
                assert_eq!(answer["verdict"]["bindable"], Value::Null, "{answer:#}");
                let list = portwatch.run(&["ls", "--time-wait", "--port", "3100"])?;
                assert_eq!((list.code, list.stdout.as_str()), (Some(3), ""), "{list:?}");
                assert!(list.stderr.contains("does not tell connections in TIME_WAIT"), "{list:?}");
                return Ok(());
            }
            let answer = who_with(&portwatch, "3100", 2);
            assert_eq!(answer["traffic"]["time_wait_owners"][0]["process"], Value::Null);
            let sentence = answer["verdict"]["sentence"].as_str().unwrap();
            assert!(sentence.contains("nobody saw who left them"), "{sentence}");
            assert_eq!(
                answer["verdict"]["with_reuse_addr"],
                Value::Null,
                "nobody saw the option: {sentence}"
            );
            // Whose they are is not known either: what is asked for by that is not said to be none.
            let list = portwatch.run(&["ls", "--time-wait", "--port", "3100", "--project", "x"])?;
            let said = list.stdout.replace("\n  ", " ");
            assert!(
                list.code == Some(3)
                    && said.contains("of 2 connections in TIME_WAIT it is not known here who left"),
                "{list:?}"
            );
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_child_that_closes_stands_for_its_listener_and_a_client_for_itself() {
    if !require_bpf() || !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let mut portwatch = Portwatch::started(&[])?;
            let mut server = Actor::python(SERVER, &["3100", "1", "reuse", "fork"])?;
            let child: u32 = server.line()?.parse()?;
            server.say("")?;
            assert_eq!(server.line()?, "left");
            assert_ne!(child, server.pid());
            let answer = who_with(&portwatch, "3100", 1);
            let owner = &answer["traffic"]["time_wait_owners"][0]["process"];
            assert_eq!((&owner["pid"], &owner["evidence"]), (&server.pid().into(), &"inherited".into()));

            // A client that closes first leaves its own, borrowed port; the server has nothing in TIME_WAIT.
            let client = "
import socket, sys
listener = socket.socket()
listener.bind(('127.0.0.1', 3300))
listener.listen()
client = socket.create_connection(('127.0.0.1', 3300))
server, _ = listener.accept()
print(client.getsockname()[1])
client.close()
server.close()
print('left')
sys.stdin.read()
";
            let mut client = Actor::python(client, &[])?;
            let borrowed = client.line()?;
            assert_eq!(client.line()?, "left");
            let answer = who_with(&portwatch, &borrowed, 1);
            assert_eq!(answer["traffic"]["time_wait_owners"][0]["process"]["pid"], client.pid());
            assert_eq!(answer["verdict"]["with_reuse_addr"], false, "a client has no SO_REUSEADDR");

            // The record has one summary a port and owner; outgoing connections have no port of their own.
            portwatch.stop()?;
            let ours = netns.inode()?;
            let log = portwatch.run(&["log", "--type", "timewait", "--json"])?.json()?;
            let mut rows: Vec<_> = log["events"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|event| event["netns"] == ours)
                .map(|event| {
                    (event["port"].as_u64(), event["count"].as_u64(), event["process"]["pid"].clone())
                })
                .collect();
            rows.sort_by_key(|row| row.0);
            let expected = [(None, Some(1), client.pid().into()), (Some(3100), Some(1), server.pid().into())];
            assert_eq!(rows, expected, "{log}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_hundred_thousand_connections_do_not_wake_the_daemon() {
    const CONNECTIONS: u32 = 100_000;
    /// More than a processor notes in one piece.
    const LAST: u64 = 100;
    if !require_bpf() || !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .enter(|| {
            let portwatch = Portwatch::started(&[])?;
            let pid = portwatch.pid().unwrap();
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 3100))?;
            let received = |portwatch: &Portwatch| -> anyhow::Result<u64> {
                let status = portwatch.run(&["status", "--json"])?.json()?;
                Ok(status["received"].as_u64().unwrap())
            };
            let (received_before, switches_before) = (received(&portwatch)?, switches(pid));
            let begun = Instant::now();
            for number in 0..CONNECTIONS {
                // Addresses go round, so that ports do not run out while thousands wait in TIME_WAIT.
                let address =
                    Ipv4Addr::new(127, 4, u8::try_from(number / 250 % 250)?, u8::try_from(number % 250 + 1)?);
                let client = TcpStream::connect(SocketAddrV4::new(address, 3100))?;
                drop(listener.accept()?);
                drop(client);
            }
            let took = begun.elapsed();
            let woken = switched(&switches_before, &switches(pid));
            let records = received(&portwatch)? - received_before;
            // What else binds on this machine is told to the daemon and may wake it. A record for each connection
            // would be 100,000 of them, and a wake-up each millisecond.
            assert!(records < u64::from(CONNECTIONS) / 2, "{records} records came meanwhile");
            assert!(woken <= 300 + 4 * records, "woken {woken} times in {took:?}, {records} records");
            // The kernel side has room for the owners of some of them; of those that come after it knows all.
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 3300))?;
            for _ in 0..LAST {
                let client = TcpStream::connect((Ipv4Addr::LOCALHOST, 3300))?;
                drop(listener.accept()?);
                drop(client);
            }
            let answer = who_with(&portwatch, "3300", LAST);
            let owners = &answer["traffic"]["time_wait_owners"];
            assert_eq!(owners.as_array().unwrap().len(), 1, "{owners}");
            let owner = (&owners[0]["process"]["pid"], &owners[0]["connections"]);
            assert_eq!(owner, (&std::process::id().into(), &LAST.into()));
            Ok(())
        })
        .unwrap();
}

/// Voluntary context switches of each thread of a process.
fn switches(pid: u32) -> BTreeMap<OsString, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .filter_map(|task| {
            let task = task.ok()?;
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            Some((task.file_name(), line.trim().parse().ok()?))
        })
        .collect()
}

/// How often the threads of a process were switched between two looks. Of a thread that ended meanwhile nothing is known: one
/// that blocking work is given to ends after ten seconds without any.
fn switched(before: &BTreeMap<OsString, u64>, after: &BTreeMap<OsString, u64>) -> u64 {
    after.iter().map(|(thread, count)| count - before.get(thread).unwrap_or(&0)).sum()
}
