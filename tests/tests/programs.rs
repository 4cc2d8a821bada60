//! Real servers, as Debian has them: who made the socket and who holds it, compared with what `/proc` says.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail like tests; a skip is said aloud"
)]

use std::{
    collections::BTreeSet,
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portwatch_tests::{Actor, DEADLINE, Netns, Portwatch, require_bpf, wait_until};
use serde_json::Value;

/// A server in a pid namespace of its own, so that nothing of it outlives the test.
fn server(words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--"]).args(words);
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command
}

/// A server that runs. Dropped, it is ended with everything it started: its first process is the first of a pid
/// namespace, and `unshare` waits for that one.
struct Server(Option<Actor>);

impl Server {
    fn start(netns: &Netns, command: &mut Command) -> Self {
        Self(Some(netns.enter(|| Actor::start(command)).unwrap()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(actor) = self.0.take() else { return };
        let children = format!("/proc/{0}/task/{0}/children", actor.pid());
        for child in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            if let Ok(pid) = child.parse() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = actor.finish();
    }
}

/// Whether a program is there; said aloud where it is not, and a failure where all is required.
fn have(program: &str) -> bool {
    let places = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
    let there =
        places.iter().any(|place| Path::new(place).join(program).exists()) || Path::new(program).exists();
    let required = std::env::var("PORTWATCH_REQUIRE").is_ok_and(|words| words.contains("ebpf"));
    assert!(there || !required, "{program} is not installed");
    if !there {
        eprintln!("SKIPPED: {program} is not installed");
    }
    there
}

/// Inodes of the sockets that listen on a port of the namespace, by the kernel's table.
fn listening(netns: &Netns, port: u16) -> BTreeSet<String> {
    let tables = netns.enter(|| {
        let read = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        Ok(read("tcp")? + &read("tcp6")?)
    });
    let suffix = format!(":{port:04X}");
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.len() > 9 && fields[1].ends_with(&suffix) && fields[3] == "0A").then(|| fields[9].to_owned())
    };
    tables.unwrap().lines().filter_map(line).collect()
}

/// Who has one of these sockets open, by `/proc`.
fn holders(inodes: &BTreeSet<String>) -> BTreeSet<u64> {
    let links: BTreeSet<_> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let holds = |pid: u64| {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|link| links.contains(link.to_string_lossy().as_ref()))
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|&pid| holds(pid)).collect()
}

fn pids(list: &Value) -> BTreeSet<u64> {
    list.as_array().unwrap().iter().map(|holder| holder["process"]["pid"].as_u64().unwrap()).collect()
}

/// Waits until at least `least` processes hold the port, and `who` names exactly those; gives the socket.
fn agreed(portwatch: &Portwatch, netns: &Netns, port: u16, least: usize) -> Value {
    let mut seen = (BTreeSet::new(), Value::Null);
    let found = wait_until(&format!("who {port} and /proc agree"), DEADLINE, || {
        let before = holders(&listening(netns, port));
        let answer = portwatch.run_inside(&["who", &port.to_string(), "--json"]).unwrap().json().unwrap();
        let sockets = answer["targets"][0]["sockets"].clone();
        let told: BTreeSet<u64> = sockets.as_array()?.iter().flat_map(|s| pids(&s["holders"])).collect();
        // What changed while it was looked at says nothing.
        let truth = holders(&listening(netns, port));
        let same = before == truth && truth.len() >= least && told == truth;
        seen = (truth, answer);
        same.then(|| sockets[0].clone())
    });
    found.unwrap_or_else(|error| panic!("{error}; /proc says {:?}; {:#}", seen.0, seen.1))
}

const GUNICORN: &str = "def app(environ, start):\n    start('200 OK', [])\n    return [b'']\n";

/// For uvicorn, whose workers get the socket of their parent.
const ASGI: &str = "async def app(scope, receive, send):\n    pass\n";

const CLUSTER: &str = "
const cluster = require('cluster');
cluster.schedulingPolicy = cluster.SCHED_NONE;
if (cluster.isPrimary) { cluster.fork(); cluster.fork(); }
else require('http').createServer((q, r) => r.end()).listen(3109, '127.0.0.1');
";

const ACTIVATED: &str = "import socket, sys, time\ns = socket.socket(fileno=3)\ntime.sleep(600)\n";

/// Every server that is there, started at once; with each its port and the least number of its holders.
fn start(netns: &Netns, folder: &Path) -> Vec<(&'static str, Server, u16, usize)> {
    let text = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mut started = Vec::new();
    let mut go = |name, program: &str, command: &mut Command, port, least| {
        if have(program) {
            started.push((name, Server::start(netns, command), port, least));
        }
    };
    let nginx = format!(
        "daemon off; user root; worker_processes 2; pid {0}/nginx.pid; error_log {0}/nginx.log;
         events {{}} http {{ access_log off; client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0};
         uwsgi_temp_path {0}; scgi_temp_path {0}; server {{ listen 127.0.0.1:3101; }} }}",
        folder.display()
    );
    fs::write(folder.join("nginx.conf"), nginx).unwrap();
    go(
        "nginx",
        "nginx",
        &mut server(&["nginx", "-e", &text("nginx.log"), "-c", &text("nginx.conf")]),
        3101,
        3,
    );
    fs::write(folder.join("app.py"), GUNICORN).unwrap();
    let mut gunicorn =
        server(&["gunicorn", "--log-level", "error", "-w", "2", "-b", "127.0.0.1:3102", "app:app"]);
    go("gunicorn", "gunicorn", gunicorn.current_dir(folder), 3102, 3);
    fs::write(folder.join("asgi.py"), ASGI).unwrap();
    let mut uvicorn = server(&[
        "uvicorn",
        "--workers",
        "2",
        "--host",
        "127.0.0.1",
        "--port",
        "3110",
        "--lifespan",
        "off",
        "asgi:app",
    ]);
    go("uvicorn", "uvicorn", uvicorn.current_dir(folder).stderr(Stdio::null()), 3110, 3);
    let redis = ["redis-server", "--port", "3103", "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"];
    go("redis-server", "redis-server", server(&redis).current_dir(folder), 3103, 1);
    let listen = "TCP-LISTEN:3105,bind=127.0.0.1,fork,reuseaddr";
    go("socat", "socat", &mut server(&["socat", listen, "EXEC:cat"]), 3105, 1);
    let activate = ["systemd-socket-activate", "-l", "127.0.0.1:3106", "python3", "-S", "-c", ACTIVATED];
    go("python3", "systemd-socket-activate", &mut server(&activate), 3106, 1);
    fs::write(folder.join("cluster.js"), CLUSTER).unwrap();
    go("node", "node", &mut server(&["node", &text("cluster.js")]), 3109, 3);
    started
}

/// A PostgreSQL of the test's own: it refuses to run as root.
fn postgres(netns: &Netns, folder: &Path) -> Option<Server> {
    let version = fs::read_dir("/usr/lib/postgresql").ok().and_then(|d| d.flatten().next());
    let bin = version.map(|v| v.path().join("bin"));
    let bin = bin.unwrap_or_else(|| Path::new("/usr/lib/postgresql/bin").to_owned());
    let program = |name: &str| bin.join(name).to_str().unwrap().to_owned();
    if !have(&program("postgres")) {
        return None;
    }
    let data = folder.join("pg");
    let data_text = data.to_str().unwrap();
    fs::create_dir(&data).unwrap();
    let as_user = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]).args(words);
        command
    };
    assert!(Command::new("chown").args(["postgres:postgres", data_text]).status().unwrap().success());
    let init = [&program("initdb"), "-D", data_text, "-A", "trust", "-N", "--no-instructions"];
    let made = as_user(&init).current_dir("/").output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let words = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"];
    let run = program("postgres");
    let run = [&run, "-D", data_text, "-p", "3104", "-h", "127.0.0.1", "-k", data_text];
    let all: Vec<&str> = words.into_iter().chain(run).collect();
    Some(Server::start(netns, server(&all).current_dir("/")))
}

#[test]
fn who_names_the_maker_and_every_holder_of_servers_from_debian() {
    if !require_bpf() || !have("unshare") {
        return;
    }
    let netns = Netns::new().unwrap();
    // In the servers' namespace: its ports are the ones that are asked about.
    let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
    let folder = tempfile::Builder::new().prefix("pwsrv").tempdir_in("/tmp").unwrap();
    // PostgreSQL's own user goes through it.
    assert!(Command::new("chmod").arg("755").arg(folder.path()).status().unwrap().success());
    let mut servers = start(&netns, folder.path());
    servers.extend(postgres(&netns, folder.path()).map(|actor| ("postgres", actor, 3104, 1)));
    let mut connections = Vec::new();
    for (name, _, port, least) in &servers {
        let waiting = format!("{name} listens on {port}");
        wait_until(&waiting, DEADLINE, || Some(listening(&netns, *port)).filter(|found| !found.is_empty()))
            .unwrap();
        // socat forks for a connection, and the activator starts its program with the first.
        if matches!(port, 3105 | 3106) {
            connections.push(netns.enter(|| Ok(TcpStream::connect(("127.0.0.1", *port))?)).unwrap());
        }
        let is_maker = |process: &Value| {
            let command = process["command"].to_string();
            process["comm"].as_str().is_some_and(|comm| name.starts_with(comm)) || command.contains(name)
        };
        let socket = agreed(&portwatch, &netns, *port, *least);
        assert!(is_maker(&socket["creator"]), "{name}: {socket:#}");
        assert_eq!(socket["owner"], "known", "{name}: {socket:#}");
    }
    assert!(portwatch.log().lines().all(|line| !line.contains("panic")), "{}", portwatch.log());
}

#[test]
fn ssh_holds_the_port_that_it_forwards() {
    if !require_bpf() || !have("unshare") || !have("sshd") || !have("ssh") || !have("ssh-keygen") {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = netns.enter(|| Portwatch::started(&[])).unwrap();
    let folder = tempfile::Builder::new().prefix("pwssh").tempdir_in("/tmp").unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for key in ["host", "user"] {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &text(key)]).status();
        assert!(made.unwrap().success());
    }
    let configuration = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nPidFile none\nUsePAM no\nPermitRootLogin yes\n",
        text("host"),
        text("user.pub")
    );
    fs::write(folder.path().join("sshd"), configuration).unwrap();
    // sshd insists on this directory; a mount namespace keeps it off the machine.
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -f {} -p 3107 \
         -o ListenAddress=127.0.0.1",
        text("sshd")
    );
    let mut daemon = Command::new("unshare");
    daemon.args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", &script]);
    let _daemon = Server::start(&netns, &mut daemon);
    wait_until("sshd listens", DEADLINE, || Some(listening(&netns, 3107)).filter(|l| !l.is_empty())).unwrap();
    let client = [
        "ssh",
        "-F",
        "none",
        "-N",
        "-i",
        &text("user"),
        "-p",
        "3107",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "ExitOnForwardFailure=yes",
        "-L",
        "127.0.0.1:3108:127.0.0.1:3107",
        "root@127.0.0.1",
    ];
    let _client = Server::start(&netns, &mut server(&client));
    wait_until("ssh forwards", DEADLINE, || Some(listening(&netns, 3108)).filter(|l| !l.is_empty())).unwrap();
    let socket = agreed(&portwatch, &netns, 3108, 1);
    assert_eq!(socket["creator"]["comm"], "ssh", "{socket:#}");
    // The session's processes have closed the daemon's listener by now, or hold it: /proc decides.
    let socket = agreed(&portwatch, &netns, 3107, 1);
    assert_eq!(socket["creator"]["comm"], "sshd", "{socket:#}");
}
