//! Starting, stopping and asking how it is, by the commands people use.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixDatagram, UnixListener},
    },
    process::Command,
};

use portwatch_tests::{DEADLINE, Portwatch, Ran, wait_until};

/// Ends a daemon that `start` began, also when the test fails.
struct Detached<'a>(&'a Portwatch);

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(&["stop"]);
    }
}

fn run(portwatch: &Portwatch, arguments: &[&str], code: i32) -> Ran {
    let ran = portwatch.run(arguments).unwrap();
    assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
    ran
}

fn pid_of(portwatch: &Portwatch) -> u64 {
    portwatch.status().unwrap()["pid"].as_u64().unwrap()
}

#[test]
fn places_are_those_of_whoever_names_them_and_not_of_the_daemons_directory() {
    let portwatch = Portwatch::new().unwrap();
    let daemon = Detached(&portwatch);
    let mut start = portwatch.command(&["start", "--socket", "s", "--state", "state"]);
    start.current_dir(portwatch.folder());
    let started = portwatch.run_command(start).unwrap();
    assert_eq!(started.code, Some(0), "{started:?}");
    assert_eq!(
        run(&portwatch, &["status", "--json"], 0).json().unwrap()["database"].as_str(),
        portwatch.database().to_str()
    );
    run(&portwatch, &["stop"], 0);
    drop(daemon);
}

#[test]
fn a_daemon_is_started_asked_restarted_and_stopped() {
    let portwatch = Portwatch::new().unwrap();
    assert!(run(&portwatch, &["status"], 1).stdout.starts_with("not running\n"));
    assert!(run(&portwatch, &["stop"], 1).stdout.starts_with("no portwatch daemon runs"));
    let version = run(&portwatch, &["version"], 0).stdout;
    assert!(version.ends_with("daemon    none answers\n"), "{version}");

    let daemon = Detached(&portwatch);
    let started = run(&portwatch, &["start"], 0).stdout;
    let pid = pid_of(&portwatch);
    assert_eq!(started, format!("portwatch daemon started (pid {pid}), {}\n", portwatch.socket().display()));
    assert!(run(&portwatch, &["version"], 0).stdout.ends_with("daemon    the same build\n"));
    let status = run(&portwatch, &["status"], 0).stdout;
    assert!(status.starts_with(&format!("running  pid {pid}  since ")), "{status}");

    // A second one is refused, by either command, and names the first.
    let second = run(&portwatch, &["start"], 1);
    assert!(second.stdout.starts_with(&format!("a portwatch daemon runs already (pid {pid})")), "{second:?}");
    assert_eq!(second.stderr, "");
    let second = run(&portwatch, &["daemon"], 3);
    assert!(second.stderr.contains(&format!("a portwatch daemon runs already (pid {pid})")), "{second:?}");
    assert_eq!(pid_of(&portwatch), pid);

    run(&portwatch, &["restart"], 0);
    let renewed = pid_of(&portwatch);
    assert_ne!(renewed, pid);
    let doctor = run(&portwatch, &["doctor"], 0).stdout;
    assert!(doctor.lines().all(|line| line.starts_with(['o', 'd', ' '])), "each line is a check: {doctor}");
    assert_eq!(doctor.lines().filter(|line| line.contains("  listen ")).count(), 1, "{doctor}");

    let stopped = run(&portwatch, &["stop"], 0).stdout;
    assert_eq!(stopped, format!("portwatch daemon stopped (pid {renewed})\n"));
    assert!(!portwatch.socket().exists(), "the socket goes with its daemon");
    drop(daemon);
}

#[test]
fn a_daemon_whose_lock_file_was_removed_stays_the_only_one_of_its_state_and_is_named_again() {
    let mut portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let pid = portwatch.pid().unwrap();
    let file = portwatch.state().join("portwatch.lock");
    let named = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    // At another socket, where nobody answers: only the state is in its way.
    let socket = portwatch.folder().join("other");
    let second = run(&portwatch, &["daemon", "--source", "scan", "--socket", socket.to_str().unwrap()], 3);
    assert!(second.stderr.contains("a portwatch daemon runs already"), "{second:?}");
    assert_eq!(pid_of(&portwatch), u64::from(pid), "the first one answers as before");

    wait_until("the file to be there again", DEADLINE, || {
        fs::read_to_string(&file).is_ok_and(|found| found == named).then_some(())
    })
    .unwrap();
    let second = run(&portwatch, &["start"], 1);
    assert!(second.stdout.starts_with(&format!("a portwatch daemon runs already (pid {pid})")), "{second:?}");
    // `stop` finds whom to ask, and the directory is free then.
    let stopped = run(&portwatch, &["stop"], 0).stdout;
    assert_eq!(stopped, format!("portwatch daemon stopped (pid {pid})\n"));
    assert!(portwatch.stop().unwrap().success());
    portwatch.start(&["--source", "scan"]).unwrap();
}

#[test]
fn what_the_daemon_keeps_is_its_owners_and_its_socket_everybodys() {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(portwatch.database()), 0o600);
    let socket = fs::metadata(portwatch.socket()).unwrap();
    assert!(socket.file_type().is_socket());
    if nix::unistd::Uid::effective().is_root() {
        assert_eq!(mode(portwatch.socket()), 0o666);
    }
}

#[test]
fn a_socket_that_a_crash_left_is_taken_over_and_others_are_not() {
    let mut portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    portwatch.crash().unwrap();
    assert!(portwatch.socket().exists());
    let ran = run(&portwatch, &["ls"], 0);
    assert!(ran.stdout.contains("note: nobody listens at"), "{ran:?}");
    portwatch.start(&["--source", "scan"]).unwrap();
    assert!(portwatch.stop().unwrap().success());

    fs::write(portwatch.socket(), "a letter").unwrap();
    let ran = run(&portwatch, &["daemon", "--source", "scan"], 3);
    assert!(ran.stderr.contains("something that is not a socket is there"), "{ran:?}");
    assert_eq!(fs::read_to_string(portwatch.socket()).unwrap(), "a letter");
    fs::remove_file(portwatch.socket()).unwrap();

    let _other = UnixListener::bind(portwatch.socket()).unwrap();
    let ran = run(&portwatch, &["daemon", "--source", "scan"], 3);
    assert!(ran.stderr.contains("another server listens at"), "{ran:?}");
    assert!(portwatch.socket().exists());
}

/// What answers at its socket is another one: that is no sign of life of ours.
#[test]
fn a_daemon_that_ends_at_once_is_not_started_though_another_answers_at_its_socket() {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let pid = pid_of(&portwatch);
    let state = portwatch.folder().join("elsewhere");
    let ran = run(&portwatch, &["start", "--source", "scan", "--state", state.to_str().unwrap()], 5);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("the daemon did not start"), "{ran:?}");
    assert!(
        ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ").contains("another server listens at"),
        "{ran:?}"
    );
    assert_eq!(pid_of(&portwatch), pid, "the other one answers as before");
}

#[test]
fn everybody_comes_to_a_socket_for_everybody_whatever_the_umask_of_who_starts_it() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let portwatch = Portwatch::new().unwrap();
    let (made, found) = (portwatch.folder().join("made"), portwatch.folder().join("found"));
    fs::create_dir(&found).unwrap();
    fs::set_permissions(&found, fs::Permissions::from_mode(0o700)).unwrap();
    for (directory, expected) in [(&made, 0o755), (&found, 0o700)] {
        let mut shell = Command::new("sh");
        let start = portwatch.command(&["start", "--source", "scan", "--socket"]);
        shell.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(start.get_program()).args(start.get_args());
        shell.arg(directory.join("socket"));
        for (name, value) in start.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let daemon = Detached(&portwatch);
        let started = portwatch.run_command(shell).unwrap();
        assert_eq!(started.code, Some(0), "{started:?}");
        let rights = fs::metadata(directory).unwrap().permissions().mode() & 0o777;
        assert_eq!(rights, expected, "{}: only what the daemon made is its own to open", directory.display());
        run(&portwatch, &["stop"], 0);
        drop(daemon);
    }
}

#[test]
fn the_service_manager_is_told_when_it_serves_and_when_it_stops() {
    let portwatch = Portwatch::new().unwrap();
    let path = portwatch.folder().join("notify");
    let notify = UnixDatagram::bind(&path).unwrap();
    notify.set_read_timeout(Some(DEADLINE)).unwrap();
    let hear = |wanted: &str| {
        let mut heard = String::new();
        while !heard.lines().any(|line| line == wanted) {
            let mut buffer = [0; 4096];
            let len = notify.recv(&mut buffer).unwrap_or_else(|error| panic!("{wanted}: {error}; {heard}"));
            heard += &String::from_utf8_lossy(&buffer[..len]);
            heard.push('\n');
        }
    };
    let mut command = portwatch.command(&["daemon", "--source", "scan"]);
    let mut child =
        command.env("NOTIFY_SOCKET", &path).stderr(fs::File::create("/dev/null").unwrap()).spawn().unwrap();
    hear("READY=1");
    let ran = portwatch.run(&["status"]).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(ran.code, Some(0), "it served when it said so: {ran:?}");
    hear("STOPPING=1");
    assert!(status.success(), "{status}");
}
