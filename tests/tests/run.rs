//! `run`: a program on a port, with its terminal, signals and exit code.

use std::{fs, path::Path, process::Command};

use nix::sys::signal::Signal;
use portwatch_tests::{Actor, DEADLINE, Portwatch, require_bpf, require_program, wait_until};

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
    assert_eq!(absent.code, Some(2));
    assert!(absent.stderr.contains("cannot run no-such-program"), "{absent:?}");
    let restarted =
        portwatch.run(&["run", "3100", "--restart", "1", "--", "sh", "-c", "echo x; exit 3"]).unwrap();
    assert_eq!((restarted.code, restarted.stdout.as_str()), (Some(3), "x\nx\n"), "{restarted:?}");
}

#[test]
fn signals_reach_the_program_and_its_end_is_passed_on() {
    let portwatch = Portwatch::new().unwrap();
    let (free, port) = Actor::listener("127.0.0.1", 0).unwrap();
    free.finish().unwrap();
    let mut run = start(&portwatch, &[&port.to_string()], portwatch.folder()).unwrap();
    assert_eq!(run.line().unwrap(), "up");
    run.signal(Signal::SIGTERM).unwrap();
    assert_eq!(run.finish().unwrap().code(), Some(128 + 15));
    // It is gone, and its port with it.
    assert_eq!(portwatch.run(&["wait", &port.to_string(), "--free"]).unwrap().code, Some(0));
}

#[test]
fn fifty_starts_in_a_row_all_get_the_port() {
    let portwatch = Portwatch::new().unwrap();
    let (free, port) = Actor::listener("127.0.0.1", 0).unwrap();
    free.finish().unwrap();
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
    let portwatch = Portwatch::new().unwrap();
    let (own, other) = (project(&portwatch, "own").unwrap(), project(&portwatch, "other").unwrap());
    let (free, port) = Actor::listener("127.0.0.1", 0).unwrap();
    free.finish().unwrap();
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
fn a_leftover_of_a_runner_that_was_killed_is_taken_by_the_next() {
    let portwatch = Portwatch::new().unwrap();
    let folder = project(&portwatch, "own").unwrap();
    let (free, port) = Actor::listener("127.0.0.1", 0).unwrap();
    free.finish().unwrap();
    let text = port.to_string();
    // Its input stays open with this test, so that only a signal ends it.
    let mut first = start(&portwatch, &[&text], &folder).unwrap();
    assert_eq!(first.line().unwrap(), "up");
    first.signal(Signal::SIGKILL).unwrap();
    let mut second = start(&portwatch, &[&text, "--take"], &folder).unwrap();
    assert_eq!(second.line().unwrap(), "up");
    assert!(said(&portwatch).contains("taken back"), "{}", said(&portwatch));
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
    tmux(&["kill-server"]);
}
