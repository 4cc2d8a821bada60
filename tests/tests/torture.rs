//! What machines do at their worst. Afterwards the live table is the kernel's, and no answer names the wrong process:
//! unknown is allowed, wrong is not.
//!
//! `PORTWATCH_TORTURE=full` runs with 5,000 listeners and 20,000 processes; without it with a tenth. `cargo xtask test --strict` sets it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, require_bpf, wait_until};
use serde_json::Value;

/// For answers about thousands of sockets and processes: 60 MB of JSON are written, read and written again, by a program without
/// optimizations, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_mins(2);

const HERD: &str = env!("CARGO_BIN_EXE_herd");

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

/// The line that follows those of a work in progress.
fn after_the_work(actor: &mut Actor) -> String {
    loop {
        let line = actor.line_within(PATIENCE).unwrap();
        if line != "more" {
            return line;
        }
    }
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
    let answer = portwatch.run_within(PATIENCE, &["ls", "--all", "--json", "--all-namespaces"]);
    let answer = answer.unwrap().json().unwrap();
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

/// Ports as `log` takes them.
fn list(ports: std::ops::Range<u16>) -> String {
    ports.map(|port| port.to_string()).collect::<Vec<_>>().join(",")
}

/// Waits until the table has exactly the kernel's ports; then no holder may be one that `/proc` denies.
fn is_the_truth(portwatch: &Portwatch, netns: &Netns) -> BTreeMap<u16, (BTreeSet<u64>, Value)> {
    let mut difference = Vec::new();
    let agreed = wait_until("the table and the kernel agree", PATIENCE, || {
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
    // What each process holds is read once: to read it for every port of thousands would take longer than all the rest.
    let mut open: BTreeMap<u64, BTreeSet<OsString>> = BTreeMap::new();
    for (port, (pids, socket)) in &table {
        for pid in pids {
            let links = open.entry(*pid).or_insert_with(|| {
                let fds = fs::read_dir(format!("/proc/{pid}/fd"));
                let fds = fds.unwrap_or_else(|e| panic!("{pid} on {port}: {e}: {socket:#}"));
                fds.flatten().filter_map(|fd| Some(fs::read_link(fd.path()).ok()?.into_os_string())).collect()
            });
            let link = OsString::from(format!("socket:[{}]", truth[port]));
            assert!(links.contains(&link), "{pid} does not hold {port}: {socket:#}");
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
    // All but the first close the port at once.
    let count = scale(20_000).to_string();
    let mut actor = netns.enter(|| Actor::start(Command::new(HERD).args(["3100", &count, "1"]))).unwrap();
    let first: u64 = after_the_work(&mut actor).parse().unwrap();
    let expected = BTreeSet::from([u64::from(actor.pid()), first]);
    let mut last = BTreeSet::new();
    let found = wait_until("the two that hold the port", PATIENCE, || {
        portwatch.run_within(PATIENCE, &["who", "3100", "--all-namespaces"]).unwrap();
        last = told(&portwatch, &netns).remove(&3100)?.0;
        (last == expected).then_some(())
    });
    found.unwrap_or_else(|error| panic!("{error}: {} holders", last.len()));
    is_the_truth(&portwatch, &netns);
    actor.say("end").unwrap();
    assert_eq!(after_the_work(&mut actor), "done");
    let table = is_the_truth(&portwatch, &netns);
    assert_eq!(table[&3100].0, BTreeSet::from([u64::from(actor.pid())]));
}

/// Thousands of changes, half of them by processes that come and go; at the end other ports are listened on than before.
const UPHEAVAL: &str = "
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
def listen(n): return socket.create_server(('127.0.0.1', n), backlog=1)
held = {n: listen(n) for n in range(10000, 10400)}
print()
sys.stdin.readline()
for n in range(10000, 10400, 2): held.pop(n).close()
for n in range(11000, 11300): held[n] = listen(n)
for turn in range(20000):
    s = listen(12000 + turn % 50)
    s.close()
for turn in range(200):
    pid = os.fork()
    if pid == 0:
        listen(13000 + turn)
        os._exit(0)
    os.waitpid(pid, 0)
heir = os.fork()
if heir == 0:
    for n, s in held.items():
        if n % 4: s.close()
    print('ready', flush=True)
    sys.stdin.readline()
    os._exit(0)
sys.stdin.readline()
os.waitpid(heir, 0)
";

/// Stops the daemon while thousands of sockets change, and lets it go on.
fn stopped_daemon(arguments: &[&str]) -> Option<(Netns, Portwatch, Value)> {
    if !require_bpf() {
        return None;
    }
    let netns = Netns::new().unwrap();
    let portwatch = netns.enter(|| Portwatch::started(arguments)).unwrap();
    let mut actor = python(&netns, UPHEAVAL);
    actor.line().unwrap();
    assert_eq!(is_the_truth(&portwatch, &netns).len(), 400);
    let daemon = Pid::from_raw(i32::try_from(portwatch.pid().unwrap()).unwrap());
    kill(daemon, Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    actor.say("now").unwrap();
    assert_eq!(actor.line().unwrap(), "ready");
    // A pause is one that lasts longer than any delay of a busy machine.
    wait_until("the pause to be long", DEADLINE, || (begun.elapsed() > PAUSE).then_some(())).unwrap();
    kill(daemon, Signal::SIGCONT).unwrap();
    let paused = begun.elapsed();
    let table = is_the_truth(&portwatch, &netns);
    assert_eq!(table.len(), 500);
    let (parent, both) = (u64::from(actor.pid()), table[&11000].0.clone());
    assert!(both.contains(&parent) && both.len() == 2, "{both:?}: {:#}", table[&11000].1);
    for (port, (holders, socket)) in &table {
        let expected = if port % 4 == 0 { both.clone() } else { BTreeSet::from([parent]) };
        assert_eq!(*holders, expected, "{socket:#}");
    }
    let gap = wait_until("the pause in the log", DEADLINE, || {
        let gaps = portwatch.events(&["--type", "gap"]).ok()?;
        gaps.into_iter().find(|event| event["gap"]["reason"] == "paused")
    });
    let gap = gap.unwrap_or_else(|error| panic!("{error}: {:#?}", portwatch.events(&["--type", "gap"])));
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let told = time(&gap["time"]).duration_since(time(&gap["gap"]["since"])).unsigned_abs();
    assert!(told > paused / 2 && told < paused * 2 + DEADLINE, "paused for {paused:?}, told {told:?}");
    let text = portwatch.run(&["log", "--type", "gap"]).unwrap().stdout;
    assert!(text.contains("the observer did not run"), "{text}");
    actor.say("end").unwrap();
    actor.finish().unwrap();
    assert!(is_the_truth(&portwatch, &netns).is_empty());
    Some((netns, portwatch, gap))
}

/// Longer than a polling daemon may be late without a word.
const PAUSE: Duration = Duration::from_secs(6);

#[test]
fn a_daemon_that_was_stopped_tells_what_it_missed_and_how_long_and_is_right_again() {
    let Some((_netns, portwatch, gap)) = stopped_daemon(&[]) else { return };
    let lost = &gap["gap"]["lost"];
    assert!(lost["total"].as_u64().unwrap() > 1000, "{gap:#}");
    // What was not lost is told, and with what was lost it is everything: 200 children, each with a listener.
    let listens = portwatch.events(&["--type", "listen", "--port", &list(13000..13200)]).unwrap();
    let seen = listens.iter().filter(|event| event["evidence"] == "kernel").count();
    assert!(u64::try_from(seen).unwrap() + lost["listen"].as_u64().unwrap() >= 200, "{seen}: {gap:#}");
    // Each names the child that bound it, or nobody; never the parent.
    for event in &listens {
        let command = event["process"]["command"].to_string();
        assert!(event["process"].is_null() || command.contains("13000"), "{event:#}");
    }
}

#[test]
fn a_polling_daemon_that_was_stopped_says_so_too() {
    stopped_daemon(&["--source", "scan"]);
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

/// Runs listeners one after the other that all have one and the same pid, chosen by `clone3`; each is another program, by its
/// arguments. The last one stays. Arguments are lines of input: how many come next.
const ONE_PID: &str = "
import signal
libc = ctypes.PyDLL(None, use_errno=True)
BIND = 'import os, socket, sys, signal; s = socket.create_server((\"127.0.0.1\", int(sys.argv[1]))); os.write(1, b\"x\"); signal.pause()'
wanted = ctypes.c_int(0)
def start(port):
    r, w = os.pipe()
    while True:
        # struct clone_args: exit_signal is the 5th, set_tid the 9th, set_tid_size the 10th.
        tid = ctypes.addressof(wanted) if wanted.value else 0
        args = (ctypes.c_uint64 * 11)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, tid, 1 if tid else 0, 0)
        pid = libc.syscall(435, args, ctypes.c_size_t(ctypes.sizeof(args)))
        if pid == 0:
            os.dup2(w, 1)
            libc.prctl(1, signal.SIGKILL)
            os.execvp('python3', ['python3', '-S', '-c', BIND, str(port)])
        if pid > 0:
            break
        # Somebody else on the machine has just got it.
        if ctypes.get_errno() != 17: raise OSError(ctypes.get_errno(), 'clone3')
    assert wanted.value in (0, pid)
    wanted.value = pid
    assert os.read(r, 1) == b'x'
    os.close(r); os.close(w)
    return pid
def end(pid):
    os.kill(pid, 9)
    os.waitpid(pid, 0)
port = 3100
for line in sys.stdin:
    for _ in range(int(line)):
        if port > 3100: end(wanted.value)
        start(port)
        port += 1
    print(wanted.value, flush=True)
end(wanted.value)
";

#[test]
fn twenty_programs_with_one_pid_are_twenty_processes_also_where_nobody_looked_meanwhile() {
    let Some((netns, portwatch)) = begin() else { return };
    let mut actor = python(&netns, ONE_PID);
    actor.say("10").unwrap();
    let pid: u64 = actor.line().unwrap().parse().unwrap();
    let one = |port: u16| {
        let table = is_the_truth(&portwatch, &netns);
        assert_eq!(table.keys().copied().collect::<Vec<_>>(), [port]);
        let (holders, socket) = &table[&port];
        assert_eq!(*holders, BTreeSet::from([pid]), "{socket:#}");
        let holder = &socket["holders"][0]["process"];
        assert!(holder["command"].to_string().contains(&port.to_string()), "{socket:#}");
    };
    one(3109);
    // Ten more while the daemon is stopped: what it reads afterwards of this pid is of the last one.
    let daemon = Pid::from_raw(i32::try_from(portwatch.pid().unwrap()).unwrap());
    kill(daemon, Signal::SIGSTOP).unwrap();
    actor.say("10").unwrap();
    let line = actor.line();
    kill(daemon, Signal::SIGCONT).unwrap();
    assert_eq!(line.unwrap(), pid.to_string(), "the pid was used again");
    one(3119);
    for kind in ["listen", "exit"] {
        // The last one lives.
        let expected: Vec<u64> = (3100..if kind == "listen" { 3120 } else { 3119 }).collect();
        let mut last = Vec::new();
        let found = wait_until(&format!("every {kind}"), DEADLINE, || {
            let rows = portwatch.events(&["--type", kind, "--port", &list(3100..3120)]).ok()?;
            let inode = netns.inode().ok()?;
            let rows: Vec<Value> = rows.into_iter().filter(|row| row["netns"] == inode).collect();
            last.clone_from(&rows);
            (rows.len() == expected.len()).then_some(rows)
        });
        let rows = found.unwrap_or_else(|error| panic!("{error}: {last:#?}"));
        let ports: Vec<u64> = rows.iter().map(|row| row["port"].as_u64().unwrap()).collect();
        assert_eq!(ports, expected);
        let mut started = BTreeSet::new();
        for row in &rows {
            let process = &row["process"];
            assert_eq!(process["pid"], pid, "{row:#}");
            assert!(process["command"].to_string().contains(&row["port"].to_string()), "{row:#}");
            started.insert(process["started"].to_string());
        }
        assert_eq!(started.len(), rows.len(), "each began at a time of its own: {started:?}");
    }
    // Who had a port before is another one than who has the pid now.
    let target =
        portwatch.run_inside(&["who", "3105", "--json"]).unwrap().json().unwrap()["targets"][0].clone();
    assert_eq!(target["state"], "free", "{target:#}");
    for event in target["last"].as_array().unwrap() {
        assert!(event["process"]["command"].to_string().contains("3105"), "{event:#}");
    }
    actor.finish().unwrap();
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
    let words = ["log", "--type", "listen", "--port", &list(3100..3122), "--json", "--limit", "0"];
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
