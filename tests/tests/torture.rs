//! What machines do at their worst. Afterwards the live table is the kernel's, and no answer names the wrong process:
//! unknown is allowed, wrong is not.
//!
//! `PORTWATCH_TORTURE=full` runs with 5,000 listeners and 20,000 processes; without it with a tenth.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, require_bpf, wait_until};
use serde_json::Value;

fn scale(full: u32) -> u32 {
    if std::env::var("PORTWATCH_TORTURE").is_ok_and(|size| size == "full") { full } else { full / 10 }
}

/// A daemon in a namespace of its own, whose ports are the ones that are asked about.
fn begin() -> Option<(Netns, Portwatch)> {
    if !require_bpf() {
        return None;
    }
    let netns = Netns::new().unwrap();
    let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
    Some((netns, portwatch))
}

fn python(netns: &Netns, program: &str) -> Actor {
    let wrapped = format!("import ctypes, os, resource, socket, sys\n{program}\nsys.stdin.read()\n");
    netns.enter(|| Actor::python(&wrapped, &[])).unwrap()
}

/// Ports of the namespace's listeners and their inodes, by the kernel's table.
fn listening(netns: &Netns) -> BTreeMap<u16, String> {
    let tables = netns.enter(|| {
        let read = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        Ok(read("tcp")? + &read("tcp6")?)
    });
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.len() > 9 && fields[3] == "0A").then(|| {
            let port = u16::from_str_radix(fields[1].rsplit(':').next().unwrap(), 16).unwrap();
            (port, fields[9].to_owned())
        })
    };
    tables.unwrap().lines().filter_map(entry).collect()
}

/// The table's listeners in the namespace: port and holders.
fn told(portwatch: &Portwatch, netns: &Netns) -> BTreeMap<u16, (BTreeSet<u64>, Value)> {
    let answer = portwatch.run(&["ls", "--all", "--json", "--all-namespaces"]).unwrap().json().unwrap();
    let inode = netns.inode().unwrap();
    let here = answer["sockets"].as_array().unwrap().iter().filter(|s| s["netns"] == inode);
    let here = here.filter(|s| s["state"] == "listening");
    here.map(|s| {
        let holders = s["holders"].as_array().unwrap().iter();
        let pids = holders.map(|h| h["process"]["pid"].as_u64().unwrap()).collect();
        (u16::try_from(s["port"].as_u64().unwrap()).unwrap(), (pids, s.clone()))
    })
    .collect()
}

/// Waits until the table has exactly the kernel's ports; then no holder may be one that `/proc` denies.
fn is_the_truth(portwatch: &Portwatch, netns: &Netns) -> BTreeMap<u16, (BTreeSet<u64>, Value)> {
    let mut difference = Vec::new();
    let agreed = wait_until("the table and the kernel agree", DEADLINE, || {
        let (truth, table) = (listening(netns), told(portwatch, netns));
        difference = truth
            .keys()
            .filter(|p| !table.contains_key(p))
            .chain(table.keys().filter(|p| !truth.contains_key(p)))
            .copied()
            .collect();
        difference.is_empty().then_some((truth, table))
    });
    let (truth, table) = agreed.unwrap_or_else(|error| panic!("{error}: {difference:?}"));
    for (port, (pids, socket)) in &table {
        for pid in pids {
            let fds = fs::read_dir(format!("/proc/{pid}/fd"))
                .unwrap_or_else(|e| panic!("{pid} on {port}: {e}: {socket:#}"));
            let link = format!("socket:[{}]", truth[port]);
            let holds =
                fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|l| l.to_string_lossy() == link));
            assert!(holds, "{pid} does not hold {port}: {socket:#}");
        }
    }
    table
}

#[test]
fn thousands_of_listeners_are_all_there_and_all_gone() {
    let Some((netns, portwatch)) = begin() else { return };
    let count = scale(5000);
    let program = format!(
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
held = [socket.create_server(('127.0.0.1', 10000 + n), backlog=1) for n in range({count})]
print()
sys.stdin.readline()
held = held[::2]
print()"
    );
    let mut actor = python(&netns, &program);
    actor.line().unwrap();
    let table = is_the_truth(&portwatch, &netns);
    assert_eq!(table.len(), usize::try_from(count).unwrap());
    let pid = u64::from(actor.pid());
    assert!(table.values().all(|(pids, _)| pids.iter().eq([&pid])), "each is held by its maker");
    actor.say("half").unwrap();
    actor.line().unwrap();
    assert_eq!(is_the_truth(&portwatch, &netns).len(), usize::try_from(count / 2).unwrap());
    actor.finish().unwrap();
    assert!(is_the_truth(&portwatch, &netns).is_empty());
}

#[test]
fn among_thousands_of_processes_the_right_one_is_found() {
    let Some((netns, portwatch)) = begin() else { return };
    // Forked and idle: the cheapest processes there are. All but the first close the port at once.
    let program = format!(
        "import signal
s = socket.create_server(('127.0.0.1', 3100), backlog=1)
children = []
for n in range({}):
    pid = os.fork()
    if pid == 0:
        if n: s.close()
        signal.pause()
        os._exit(0)
    children.append(pid)
print(children[0])
sys.stdin.readline()
for pid in children: os.kill(pid, 9)
for pid in children: os.waitpid(pid, 0)
print()",
        scale(20_000)
    );
    let mut actor = python(&netns, &program);
    let first: u64 = actor.line().unwrap().parse().unwrap();
    let expected = BTreeSet::from([u64::from(actor.pid()), first]);
    let mut last = BTreeSet::new();
    let found = wait_until("the two that hold the port", DEADLINE, || {
        portwatch.run(&["who", "3100", "--all-namespaces"]).unwrap();
        last = told(&portwatch, &netns).remove(&3100)?.0;
        (last == expected).then_some(())
    });
    found.unwrap_or_else(|error| panic!("{error}: {} holders", last.len()));
    is_the_truth(&portwatch, &netns);
    actor.say("end").unwrap();
    actor.line().unwrap();
    let table = is_the_truth(&portwatch, &netns);
    assert_eq!(table[&3100].0, BTreeSet::from([u64::from(actor.pid())]));
}

#[test]
fn names_made_to_deceive_change_no_answer_and_drive_no_terminal() {
    let Some((netns, portwatch)) = begin() else { return };
    let program = "
import subprocess
evil = [b'a) S 1 1 1\\n', b'\\x1b[2J\\x1b]0;x\\x07', b'\\xff\\xfe\\x80', b'n' * 4096, '\\u202etxt.exe'.encode(), b'']
inner = '''
import ctypes, os, socket, sys
ctypes.CDLL(None).prctl(15, sys.argv[2].encode(errors='surrogateescape')[:15] or b' ', 0, 0, 0)
s = socket.create_server((\"127.0.0.1\", int(sys.argv[1])))
print(os.getpid(), flush=True)
sys.stdin.read()
'''
children = []
for n, name in enumerate(evil):
    c = subprocess.Popen([b'python3', b'-S', b'-c', inner.encode(), str(3100 + n).encode(), name],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    c.stdout.readline()
    children.append(c)
print(' '.join(str(c.pid) for c in children))
sys.stdin.readline()
for c in children:
    c.stdin.close()
    c.wait()
print()";
    let mut actor = python(&netns, program);
    let pids: Vec<u64> = actor.line().unwrap().split(' ').map(|pid| pid.parse().unwrap()).collect();
    let table = is_the_truth(&portwatch, &netns);
    for (number, pid) in (3100..).zip(&pids) {
        let (holders, socket) = &table[&number];
        assert_eq!(holders, &BTreeSet::from([*pid]), "{socket:#}");
        assert_eq!(socket["creator"]["pid"], *pid, "{socket:#}");
    }
    for words in
        [&["ls", "-A"][..], &["who", "-A", "3100", "3101", "3102", "3103", "3104"], &["log", "--since", "1h"]]
    {
        // As on a terminal; into a pipe names go as they are.
        let line = format!("{} {}", portwatch.command(&[]).get_program().to_string_lossy(), words.join(" "));
        let mut command = portwatch.command(&[]);
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", "1");
        for (name, value) in command.env("COLUMNS", "80").get_envs() {
            if let Some(value) = value {
                script.env(name, value);
            }
        }
        let shown = script.output().unwrap().stdout;
        let text = String::from_utf8(shown).unwrap();
        assert!(text.contains("3100"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{text:?}");
    }
    actor.say("end").unwrap();
    actor.line().unwrap();
    assert!(is_the_truth(&portwatch, &netns).is_empty());
}

#[test]
fn a_pid_that_is_used_again_is_never_taken_for_its_former_owner() {
    let Some((netns, portwatch)) = begin() else { return };
    // In a pid namespace of its own the next pid can be chosen; outside it is another one, so there the start
    // decides and inside nothing does. The daemon lives outside.
    let program = "
ports = iter(range(3100, 3160))
def bind(hold):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        s = socket.create_server(('127.0.0.1', next(ports)))
        os.write(w, b'x')
        if hold: sys.stdin.read()
        os._exit(0)
    next(ports)
    os.read(r, 1)
    if not hold: os.waitpid(pid, 0)
    return pid
first = bind(False)
for turn in range(20):
    with open('/proc/sys/kernel/ns_last_pid', 'w') as f: f.write(str(first - 1))
    again = bind(False)
    assert again == first, (again, first)
with open('/proc/sys/kernel/ns_last_pid', 'w') as f: f.write(str(first - 1))
last = bind(True)
print(first == last, flush=True)";
    let wrapped = format!("import os, socket, sys\n{program}\nsys.stdin.read()\n");
    let mut command = Command::new("unshare");
    command.args([
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--",
        "python3",
        "-S",
        "-u",
        "-c",
        &wrapped,
    ]);
    let mut actor = netns.enter(|| Actor::start(&mut command)).unwrap();
    assert_eq!(actor.line().unwrap(), "True");
    let table = is_the_truth(&portwatch, &netns);
    assert_eq!(table.len(), 1);
    let ports: Vec<String> = (3100..3122).map(|port| port.to_string()).collect();
    let words = ["log", "--type", "listen", "--port", &ports.join(","), "--json", "--limit", "0"];
    let log = portwatch.run(&words).unwrap().json().unwrap();
    let inode = netns.inode().unwrap();
    let listens: Vec<&Value> =
        log["events"].as_array().unwrap().iter().filter(|e| e["netns"] == inode).collect();
    assert_eq!(listens.len(), 22, "{log:#}");
    let who: BTreeSet<String> =
        listens.iter().map(|e| format!("{} {}", e["process"]["pid"], e["process"]["started"])).collect();
    assert!(who.len() > 1, "one process cannot have made them all: {who:?}");
    actor.finish().unwrap();
    assert!(is_the_truth(&portwatch, &netns).is_empty());
}
