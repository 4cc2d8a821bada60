//! The Windows program, run under Wine, against listeners that are Windows programs, too: `cargo xtask cross --test`
//! builds it and names it. Wine is not Windows: what this shows and what it cannot is in docs/platforms.md.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context as _;
use portwatch_tests::{Actor, DEADLINE, Ran, require_wine, wait_until};
use serde_json::Value;

/// A Windows program that listens on a port of 127.0.0.1, tells it and its pid, and ends when its input does.
const LISTENER: &str = r#"
#include <winsock2.h>
#include <stdio.h>
int main(void) {
    WSADATA data;
    struct sockaddr_in place = { .sin_family = AF_INET };
    int length = sizeof place, ttl = 64;
    WSAStartup(0x0202, &data);
    SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(s, (struct sockaddr *)&place, sizeof place) || listen(s, 5)) return 3;
    /* Wine names the process of a socket once the process has a descriptor of it. */
    setsockopt(s, IPPROTO_IP, 4 /* IP_TTL */, (char *)&ttl, sizeof ttl);
    getsockname(s, (struct sockaddr *)&place, &length);
    printf("%d %lu\n", ntohs(place.sin_port), GetCurrentProcessId());
    fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
"#;

/// The Windows program with a pipe and a state of its own. Its daemon, if one runs, ends with this value.
struct Windows {
    program: PathBuf,
    folder: tempfile::TempDir,
    pipe: String,
}

impl Windows {
    fn new(program: PathBuf) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pw").tempdir_in("/tmp")?;
        let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { program, folder, pipe: format!(r"\\.\pipe\portwatch-test-{name}") })
    }

    /// Wine with a program of ours; the prefix comes with the environment.
    fn wine(program: &Path) -> Command {
        let mut command = Command::new("/usr/lib/wine/wine64");
        command.arg(program);
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Self::wine(&self.program);
        command
            .args(arguments)
            // Linux's own folders are drive Z there.
            .env("PORTWATCH_STATE", format!(r"Z:{}\state", self.folder.path().display()).replace('/', r"\"))
            .env("PORTWATCH_SOCKET", &self.pipe)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let output = self.command(arguments).output()?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// A listener, its port and its pid in Windows' numbers.
    fn listener(&self) -> anyhow::Result<(Actor, u64, u64)> {
        let program = self.folder.path().join("listener.exe");
        if !program.exists() {
            let source = program.with_extension("c");
            std::fs::write(&source, LISTENER)?;
            let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
            let built = compiler.arg("-o").arg(&program).arg(&source).arg("-lws2_32").status()?;
            anyhow::ensure!(built.success(), "{compiler:?} ended with {built}");
        }
        let mut actor = Actor::start(&mut Self::wine(&program))?;
        let line = actor.line()?;
        let (port, pid) = line.trim().split_once(' ').with_context(|| format!("it told {line:?}"))?;
        Ok((actor, port.parse()?, pid.parse()?))
    }

    fn events(&self, kind: &str, port: u64) -> anyhow::Result<Vec<Value>> {
        wait_until(&format!("{kind} of {port} in the log"), DEADLINE, || {
            let port = port.to_string();
            let ran = self.run(&["--json", "log", "--type", kind, "--port", &port, "--limit", "0"]).ok()?;
            let events = ran.json().ok()?.get("events")?.as_array()?.clone();
            (!events.is_empty()).then_some(events)
        })
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        let _ = self.run(&["stop"]);
    }
}

#[test]
fn who_ls_log_claims_free_and_the_daemon_on_its_pipe_work_in_the_windows_program() {
    let Some(program) = require_wine() else { return };
    let windows = Windows::new(program).unwrap();
    let (one, port, pid) = windows.listener().unwrap();

    // Without a daemon.
    let ran = windows.run(&["--no-daemon", "--json", "who", &port.to_string()]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answer = ran.json().unwrap();
    let socket = &answer["targets"][0]["sockets"][0];
    let process = &socket["holders"][0]["process"];
    assert_eq!((&socket["address"], &socket["evidence"]), (&"127.0.0.1".into(), &"scan".into()), "{ran:?}");
    assert_eq!((&process["pid"], &process["comm"]), (&pid.into(), &"listener.exe".into()), "{ran:?}");
    let ended = windows.run(&["status"]).unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");

    // The daemon, on its pipe.
    let ran = windows.run(&["start"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let status = windows.run(&["--json", "status"]).unwrap().json().unwrap();
    assert_eq!((&status["running"], &status["source"]["source"]), (&true.into(), &"scan".into()), "{status}");
    let second = windows.run(&["daemon"]).unwrap();
    assert!(second.code != Some(0) && second.stderr.contains("already"), "{second:?}");
    let (two, other, other_pid) = windows.listener().unwrap();
    let listens = windows.events("listen", other).unwrap();
    assert_eq!(listens[0]["process"]["pid"], other_pid, "{listens:?}");
    assert_eq!(listens[0]["evidence"], "scan", "{listens:?}");
    let ran = windows.run(&["--json", "who", &other.to_string()]).unwrap();
    let answer = ran.json().unwrap();
    assert_eq!(answer["targets"][0]["sockets"][0]["holders"][0]["process"]["pid"], other_pid, "{ran:?}");
    let ls = windows.run(&["ls", "--json"]).unwrap();
    assert!(
        [port, other].iter().all(|port| ls.stdout.contains(&format!("\"port\":{port}"))
            || ls.stdout.contains(&format!("\"port\": {port}"))),
        "{ls:?}"
    );

    // Claims.
    let ran = windows.run(&["claim", "wine:web", "--range", "21000-21999", "-q"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let claimed: u64 = ran.stdout.trim().parse().unwrap();
    assert!((21_000..22_000).contains(&claimed), "{ran:?}");
    let ran = windows.run(&["find", "wine:web"]).unwrap();
    assert!(ran.code == Some(0) && ran.stdout.contains(&claimed.to_string()), "{ran:?}");
    assert_eq!(windows.events("claim", claimed).unwrap().len(), 1);

    // Freeing ends one of the two, and shows it first.
    let ran = windows.run(&["free", "--dry-run", "--json", &other.to_string()]).unwrap();
    let plan = ran.json().unwrap();
    assert_eq!(plan["targets"][0]["processes"][0]["process"]["pid"], other_pid, "{ran:?}");
    let ran = windows.run(&["free", &other.to_string()]).unwrap();
    assert!(ran.code == Some(2) && ran.stderr.contains("--yes"), "nobody was asked: {ran:?}");
    assert_eq!(windows.run(&["wait", "--listening", "-t", "5s", &other.to_string()]).unwrap().code, Some(0));
    let ran = windows.run(&["free", "--yes", "--json", &other.to_string()]).unwrap();
    let answer = ran.json().unwrap();
    assert_eq!((ran.code, &answer["targets"][0]["state"]), (Some(0), &"freed".into()), "{ran:?}");
    assert_eq!(answer["targets"][0]["processes"][0]["outcome"], "killed", "{ran:?}");
    assert_eq!(two.finish().unwrap().code(), Some(1), "what TerminateProcess was given");
    assert_eq!(windows.events("close", other).unwrap().len(), 1);
    let ran = windows.run(&["free", "--yes", &other.to_string()]).unwrap();
    assert!(ran.code == Some(0) && ran.stdout.contains("free"), "{ran:?}");
    assert_eq!(one.finish().unwrap().code(), Some(0), "the other was left alone");

    // The end; what was recorded stays.
    let ran = windows.run(&["stop"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(windows.run(&["stop"]).unwrap().code, Some(1));
    let log = windows.run(&["log", "--port", &other.to_string()]).unwrap();
    assert!(log.stdout.contains("listener.exe"), "{log:?}");
}

#[test]
fn what_is_no_pipe_of_this_machine_is_refused_in_a_sentence() {
    let Some(program) = require_wine() else { return };
    let windows = Windows::new(program).unwrap();
    for wrong in [r"\\server\pipe\portwatch", r"C:\portwatch"] {
        let mut command = windows.command(&["status"]);
        let output = command.env("PORTWATCH_SOCKET", wrong).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains("pipe"), "{wrong} {output:?}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}
