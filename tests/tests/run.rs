//! `run`: a program on a port, with its terminal, signals and exit code.

use std::{fs, path::Path, process::Command};

use nix::sys::signal::Signal;
use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, free_port, require_bpf, require_netns, require_program, wait_until,
};

/// Listens on PORT until its input ends.
const SERVER: &str = "
import os, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(os.environ['PORT'])))
s.listen()
print('up')
sys.stdin.read()
";

fn start(portwatch: &Portwatch, arguments: &[&str], folder: &Path) -> anyhow::Result<Actor> {
    let mut command = portwatch.command(&["run"]);
    command.args(arguments).args(["--", "python3", "-S", "-u", "-c", SERVER]).current_dir(folder);
    Actor::start(command.stderr(fs::File::create(portwatch.folder().join("stderr"))?))
}

fn said(portwatch: &Portwatch) -> String {
    fs::read_to_string(portwatch.folder().join("stderr")).unwrap_or_default()
}

/// A folder that is a project.
fn project(portwatch: &Portwatch, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let folder = portwatch.folder().join(name);
    fs::create_dir(&folder)?;
    fs::write(folder.join("package.json"), format!("{{\"name\":\"{name}\"}}"))?;
    Ok(folder)
}

#[test]
fn the_program_has_its_port_and_its_exit_code_is_the_answer() {
    let portwatch = Portwatch::new().unwrap();
    let script = "echo $PORT $HOST $0; exit 7";
    let ran = portwatch.run(&["run", "127.0.0.1:3100", "--", "sh", "-c", script, "{host}:{port}"]).unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(7), "3100 127.0.0.1 127.0.0.1:3100\n"), "{ran:?}");
    let killed = portwatch.run(&["run", "3100", "--", "sh", "-c", "kill -9 $$"]).unwrap();
    assert_eq!(killed.code, Some(137));
    let absent = portwatch.run(&["run", "3100", "--", "no-such-program"]).unwrap();
    assert_eq!(absent.code, Some(127));
    assert!(absent.stderr.contains("cannot run no-such-program"), "{absent:?}");
    let restarted =
        portwatch.run(&["run", "3100", "--restart", "2", "--", "sh", "-c", "echo x; exit 3"]).unwrap();
    assert_eq!((restarted.code, restarted.stdout.as_str()), (Some(3), "x\nx\nx\n"), "{restarted:?}");
    let said = |text: &str| restarted.stderr.contains(text);
    assert!(said("restart 1 of 2 in 500 ms") && said("restart 2 of 2 in 1 s"), "{restarted:?}");
}

#[test]
fn signals_reach_the_program_and_its_end_is_passed_on() {
    let portwatch = Portwatch::new().unwrap();
    let port = free_port().unwrap();
    let mut run = start(&portwatch, &[&port.to_string()], portwatch.folder()).unwrap();
    assert_eq!(run.line().unwrap(), "up");
    run.signal(Signal::SIGTERM).unwrap();
    assert_eq!(run.end().unwrap().code(), Some(128 + 15));
    // It is gone, and its port with it.
    assert_eq!(portwatch.run(&["wait", &port.to_string(), "--free"]).unwrap().code, Some(0));
}

#[test]
fn fifty_starts_in_a_row_all_get_the_port() {
    let portwatch = Portwatch::new().unwrap();
    let port = free_port().unwrap();
    let once = SERVER.replace("sys.stdin.read()", "");
    for round in 0..50 {
        let port = port.to_string();
        let ran = portwatch.run(&["run", &port, "--", "python3", "-S", "-c", &once]).unwrap();
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (Some(0), "up\n", ""),
            "round {round}"
        );
    }
}

#[test]
fn a_refused_bind_is_confirmed_by_the_kernel_and_tried_again_until_the_port_is_free() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let (stranger, port) = Actor::listener("127.0.0.1", 0).unwrap();
    let text = port.to_string();
    // A failure of another kind is none of this, though the port is held.
    let other = portwatch.run(&["run", &text, "--", "sh", "-c", "exit 3"]).unwrap();
    assert_eq!((other.code, other.stderr.as_str()), (Some(3), ""), "{other:?}");

    let mut run = start(&portwatch, &[&text, "--delay", "20s"], portwatch.folder()).unwrap();
    let holder = format!("python3 ({}) has it; try 1 of 4", stranger.pid());
    let words = || said(&portwatch).contains(&holder).then_some(());
    wait_until("the retry", DEADLINE, words).unwrap_or_else(|error| panic!("{error}: {}", said(&portwatch)));
    stranger.finish().unwrap();
    assert_eq!(run.line().unwrap(), "up");
    assert!(run.finish().unwrap().success());
}

#[test]
fn take_ends_the_leftover_of_the_same_project_and_no_stranger() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let (own, other) = (project(&portwatch, "own").unwrap(), project(&portwatch, "other").unwrap());
    let port = free_port().unwrap();
    let text = port.to_string();
    let server = |folder: &Path| {
        let mut command = Command::new("python3");
        command.args(["-S", "-u", "-c", SERVER]).env("PORT", &text).current_dir(folder);
        let mut actor = Actor::start(&mut command).unwrap();
        assert_eq!(actor.line().unwrap(), "up");
        actor
    };
    let stranger = server(&other);
    let refused = start(&portwatch, &[&text, "--take", "--retries", "0"], &own).unwrap();
    assert_eq!(refused.finish().unwrap().code(), Some(1));
    assert!(said(&portwatch).contains("is not of this project"), "{}", said(&portwatch));
    assert!(stranger.finish().unwrap().success());

    let leftover = server(&own);
    let mut run = start(&portwatch, &[&text, "--take"], &own).unwrap();
    assert_eq!(run.line().unwrap(), "up");
    assert!(
        said(&portwatch).contains(&format!("({}) ended by SIGTERM", leftover.pid())),
        "{}",
        said(&portwatch)
    );
    assert!(run.finish().unwrap().success());
}

#[test]
fn take_ends_nobody_where_nobody_saw_the_refused_bind() {
    let portwatch = Portwatch::new().unwrap();
    let own = project(&portwatch, "own").unwrap();
    let port = free_port().unwrap().to_string();
    let mut server = Command::new("python3");
    server.args(["-S", "-u", "-c", SERVER]).env("PORT", &port).current_dir(&own);
    let mut leftover = Actor::start(&mut server).unwrap();
    assert_eq!(leftover.line().unwrap(), "up");
    // It fails of something else, while somebody has the port.
    let mut command = portwatch.command(&["run", &port, "--take", "--retries", "0", "--", "false"]);
    command.current_dir(&own).stderr(fs::File::create(portwatch.folder().join("stderr")).unwrap());
    assert_eq!(Actor::start(&mut command).unwrap().finish().unwrap().code(), Some(1));
    assert!(said(&portwatch).contains("nobody saw the kernel refuse"), "{}", said(&portwatch));
    assert!(leftover.finish().unwrap().success());
}

/// The pid that a program has, once it says so.
const STUBBORN: &str = "
import os, signal, socket
signal.signal(signal.SIGTERM, signal.SIG_IGN)
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(os.environ['PORT'])))
s.listen()
print(os.getpid())
while True: signal.pause()
";

#[test]
fn the_program_of_a_runner_that_was_killed_is_asked_to_end() {
    let portwatch = Portwatch::new().unwrap();
    let port = free_port().unwrap().to_string();
    let mut run = start(&portwatch, &[&port], portwatch.folder()).unwrap();
    assert_eq!(run.line().unwrap(), "up");
    run.signal(Signal::SIGKILL).unwrap();
    let place = format!("127.0.0.1:{port}");
    assert_eq!(portwatch.run(&["wait", &place, "--free", "--timeout", "15s"]).unwrap().code, Some(0));
}

#[test]
fn a_leftover_of_a_runner_that_was_killed_is_taken_by_the_next() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let folder = project(&portwatch, "own").unwrap();
    let port = free_port().unwrap().to_string();
    let mut command = portwatch.command(&["run", &port, "--", "python3", "-S", "-u", "-c", STUBBORN]);
    let mut first = Actor::start(command.current_dir(&folder)).unwrap();
    let leftover = first.line().unwrap();
    first.signal(Signal::SIGKILL).unwrap();
    let mut command = portwatch.command(&["run", &port, "--take"]);
    command.args(["--", "python3", "-S", "-u", "-c", SERVER]).current_dir(&folder);
    command.stderr(fs::File::create(portwatch.folder().join("stderr")).unwrap());
    let mut second = Actor::start(&mut command).unwrap();
    assert_eq!(second.line().unwrap(), "up");
    let words = said(&portwatch);
    assert!(words.contains("taken back") && words.contains(&format!("({leftover}) killed")), "{words}");
    assert!(second.finish().unwrap().success());
}

#[test]
fn a_terminal_is_the_programs_while_it_runs_and_the_shells_after() {
    if !require_program("tmux") {
        return;
    }
    let portwatch = Portwatch::new().unwrap();
    let socket = portwatch.folder().join("tmux");
    let tmux = |words: &[&str]| {
        let output = Command::new("tmux").arg("-S").arg(&socket).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let command = portwatch.command(&[]);
    let binary = command.get_program().to_str().unwrap();
    // A shell with job control; the program reads a line from the terminal, which only the foreground may.
    tmux(&[
        "-f",
        "/dev/null",
        "new-session",
        "-d",
        "-x",
        "80",
        "-y",
        "24",
        "env PS1='ready> ' bash --norc -i",
    ]);
    let shows = |text: &str| {
        let seen = || tmux(&["capture-pane", "-p"]).contains(text).then_some(());
        wait_until(text, DEADLINE, seen)
            .unwrap_or_else(|e| panic!("{e}:\n{}", tmux(&["capture-pane", "-p"])));
    };
    let enter = |line: &str| drop(tmux(&["send-keys", line, "Enter"]));
    shows("ready>");
    let program = "sh -c \"echo ask-\\$((1+1)); read x; echo got-\\$x; sleep 1000\"";
    enter(&format!("{binary} --no-daemon run 3100 -- {program}"));
    // What is typed before the program has the terminal may be the shell's.
    shows("ask-2");
    enter("line");
    shows("got-line");
    tmux(&["send-keys", "C-z"]);
    shows("Stopped");
    enter("fg");
    tmux(&["send-keys", "C-c"]);
    enter("echo code-$?");
    shows("code-130");
    // Ctrl-C ends the loop or script that runs it, too, and not one turn of it. The second program would have a new name.
    for (kind, before, after) in
        [("loop", "for n in 1 2 3; do", "; done"), ("script", "bash -c '", "; echo not-here'")]
    {
        let program = format!("sh -c \"echo {kind}-\\$((1+1)); exec sleep 1000\"");
        enter(&format!("{before} {binary} --no-daemon run 3100 -- {program}{after}"));
        shows(&format!("{kind}-2"));
        tmux(&["send-keys", "C-c"]);
        wait_until("a prompt", DEADLINE, || {
            tmux(&["capture-pane", "-p"]).trim_end().ends_with("ready>").then_some(())
        })
        .unwrap_or_else(|e| panic!("{e}:\n{}", tmux(&["capture-pane", "-p"])));
        enter(&format!("echo {kind}-out-$?"));
        shows(&format!("{kind}-out-130"));
        let screen = tmux(&["capture-pane", "-p"]);
        assert!(!screen.lines().any(|line| line == "not-here"), "{screen}");
    }
    tmux(&["kill-server"]);
}

/// Listens on the port its arguments name, and above it where that is taken, as development servers do.
const FRAMEWORK: &str = "
import socket, sys
port = int(sys.argv[1])
while True:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(('127.0.0.1', port))
        break
    except OSError:
        s.close()
        port += 1
s.listen()
print(port)
sys.stdin.read()
";

fn framework(portwatch: &Portwatch, target: &str, folder: &Path) -> anyhow::Result<Actor> {
    let mut command =
        portwatch.command(&["run", target, "--", "python3", "-S", "-u", "-c", FRAMEWORK, "{port}"]);
    command.current_dir(folder);
    Actor::start(command.stderr(fs::File::create(portwatch.folder().join("stderr"))?))
}

fn port_of(portwatch: &Portwatch, name: &str) -> Option<u16> {
    let ran = portwatch.run(&["find", name, "--json"]).ok()?;
    let port = ran.json().ok()?.pointer("/claims/0/port")?.as_u64()?;
    u16::try_from(port).ok()
}

fn says(portwatch: &Portwatch, text: &str) -> anyhow::Result<()> {
    wait_until(text, DEADLINE, || said(portwatch).contains(text).then_some(()))
        .map_err(|error| error.context(said(portwatch)))
}

#[test]
fn a_framework_that_picked_another_port_is_followed_by_its_claim() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let folder = project(&portwatch, "shop").unwrap();
    let claimed = portwatch.run(&["claim", "shop:web", "-q"]).unwrap();
    let given: u16 = claimed.stdout.trim().parse().unwrap();
    let (_stranger, _) = Actor::listener("127.0.0.1", given).unwrap();
    let mut run = framework(&portwatch, "shop:web", &folder).unwrap();
    let chosen: u16 = run.line().unwrap().parse().unwrap();
    assert_ne!(chosen, given);
    says(&portwatch, &format!("it listens on {chosen} instead of {given}; shop:web is {chosen} from now on"))
        .unwrap();
    assert_eq!(port_of(&portwatch, "shop:web"), Some(chosen));
    let log = portwatch.run(&["log", "--type", "claim", "--json"]).unwrap().stdout;
    assert!(log.contains(&format!("moved from {given}")), "{log}");
    // It ends in failure later, and that is no refused bind.
    run.signal(Signal::SIGTERM).unwrap();
    assert_eq!(run.end().unwrap().code(), Some(128 + 15));
    assert!(!said(&portwatch).contains("try 1"), "{}", said(&portwatch));
}

#[test]
fn without_a_daemon_it_is_followed_when_it_stays_there() {
    let portwatch = Portwatch::new().unwrap();
    let folder = project(&portwatch, "shop").unwrap();
    fs::write(folder.join(".portwatch.toml"), "[stacks.api]\nport = 21877\n").unwrap();
    let given: u16 = portwatch.run(&["claim", "shop:web", "-q"]).unwrap().stdout.trim().parse().unwrap();
    let (_stranger, _) = Actor::listener("127.0.0.1", given).unwrap();
    let mut run = framework(&portwatch, "web", &folder).unwrap();
    let chosen: u16 = run.line().unwrap().parse().unwrap();
    says(&portwatch, &format!("instead of {given}; shop:web is {chosen} from now on")).unwrap();
    assert_eq!(port_of(&portwatch, "shop:web"), Some(chosen));
    assert!(run.finish().unwrap().success());
}

#[test]
fn the_environment_has_the_names_of_the_project_file_and_of_its_other_claims() {
    let portwatch = Portwatch::new().unwrap();
    let folder = project(&portwatch, "shop").unwrap();
    let file = "[stacks.web]\nenv = [\"VITE_PORT\", \"WEB\"]\nrelease = \"exit\"\n[stacks.api]\nports = 2\n";
    fs::write(folder.join(".portwatch.toml"), file).unwrap();
    let inside = |words: &[&str]| {
        let output = portwatch.command(words).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let api = inside(&["claim", "api", "-q"]);
    let script = "echo $PORT $PORT_WEB $VITE_PORT $WEB; echo $PORT_API; echo $PORT_API_2; echo $0";
    let said = inside(&["run", "web", "--", "sh", "-c", script, "{port}"]);
    let lines: Vec<&str> = said.lines().collect();
    let web = lines.last().unwrap();
    assert_eq!(lines[0], [*web; 4].join(" "));
    assert_eq!(lines[1..3].join("\n"), api.trim());
    // The project says that its claim goes with the program; the flag says otherwise.
    assert_eq!(port_of(&portwatch, "shop:web"), None);
    inside(&["run", "web", "--keep", "--", "true"]);
    assert_eq!(port_of(&portwatch, "shop:web").map(|port| port.to_string()).as_deref(), Some(*web));
    inside(&["run", "web", "--release", "--", "true"]);
    assert_eq!(port_of(&portwatch, "shop:web"), None);
    assert!(port_of(&portwatch, "shop:api").is_some());
}

#[test]
fn two_runs_of_one_name_share_the_port_one_after_the_other() {
    let portwatch = Portwatch::new().unwrap();
    let mut first = start(&portwatch, &["shop:web"], portwatch.folder()).unwrap();
    assert_eq!(first.line().unwrap(), "up");
    let late = start(&portwatch, &["shop:web", "--retries", "0"], portwatch.folder()).unwrap();
    assert_eq!(late.finish().unwrap().code(), Some(1));
    let words = said(&portwatch);
    assert!(words.contains(&format!("started by portwatch run ({})", first.pid())), "{words}");
    let mut second =
        start(&portwatch, &["shop:web", "--delay", "20s", "--release"], portwatch.folder()).unwrap();
    says(&portwatch, "try 1 of 4").unwrap();
    assert!(first.finish().unwrap().success());
    assert_eq!(second.line().unwrap(), "up");
    assert!(second.finish().unwrap().success());
    assert_eq!(port_of(&portwatch, "shop:web"), None);
}

#[test]
fn ready_is_listening_or_well_and_what_is_not_in_time_is_ended() {
    let portwatch = Portwatch::new().unwrap();
    let port = free_port().unwrap().to_string();
    // Silent in a pipe.
    let once = SERVER.replace("sys.stdin.read()", "import time; time.sleep(0.5)");
    let ran = portwatch.run(&["run", &port, "--wait-ready", "--", "python3", "-S", "-c", &once]).unwrap();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");

    let deaf = "import signal\nwhile True: signal.pause()";
    let ran =
        portwatch.run(&["run", &port, "--wait-ready", "200ms", "--", "python3", "-S", "-c", deaf]).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let words = format!("not ready within 200 ms, so it is ended: nothing of it listens on {port}");
    assert!(ran.stderr.contains(&words), "{ran:?}");

    let sick = "
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == '/up' else 503)
        self.end_headers()
        if self.path == '/up': os._exit(0)
    def log_message(self, *words): pass
http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
";
    let run = |path: &str| {
        let health =
            ["run", &port, "--wait-ready", "3s", "--health", path, "--", "python3", "-S", "-c", sick];
        portwatch.run(&health).unwrap()
    };
    let ran = run("/");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(&format!("{port}: answers 503 Service Unavailable")), "{ran:?}");
    assert_eq!(run("/up").code, Some(0));
    for bad in [&["--health", "up"][..], &["--wait-ready", "soon"], &["--release", "--keep"]] {
        let words = [&["run", &port], bad, &["--", "true"]].concat();
        assert_eq!(portwatch.run(&words).unwrap().code, Some(2), "{words:?}");
    }
}

#[test]
fn time_wait_is_told_to_a_server_without_reuse_and_is_nothing_to_one_with_it() {
    if !require_netns() {
        return;
    }
    let netns = Netns::new().unwrap();
    let portwatch = Portwatch::new().unwrap();
    let leave = || -> anyhow::Result<()> {
        let listener = std::net::TcpListener::bind("127.0.0.1:3100")?;
        let client = std::net::TcpStream::connect("127.0.0.1:3100")?;
        drop(listener.accept()?);
        drop(client);
        Ok(())
    };
    let once = SERVER.replace("sys.stdin.read()", "");
    let strict = once.replace("s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n", "");
    netns
        .enter(|| {
            leave()?;
            let run = |program: &str| portwatch.run(&["run", "3100", "--", "python3", "-S", "-c", program]);
            let lax = run(&once)?;
            assert_eq!((lax.code, lax.stderr.as_str()), (Some(0), ""), "{lax:?}");
            let refused = run(&strict)?;
            assert_eq!(refused.code, Some(1), "{refused:?}");
            let words = "3100 may have been refused to it: 1 in TIME_WAIT, and it does not set SO_REUSEADDR";
            assert!(refused.stderr.contains(words), "{refused:?}");
            assert!(refused.stderr.contains("portwatch free 3100 --time-wait"), "{refused:?}");
            assert_eq!(portwatch.run(&["free", "3100", "--time-wait", "--yes"])?.code, Some(0));
            assert_eq!(run(&strict)?.code, Some(0));
            Ok(())
        })
        .unwrap();
}
