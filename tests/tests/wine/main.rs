//! The Windows program, run under Wine, against listeners that are Windows programs, too: `cargo xtask cross --test`
//! builds it and names it. Wine is not Windows: what this shows and what it cannot is in docs/platforms.md.

mod commands;
mod console;
mod harness;
mod rude;

use std::{fs, process::Stdio};

use portwatch_tests::{Actor, DEADLINE, Ran, wait_until};
use serde_json::Value;

use harness::{IMPOSTOR, StandIn, TESTATOR, Windows, printing, told};

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn who_ls_log_claims_free_and_the_daemon_on_its_pipe_work_in_the_windows_program() {
    let windows = Windows::new().unwrap();
    let (one, port, pid) = windows.listener().unwrap();

    // Without a daemon.
    let ran = windows.run(&["--no-daemon", "--json", "who", &port.to_string()]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answer = ran.json().unwrap();
    let socket = &answer["targets"][0]["sockets"][0];
    let process = &socket["holders"][0]["process"];
    assert_eq!((&socket["address"], &socket["evidence"]), (&"127.0.0.1".into(), &"scan".into()), "{ran:?}");
    assert_eq!((&process["pid"], &process["comm"]), (&pid.into(), &"listener.exe".into()), "{ran:?}");
    let command = process["command"][0].as_str().unwrap_or_default();
    assert!(command.ends_with(r"\listener.exe") && process["cwd"].as_str().is_some(), "{ran:?}");
    assert!(process["exe"].as_str().unwrap().ends_with(r"\listener.exe"), "{ran:?}");
    let began: jiff::Timestamp = process["started"].as_str().unwrap().parse().unwrap();
    assert!(began.duration_since(jiff::Timestamp::now()).abs().as_secs() < 600, "{ran:?}");
    // Somebody who has one address does not keep others from every address here.
    let verdict = &answer["targets"][0]["verdict"];
    let sentence = verdict["sentence"].as_str().unwrap();
    assert!(verdict["bindable"].is_null() && sentence.contains("alone (SO_EXCLUSIVEADDRUSE)"), "{verdict}");
    let ran = windows.run(&["--no-daemon", "who", &format!("127.0.0.1:{port}")]).unwrap();
    assert!(ran.stdout.contains("would fail with WSAEADDRINUSE: listener.exe"), "{ran:?}");
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
    let claimed = windows.claimed("wine:web").unwrap();
    assert!((21_000..22_000).contains(&claimed), "{claimed}");
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
    // Its input is open still. With which code it ended Wine tells nobody outside.
    two.end().unwrap();
    assert_eq!(windows.events("close", other).unwrap().len(), 1);
    let ran = windows.run(&["free", "--yes", &other.to_string()]).unwrap();
    assert!(ran.code == Some(0) && ran.stdout.contains("free"), "{ran:?}");
    assert_eq!(windows.run(&["wait", "--free", "-t", "5s", &other.to_string()]).unwrap().code, Some(0));
    assert_eq!(one.finish().unwrap().code(), Some(0), "the other was left alone");

    // The end of each is found in the table of processes, and how it ended is not.
    let exit = status["coverage"].as_array().unwrap().iter().find(|row| row["fact"] == "exit").unwrap();
    assert_eq!(exit["hook"], "process table, polled; without exit code", "{status}");
    for (port, pid) in [(port, pid), (other, other_pid)] {
        let exits = windows.events("exit", port).unwrap();
        let [exit] = &exits[..] else { panic!("{exits:?}") };
        assert_eq!(
            (&exit["process"]["pid"], &exit["evidence"], &exit["exit"]),
            (&pid.into(), &"scan".into(), &Value::Null),
            "{exit:#}"
        );
        let who = windows.run(&["who", &port.to_string()]).unwrap();
        assert!(who.stdout.contains("ended; how was not seen"), "{who:?}");
    }

    // The end; what was recorded stays.
    let ran = windows.run(&["stop"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(windows.run(&["stop"]).unwrap().code, Some(1));
    let log = windows.run(&["log", "--port", &other.to_string()]).unwrap();
    assert!(log.stdout.contains("listener.exe"), "{log:?}");
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn a_bind_that_is_tried_is_refused_by_its_winsock_code_and_shares_no_port() {
    let windows = Windows::new().unwrap();
    let (listener, port, pid) = windows.listener().unwrap();
    let place = format!("127.0.0.1:{port}");
    let ran = windows.run(&["probe", "--json", &place]).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let answer = ran.json().unwrap();
    assert_eq!((&answer["bindable"], &answer["with_reuse_addr"]), (&false.into(), &Value::Null), "{answer}");
    let plain = &answer["addresses"][0]["plain"];
    assert_eq!(
        (&plain["errno"], &plain["errno_name"]),
        (&10_048.into(), &"WSAEADDRINUSE".into()),
        "{answer}"
    );
    let why = answer["addresses"][0]["verdict"]["sentence"].to_string();
    assert!(why.contains(&format!("listener.exe ({pid})")), "{why}");
    let text = windows.run(&["probe", &place]).unwrap().stdout;
    assert!(text.contains("not bindable") && text.contains("not tried"), "{text}");
    assert_eq!(windows.run(&["probe", "--reuse-addr", &place]).unwrap().code, Some(3), "it is not known");
    listener.finish().unwrap();
    let ran = windows.run(&["probe", "--json", &place]).unwrap();
    assert_eq!((ran.code, &ran.json().unwrap()["bindable"]), (Some(0), &true.into()), "{ran:?}");
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn a_program_gets_its_port_and_gives_its_code_and_ends_with_who_runs_it() {
    let windows = Windows::new().unwrap();
    let claimed = windows.claimed("wine:run").unwrap();
    let (one, port, _) = windows.running(&["run", "wine:run"]).unwrap();
    assert_eq!(port, claimed);
    let ran = windows.run(&["--no-daemon", "--json", "who", &port.to_string()]).unwrap();
    let answer = ran.json().unwrap();
    assert_eq!(answer["targets"][0]["state"], "held", "{ran:?}");
    let parent = &answer["targets"][0]["sockets"][0]["holders"][0]["process"]["lineage"][0];
    assert_eq!(parent["comm"], "portwatch.exe", "{ran:?}");
    assert_eq!(one.finish().unwrap().code(), Some(7), "the program's own");

    // Whoever runs it is ended: so is it.
    let (two, port, _) = windows.running(&["run", "wine:run"]).unwrap();
    drop(two);
    wait_until("the end of the program", DEADLINE, || (!windows.is_held(port).ok()?).then_some(())).unwrap();

    // One that is not ready in time is ended.
    let silent = windows.program().unwrap();
    let mut command = windows.command(&["run", "--wait-ready", "500ms", "wine:run", "--"]);
    let mut late = Actor::start(command.arg(&silent).arg("silent").stderr(Stdio::null())).unwrap();
    late.line().unwrap();
    assert_eq!(late.end().unwrap().code(), Some(1));

    // Somebody else has the port: the program fails, is started again, and who it was is said.
    let (holder, port, pid) = windows.listener().unwrap();
    let mut command = windows.command(&["run", "--retries", "1", "--delay", "10ms", &port.to_string(), "--"]);
    let output = command.arg(&silent).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "the program's own: {said}");
    assert!(said.contains("try 1 of 1") && said.contains(&format!("listener.exe ({pid})")), "{said}");
    assert_eq!(holder.finish().unwrap().code(), Some(0));

    for (wrong, code) in [("no-such-program", 127), (r"C:\windows", 126)] {
        let ran = windows.run(&["run", "21500", "--", wrong]).unwrap();
        assert!(ran.code == Some(code) && ran.stderr.contains(wrong), "{ran:?}");
    }
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn a_port_that_a_child_has_inherited_is_not_called_free_and_it_is_said_whose_child() {
    let windows = Windows::new().unwrap();
    let testator = windows.built("testator", TESTATOR).unwrap();
    let (testator, port, pid) = told(Actor::start(&mut Windows::wine(&testator)).unwrap()).unwrap();
    let free = || windows.run(&["free", "--yes", &port.to_string()]).unwrap();
    let ran = free();
    let said = format!("testator.exe ({pid}) killed; now a socket listens");
    assert!(ran.code == Some(1) && ran.stdout.contains(&said), "{ran:?}");
    let ran = free();
    assert!(ran.code == Some(3) && ran.stdout.contains("one that inherited it"), "{ran:?}");
    assert!(windows.is_held(port).unwrap());
    // With the input of both the heir ends.
    testator.end().unwrap();
    wait_until("the end of the heir", DEADLINE, || (!windows.is_held(port).ok()?).then_some(())).unwrap();
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn a_lock_is_held_as_long_as_its_program_runs() {
    let windows = Windows::new().unwrap();
    let ran = windows.run(&["start"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (one, ..) = windows.running(&["with-lock", "wine"]).unwrap();
    let locks = windows.run(&["locks", "--json"]).unwrap();
    assert_eq!(
        (locks.code, &locks.json().unwrap()["locks"][0]["name"]),
        (Some(0), &"wine".into()),
        "{locks:?}"
    );
    let ran = windows.run(&["lock", "wine"]).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(one.finish().unwrap().code(), Some(7), "the program's own");
    assert_eq!(windows.run(&["locks"]).unwrap().code, Some(1));
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn what_is_said_of_wrong_words_and_of_what_is_not_there_is_said_for_windows() {
    let windows = Windows::new().unwrap();
    let (listener, port, pid) = windows.listener().unwrap();
    let port = port.to_string();
    let ran = windows.run(&["rogue"]).unwrap();
    assert!(ran.stdout.contains(&format!("{port}/tcp  listener.exe ({pid})  rogue")), "{ran:?}");
    let cases: [(&[&str], i32); 19] = [
        (&["whoo"], 2),
        (&["who", "99999"], 2),
        // What is bound without listening is not shown, which is no matter of UDP.
        (&["who", "22999/udp"], 1),
        (&["who", &port, "--netns", "x"], 2),
        (&["ls", "--prot", "tcp"], 2),
        (&["ls", "--time-wait"], 3),
        (&["ls", "--source", "lsof"], 3),
        (&["watch", "--source", "ebpf"], 5),
        (&["log"], 5),
        (&["stop"], 1),
        (&["free", &port], 2),
        (&["free", "--dry-run", &port], 0),
        (&["rogue"], 0),
        (&["doctor"], 0),
        (&["wait", "192.0.2.1:80", "--free", "--timeout", "1s"], 2),
        (&["env"], 2),
        (&["help"], 2),
        (&["free", "--help"], 0),
        // The last: from here on there is a journal.
        (&["session", "start", "Work"], 0),
    ];
    for (words, code) in cases {
        let ran = windows.run(words).unwrap();
        assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!said.trim().is_empty(), "{words:?}");
        for foreign in [
            "/proc",
            "sudo",
            "root ",
            "systemctl",
            "sysctl",
            "SIGTERM",
            "ip address",
            " EADDR",
            "panicked",
            "export",
        ] {
            assert!(!said.contains(foreign), "{foreign}: {words:?} {ran:?}");
        }
    }
    assert_eq!(listener.finish().unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn claims_on_files_meet_by_the_paths_of_windows() {
    let windows = Windows::new().unwrap();
    assert_eq!(windows.run(&["start"]).unwrap().code, Some(0));
    let begun = |agent: &str, files: &str| {
        windows.run(&["session", "start", "Work", "--agent", agent, "--files", files]).unwrap()
    };
    let ran = begun("one", r"C:\p\src");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = begun("two", r"C:\p\x\..\src\a.ts");
    assert!(ran.code == Some(1) && ran.stderr.contains("C:/p/src"), "{ran:?}");
    let ran = begun("three", r"C:\p\src-old");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = windows.run(&["sessions", "--files"]).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for claimed in ["  C:/p/src\n", "  C:/p/src-old\n"] {
        assert!(ran.stdout.contains(claimed), "{ran:?}");
    }
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn whoever_is_no_administrator_may_ask_and_not_stop_and_is_somebody_else() {
    let windows = Windows::new().unwrap();
    assert_eq!(windows.run(&["start"]).unwrap().code, Some(0));
    // The pipe is open to every user of the machine.
    let ran = windows.run_plain(&["status", "--json"]).unwrap();
    assert_eq!((ran.code, &ran.json().unwrap()["running"]), (Some(0), &true.into()), "{ran:?}");
    // The event that ends the daemon is not, nor to the same person without the administrators' rights.
    let ran = windows.run_plain(&["stop"]).unwrap();
    assert!(ran.code == Some(3) && ran.stderr.contains("as an administrator"), "{ran:?}");
    assert_eq!(windows.run(&["status"]).unwrap().code, Some(0), "it runs still");
    // Whose a claim is that each makes by itself. Over the pipe Wine gives a server its own identity for the caller's.
    let own = format!(r"Z:{}\plain", windows.folder.path().display()).replace('/', r"\");
    let claim = ["claim", "wine:mine", "--range", "22000-22999", "--no-daemon", "--json", "--state"];
    let owner = |ran: Ran| {
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.json().unwrap()["claims"][0]["owner"].as_u64().unwrap()
    };
    let plain = owner(windows.run_plain(&[&claim[..], &[&own]].concat()).unwrap());
    assert!(plain != 0, "no administrator");
    assert_eq!(owner(windows.run(&[&claim[..], &[&format!("{own}2")]].concat()).unwrap()), 0);
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn a_pipe_that_another_user_serves_is_told_nothing_and_believed_nothing() {
    let windows = Windows::new().unwrap();
    let impostor = windows.built("impostor", IMPOSTOR).unwrap();
    for asked in [&["who", "3100"][..], &["claim", "a:b"], &["watch", "--limit", "1"]] {
        // Its one instance of the pipe is used up by one client.
        let mut command = Windows::wine(&impostor);
        let (impostor, error, _) = told(Actor::start(command.arg(&windows.pipe)).unwrap()).unwrap();
        assert_eq!(error, 0);
        let ran = windows.run(asked).unwrap();
        assert!(
            ran.code == Some(5) && ran.stderr.contains("neither an administrator nor you"),
            "{asked:?} {ran:?}"
        );
        assert_eq!(impostor.finish().unwrap().code(), Some(0));
    }
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn what_is_no_pipe_of_this_machine_is_refused_in_a_sentence() {
    let windows = Windows::new().unwrap();
    for wrong in [
        r"\\server\pipe\portwatch",
        r"C:\portwatch",
        r"\\.\pipe\..\UNC\server\pipe\portwatch",
        r"\\.\pipe\..\C:\portwatch",
    ] {
        let mut command = windows.command(&["status"]);
        let output = command.env("PORTWATCH_SOCKET", wrong).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains("pipe"), "{wrong} {output:?}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn port_ranges_that_windows_keeps_back_are_in_the_verdict() {
    let windows = Windows::alone().unwrap();
    let capture = include_bytes!("../../../portwatch/src/source/fixtures/netsh-excluded.txt");
    let _netsh = StandIn::new(&windows, "netsh", capture).unwrap();
    let asked = |port: &str| {
        let ran = windows.run(&["--no-daemon", "who", port]).unwrap();
        (ran.code, ran.stdout)
    };
    // What is bound without listening nobody sees here, so the port's state is not known; that a bind fails is.
    let (code, text) = asked("4800");
    assert!(
        code == Some(3) && text.contains("WSAEACCES") && text.contains("Windows keeps 4800-4800 back"),
        "{text}"
    );
    assert!(text.contains("netsh interface ipv4 show excludedportrange tcp"), "{text}");
    // The range of an administrator is no obstacle, nor is a port in none.
    for open in ["50010", "4801"] {
        let (code, text) = asked(open);
        assert!(code == Some(3) && !text.contains("WSAEACCES"), "{open}: {text}");
    }
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn netstat_in_another_language_is_a_source_and_the_environment_does_not_choose_it() {
    let windows = Windows::alone().unwrap();
    let german = include_bytes!("../../../portwatch/src/source/fixtures/netstat-windows-german.txt");
    let netstat = StandIn::new(&windows, "netstat", german).unwrap();
    let listed = |environment: &[(&str, &str)]| {
        let mut command = windows.command(&["--no-daemon", "--source", "netstat", "--json", "ls", "--all"]);
        let output = command.envs(environment.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let sockets = document["sockets"].as_array().unwrap().clone();
        sockets.iter().map(|socket| socket["port"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), [8080]);
    let ran = windows.run(&["--no-daemon", "--source", "netstat", "--json", "who", "8080"]).unwrap();
    let answer = ran.json().unwrap();
    let socket = &answer["targets"][0]["sockets"][0];
    assert_eq!((&socket["address"], &socket["evidence"]), (&"0.0.0.0".into(), &"scan".into()), "{ran:?}");
    let ran = windows.run(&["--no-daemon", "--source", "netstat", "who", "8081"]).unwrap();
    assert!(ran.code == Some(3) && ran.stdout.contains("bound without listening"), "{ran:?}");
    assert!(ran.stdout.contains("portwatch probe 8081 really tries"), "{ran:?}");

    // Whoever starts portwatch makes its environment, and names no program by it.
    let elsewhere = windows.folder.path().join("System32");
    fs::create_dir(&elsewhere).unwrap();
    let english = include_bytes!("../../../portwatch/src/source/fixtures/netstat-windows.txt");
    printing(english, &elsewhere.join("NETSTAT.EXE")).unwrap();
    let root = format!("Z:{}", windows.folder.path().display()).replace('/', r"\");
    assert_eq!(listed(&[("SystemRoot", &root), ("windir", &root), ("PATH", &root)]), [8080]);

    // One that prints something else has not said that there is nothing.
    drop(netstat);
    let _other = StandIn::new(&windows, "netstat", b"Zugriff verweigert\r\n").unwrap();
    let ran = windows.run(&["--no-daemon", "--source", "netstat", "who", "8080"]).unwrap();
    assert!(ran.code != Some(1) && ran.code != Some(0) && ran.stderr.contains("NETSTAT.EXE"), "{ran:?}");
}

#[test]
#[ignore = "needs the Windows program and Wine: cargo xtask cross --test"]
fn what_ended_while_no_daemon_was_running_is_told_by_the_next() {
    let windows = Windows::new().unwrap();
    assert_eq!(windows.run(&["start"]).unwrap().code, Some(0));
    let (gone, port, _) = windows.listener().unwrap();
    let (stays, kept, _) = windows.listener().unwrap();
    for port in [port, kept] {
        windows.events("listen", port).unwrap();
    }
    assert_eq!(windows.run(&["stop"]).unwrap().code, Some(0));
    assert_eq!(gone.finish().unwrap().code(), Some(0));
    assert_eq!(windows.run(&["start"]).unwrap().code, Some(0));
    let closes = windows.events("close", port).unwrap();
    assert_eq!((closes.len(), &closes[0]["evidence"]), (1, &"scan".into()), "{closes:?}");
    assert!(closes[0]["since"].as_str() < closes[0]["time"].as_str(), "{closes:?}");
    assert!(windows.is_held(kept).unwrap());
    assert_eq!(stays.finish().unwrap().code(), Some(0));
    let closes = windows.events("close", kept).unwrap();
    assert_eq!((closes.len(), &closes[0]["since"]), (1, &Value::Null), "{closes:?}");
}
