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

use portwatch_tests::{Actor, DEADLINE, Portwatch, require_bpf, wait_until};

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
