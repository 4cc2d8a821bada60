//! `free`: real servers are ended, and nobody else is.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    process::Command,
};

use nix::sys::signal::Signal;
use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, free_port, require_netns, require_program, wait_until,
};

/// A server with workers that share its socket; what they do with SIGTERM is `sys.argv[2]`.
const FORKING: &str = "
import os, signal, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(sys.argv[3])))
s.listen()
if sys.argv[2] == 'stubborn':
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids = []
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        while True: signal.pause()
    pids.append(pid)
print(s.getsockname()[1], *pids)
while True: signal.pause()
";

fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn pids(json: &serde_json::Value) -> Vec<u64> {
    let processes = json.pointer("/targets/0/processes").and_then(serde_json::Value::as_array);
    processes.into_iter().flatten().filter_map(|p| p.pointer("/process/pid")?.as_u64()).collect()
}

#[test]
fn a_node_server_is_ended_and_started_again_on_its_port_at_once() {
    if !require_program("node") {
        return;
    }
    let portwatch = Portwatch::new().unwrap();
    let program = "
const server = require('http').createServer((request, response) => response.end());
server.listen(+process.argv[1], '127.0.0.1', () => console.log(server.address().port));
";
    let start = |port: &str| Actor::start(Command::new("node").args(["-e", program, port])).unwrap();
    let port = free_port().unwrap().to_string();
    let mut server = start(&port);
    assert_eq!(server.line().unwrap(), port);
    for _ in 0..5 {
        let ran = portwatch.run(&["free", &port, "--yes"]).unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(&format!("node ({}) ended by SIGTERM", server.pid())), "{ran:?}");
        server = start(&port);
        assert_eq!(server.line().unwrap(), port);
    }
}

#[test]
fn without_consent_nothing_is_ended_and_the_dry_run_names_the_same_targets() {
    let portwatch = Portwatch::new().unwrap();
    let mut server = Actor::python(FORKING, &["4", "plain", &free_port().unwrap().to_string()]).unwrap();
    let line = server.line().unwrap();
    let mut words = line.split(' ').map(|word| word.parse::<u64>().unwrap());
    let port = words.next().unwrap().to_string();
    let mut all = vec![u64::from(server.pid())];
    all.extend(words);

    let refused = portwatch.run(&["free", &port]).unwrap();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--yes"), "{refused:?}");
    let dry = portwatch.run(&["free", &port, "--dry-run", "--json"]).unwrap();
    assert_eq!(dry.code, Some(0));
    let dry = dry.json().unwrap();
    assert_eq!(dry["targets"][0]["state"], "planned");
    assert_eq!(dry["targets"][0]["processes"][0]["role"], "master");
    assert!(all.iter().all(|&pid| lives(u32::try_from(pid).unwrap())));

    let done = portwatch.run(&["free", &port, "--yes", "--json"]).unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = done.json().unwrap();
    assert_eq!(pids(&dry), pids(&done));
    // The master first, then its workers.
    assert_eq!(pids(&done), all);
    assert_eq!(done["targets"][0]["state"], "freed");
    assert!(all.iter().all(|&pid| !lives(u32::try_from(pid).unwrap())));
    TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
}

#[test]
fn a_server_that_ignores_sigterm_is_killed_after_the_grace() {
    let portwatch = Portwatch::new().unwrap();
    let mut server = Actor::python(FORKING, &["1", "stubborn", "0"]).unwrap();
    let line = server.line().unwrap();
    let port = line.split(' ').next().unwrap();
    let ran = portwatch.run(&["free", port, "--yes", "--grace", "100ms"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("killed 100 ms later"), "{ran:?}");
    assert_eq!(server.finish().unwrap().signal(), Some(9));
}

#[test]
fn a_hundred_bystanders_of_the_same_name_and_the_clients_are_never_signalled() {
    let portwatch = Portwatch::new().unwrap();
    // Any signal that reaches one ends it: nothing is ignored here.
    let idle = "import sys; print('ready'); sys.stdin.read()";
    let mut bystanders: Vec<Actor> = (0..100).map(|_| Actor::python(idle, &[]).unwrap()).collect();
    let client = "
import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
print('connected')
sys.stdin.read()
";
    let (server, port) = Actor::listener("127.0.0.1", 0).unwrap();
    let mut client = Actor::python(client, &[&port.to_string()]).unwrap();
    assert_eq!(client.line().unwrap(), "connected");
    assert!(bystanders.iter_mut().all(|b| b.line().unwrap() == "ready"));
    let ran = portwatch.run(&["free", &port.to_string(), "--yes", "--json"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let json = ran.json().unwrap();
    assert_eq!(pids(&json), [u64::from(server.pid())]);
    assert_eq!(json["targets"][0]["dependents"][0]["process"]["pid"], client.pid());
    assert!(bystanders.into_iter().all(|bystander| bystander.finish().unwrap().success()));
    assert!(client.finish().unwrap().success());
}

#[test]
fn a_client_that_borrowed_the_port_is_named_and_not_ended() {
    let portwatch = Portwatch::new().unwrap();
    let (_server, server) = Actor::listener("127.0.0.1", 0).unwrap();
    let borrow = "
import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
print(s.getsockname()[1])
sys.stdin.read()
";
    let mut client = Actor::python(borrow, &[&server.to_string()]).unwrap();
    let port = client.line().unwrap();
    let ran = portwatch.run(&["free", &port, "--yes"]).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains(&format!("({}) has an outgoing connection", client.pid())), "{ran:?}");
    assert!(client.finish().unwrap().success());
}

#[test]
fn an_ancestor_of_the_command_is_left_alone() {
    let portwatch = Portwatch::new().unwrap();
    let command = portwatch.command(&[]);
    let program = "
import socket, subprocess, sys
s = socket.socket()
s.bind(('127.0.0.1', 0))
s.listen()
ran = subprocess.run([sys.argv[1], 'free', str(s.getsockname()[1]), '--yes'], capture_output=True, text=True)
print(ran.returncode)
print(ran.stdout.replace('\\n', ' '))
";
    let mut server = Actor::python(program, &[command.get_program().to_str().unwrap()]).unwrap();
    assert_eq!(server.line().unwrap(), "3");
    let words = server.line().unwrap();
    assert!(words.contains("from another terminal: portwatch free"), "{words}");
    assert!(server.finish().unwrap().success());
}

#[test]
fn another_users_server_is_left_alone_without_privilege() {
    if !require_netns() {
        return;
    }
    let portwatch = Portwatch::new().unwrap();
    let (server, port) = Actor::listener("127.0.0.1", 0).unwrap();
    // Where anybody may run it.
    fs::set_permissions(portwatch.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = portwatch.folder().join("portwatch");
    fs::copy(portwatch.command(&[]).get_program(), &binary).unwrap();
    fs::write(portwatch.folder().join("config.toml"), "").unwrap();
    let output = Command::new(&binary)
        .args(["free", &port.to_string(), "--yes"])
        .env("HOME", "/nonexistent")
        .env("PORTWATCH_SOCKET", portwatch.socket())
        .gid(65534)
        .uid(65534)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(words.contains("nothing is ended") && words.contains("sudo portwatch free"), "{words}");
    assert!(server.finish().unwrap().success());
}

#[test]
fn a_pid_that_passed_to_another_process_while_you_decided_is_not_signalled() {
    if !require_netns() {
        return;
    }
    let portwatch = Portwatch::new().unwrap();
    // In a pid namespace of its own the next pid can be chosen. The question is the moment between decision and signal.
    let program = "
import os, pty, select, signal, socket, sys, time
def serve(port):
    pid = os.fork()
    if pid: return pid
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('127.0.0.1', port))
    s.listen()
    ready = s.getsockname()[1]
    os.write(write, b'%d\\n' % ready)
    while True: signal.pause()
read, write = os.pipe()
lines = os.fdopen(read)
first = serve(0)
port = int(lines.readline())
asker, terminal = pty.fork()
if asker == 0:
    os.execv(sys.argv[1], [sys.argv[1], 'free', str(port), '--no-daemon'])
said = b''
while b'[y/N]' not in said: said += os.read(terminal, 4096)
os.kill(first, signal.SIGKILL)
os.waitpid(first, 0)
# The start times must differ, and they are told in hundredths of a second.
time.sleep(0.02)
with open('/proc/sys/kernel/ns_last_pid', 'w') as last: last.write(str(first - 1))
second = serve(port)
assert int(lines.readline()) == port
print('same pid' if second == first else 'other pid')
os.write(terminal, b'y\\n')
said = b''
try:
    while True:
        part = os.read(terminal, 4096)
        if not part: break
        said += part
except OSError: pass
code = os.waitstatus_to_exitcode(os.waitpid(asker, 0)[1])
print(code)
print(said.decode().replace('\\r', ' ').replace('\\n', ' '))
print('alive' if os.waitpid(second, os.WNOHANG) == (0, 0) else 'ended')
os.kill(second, signal.SIGKILL)
";
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "python3", "-S", "-u", "-c", program]);
    command.arg(portwatch.command(&[]).get_program()).env("PORTWATCH_STATE", portwatch.state());
    let mut actor = Actor::start(&mut command).unwrap();
    assert_eq!(actor.line().unwrap(), "same pid");
    assert_eq!(actor.line().unwrap(), "1");
    let words = actor.line().unwrap();
    assert!(words.contains("its pid was not signalled") && words.contains("look again"), "{words}");
    assert_eq!(actor.line().unwrap(), "alive");
    assert!(actor.finish().unwrap().success());
}

#[test]
fn connections_in_time_wait_are_forgotten_on_request_and_living_ones_are_not() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = Portwatch::new().unwrap();
    netns
        .enter(|| {
            let listener = TcpListener::bind("127.0.0.1:3100")?;
            for _ in 0..3 {
                let client = TcpStream::connect("127.0.0.1:3100")?;
                drop(listener.accept()?);
                drop(client);
            }
            drop(listener);
            let elsewhere = TcpListener::bind("127.0.0.1:3101")?;
            let client = TcpStream::connect("127.0.0.1:3101")?;
            drop(elsewhere.accept()?);
            drop(client);
            let told = portwatch.run(&["free", "3100", "--yes"])?;
            assert_eq!(told.code, Some(0), "{told:?}");
            assert!(told.stdout.contains("SO_REUSEADDR") && told.stdout.contains("--time-wait"), "{told:?}");
            let done = portwatch.run(&["free", "3100", "--yes", "--time-wait", "--json"])?;
            let json = done.json()?;
            assert_eq!(done.code, Some(0), "{done:?}");
            assert_eq!(json["targets"][0]["time_wait_destroyed"], 3, "{done:?}");
            let strict =
                |port: &str| portwatch.run(&["wait", port, "--free", "--strict", "--timeout", "50ms"]);
            assert_eq!(strict("3100")?.code, Some(0));
            drop(elsewhere);
            assert_eq!(strict("3101")?.code, Some(1), "another port's are left alone");

            // A living connection outlasts what would end them, and its process is named.
            let listener = TcpListener::bind("127.0.0.1:3102")?;
            let _client = TcpStream::connect("127.0.0.1:3102")?;
            let _server = listener.accept()?;
            drop(listener);
            let told = portwatch.run(&["free", "3102", "--yes", "--time-wait"])?;
            assert_eq!(told.code, Some(0), "{told:?}");
            let whose =
                format!("once {} ({})", fs::read_to_string("/proc/self/comm")?.trim(), std::process::id());
            assert!(told.stdout.contains(&format!("{whose} has closed its connection")), "{told:?}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn time_wait_that_refuses_every_bind_is_named_and_forgotten_on_request() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = Portwatch::new().unwrap();
    // Neither the server nor what it accepts has SO_REUSEADDR: what it leaves refuses also those who have it.
    let program = "
import socket
s = socket.socket()
s.bind(('127.0.0.1', 3100))
s.listen()
client = socket.create_connection(('127.0.0.1', 3100))
s.accept()[0].close()
client.close()
";
    netns
        .enter(|| {
            let left = Actor::python(program, &[]).unwrap().finish().unwrap();
            assert!(left.success());
            assert!(TcpListener::bind("127.0.0.1:3100").is_err());
            let told = portwatch.run(&["free", "3100", "--yes"])?;
            assert_eq!(told.code, Some(1), "{told:?}");
            assert!(
                told.stdout.contains("1 in TIME_WAIT") && told.stdout.contains("--time-wait"),
                "{told:?}"
            );
            let done = portwatch.run(&["free", "3100", "--yes", "--time-wait", "--json"])?;
            assert_eq!(done.code, Some(0), "{done:?}");
            assert_eq!(done.json()?["targets"][0]["time_wait_destroyed"], 1, "{done:?}");
            drop(TcpListener::bind("127.0.0.1:3100")?);
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_first_signal_can_be_another_and_the_server_ends_in_its_own_way() {
    let portwatch = Portwatch::new().unwrap();
    let program = "
import signal, socket, sys
def end(number, _):
    print(signal.Signals(number).name)
    sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT): signal.signal(number, end)
s = socket.create_server(('127.0.0.1', int(sys.argv[1])))
print('up')
while True: signal.pause()
";
    let port = free_port().unwrap().to_string();
    for (word, name) in [("INT", "SIGINT"), ("sigquit", "SIGQUIT")] {
        let mut server = Actor::python(program, &[&port]).unwrap();
        assert_eq!(server.line().unwrap(), "up");
        let ran = portwatch.run(&["free", &port, "--yes", "--signal", word]).unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(&format!("python3 ({}) ended by {name}", server.pid())), "{ran:?}");
        assert_eq!(server.line().unwrap(), name);
        assert!(server.end().unwrap().success());
    }
}

#[test]
fn a_graceful_server_that_closed_its_port_is_not_killed() {
    let portwatch = Portwatch::new().unwrap();
    let program = "
import signal, socket, sys
s = socket.socket()
s.bind(('127.0.0.1', 0))
s.listen()
signal.signal(signal.SIGTERM, lambda *_: s.close())
print(s.getsockname()[1])
sys.stdin.read()
";
    let mut server = Actor::python(program, &[]).unwrap();
    let port = server.line().unwrap();
    let ran = portwatch.run(&["free", &port, "--yes", "--grace", "1s"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("let the port go and is still ending"), "{ran:?}");
    assert!(server.finish().unwrap().success());
}

#[test]
fn a_crashed_servers_port_needs_no_freeing_and_what_is_free_is_said_to_be() {
    let portwatch = Portwatch::new().unwrap();
    let (server, port) = Actor::listener("127.0.0.1", 0).unwrap();
    server.signal(Signal::SIGKILL).unwrap();
    wait_until("the crash", DEADLINE, || (!lives(server.pid())).then_some(())).unwrap();
    let ran = portwatch.run(&["free", &port.to_string()]).unwrap();
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), format!("{port}/tcp  free").as_str()));
    for bad in
        [&["free"][..], &["free", "0"], &["free", "3100", "--signal", "WINCH"], &["free", "3100", "-g", "5"]]
    {
        assert_eq!(portwatch.run(bad).unwrap().code, Some(2));
    }
}
