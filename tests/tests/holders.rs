//! Who holds a socket, however it came by it, and what became of who held it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, require_bpf, wait_until};
use serde_json::Value;

/// A daemon in a namespace of its own, whose ports are the ones that are asked about.
fn begin() -> Option<(Netns, Portwatch)> {
    if !require_bpf() {
        return None;
    }
    let netns = Netns::new().unwrap();
    let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
    Some((netns, portwatch))
}

/// Runs Python in the namespace until it printed a line.
fn python(netns: &Netns, program: &str) -> (Actor, String) {
    let wrapped = format!("import array, os, signal, socket, subprocess, sys\n{program}\nsys.stdin.read()\n");
    let mut actor = netns.enter(|| Actor::python(&wrapped, &[])).unwrap();
    let line = actor.line().unwrap();
    (actor, line)
}

fn holders(socket: &Value) -> Vec<u64> {
    let all = socket["holders"].as_array().unwrap().iter();
    let mut pids: Vec<u64> = all.map(|h| h["process"]["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    pids
}

/// Waits until a command shows these holders of its one socket; gives the socket.
fn held(portwatch: &Portwatch, words: &[&str], at: &str, expected: &[u64]) -> Value {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let mut last = Value::Null;
    let found = wait_until(&format!("holders {expected:?}"), DEADLINE, || {
        last = portwatch.run_inside(words).unwrap().json().unwrap();
        let sockets = last.pointer(at)?.as_array()?;
        (sockets.len() == 1 && holders(&sockets[0]) == expected).then(|| sockets[0].clone())
    });
    found.unwrap_or_else(|error| panic!("{error}: {last:#}"))
}

fn who(portwatch: &Portwatch, port: &str, expected: &[u64]) -> Value {
    held(portwatch, &["who", port, "--json"], "/targets/0/sockets", expected)
}

/// The live table as it is, without another look at the kernel.
fn listed(portwatch: &Portwatch, port: &str, expected: &[u64]) -> Value {
    held(portwatch, &["ls", "--all", "--port", port, "--json"], "/sockets", expected)
}

#[test]
fn an_heir_is_named_beside_the_binder_that_exited() {
    let Some((netns, portwatch)) = begin() else { return };
    let (binder, line) = python(
        &netns,
        "s = socket.create_server(('127.0.0.1', 3101)); s.set_inheritable(True)
child = subprocess.Popen(['sleep', '600'], close_fds=False, start_new_session=True)
print(child.pid)",
    );
    let child: u64 = line.parse().unwrap();
    let sleeper = Ended(child);
    let pid = u64::from(binder.pid());
    listed(&portwatch, "3101", &[pid, child]);
    binder.finish().unwrap();
    let socket = who(&portwatch, "3101", &[child]);
    assert_eq!(socket["creator"]["pid"], pid);
    assert_eq!(socket["holders"][0]["process"]["comm"], "sleep");
    let text = portwatch.run_inside(&["who", "3101"]).unwrap().stdout;
    assert!(text.contains(&format!("held by sleep ({child})")), "{text}");
    assert!(text.contains(&format!("bound by  python3 ({pid})")), "{text}");
    drop(sleeper);
}

/// A grandchild of the test: ended with it.
struct Ended(u64);

impl Drop for Ended {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0).unwrap());
        let _ = kill(pid, Signal::SIGKILL);
    }
}

#[test]
fn children_hold_until_they_exec_or_close_and_nobody_has_to_ask() {
    let Some((netns, portwatch)) = begin() else { return };
    let (mut server, _) = python(
        &netns,
        "s = socket.create_server(('127.0.0.1', 3100)); print()
sys.stdin.readline()
child = subprocess.Popen(['sleep', '600']); print(child.pid)
sys.stdin.readline()
child.kill(); child.wait()
worker = os.fork()
if worker == 0:
    sys.stdin.readline(); s.close(); print('closed'); sys.stdin.read(); os._exit(0)
print(worker)",
    );
    let pid = u64::from(server.pid());
    listed(&portwatch, "3100", &[pid]);
    server.say("a program").unwrap();
    let _child = server.line().unwrap();
    // Python marks descriptors close-on-exec: the child holds it for a moment only.
    listed(&portwatch, "3100", &[pid]);
    server.say("a worker").unwrap();
    let worker: u64 = server.line().unwrap().parse().unwrap();
    let worker_ends = Ended(worker);
    let socket = listed(&portwatch, "3100", &[pid, worker]);
    assert_eq!(socket["creator"]["pid"], pid);
    drop(worker_ends);
    listed(&portwatch, "3100", &[pid]);
}

#[test]
fn a_descriptor_that_was_passed_to_a_stranger_is_found_there() {
    let Some((netns, portwatch)) = begin() else { return };
    let path = portwatch.folder().join("pass").to_str().unwrap().to_owned();
    // An orphan: no relative of the sender's, by whom it could be found.
    let (mut parent, line) = python(
        &netns,
        &format!(
            "u = socket.socket(socket.AF_UNIX); u.bind({path:?}); u.listen()
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(w, b'%d' % os.getpid())
        c, _ = u.accept()
        m, a, _, _ = c.recvmsg(1, 64)
        print('received')
        signal.pause()
    os._exit(0)
os.waitpid(pid, 0)
print(os.read(r, 16).decode())"
        ),
    );
    let to: u64 = line.parse().unwrap();
    let receiver_ends = Ended(to);
    let (sender, _) = python(
        &netns,
        &format!(
            "s = socket.create_server(('127.0.0.1', 3100))
u = socket.socket(socket.AF_UNIX); u.connect({path:?})
u.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [s.fileno()]))])
print()"
        ),
    );
    assert_eq!(parent.line().unwrap(), "received");
    let from = u64::from(sender.pid());
    who(&portwatch, "3100", &[from, to]);
    sender.finish().unwrap();
    let socket = who(&portwatch, "3100", &[to]);
    assert_eq!(socket["creator"]["pid"], from);
    drop(receiver_ends);
}

#[test]
fn each_socket_of_a_reuseport_group_has_its_own_holder() {
    let Some((netns, portwatch)) = begin() else { return };
    let program = "s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(('127.0.0.1', 3100)); s.listen(); print()";
    let members = [python(&netns, program).0, python(&netns, program).0];
    let answer = portwatch.run_inside(&["who", "3100", "--json"]).unwrap().json().unwrap();
    let sockets = answer["targets"][0]["sockets"].as_array().unwrap();
    let mut told: Vec<_> = sockets.iter().map(holders).collect();
    told.sort();
    let mut expected: Vec<_> = members.iter().map(|m| vec![u64::from(m.pid())]).collect();
    expected.sort();
    assert_eq!(told, expected, "{answer:#}");
    assert!(sockets.iter().all(|s| holders(s) == [s["creator"]["pid"].as_u64().unwrap()]), "{answer:#}");
}

#[test]
fn a_reuseport_group_that_is_older_than_the_daemon_is_one_group_too() {
    if !require_bpf() {
        return;
    }
    let netns = Netns::new().unwrap();
    let member = |port: u16, before: &str, after: &str| {
        let program = format!(
            "share = lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s = socket.socket(); {before}
s.bind(('127.0.0.1', {port}))
{after}
s.listen(); print()"
        );
        python(&netns, &program).0
    };
    let _members = [member(3100, "share()", ""), member(3100, "share()", "")];
    let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
    // And one that sets the option after its bind, of which no hook tells.
    let _late = member(3101, "", "share()");
    for (port, count) in [("3100", 2), ("3101", 1)] {
        let answer = portwatch.run_inside(&["who", port, "--json"]).unwrap().json().unwrap();
        let options: Vec<_> =
            answer["targets"][0]["sockets"].as_array().unwrap().iter().map(|s| &s["reuse_port"]).collect();
        assert_eq!(options, vec![&Value::Bool(true); count], "{answer:#}");
    }
    let text = portwatch.run_inside(&["who", "3100"]).unwrap().stdout;
    assert!(text.contains("127.0.0.1:3100, 2 sockets sharing it, SO_REUSEPORT"), "{text}");
}

#[test]
fn a_free_port_says_who_killed_its_last_holder() {
    let Some((netns, portwatch)) = begin() else { return };
    let (victim, _) = python(&netns, "s = socket.create_server(('127.0.0.1', 3100)); print()");
    let pid = victim.pid();
    portwatch.run_inside(&["who", "3100"]).unwrap();
    victim.signal(Signal::SIGKILL).unwrap();
    victim.finish().unwrap();
    let mut last = Value::Null;
    let exit = wait_until("the exit in the answer", DEADLINE, || {
        last = portwatch.run_inside(&["who", "3100", "--json"]).unwrap().json().unwrap();
        let events = last["targets"][0]["last"].as_array()?;
        events.iter().find(|e| e["type"] == "exit").cloned()
    });
    let exit = exit.unwrap_or_else(|error| panic!("{error}: {last:#}"));
    let killer = std::process::id();
    assert_eq!((&exit["process"]["pid"], &exit["other"]["pid"]), (&pid.into(), &killer.into()), "{exit:#}");
    assert_eq!(
        (&exit["exit"]["sent_signal_name"], &exit["exit"]["sent_by"]),
        (&"SIGKILL".into(), &"process".into())
    );
    assert_eq!((&exit["port"], &exit["protocol"]), (&3100.into(), &"tcp".into()));
    let text = portwatch.run_inside(&["who", "3100"]).unwrap().stdout.replace('\n', " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("killed by SIGKILL from ") && text.contains(&format!("({killer})")), "{text}");
}

/// What `who` says of a free port's last holder, without line breaks, once it has these words.
fn last(portwatch: &Portwatch, port: &str, words: &str) -> String {
    let mut text = String::new();
    let found = wait_until(&format!("{words:?} of {port}"), DEADLINE, || {
        text = portwatch.run_inside(&["who", port]).unwrap().stdout;
        text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.contains(words).then_some(())
    });
    found.unwrap_or_else(|error| panic!("{error}: {text}"));
    text
}

#[test]
fn who_became_a_daemon_is_told_by_its_own_end_and_not_by_that_of_who_bound_the_socket() {
    let Some((netns, portwatch)) = begin() else { return };
    let (_binder, daemon) = python(
        &netns,
        "s = socket.create_server(('127.0.0.1', 3100))
if os.fork(): os._exit(0)
print(os.getpid())",
    );
    who(&portwatch, "3100", &[daemon.parse().unwrap()]);
    kill(Pid::from_raw(daemon.parse().unwrap()), Signal::SIGTERM).unwrap();
    let text = last(&portwatch, "3100", "killed by SIGTERM from ");
    let killer = format!("({})", std::process::id());
    assert!(text.contains(&format!("({daemon}, ")) && text.contains(&killer), "{text}");
}

#[test]
fn what_ended_a_master_is_told_of_a_port_that_its_worker_closed_last() {
    let Some((netns, portwatch)) = begin() else { return };
    // As nginx does: its binder becomes a daemon, and who is told to quit closes its sockets, and has its workers end in order.
    let (_binder, master) = python(
        &netns,
        "sockets = [socket.create_server(('127.0.0.1', port)) for port in (3100, 3101)]
if os.fork(): os._exit(0)
told, tell = os.pipe()
worker = os.fork()
if worker == 0:
    os.close(tell)
    os.read(told, 1)
    os._exit(0)
os.close(told)
def quit(*_):
    for s in sockets: s.close()
    os.close(tell)
    os.waitpid(worker, 0)
    os._exit(0)
signal.signal(signal.SIGQUIT, quit)
print(os.getpid())",
    );
    let pid = master.parse().unwrap();
    for port in ["3100", "3101"] {
        wait_until("both to hold it", DEADLINE, || {
            let answer = portwatch.run_inside(&["who", port, "--json"]).unwrap().json().unwrap();
            let holders = holders(&answer["targets"][0]["sockets"][0]);
            (holders.len() == 2 && holders.contains(&u64::try_from(pid).unwrap())).then_some(())
        })
        .unwrap();
    }
    kill(Pid::from_raw(pid), Signal::SIGQUIT).unwrap();
    for port in ["3100", "3101"] {
        let reason = format!("its parent python3 ({master}) exited with code 0 after SIGQUIT from ");
        let text = last(&portwatch, port, &reason);
        assert!(text.contains(&format!("({})", std::process::id())), "{text}");
    }
}

#[test]
fn a_bound_socket_that_connects_is_not_closed_until_it_is() {
    if !require_bpf() {
        return;
    }
    // Scanning sees bound sockets from Linux 6.8 on.
    for source in ["ebpf", "scan"] {
        let netns = Netns::new().unwrap();
        let portwatch = netns.enter(|| Portwatch::started(&["--source", source])).unwrap();
        let (mut client, _) = python(
            &netns,
            "
server = socket.create_server(('127.0.0.1', 3200))
client = socket.socket()
client.bind(('127.0.0.1', 3100))
print('bound', flush=True)
sys.stdin.readline()
client.connect(('127.0.0.1', 3200))
print('connected', flush=True)
sys.stdin.readline()
client.close()
print('closed', flush=True)",
        );
        let logged = |kinds: &[&str]| portwatch.events(&[&["--port", "3100"], kinds].concat()).unwrap();
        // Kernel programs tell of other namespaces too, where port 3100 is as usual as here.
        let here = netns.inode().unwrap();
        let closes = || {
            let mut closes = logged(&["--type", "close"]);
            closes.retain(|event| event["netns"] == here);
            closes
        };
        portwatch.wait_for("bind", &["--port", "3100"]).unwrap();
        client.say("connect").unwrap();
        assert_eq!(client.line().unwrap(), "connected");
        // Each question is a look; and what is told of a listener that came meanwhile was found by another.
        for other in 3300..3303_u16 {
            let answer = netns.enter(|| portwatch.who("3100")).unwrap();
            let connection = &answer["traffic"]["connections"][0];
            assert_eq!(connection["state"], "established", "{source} {answer:#}");
            assert_eq!(connection["process"]["pid"], client.pid(), "{source} {answer:#}");
            assert_eq!(
                answer["sockets"],
                Value::Array(Vec::new()),
                "{source}: it has the connection's place"
            );
            let _listener = netns.enter(|| Actor::listener("127.0.0.1", other)).unwrap();
            portwatch.wait_for("listen", &["--port", &other.to_string()]).unwrap();
            assert_eq!(closes(), [] as [Value; 0], "{source}: it is connected");
        }
        client.say("close").unwrap();
        assert_eq!(client.line().unwrap(), "closed");
        wait_until("its close", DEADLINE, || (!closes().is_empty()).then_some(())).unwrap();
        assert_eq!(closes().len(), 1, "{source} {:#?}", logged(&[]));
        assert!(netns.enter(|| portwatch.who("3100")).unwrap()["sockets"].as_array().unwrap().is_empty());
    }
}
