//! What people look at: a real terminal (tmux), 80 and 200 columns wide, and names chosen by somebody hostile.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use portwatch_tests::{Actor, DEADLINE, Portwatch, free_port, require_bpf, wait_until};

/// A terminal of so many columns that runs portwatch. It ends with this value.
struct Terminal {
    server: std::path::PathBuf,
}

impl Terminal {
    fn run(portwatch: &Portwatch, columns: u16, arguments: &[&str]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { server: portwatch.folder().join(format!("tmux{number}")) };
        let mut words = vec!["env".to_owned()];
        for (name, value) in portwatch.command(&[]).get_envs() {
            if let Some(value) = value {
                words.push(format!("{}={}", name.display(), value.display()));
            }
        }
        words.push(portwatch.binary().display().to_string());
        words.extend(arguments.iter().map(|&word| word.to_owned()));
        let columns = columns.to_string();
        let size = ["new-session", "-d", "-x", &columns, "-y", "60"];
        // The pane stays when its program has ended.
        let keep = [";", "set-option", "remain-on-exit", "on"];
        let program = format!("'{}'; echo END; read x", words.join("' '"));
        let status =
            terminal.tmux().args(size).arg(program).args(keep).status().expect("tmux (package tmux)");
        assert!(status.success(), "{status}");
        terminal
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-f/dev/null").arg("-S").arg(&self.server).env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        command
    }

    /// What is on the screen now; `-e` keeps colours as escape sequences.
    fn screen(&self) -> String {
        let output = self.tmux().args(["capture-pane", "-p"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The screen once it shows this.
    fn until(&self, text: &str) -> String {
        let mut last = String::new();
        let found = wait_until(&format!("'{text}' on the terminal"), DEADLINE, || {
            last = self.screen();
            last.contains(text).then(|| last.clone())
        });
        found.unwrap_or_else(|error| panic!("{error}:\n{last}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").stderr(Stdio::null()).status();
    }
}

/// A server that calls itself something that would clear the screen, forge a row and end its own parenthesis.
fn hostile() -> (Actor, String) {
    let program = r"
import ctypes, socket, sys
ctypes.CDLL(None).prctl(15, b')\x1b[2J\n1/tcp x', 0, 0, 0)
s = socket.create_server(('127.51.0.1', 0))
print(s.getsockname()[1])
sys.stdin.read()
";
    let mut actor = Actor::python(program, &["\x1b]0;owned\x07", "a\nb"]).unwrap();
    let port = actor.line().unwrap();
    (actor, port)
}

#[test]
fn who_and_ls_fit_the_terminal_and_hostile_names_stay_text() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let (_actor, port) = hostile();
    for columns in [80, 200] {
        for arguments in [&["who", &port][..], &["ls", "--port", &port], &["log", "--port", &port]] {
            let screen = Terminal::run(&portwatch, columns, arguments).until("END");
            assert!(screen.contains(&port), "{arguments:?} at {columns}:\n{screen}");
            assert!(screen.contains(r")\x1b[2J\n1/tcp"), "shown, not obeyed, at {columns}:\n{screen}");
            assert!(!screen.lines().any(|line| line.starts_with("1/tcp")), "a forged row:\n{screen}");
            assert!(!screen.lines().any(|line| line.ends_with(' ')), "{screen}");
        }
    }
}

#[test]
fn log_takes_one_line_an_event_at_80_and_at_200_columns() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let long = ["--one-long-argument-after-another"; 12];
    let program =
        "import socket, sys; s = socket.create_server(('127.51.0.2', 0)); print(s.getsockname()[1])";
    let mut server = Actor::python(program, &long).unwrap();
    let port = server.line().unwrap();
    server.finish().unwrap();
    portwatch.wait_for("exit", &["--port", &port]).unwrap();
    for columns in [80, 200] {
        let screen = Terminal::run(&portwatch, columns, &["log", "--port", &port]).until("END");
        let lines: Vec<_> = screen.lines().take_while(|line| *line != "END").collect();
        assert_eq!(lines.len(), 5, "the zone, bind, listen, close, exit:\n{screen}");
        assert!(lines.first().unwrap().starts_with("Times are "), "{screen}");
        let commands = screen.matches("-S -u -c").count();
        assert_eq!(commands, usize::from(columns == 200), "once, where there is room, and cut:\n{screen}");
    }
}

#[test]
fn watch_shows_what_happens_while_one_looks() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let terminal = Terminal::run(&portwatch, 80, &["watch", "--type", "listen,close"]);
    let seen = wait_until("a listener on the terminal", DEADLINE, || {
        // One that comes before watch has begun is not shown; another follows.
        let (listener, port) = Actor::listener("127.51.0.3", 0).ok()?;
        listener.finish().ok()?;
        let rows = |screen: &str, kind: &str| {
            screen.lines().any(|line| line.contains(kind) && line.contains(&format!("{port}/tcp")))
        };
        let shown = wait_until("its rows", DEADLINE / 20, || {
            let screen = terminal.screen();
            (rows(&screen, "listen") && rows(&screen, "close")).then_some(())
        });
        shown.ok()
    });
    seen.unwrap_or_else(|error| panic!("{error}:\n{}", terminal.screen()));
}

#[test]
fn watch_takes_the_room_that_the_terminal_has_by_then() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    let terminal = Terminal::run(&portwatch, 60, &["watch", "--type", "listen"]);
    let row = |longest: std::ops::RangeInclusive<usize>| {
        let seen = wait_until("a listener on the terminal", DEADLINE, || {
            // One that comes before watch has begun is not shown; another follows.
            let (listener, port) = Actor::listener("127.51.0.4", 0).ok()?;
            let shown = wait_until("its row", DEADLINE / 20, || {
                let screen = terminal.screen();
                let row = screen.lines().find(|line| line.contains(&format!("{port}/tcp")))?;
                Some(row.chars().count())
            });
            listener.finish().ok()?;
            shown.ok()
        });
        let seen = seen.unwrap_or_else(|error| panic!("{error}:\n{}", terminal.screen()));
        assert!(longest.contains(&seen), "{seen} of {longest:?}:\n{}", terminal.screen());
    };
    row(1..=60);
    let resized = terminal.tmux().args(["resize-window", "-x", "200"]).status().unwrap();
    assert!(resized.success());
    row(61..=200);
}

#[test]
fn a_reader_that_leaves_early_is_no_trouble() {
    if !require_bpf() {
        return;
    }
    let portwatch = Portwatch::started(&[]).unwrap();
    // More than a pipe holds.
    let program = "
import socket
for _ in range(1500):
    s = socket.create_server(('127.51.0.4', 0)); s.close()
print()";
    Actor::python(program, &[]).unwrap().line().unwrap();
    let mut command = portwatch.command(&["log", "--limit", "0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(first.contains("start"), "{first}");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{output:?}");
}

#[test]
fn wait_has_one_line_of_progress_on_a_terminal_and_none_in_a_pipe() {
    let portwatch = Portwatch::new().unwrap();
    let port = free_port().unwrap();
    let (holder, _) = Actor::listener("127.0.0.1", port).unwrap();
    let asked = port.to_string();
    let terminal = Terminal::run(&portwatch, 100, &["wait", &asked, "--free", "--timeout", "10m"]);
    let held = format!(" s: {asked} python3 ({}) listens", holder.pid());
    // The same line, whose seconds go on.
    let first = terminal.until(&held);
    let second = wait_until("the next second", DEADLINE, || {
        Some(terminal.screen()).filter(|screen| screen.contains(&held) && *screen != first)
    })
    .unwrap();
    for screen in [first, second] {
        assert_eq!(screen.matches("waiting").count(), 1, "{screen}");
    }
    drop(holder);
    let screen = terminal.until("END");
    assert!(screen.starts_with(&format!("{asked}/tcp  free, after ")), "{screen}");
    assert!(!screen.contains("waiting"), "{screen}");

    let (_holder, _) = Actor::listener("127.0.0.1", port).unwrap();
    let ran = portwatch.run(&["wait", &asked, "--free", "--timeout", "1200ms"]).unwrap();
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(1), "", ""));
}

#[test]
fn free_says_on_a_terminal_what_it_waits_for_and_nothing_of_that_in_a_pipe() {
    let portwatch = Portwatch::new().unwrap();
    let program = "
import signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
s = socket.create_server(('127.0.0.1', int(sys.argv[1])))
print('up')
sys.stdin.read()
";
    let stubborn = |port: u16| {
        let mut actor = Actor::python(program, &[&port.to_string()]).unwrap();
        assert_eq!(actor.line().unwrap(), "up");
        actor
    };
    let port = free_port().unwrap();
    let asked = port.to_string();
    let holder = stubborn(port);
    let terminal = Terminal::run(&portwatch, 120, &["free", &asked, "--yes", "--grace", "5s"]);
    let words = format!("s: SIGTERM sent to python3 ({}), SIGKILL after 5000 ms", holder.pid());
    let screen = terminal.until(&words);
    assert_eq!(screen.matches("waiting").count(), 1, "{screen}");
    let screen = terminal.until("END");
    assert!(!screen.contains("waiting") && screen.contains("killed 5000 ms later"), "{screen}");

    let holder = stubborn(port);
    let ran = portwatch.run(&["free", &asked, "--yes", "--grace", "1s"]).unwrap();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.starts_with(&format!("{asked}/tcp  free after ")), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    drop(holder);
}

#[test]
fn run_says_in_whole_lines_that_a_program_is_not_ready_yet() {
    let portwatch = Portwatch::new().unwrap();
    let asked = free_port().unwrap().to_string();
    let go = portwatch.folder().join("go");
    // It talks meanwhile, to the same terminal.
    // Without an apostrophe, which is the shell's.
    let program = format!(
        r#"import os, socket, time
print("starting", flush=True)
while not os.path.exists({0:?}): time.sleep(0.05)
print("almost", flush=True)
s = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while os.path.exists({0:?}): time.sleep(0.05)
"#,
        go.display().to_string()
    );
    let words = ["run", &asked, "--wait-ready", "10m", "--", "python3", "-S", "-c", &program];
    let terminal = Terminal::run(&portwatch, 100, &words);
    let held = format!(" s: nothing of it listens on {asked}");
    let is_line = |line: &str| line.starts_with("portwatch: waiting ") && line.ends_with(&held);
    wait_until("two lines", DEADLINE, || {
        (terminal.screen().lines().filter(|line| is_line(line.trim_end())).count() > 1).then_some(())
    })
    .unwrap();
    std::fs::write(&go, "").unwrap();
    let screen = terminal.until("portwatch: ready after");
    let lines: Vec<&str> = screen.lines().map(str::trim_end).collect();
    assert!(lines.contains(&"starting") && lines.contains(&"almost"), "{screen}");
    assert!(lines.iter().filter(|line| line.contains("waiting")).all(|line| is_line(line)), "{screen}");
    std::fs::remove_file(&go).unwrap();
    terminal.until("END");

    // The same without a terminal: its output is the program's alone.
    std::fs::write(&go, "").unwrap();
    let mut command = portwatch.command(&words);
    command.stderr(std::fs::File::create(portwatch.folder().join("stderr")).unwrap());
    let mut actor = Actor::start(&mut command).unwrap();
    assert_eq!((actor.line().unwrap(), actor.line().unwrap()), ("starting".to_owned(), "almost".to_owned()));
    std::fs::remove_file(&go).unwrap();
    assert_eq!(actor.end().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_to_string(portwatch.folder().join("stderr")).unwrap(), "");
}
