//! `run` from one start to the next, with real servers: what development looks like, and what goes wrong in it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::Signal;
use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, in_own_netns, require_bpf, require_netns, require_program, wait_until,
};

/// HTTP servers on PORT, as people start them: until their input ends, which ends them in order. Python looks for signals between
/// two instructions: one that comes right before a read that blocks would wait for the input.
const PYTHON: &str = "
import http.server, os, select, sys, threading
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
print('up')
while not select.select([sys.stdin], [], [], 0.1)[0]: pass
";
const NODE: &str = "
const server = require('http').createServer((request, response) => response.end('hello'));
server.listen(+process.env.PORT, '127.0.0.1', () => console.log('up'));
server.on('error', error => { console.error(error.code); process.exit(1); });
process.stdin.resume().on('end', () => process.exit(0));
";

/// One of them.
#[derive(Clone, Copy)]
struct Kind(&'static [&'static str]);

/// Binds without SO_REUSEADDR.
const STRICT: Kind = Kind(&[
    "python3",
    "-c",
    "import os, socket; socket.socket().bind(('127.0.0.1', int(os.environ['PORT'])))",
]);

const KINDS: [Kind; 2] = [Kind(&["python3", "-u", "-c", PYTHON]), Kind(&["node", "-e", NODE])];

/// A namespace, whose port 3100 is the test's, and a portwatch with a daemon in it.
struct Place {
    netns: Netns,
    portwatch: Portwatch,
    shop: PathBuf,
}

impl Place {
    fn new(daemon: bool) -> Option<Self> {
        if !(require_netns() && require_program("node")) || (daemon && !require_bpf()) {
            return None;
        }
        let netns = Netns::new().unwrap();
        let portwatch =
            netns.enter(|| if daemon { Portwatch::started(&[]) } else { Portwatch::new() }).unwrap();
        let shop = project(&portwatch, "shop");
        Some(Self { netns, portwatch, shop })
    }

    /// `portwatch run …` in a folder, in the namespace.
    fn run_in(&self, folder: &Path, words: &[&str], program: &[&str]) -> Actor {
        let mut command = self.portwatch.command(&["run"]);
        command.args(words).arg("--").args(program).current_dir(folder).stderr(self.stderr());
        self.netns.enter(|| Actor::start(&mut command)).unwrap()
    }

    fn run(&self, words: &[&str], Kind(program): Kind) -> Actor {
        self.run_in(&self.shop, words, program)
    }

    /// A server without portwatch.
    fn bare(&self, folder: &Path, Kind(program): Kind) -> Actor {
        let (first, rest) = program.split_first().unwrap();
        let mut command = Command::new(first);
        command.args(rest).env("PORT", "3100").current_dir(folder);
        let mut actor = self.netns.enter(|| Actor::start(&mut command)).unwrap();
        assert_eq!(actor.line().unwrap(), "up");
        actor
    }

    fn stderr(&self) -> fs::File {
        let path = self.portwatch.folder().join("stderr");
        fs::File::options().create(true).append(true).open(path).unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.portwatch.folder().join("stderr")).unwrap_or_default()
    }

    fn serves(&self) -> bool {
        self.netns.enter(|| Ok(TcpStream::connect("127.0.0.1:3100").is_ok())).unwrap()
    }
}

fn project(portwatch: &Portwatch, name: &str) -> PathBuf {
    let folder = portwatch.folder().join(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("package.json"), format!("{{\"name\":\"{name}\"}}")).unwrap();
    folder
}

#[test]
fn start_stop_start_and_start_crash_start_of_real_servers() {
    for daemon in [true, false] {
        let Some(place) = Place::new(daemon) else { return };
        for kind in KINDS {
            for how in ["stop", "crash", "ctrl-c", "stop"] {
                let mut server = place.run(&["3100", "--retries", "0"], kind);
                assert_eq!(server.line().unwrap(), "up", "{how}: {}", place.said());
                assert!(place.serves());
                let signal = match how {
                    "stop" => Signal::SIGTERM,
                    "crash" => {
                        // The program itself, from outside.
                        let held = place.netns.enter(|| place.portwatch.who("3100")).unwrap();
                        let pid = held
                            .pointer("/sockets/0/holders/0/process/pid")
                            .and_then(serde_json::Value::as_i64);
                        let pid = i32::try_from(pid.unwrap_or_else(|| panic!("{held:#}"))).unwrap();
                        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
                        Signal::SIGKILL
                    }
                    _ => Signal::SIGINT,
                };
                if how != "crash" {
                    server.signal(signal).unwrap();
                }
                let code = server.end().unwrap().code();
                // python makes an exception of Ctrl-C, and ends by the signal all the same.
                assert_eq!(code, Some(128 + signal as i32), "{how}: {}", place.said());
            }
        }
        assert_eq!(
            place.said().replace("KeyboardInterrupt", "").matches("try 1").count(),
            0,
            "{}",
            place.said()
        );
    }
}

#[test]
fn fifty_restarts_in_a_row_of_real_servers_with_a_connection_in_each() {
    let Some(place) = Place::new(false) else { return };
    for round in 0..50 {
        // The two by turns: each finds what the other has left.
        let kind = KINDS[round % 2];
        let mut server = place.run(&["3100", "--retries", "0"], kind);
        assert_eq!(server.line().unwrap(), "up", "round {round}: {}", place.said());
        // The server's side is closed first: it leaves TIME_WAIT.
        let client = place.netns.enter(|| Ok(TcpStream::connect("127.0.0.1:3100")?)).unwrap();
        assert!(server.finish().unwrap().success(), "round {round}: {}", place.said());
        drop(client);
    }
    assert_eq!(place.said(), "");
}

#[test]
fn a_port_taken_by_a_stranger_is_named_waited_for_and_never_freed() {
    let Some(place) = Place::new(true) else { return };
    let other = project(&place.portwatch, "other");
    for kind in KINDS {
        let stranger = place.bare(&other, kind);
        let refused = place.run(&["3100", "--take", "--retries", "1", "--delay", "10ms"], kind);
        assert_eq!(refused.finish().unwrap().code(), Some(1), "{}", place.said());
        let words = place.said();
        assert!(words.contains(&format!("({}) is not of this project", stranger.pid())), "{words}");
        assert!(words.contains("to end that: portwatch free 3100"), "{words}");
        assert!(place.serves() && stranger.finish().unwrap().success());
    }
}

#[test]
fn a_leftover_of_the_same_project_is_taken_back_from_real_servers() {
    let Some(place) = Place::new(true) else { return };
    for kind in KINDS {
        let leftover = place.bare(&place.shop, kind);
        let mut server = place.run(&["3100", "--take"], kind);
        assert_eq!(server.line().unwrap(), "up", "{}", place.said());
        let words = place.said();
        assert!(words.contains(&format!("({}) ended by SIGTERM", leftover.pid())), "{words}");
        assert!(server.finish().unwrap().success());
    }
}

#[test]
fn a_leftover_of_another_user_in_the_same_project_is_not_taken_not_even_by_root() {
    let Some(place) = Place::new(true) else { return };
    fs::write(
        place.shop.join("other.py"),
        PYTHON.replace("print('up')", "os.setgid(65534); os.setuid(65534); print('up')"),
    )
    .unwrap();
    let mut command = Command::new("python3");
    command.args(["-u", "other.py"]).current_dir(&place.shop).env("PORT", "3100");
    let mut theirs = place.netns.enter(|| Actor::start(&mut command)).unwrap();
    assert_eq!(theirs.line().unwrap(), "up");
    let refused = place.run(&["3100", "--take", "--retries", "0"], KINDS[0]);
    assert_eq!(refused.finish().unwrap().code(), Some(1), "{}", place.said());
    assert!(place.said().contains("and belongs to nobody, not to you"), "{}", place.said());
    assert!(theirs.finish().unwrap().success());
}

#[test]
fn two_runs_of_one_name_at_once_have_one_port_and_one_of_them() {
    for daemon in [true, false] {
        let Some(place) = Place::new(daemon) else { return };
        for round in 0..5 {
            let name = format!("shop:web{round}");
            let start = || place.run(&[&name, "--retries", "20", "--delay", "20s"], KINDS[0]);
            let mut both = vec![start()];
            // At once where a daemon sees the kernel refuse the port. Else what refused it must still be there to be found, and
            // that may have been the other's try whether the port is free.
            if daemon {
                both.push(start());
            }
            // Whichever it is.
            let first = wait_until("the first", DEADLINE, || {
                let held = place.netns.enter(|| place.portwatch.run(&["find", &name, "--json"])).ok()?;
                let port = held.json().ok()?.pointer("/claims/0/port")?.as_u64()?;
                let who = place.netns.enter(|| place.portwatch.who(&port.to_string())).ok()?;
                // Both may have bound it; who listens has it.
                let mut sockets = who.pointer("/sockets")?.as_array()?.iter();
                let has = sockets.find(|s| s.pointer("/state").is_some_and(|state| state == "listening"))?;
                let lineage = has.pointer("/holders/0/process/pid")?.as_u64()?;
                let parent = fs::read_to_string(format!("/proc/{lineage}/stat")).ok()?;
                let parent: u32 = parent.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
                both.iter().position(|run| run.pid() == parent)
            })
            .unwrap();
            if !daemon {
                both.push(start());
            }
            let mut other = both.remove(1 - first);
            let mut winner = both.remove(0);
            assert_eq!(winner.line().unwrap(), "up", "{}", place.said());
            if !daemon {
                let again = || (place.said().matches("try 1 of 20").count() > round).then_some(());
                wait_until("the retry", DEADLINE, again).unwrap();
            }
            assert!(winner.finish().unwrap().success(), "{}", place.said());
            let line = other.line().unwrap_or_else(|error| panic!("{error}: {}", place.said()));
            assert_eq!(line, "up", "{}", place.said());
            assert!(other.finish().unwrap().success(), "{}", place.said());
        }
    }
}

/// Bound with SO_REUSEADDR, as servers are, and refused when it is to listen; the second time it serves.
const LATE: Kind = Kind(&[
    "python3",
    "-u",
    "-c",
    "
import os, socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(('127.0.0.1', int(os.environ['PORT'])))
print('bound'); sys.stdin.readline()
try: server.listen()
except OSError as error: print(error.errno); sys.stdin.readline(); raise
print('up')
",
]);

#[test]
fn a_program_whose_listen_was_refused_is_started_again_though_the_winner_is_gone_by_then() {
    let Some(place) = Place::new(true) else { return };
    let mut late = place.run(&["3100", "--retries", "1"], LATE);
    assert_eq!(late.line().unwrap(), "bound", "{}", place.said());
    // It sets SO_REUSEADDR too.
    let winner = place.netns.enter(|| Ok(TcpListener::bind("127.0.0.1:3100")?)).unwrap();
    late.say("").unwrap();
    assert_eq!(late.line().unwrap(), "98");
    drop(winner);
    late.say("").unwrap();
    let line = late.line().unwrap_or_else(|error| panic!("{error}: {}", place.said()));
    assert_eq!(line, "bound");
    late.say("").unwrap();
    assert_eq!(late.line().unwrap(), "up");
    assert!(late.finish().unwrap().success());
    let by = format!("({}) has it; try 1 of 1", std::process::id());
    assert!(place.said().contains(&by), "{}", place.said());
}

#[test]
fn a_runner_that_is_killed_leaves_no_server_behind() {
    let Some(place) = Place::new(true) else { return };
    for kind in KINDS {
        let mut server = place.run(&["3100"], kind);
        assert_eq!(server.line().unwrap(), "up");
        server.signal(Signal::SIGKILL).unwrap();
        // Its input is still there: it is not that.
        let mut next = place.run(&["3100", "--retries", "4", "--delay", "20s"], kind);
        assert_eq!(next.line().unwrap(), "up", "{}", place.said());
        assert!(next.finish().unwrap().success());
        drop(server);
    }
}

#[test]
fn time_wait_is_nothing_to_node_and_python_and_is_told_to_a_server_without_the_option() {
    let Some(place) = Place::new(true) else { return };
    let leave = || {
        place.netns.enter(|| {
            let listener = TcpListener::bind("127.0.0.1:3100")?;
            let client = TcpStream::connect("127.0.0.1:3100")?;
            drop(listener.accept()?);
            drop(client);
            Ok(())
        })
    };
    leave().unwrap();
    for kind in KINDS {
        let mut server = place.run(&["3100", "--retries", "0"], kind);
        assert_eq!(server.line().unwrap(), "up", "{}", place.said());
        assert!(server.finish().unwrap().success());
    }
    assert_eq!(place.said(), "");
    let refused = place.run(&["3100", "--retries", "0"], STRICT);
    assert_eq!(refused.finish().unwrap().code(), Some(1));
    let words = place.said();
    // The kernel told the daemon: it is no guess.
    assert!(
        words.contains("3100 was refused to it: 1 in TIME_WAIT, and it does not set SO_REUSEADDR"),
        "{words}"
    );
    let ran = place.netns.enter(|| place.portwatch.run(&["free", "3100", "--time-wait", "--yes"])).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let served = place.run(&["3100", "--retries", "0"], STRICT);
    assert!(served.finish().unwrap().success(), "{}", place.said());
}

#[test]
fn what_cannot_be_started_ends_as_in_a_shell() {
    let portwatch = Portwatch::new().unwrap();
    let data = portwatch.folder().join("data");
    fs::write(&data, "no program\n").unwrap();
    let folder = portwatch.folder().to_str().unwrap().to_owned();
    for (program, code) in [
        ("no-such-program", 127),
        ("/nonexistent/program", 127),
        (data.to_str().unwrap(), 126),
        (&folder, 126),
    ] {
        let shell = Command::new("sh").args(["-c", "\"$0\"", program]).output().unwrap();
        assert_eq!(shell.status.code(), Some(code), "{program}");
        for words in [&["run", "3100", "--"][..], &["with-lock", "tests", "--"]] {
            let ran = portwatch.run(&[words, &[program]].concat()).unwrap();
            assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
            assert!(ran.stderr.contains(&format!("cannot run {program}: ")), "{ran:?}");
        }
    }
    // The claim goes as was asked, also when nothing was started.
    let ran = portwatch.run(&["run", "shop:web", "--release", "--", "no-such-program"]).unwrap();
    assert_eq!(ran.code, Some(127));
    assert_eq!(portwatch.run(&["find", "shop:web"]).unwrap().code, Some(1));
}

/// Runs a command as the leader of a session with a terminal of its own, of which nobody else is; what is said to the actor is
/// typed, and what the terminal shows comes back.
const TYPIST: &str = "
import os, pty, select, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
inputs = [0, terminal]
while True:
    ready, _, _ = select.select(inputs, [], [])
    if terminal in ready:
        try: seen = os.read(terminal, 4096)
        except OSError: seen = b''
        if not seen: break
        os.write(1, seen)
    if 0 in ready:
        typed = os.read(0, 4096)
        if not typed: inputs.remove(0)
        # A line may come in pieces.
        while typed and not typed.endswith(b'\\n'): typed += os.read(0, 4096)
        os.write(terminal, typed.replace(b'^Z\\n', b'\\x1a'))
print('code', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

/// The next line that contains a text.
fn shows(actor: &mut Actor, text: &str) -> String {
    loop {
        let line = actor.line().unwrap_or_else(|error| panic!("{text}: {error}"));
        if line.contains(text) {
            return line;
        }
    }
}

#[test]
fn ctrl_z_without_a_shell_that_could_continue_it_stops_nothing() {
    in_own_netns(|| {
        let portwatch = Portwatch::new().unwrap();
        let mut command = Command::new("python3");
        command.args(["-S", "-u", "-c", TYPIST]).arg(portwatch.binary());
        command.env("PORTWATCH_STATE", portwatch.state()).env("PORTWATCH_SOCKET", portwatch.socket());
        // It counts how often it was continued, and says so when it reads a line.
        let program = "
import signal, sys
continued = 0
def count(*_):
    global continued
    continued += 1
signal.signal(signal.SIGCONT, count)
print('ready')
for line in sys.stdin:
    print('got', line.strip(), continued)
    if line.strip() == 'end': break
sys.exit(7)
";
        command.args(["run", "3100", "--no-daemon", "--", "python3", "-S", "-u", "-c", program]);
        let mut typist = Actor::start(&mut command).unwrap();
        shows(&mut typist, "ready");
        typist.say("^Z").unwrap();
        typist.say("one").unwrap();
        let line = shows(&mut typist, "got one");
        assert!(line.trim_end().ends_with(" 1"), "it was stopped and continued: {line}");
        typist.say("end").unwrap();
        shows(&mut typist, "got end");
        shows(&mut typist, "code 7");
    });
}

#[test]
fn a_stopped_program_is_continued_and_ended_by_what_its_runner_gets() {
    in_own_netns(|| {
        let portwatch = Portwatch::new().unwrap();
        let program = "
import os, signal, sys
signal.signal(signal.SIGCONT, lambda *_: print('continued'))
print(os.getpid())
os.kill(os.getpid(), signal.SIGSTOP)
while True: signal.pause()
";
        let stopped = |pid: &str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        };
        let start = || {
            // A session of its own, without a terminal.
            let mut command = Command::new("setsid");
            command.arg(portwatch.binary()).args([
                "run",
                "3100",
                "--no-daemon",
                "--",
                "python3",
                "-S",
                "-u",
                "-c",
            ]);
            command.arg(program);
            command.env("PORTWATCH_STATE", portwatch.state()).env("PORTWATCH_SOCKET", portwatch.socket());
            let mut run = Actor::start(&mut command).unwrap();
            let pid = run.line().unwrap();
            wait_until("the stop", DEADLINE, || stopped(&pid).then_some(())).unwrap();
            (run, pid)
        };
        let (mut run, pid) = start();
        run.signal(Signal::SIGCONT).unwrap();
        assert_eq!(run.line().unwrap(), "continued");
        assert!(!stopped(&pid));
        run.signal(Signal::SIGTERM).unwrap();
        assert_eq!(run.end().unwrap().code(), Some(128 + 15));
        // One that is stopped would get SIGTERM only when it is continued.
        let (run, _) = start();
        run.signal(Signal::SIGTERM).unwrap();
        assert_eq!(run.end().unwrap().code(), Some(128 + 15));
    });
}
