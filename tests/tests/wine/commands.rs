//! Commands of the Windows program that touch no port, or only tell: settings, what is live, webhooks, coordination.

use std::fs;

use portwatch_tests::{Actor, DEADLINE, Ran, wait_until};
use serde_json::Value;

use crate::harness::{Windows, drive_z};

/// Runs it, expects the code and what it says, and gives what was printed.
#[expect(clippy::unwrap_used, reason = "a helper of tests fails like a test")]
fn says(windows: &Windows, words: &[&str], code: i32, parts: &[&str]) -> String {
    let ran = windows.run(words).unwrap();
    assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
    for part in parts {
        assert!(ran.text().contains(part), "{words:?} does not say {part}: {ran:?}");
    }
    ran.stdout
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn what_is_live_is_watched_with_a_daemon_and_without_one() {
    let windows = Windows::new().unwrap();
    for daemon in [false, true] {
        if daemon {
            says(&windows, &["start"], 0, &[]);
        }
        let words = ["watch", "--type", "listen,close", "--json"];
        let beside = windows.folder.path().join("beside");
        let mut command = windows.command(&words);
        let mut watch = Actor::start(command.stderr(fs::File::create(&beside).unwrap())).unwrap();
        // What is not seen is said before anything is.
        let note = || fs::read_to_string(&beside).ok().filter(|text| text.ends_with('\n'));
        let note = wait_until("its first words", DEADLINE, note).unwrap();
        assert!(note.contains("refused binds") && note.contains("no daemon") != daemon, "{note}");
        let (listener, port, pid) = windows.listener().unwrap();
        let mut next = |kind: &str| {
            wait_until(kind, DEADLINE, || {
                let event: Value = serde_json::from_str(&watch.line().ok()?).unwrap();
                (event["type"] == kind && event["port"] == port).then_some(event)
            })
            .unwrap()
        };
        let listen = next("listen");
        assert_eq!(
            (&listen["process"]["pid"], &listen["evidence"]),
            (&pid.into(), &"scan".into()),
            "{listen:#}"
        );
        assert_eq!(listener.finish().unwrap().code(), Some(0));
        let close = next("close");
        assert_eq!(close["process"]["comm"], "listener.exe", "{close:#}");
    }
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn settings_are_shown_with_where_they_come_from_and_wrong_ones_are_refused() {
    let windows = Windows::new().unwrap();
    let file = windows.folder.path().join("settings.toml");
    let named = format!("Z:{}", file.display()).replace('/', r"\");
    let run = |words: &[&str]| -> Ran {
        let mut command = windows.command(words);
        command.env("PORTWATCH_CONFIG", &named);
        Windows::finished(command).unwrap()
    };
    fs::write(&file, "source = 'netstat'\n[daemon]\nretention_days = 7\n").unwrap();
    let ran = run(&["config", "--json", "--color", "never"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answer = ran.json().unwrap();
    let row = |name: &str| {
        let row = answer["settings"].as_array().unwrap().iter().find(|row| row["name"] == name);
        row.map(|row| (row["value"].clone(), row["origin"].clone())).unwrap()
    };
    assert_eq!(row("source"), ("netstat".into(), "file".into()), "{answer:#}");
    assert_eq!((&answer["file"], &answer["file_read"]), (&named.as_str().into(), &true.into()), "{answer:#}");
    assert_eq!(row("daemon.retention_days").0, 7, "{answer:#}");
    assert_eq!(row("color"), ("never".into(), "flag".into()), "{answer:#}");
    assert_eq!(row("socket"), (windows.pipe.as_str().into(), "env".into()), "{answer:#}");
    let state = row("state").0.as_str().unwrap().to_owned();
    assert!(state.starts_with("Z:\\"), "{state}");

    fs::write(&file, "source = 'ebfp'\n").unwrap();
    let ran = run(&["config"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("'ebfp' is not a source"), "{ran:?}");
    fs::remove_file(&file).unwrap();
    let ran = run(&["config"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("settings.toml"), "{ran:?}");
    // Without a file of its own it has none of anybody's.
    says(&windows, &["config"], 0, &["source", "auto"]);
}

/// Answers 200 and prints each body and its signature.
const RECEIVER: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        print(self.headers["Portwatch-Signature"], flush=True)
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *a): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn a_webhook_is_sent_what_happens_and_signed() {
    let windows = Windows::new().unwrap();
    says(&windows, &["start"], 0, &[]);
    let mut receiver = Actor::python(RECEIVER, &[]).unwrap();
    let url = format!("http://127.0.0.1:{}/hook", receiver.line().unwrap());
    says(&windows, &["webhook", "add", &url, "--on", "lock,listen"], 0, &["Secret, shown now"]);
    says(&windows, &["webhook", "list"], 0, &[&url]);
    // Other tests listen, too.
    let mut next = |kind: &str, field: &str, value: &Value| {
        wait_until(kind, DEADLINE, || {
            let body: Value = serde_json::from_str(&receiver.line().ok()?).unwrap();
            assert!(receiver.line().unwrap().starts_with("v1="), "{body:#}");
            (body["type"] == kind && body[field] == *value).then_some(())
        })
        .unwrap();
    };
    says(&windows, &["lock", "wine-lock", "--owner", "a"], 0, &[]);
    next("lock", "type", &"lock".into());
    let (listener, port, _) = windows.listener().unwrap();
    next("listen", "port", &port.into());
    assert_eq!(listener.finish().unwrap().code(), Some(0));
    says(&windows, &["webhook", "add", "http://10.0.0.5/", "--on", "all"], 3, &["not among the places"]);
    says(&windows, &["webhook", "remove", "1"], 0, &[]);
    says(&windows, &["webhook", "list"], 1, &[]);
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn agents_sessions_notes_locks_and_channels_are_shared_with_a_daemon_and_without_one() {
    let windows = Windows::new().unwrap();
    for daemon in [false, true] {
        if daemon {
            says(&windows, &["start"], 0, &[]);
        }
        let own = |name: &str| format!("{name}-{daemon}");
        let (one, two) = (own("one"), own("two"));
        says(&windows, &["agent", "register", &one, "--purpose", "Work of one"], 0, &[]);
        says(&windows, &["agents"], 0, &[&one, "active"]);
        let session = says(&windows, &["session", "start", "Migrations", "--agent", &one, "-q"], 0, &[]);
        let session = session.trim();
        says(&windows, &["sessions"], 0, &[session, "Migrations", "active"]);
        says(&windows, &["note", "step 1: done", "--agent", &one], 0, &[]);
        says(&windows, &["notes", "--session", session], 0, &["step 1: done"]);
        let lock = own("deploy");
        says(&windows, &["lock", &lock, "--agent", &one, "--ttl", "10m"], 0, &[]);
        says(&windows, &["lock", &lock, "--agent", &two], 1, &[&one]);
        says(&windows, &["locks"], 0, &[&lock, &one]);
        says(&windows, &["unlock", &lock, "--agent", &two], 1, &[&one]);
        says(&windows, &["unlock", &lock, "--agent", &one], 0, &[]);
        says(&windows, &["locks"], 1, &[]);
        let channel = own("builds");
        says(&windows, &["pub", &channel, "green", "--agent", &one], 0, &[]);
        says(&windows, &["sub", &channel], 0, &["green"]);
        says(&windows, &["channels"], 0, &[&channel]);
        says(&windows, &["session", "end", "--agent", &one], 0, &[]);
        says(&windows, &["sessions", "--json"], 0, &[session]);
        says(&windows, &["log", "--type", "lock,unlock,note,session,message"], 0, &[&lock, "note by"]);
    }
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn an_agent_whose_process_ends_is_dead_and_its_work_can_be_taken_over() {
    let windows = Windows::new().unwrap();
    says(&windows, &["start"], 0, &[]);
    let (worker, _, pid) = windows.listener().unwrap();
    let pid = pid.to_string();
    says(&windows, &["agent", "register", "worker", "--purpose", "Hooks", "--pid", &pid], 0, &[]);
    says(&windows, &["session", "start", "Handler", "--agent", "worker"], 0, &[]);
    says(&windows, &["note", "80% complete", "--agent", "worker"], 0, &[]);
    says(&windows, &["lock", "its", "--agent", "worker", "--pid", &pid], 0, &[]);
    says(&windows, &["salvage"], 1, &[]);
    assert_eq!(worker.finish().unwrap().code(), Some(0));
    wait_until("the agent to be dead", DEADLINE, || {
        (windows.run(&["salvage"]).ok()?.code == Some(0)).then_some(())
    })
    .unwrap();
    says(&windows, &["salvage"], 0, &["worker", "80% complete"]);
    says(&windows, &["lock", "its", "--agent", "heir"], 0, &[]);
    says(&windows, &["salvage", "claim", "worker", "--as", "heir"], 0, &["its work is yours now"]);
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn folders_with_blanks_and_letters_beyond_ascii_are_like_any_other() {
    let mut windows = Windows::new().unwrap();
    let home = windows.folder.path().join("Über Größe").join("日本 x");
    fs::create_dir_all(&home).unwrap();
    let program = home.join("port watch.exe");
    fs::hard_link(&windows.program, &program)
        .or_else(|_| fs::copy(&windows.program, &program).map(drop))
        .unwrap();
    windows.state = drive_z(&home.join("sein Zustand"));
    let run = |words: &[&str]| {
        let own = windows.command(words);
        let mut command = Windows::wine(&program);
        command
            .args(own.get_args().skip(1))
            .envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(&home);
        Windows::finished(command).unwrap()
    };
    // The daemon is started again by the program's own path.
    let ran = run(&["start"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let status = run(&["status", "--json"]).json().unwrap();
    assert!(status["database"].as_str().unwrap().starts_with(&windows.state), "{status:#}");
    let ran = run(&["session", "start", "Größe ändern", "--agent", "a", "--files", r"日本 x\ü.txt"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for (words, part) in [(&["sessions"][..], "Größe ändern"), (&["sessions", "--files"], "  日本 x/ü.txt\n")]
    {
        let ran = run(words);
        assert!(ran.code == Some(0) && ran.stdout.contains(part), "{words:?} {ran:?}");
    }
    let ran = run(&["stop"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(home.join("sein Zustand").join("portwatch.db").is_file());
}
