//! `free` where a socket has several holders, comes or goes meanwhile, or is looked after by somebody else: containers,
//! workers, one family of addresses, other users, supervisors.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::{
    fs, io::Write as _, net::TcpListener, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command,
};

use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, Ran, require_bpf, require_docker, require_netns, require_node,
    wait_until,
};
use serde_json::Value;

fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// The one target of an answer.
fn target(ran: &Ran) -> Value {
    ran.json().unwrap().pointer("/targets/0").cloned().unwrap_or_else(|| panic!("{ran:?}"))
}

#[test]
fn of_a_master_and_four_workers_the_master_is_signalled_first_and_that_is_said() {
    let portwatch = Portwatch::new().unwrap();
    let program = "
import os, signal, socket
s = socket.create_server(('127.0.0.1', 0))
role = b'master\\n'
def end(*_):
    os.write(1, role)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
for _ in range(4):
    if os.fork() == 0:
        role = b'worker\\n'
        while True: signal.pause()
print(s.getsockname()[1])
while True: signal.pause()
";
    let mut server = Actor::python(program, &[]).unwrap();
    let port = server.line().unwrap();
    // A worker that was just forked has the socket; all four are shown.
    let plan = portwatch.run(&["free", &port, "--dry-run"]).unwrap();
    assert!(plan.stdout.contains(&format!("held by python3 ({}) and 4 workers", server.pid())), "{plan:?}");
    assert!(plan.stdout.contains("after their master"), "{plan:?}");
    let ran = portwatch.run(&["free", &port, "--yes"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stdout.contains(&format!("python3 ({}) and 4 others ended by SIGTERM", server.pid())),
        "{ran:?}"
    );
    let lines: Vec<String> = (0..5).map(|_| server.line().unwrap()).collect();
    assert_eq!(lines, ["master", "worker", "worker", "worker", "worker"]);
}

#[test]
fn a_v6_only_server_is_freed_and_the_one_on_ipv4_beside_it_stays() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = Portwatch::new().unwrap();
    let program = "
import socket, sys
v6 = sys.argv[1] == 'v6'
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
if v6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.bind(('::' if v6 else '0.0.0.0', 3100))
s.listen()
print('up')
sys.stdin.read()
";
    netns
        .enter(|| {
            let start = |family: &str| -> anyhow::Result<Actor> {
                let mut actor = Actor::python(program, &[family])?;
                assert_eq!(actor.line()?, "up");
                Ok(actor)
            };
            let (v4, v6) = (start("v4")?, start("v6")?);
            let ran = portwatch.run(&["free", "[::1]:3100", "--yes", "--json"])?;
            assert_eq!(ran.code, Some(0), "{ran:?}");
            let freed = target(&ran);
            assert_eq!(freed.pointer("/processes/0/process/pid"), Some(&v6.pid().into()), "{freed:#}");
            assert_eq!(freed.pointer("/processes/1"), None, "{freed:#}");
            assert!(lives(v4.pid()) && !lives(v6.pid()));
            drop(TcpListener::bind("[::1]:3100")?);
            // All of the port: whoever has either family is in the way.
            let v6 = start("v6")?;
            let ran = portwatch.run(&["free", "3100", "--yes", "--json"])?;
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert!(!lives(v4.pid()) && !lives(v6.pid()), "{ran:?}");
            drop(TcpListener::bind("[::]:3100")?);
            // And one that is alone, without IPv4 beside it.
            let v6 = start("v6")?;
            let ran = portwatch.run(&["free", "3100", "--yes"])?;
            assert_eq!((ran.code, lives(v6.pid())), (Some(0), false), "{ran:?}");
            assert!(v4.finish()?.code().is_none());
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_published_port_is_freed_by_its_engine_and_another_containers_stays() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    for arguments in [&[][..], &["--userland-proxy=false"]] {
        let Some(docker) = require_docker(&netns, arguments) else { return };
        let portwatch = Portwatch::new().unwrap();
        let socket = docker.socket().display().to_string();
        docker.serve("pwfree", "8088:80", 80, &["--restart", "unless-stopped"]).unwrap();
        docker.serve("pwstays", "8089:80", 80, &[]).unwrap();
        let free = |more: &[&str]| {
            let words = [&["free", "8088", "--engines", &socket][..], more].concat();
            netns.enter(|| portwatch.run(&words)).unwrap()
        };
        // Whoever holds it: the proxy or dockerd. Neither is a target.
        let plan = free(&["--dry-run"]);
        assert_eq!(plan.code, Some(0), "{plan:?}");
        assert!(plan.stdout.contains("docker stop pwfree"), "{plan:?}");
        assert!(plan.stdout.contains("unless-stopped: stopped so, it stays stopped"), "{plan:?}");
        let ran = free(&["--yes", "--json", "--grace", "1s"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let freed = target(&ran);
        assert_eq!(freed.pointer("/state"), Some(&"freed".into()), "{freed:#}");
        assert_eq!(freed.pointer("/processes"), Some(&Value::Array(Vec::new())), "{freed:#}");
        assert_eq!(freed.pointer("/containers/0/container/name"), Some(&"pwfree".into()));
        assert!(
            freed.pointer("/sentence").and_then(Value::as_str).unwrap().contains("stopped by its engine"),
            "{freed:#}"
        );
        assert_eq!(docker.inspect("pwfree", "{{.State.Status}} {{.RestartCount}}").unwrap(), "exited 0");
        assert_eq!(docker.inspect("pwstays", "{{.State.Running}}").unwrap(), "true");
        // The engine gives the port out again.
        docker.docker(&["start", "pwfree"]).unwrap();
        assert_eq!(docker.inspect("pwfree", "{{.State.Running}}").unwrap(), "true");
    }
}

#[test]
fn a_process_that_took_the_name_of_a_proxy_is_freed_like_any_other() {
    let portwatch = Portwatch::new().unwrap();
    let program = "
import socket, sys
with open('/proc/self/comm', 'w') as comm: comm.write(sys.argv[1])
s = socket.create_server(('127.0.0.1', 0))
print(s.getsockname()[1])
sys.stdin.read()
";
    for name in ["docker-proxy", "rootlessport", "slirp4netns", "dockerd"] {
        let mut server = Actor::python(program, &[name]).unwrap();
        let port = server.line().unwrap();
        let ran = portwatch.run(&["free", &port, "--yes", "--engines", "off"]).unwrap();
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
        assert!(!lives(server.pid()), "{name}: {ran:?}");
    }
}

#[test]
fn a_holder_that_called_another_program_while_you_decided_is_not_signalled() {
    let portwatch = Portwatch::new().unwrap();
    // The question is the moment between decision and signal.
    let program = "
import os, pty, signal, socket, sys
go, tell = os.pipe()
ready, say = os.pipe()
server = os.fork()
if server == 0:
    s = socket.create_server(('127.0.0.1', 0))
    s.set_inheritable(True)
    os.write(say, b'%d\\n' % s.getsockname()[1])
    os.read(go, 1)
    os.execv('/bin/sleep', ['sleep', '600'])
port = os.fdopen(ready).readline().strip()
asker, terminal = pty.fork()
if asker == 0:
    os.execv(sys.argv[1], [sys.argv[1], 'free', port, '--no-daemon'])
said = b''
while b'[y/N]' not in said: said += os.read(terminal, 4096)
print(server)
sys.stdin.readline()
os.write(tell, b'x')
sys.stdin.readline()
os.write(terminal, b'y\\n')
said = b''
try:
    while True:
        part = os.read(terminal, 4096)
        if not part: break
        said += part
except OSError: pass
print(os.waitstatus_to_exitcode(os.waitpid(asker, 0)[1]))
print(' '.join(said.decode().split()))
print('alive' if os.waitpid(server, os.WNOHANG) == (0, 0) else 'ended')
os.kill(server, signal.SIGKILL)
";
    let mut command = Command::new("python3");
    command.args(["-S", "-u", "-c", program]).arg(portwatch.binary());
    command.env("PORTWATCH_STATE", portwatch.state()).env("PORTWATCH_SOCKET", portwatch.socket());
    let mut actor = Actor::start(&mut command).unwrap();
    let server: u32 = actor.line().unwrap().parse().unwrap();
    actor.say("exec").unwrap();
    wait_until("the exec", DEADLINE, || (comm(server) == "sleep").then_some(())).unwrap();
    actor.say("consent").unwrap();
    assert_eq!(actor.line().unwrap(), "1");
    let words = actor.line().unwrap();
    assert!(words.contains("sleep now, which was not shown, and was not signalled"), "{words}");
    assert!(words.contains("look again"), "{words}");
    assert_eq!(actor.line().unwrap(), "alive");
    assert!(actor.finish().unwrap().success());
}

#[test]
fn who_is_sent_the_socket_by_a_dying_server_is_left_alone_and_who_is_forked_by_it_is_not() {
    let portwatch = Portwatch::new().unwrap();
    // The bystander is there before anybody frees anything; it gets the socket when the server is told to end.
    let sending = "
import os, signal, socket, sys
here, there = socket.socketpair()
server = os.fork()
if server == 0:
    s = socket.create_server(('127.0.0.1', 0))
    def end(*_):
        socket.send_fds(there, [b'take it'], [s.fileno()])
        there.recv(1)
        os._exit(0)
    signal.signal(signal.SIGTERM, end)
    print(s.getsockname()[1])
    while True: signal.pause()
message, descriptors, _, _ = socket.recv_fds(here, 16, 1)
here.send(b'x')
os.waitpid(server, 0)
print('has it')
sys.stdin.read()
";
    let mut bystander = Actor::python(sending, &[]).unwrap();
    let port = bystander.line().unwrap();
    let ran = portwatch.run(&["free", &port, "--yes"]).unwrap();
    assert_eq!(bystander.line().unwrap(), "has it");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains(&format!("python3 ({}) has it now, which came since", bystander.pid())),
        "{ran:?}"
    );
    assert!(bystander.finish().unwrap().success());

    let forking = "
import os, signal, socket
s = socket.create_server(('127.0.0.1', 0))
def end(*_):
    heir = os.fork()
    if heir == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True: signal.pause()
    print(heir)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print(s.getsockname()[1])
while True: signal.pause()
";
    let mut server = Actor::python(forking, &[]).unwrap();
    let port = server.line().unwrap();
    let ran = portwatch.run(&["free", &port, "--yes"]).unwrap();
    let heir: u32 = server.line().unwrap().parse().unwrap();
    assert_eq!((ran.code, lives(heir)), (Some(0), false), "{ran:?}");
}

#[test]
fn root_does_not_end_a_stranger_to_whom_another_user_handed_the_socket() {
    if !require_netns() {
        return;
    }
    let portwatch = Portwatch::new().unwrap();
    let program = "
import os, socket, sys
here, there = socket.socketpair()
attacker = os.fork()
if attacker == 0:
    os.setuid(65534)
    s = socket.create_server(('127.0.0.1', 0))
    socket.send_fds(there, [b'%d' % s.getsockname()[1]], [s.fileno()])
    sys.stdin.read()
    os._exit(0)
# A service of another user.
os.setuid(65533)
message, descriptors, _, _ = socket.recv_fds(here, 16, 1)
print(message.decode())
sys.stdin.read()
";
    let mut victim = Actor::python(program, &[]).unwrap();
    let port = victim.line().unwrap();
    let ran = portwatch.run(&["free", &port, "--yes"]).unwrap();
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("the socket to uid 65534, who has handed it over"), "{ran:?}");
    assert!(lives(victim.pid()), "{ran:?}");
    assert!(victim.finish().unwrap().success());
}

/// A copy of the binary that anybody may run, in a folder that anybody may enter.
fn for_anybody(portwatch: &Portwatch) -> PathBuf {
    fs::set_permissions(portwatch.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = portwatch.folder().join("portwatch");
    fs::copy(portwatch.binary(), &binary).unwrap();
    binary
}

#[test]
fn what_was_ended_is_told_when_something_goes_wrong_after_it() {
    use std::os::unix::process::CommandExt as _;
    if !require_netns() {
        return;
    }
    let portwatch = Portwatch::new().unwrap();
    let binary = for_anybody(&portwatch);
    let program = "
import socket, sys
s = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(s.getsockname())
# The side that closes first leaves TIME_WAIT.
s.accept()[0].close()
client.close()
print(s.getsockname()[1])
sys.stdin.read()
";
    // Debian's, which anybody may run.
    let mut server = Command::new("/usr/bin/python3");
    server.args(["-S", "-u", "-c", program]).current_dir("/").gid(65534).uid(65534);
    let mut server = Actor::start(&mut server).unwrap();
    let port = server.line().unwrap();
    // Ending a server of one's own needs nothing; ending TIME_WAIT needs CAP_NET_ADMIN.
    let output = Command::new(&binary)
        .args(["free", &port, "--yes", "--time-wait", "--json", "--no-daemon"])
        .env("HOME", "/nonexistent")
        .env("PORTWATCH_CONFIG", "/dev/null")
        .gid(65534)
        .uid(65534)
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = answer.pointer("/targets/0").unwrap();
    assert_eq!(told.pointer("/state"), Some(&"failed".into()), "{told:#}");
    assert_eq!(told.pointer("/processes/0/outcome"), Some(&"signalled".into()), "{told:#}");
    let sentence = told.pointer("/sentence").and_then(Value::as_str).unwrap();
    let ended = format!("({}) ended by SIGTERM; then it could not go on: ", server.pid());
    assert!(sentence.contains(&ended) && sentence.contains("CAP_NET_ADMIN"), "{sentence}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("CAP_NET_ADMIN"), "{output:?}");
    assert!(!lives(server.pid()));
}

#[test]
fn a_name_that_another_user_has_claimed_does_not_choose_who_is_ended() {
    use std::os::unix::process::CommandExt as _;
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let binary = for_anybody(&portwatch);
    let output = Command::new(&binary)
        .args(["claim", "shop:web", "-q"])
        .env("HOME", "/nonexistent")
        .env("PORTWATCH_CONFIG", "/dev/null")
        .env("PORTWATCH_SOCKET", portwatch.socket())
        .current_dir("/")
        .gid(65534)
        .uid(65534)
        .output()
        .unwrap();
    let port = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (server, _) =
        Actor::listener("127.0.0.1", port.parse().unwrap_or_else(|_| panic!("{output:?}"))).unwrap();
    let ran = portwatch.run(&["free", "shop:web", "--yes"]).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let words =
        format!("shop:web is a claim of nobody, who chose its port, {port}; name the port if you mean it");
    assert!(ran.stderr.contains(&words) && ran.stderr.contains(&format!("portwatch free {port}")), "{ran:?}");
    assert!(server.finish().unwrap().success());
}

/// Everything below it ends with it: its first process is the first of a pid namespace.
fn confined(words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]).args(words);
    command
}

const SERVER: &str =
    "require('http').createServer((q, r) => r.end()).listen(3100, '127.0.0.1', () => console.log('up'));\n";

#[test]
fn nodemon_is_recognised_and_named_and_its_server_is_ended() {
    if !require_netns() {
        return;
    }
    let Some(nodemon) = require_node("nodemon") else { return };
    let netns = Netns::new().unwrap();
    let portwatch = Portwatch::new().unwrap();
    fs::write(portwatch.folder().join("server.js"), SERVER).unwrap();
    let mut command = confined(&["node", nodemon.to_str().unwrap(), "--quiet", "server.js"]);
    command.current_dir(portwatch.folder());
    let mut actor = netns.enter(|| Actor::start(&mut command)).unwrap();
    assert_eq!(actor.line().unwrap(), "up");
    let free = |words: &[&str]| netns.enter(|| portwatch.run(&[&["free", "3100"], words].concat())).unwrap();
    let plan = free(&["--dry-run", "--json"]);
    let held = target(&plan);
    let note = held.pointer("/processes/0/note").and_then(Value::as_str).unwrap_or_default().to_owned();
    assert!(note.starts_with("nodemon (") && note.contains("when a file changes"), "{held:#}");
    let watcher: u32 = note.rsplit("kill ").next().unwrap().parse().unwrap();
    assert_eq!(comm(watcher), "node", "{note}");
    let ran = free(&["--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // And what it says is so: it is there, and starts the server again when a file changes.
    assert!(lives(watcher));
    let mut file = fs::File::options().append(true).open(portwatch.folder().join("server.js")).unwrap();
    writeln!(file, "// changed").unwrap();
    drop(file);
    assert_eq!(actor.line().unwrap(), "up");
}

#[test]
fn pm2_is_recognised_and_not_fought() {
    if !require_netns() {
        return;
    }
    let Some(pm2) = require_node("pm2") else { return };
    let netns = Netns::new().unwrap();
    let portwatch = Portwatch::new().unwrap();
    fs::write(portwatch.folder().join("server.js"), SERVER).unwrap();
    let script = "exec 3>&1 >&2; node \"$0\" start server.js --name web; read x
                  node \"$0\" stop web; echo stopped >&3; read x";
    let mut command = confined(&["sh", "-c", script, pm2.to_str().unwrap()]);
    command.current_dir(portwatch.folder()).env("PM2_HOME", portwatch.folder().join("pm2"));
    let mut actor = netns.enter(|| Actor::start(&mut command)).unwrap();
    let free = |words: &[&str]| netns.enter(|| portwatch.run(&[&["free", "3100"], words].concat())).unwrap();
    // It takes seconds to start, and to stop a server.
    let refused = wait_until("pm2's server", DEADLINE * 2, || {
        let told = target(&free(&["--dry-run", "--json"]));
        (told.pointer("/state")? == "refused").then_some(told)
    })
    .unwrap();
    assert_eq!(free(&["--yes"]).code, Some(3));
    let refusal = refused.pointer("/refusals/0").unwrap_or_else(|| panic!("{refused:#}"));
    let why = refusal.pointer("/why").and_then(Value::as_str).unwrap();
    assert!(why.starts_with("pm2 (") && why.ends_with("would start it again at once"), "{refusal:#}");
    let server = refusal.pointer("/process/pid").and_then(Value::as_u64).unwrap();
    let instead = refusal.pointer("/instead").and_then(Value::as_str).unwrap();
    assert!(instead.starts_with("pm2 stop ") && instead.contains(&server.to_string()), "{instead}");
    assert!(lives(u32::try_from(server).unwrap()));
    // Past it by force: it is free for a moment, and that is said.
    let forced = free(&["--yes", "--force", "--json"]);
    let sentence = target(&forced).pointer("/sentence").and_then(Value::as_str).unwrap().to_owned();
    let honest = sentence.contains("will start it again") || sentence.contains("has started it again");
    assert!(sentence.contains("ended by SIGTERM") && honest, "{forced:?}");
    // What is said would work does. Looking for a free port alone would be too early: it is one while pm2 starts the server again.
    actor.say("").unwrap();
    assert_eq!(actor.line_within(DEADLINE * 2).unwrap(), "stopped");
    assert_eq!(target(&free(&["--json"])).pointer("/state"), Some(&"free".into()));
}
