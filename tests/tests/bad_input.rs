//! What can be asked or set up wrongly: one clear sentence, the documented exit code, no panic, nothing lost.

#![expect(clippy::expect_used, reason = "helpers of tests fail like tests")]

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::{
        fs::chown,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    process::Stdio,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use portwatch_tests::{Actor, DEADLINE, Portwatch, Ran, require_bpf, require_root, wait_until};

const NOBODY: u32 = 65534;

/// It failed with this code, and said this in one sentence on stderr and nothing on stdout.
fn assert_said(ran: &Ran, code: i32, sentence: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.stderr.contains(sentence), "no '{sentence}': {ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
}

#[test]
fn a_name_that_is_too_long_is_refused_before_it_is_sent_and_in_a_short_sentence() {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    for length in [65, 10_000, 100_000] {
        let name = "a".repeat(length);
        let in_parts = format!("myapp:{name}");
        for word in [&name, &in_parts] {
            for command in [&["who"][..], &["find"], &["health"], &["claim"], &["free"], &["wait", "--free"]]
            {
                let ran = portwatch.run(&[command, &[word]].concat()).unwrap();
                assert_said(&ran, 2, "64 characters at most");
                assert!(ran.stderr.len() < 400, "{length} {command:?}: {} bytes", ran.stderr.len());
            }
        }
    }
    // What a name may have is no more than nobody's.
    let ran = portwatch.run(&["find", &format!("{}:*", "a".repeat(64))]).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[test]
fn connections_in_time_wait_of_many_namespaces_are_not_asked_for_and_a_low_limit_is_named() {
    let portwatch = Portwatch::new().unwrap();
    for flag in [&["--container", "x"][..], &["--all-namespaces"]] {
        let ran = portwatch.run(&[&["ls", "--time-wait"][..], flag].concat()).unwrap();
        assert_said(&ran, 2, "cannot be used with");
    }
    for limit in 4..=6 {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" who 3100 --no-daemon")]);
        let ran = portwatch.run_command(portwatch.environment().around({
            shell.arg(portwatch.binary());
            shell
        }));
        let ran = ran.unwrap();
        assert_said(&ran, 3, "look at the limits on open files and memory: ulimit -n");
        assert!(!ran.stderr.contains("--source"), "{ran:?}");
    }
}

#[test]
fn what_cannot_be_meant_is_a_usage_error_that_says_what_can() {
    let portwatch = Portwatch::new().unwrap();
    for (arguments, sentence) in [
        (&["who", "70000"][..], "'70000' is not a port; ports are whole numbers from 1 to 65535"),
        (&["who", "0"], "'0' is not a port"),
        (&["who", "127.0.0.1:x"], "'x' is not a port"),
        (&["who", "localhost:http"], "'http' is not a port"),
        (&["who", "abc:"], "'abc:' is not a port, host:port, port/udp, pid:N or claim name"),
        (&["who", "53/sctp"], "'sctp' is not a protocol; say tcp or udp"),
        (&["who", "127.0.0.1"], "'127.0.0.1' names no port; say which: 127.0.0.1:3100"),
        (&["who", "localhost"], "'localhost' names no port; say which: localhost:3100"),
        (&["who", "::1"], "'::1' names no port; say which: [::1]:3100"),
        (&["who", "0x1f90"], "'0x1f90' is not a port; write a port as a decimal number"),
        (&["who", "3100,3101"], "name them one by one: 3100 3101"),
        (&["who", "3000-3010"], "portwatch ls --port 3000-3010"),
        (&["who", "tcp:3100"], "say 3100/tcp"),
        (&["who", "pid:0"], "'0' is not a pid"),
        (&["who", ""], "nothing was asked"),
        (&["who", "  "], "nothing was asked"),
        (&["log", "--since", "yesterdayish"], "'yesterdayish' is not a time; write how long ago"),
        (&["log", "--port", "70000"], "'70000' is not a port"),
        (&["ls", "--port", "9-1"], "'9-1' is not a range of ports"),
        (&["ls", "--source", "replay:/nowhere"], "a recording tells a story and has no present"),
    ] {
        let ran = portwatch.run(arguments).unwrap();
        assert_said(&ran, 2, sentence);
        assert_eq!(ran.stderr.lines().count(), 1, "one sentence: {ran:?}");
    }
    for (arguments, near) in [(&["whoo", "1"][..], "'who'"), (&["log", "--type", "bnd"], "'bind'")] {
        assert_said(&portwatch.run(arguments).unwrap(), 2, near);
    }
}

#[test]
fn a_journal_that_is_not_there_is_not_an_empty_one() {
    let portwatch = Portwatch::new().unwrap();
    assert_said(&portwatch.run(&["log"]).unwrap(), 5, "nothing was recorded yet: there is no journal at");
}

#[test]
fn a_database_that_is_a_directory_is_named_and_left_alone() {
    let portwatch = Portwatch::new().unwrap();
    fs::create_dir_all(portwatch.database().join("precious")).unwrap();
    let sentence = "portwatch.db is a directory, not a database; move it away";
    assert_said(&portwatch.run(&["log"]).unwrap(), 3, sentence);
    assert_said(&portwatch.run(&["daemon", "--source", "scan"]).unwrap(), 3, sentence);
    assert_said(&portwatch.run(&["start", "--source", "scan"]).unwrap(), 5, sentence);
    assert!(portwatch.database().join("precious").is_dir());
    // The present can be told without the past.
    let ran = portwatch.run(&["who", "1"]).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[test]
fn a_socket_of_another_user_is_not_trusted() {
    if !require_root() {
        return;
    }
    let portwatch = Portwatch::new().unwrap();
    chown(portwatch.folder(), Some(NOBODY), None).unwrap();
    let program = format!(
        "import os, socket, sys
os.setgid({NOBODY}); os.setuid({NOBODY})
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print(); sys.stdin.read()"
    );
    let mut stranger = Actor::python(&program, &[portwatch.socket().to_str().unwrap()]).unwrap();
    stranger.line().unwrap();
    let ran = portwatch.run(&["who", "1"]).unwrap();
    assert_said(&ran, 5, "is served by uid 65534, which is neither root nor you");
    assert!(ran.stderr.contains("--no-daemon"), "what to do: {ran:?}");
    assert_eq!(portwatch.run(&["who", "1", "--no-daemon"]).unwrap().code, Some(1));
}

#[test]
fn something_that_is_no_daemon_behind_the_socket_is_said() {
    let portwatch = Portwatch::new().unwrap();
    let silent = UnixListener::bind(portwatch.socket()).unwrap();
    let server = std::thread::spawn(move || {
        // The probe and the question; whoever comes is told nonsense.
        for _ in 0..2 {
            let Ok((mut peer, _)) = silent.accept() else { return };
            let _ = peer.write_all(b"220 mail ready\r\n");
        }
    });
    let ran = portwatch.run(&["who", "1"]).unwrap();
    assert!(matches!(ran.code, Some(3 | 5)), "{ran:?}");
    assert!(ran.stderr.starts_with("portwatch: ") && ran.stdout.is_empty(), "{ran:?}");
    drop(portwatch);
    drop(server);
}

/// What comes back of what is sent to the daemon, until that lets go.
fn answer(portwatch: &Portwatch, sent: &[u8]) -> String {
    let mut stream = UnixStream::connect(portwatch.socket()).expect("the daemon's socket");
    stream.set_read_timeout(Some(DEADLINE)).expect("a limit");
    // The daemon may let go in the middle of it.
    let _ = stream.write_all(sent);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let late = read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    assert!(!late, "it is not let go");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn whatever_a_client_sends_it_is_let_go_and_the_next_one_is_served() {
    let portwatch = Portwatch::started(&["--source", "scan"]).unwrap();
    let noise: Vec<u8> = (0..4096_u32).map(|at| (at * at * 31 + at / 7).to_le_bytes()[0]).collect();
    let much = vec![b'a'; 16 << 20];
    let body = b"POST /v1/claims HTTP/1.1\r\nhost: portwatch\r\ncontent-type: application/json\r\n\
        content-length: 16777216\r\n\r\n";
    let cases = [
        (noise, "HTTP/1.1 400 Bad Request"),
        ([&b"GET /"[..], &much].concat(), "HTTP/1.1 431 Request Header Fields Too Large"),
        ([&body[..], &much].concat(), "HTTP/1.1 400 Bad Request"),
        (b"GET /v1/status HTTP/1.1\r\nhost: portwa".to_vec(), ""),
        (Vec::new(), ""),
    ];
    for (sent, began) in cases {
        let what = String::from_utf8_lossy(&sent[..sent.len().min(20)]).into_owned();
        let told = answer(&portwatch, &sent);
        assert_eq!(told.lines().next().unwrap_or_default(), began, "{what:?}");
        // And one that is gone before it was answered.
        drop(UnixStream::connect(portwatch.socket()).unwrap());
        assert_eq!(portwatch.status().unwrap()["running"], true, "{what:?}");
    }
}

#[test]
fn of_daemons_that_come_at_once_one_serves() {
    let portwatch = Portwatch::new().unwrap();
    // With one socket they meet at that, too; with one each only at the state.
    for apart in [false, true] {
        let start = |number: usize| {
            let mut command = portwatch.command(&["daemon", "--source", "scan"]);
            if apart && number > 0 {
                command.arg("--socket").arg(portwatch.folder().join(format!("{number}.sock")));
            }
            Actor::start(command.stderr(Stdio::null()))
        };
        let mut daemons: Vec<Actor> = (0..8).map(|number| start(number).unwrap()).collect();
        wait_until("one daemon that is left", DEADLINE, || {
            daemons.retain_mut(|daemon| !daemon.has_ended().unwrap());
            (daemons.len() == 1).then_some(())
        })
        .unwrap();
        if !apart {
            let pid = wait_until("its answer", DEADLINE, || portwatch.status().ok()?["pid"].as_u64());
            assert_eq!(pid.unwrap(), u64::from(daemons[0].pid()));
        }
        assert!(!daemons[0].has_ended().unwrap());
    }
}

#[test]
fn a_file_that_is_no_socket_is_not_taken_for_a_daemon_that_is_gone() {
    let portwatch = Portwatch::new().unwrap();
    fs::write(portwatch.socket(), "mine").unwrap();
    for arguments in [["who", "1"], ["ls", "--json"]] {
        let ran = portwatch.run(&arguments).unwrap();
        assert_said(&ran, 2, "is not a socket; --socket takes that of a daemon");
    }
    assert_eq!(fs::read_to_string(portwatch.socket()).unwrap(), "mine");
    assert_eq!(portwatch.run(&["who", "1", "--no-daemon"]).unwrap().code, Some(1));
}

/// A small file system of a daemon's own: mounted for the thread that starts it and nobody else.
fn with_small_disk<T: Send>(state: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).expect("unshare(CLONE_NEWNS)");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("a private mount tree");
            let flags = MsFlags::empty();
            mount(Some("small"), state, Some("tmpfs"), flags, Some("size=1m,mode=0700"))
                .expect("a small tmpfs");
            let done = work();
            let _ = umount2(state, MntFlags::MNT_DETACH);
            done
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_full_disk_stops_the_journal_and_not_the_observer_and_the_hole_is_counted() {
    if !require_bpf() {
        return;
    }
    let mut portwatch = Portwatch::new().unwrap();
    fs::create_dir(portwatch.state()).unwrap();
    let state = portwatch.state();
    with_small_disk(&state, || {
        portwatch.start(&[]).unwrap();
        let filler = state.join("filler");
        // Whatever is left goes.
        let full = fs::write(&filler, vec![0_u8; 2 << 20]).unwrap_err();
        assert_eq!(full.raw_os_error(), Some(nix::libc::ENOSPC));
        let program = "
import socket
for _ in range(3000):
    s = socket.create_server(('127.33.0.1', 0)); s.close()
print()";
        Actor::python(program, &[]).unwrap().line().unwrap();
        let error = wait_until("the journal's trouble in status", DEADLINE, || {
            portwatch.status().ok()?["journal_error"].as_str().map(str::to_owned)
        });
        let error = error.unwrap();
        assert!(error.contains("full"), "{error}");
        // It still sees, and says so.
        let (listener, port) = Actor::listener("127.33.0.2", 0).unwrap();
        let target = portwatch.who(&port.to_string()).unwrap();
        assert_eq!(target["sockets"][0]["holders"][0]["process"]["pid"], listener.pid());

        fs::remove_file(&filler).unwrap();
        let gap = portwatch.wait_for("gap", &[]).unwrap();
        assert_eq!(gap["gap"]["reason"], "not-written", "{gap:#}");
        assert!(gap["gap"]["lost"]["total"].as_i64().unwrap() > 0, "{gap:#}");
        wait_until("a journal without trouble", DEADLINE, || {
            portwatch.status().ok()?["journal_error"].is_null().then_some(())
        })
        .unwrap();
        assert!(portwatch.stop().unwrap().success(), "{}", portwatch.log());
    });
}

#[test]
fn a_recording_plays_what_was_seen_and_a_truncated_one_plays_what_is_whole() {
    if !require_bpf() {
        return;
    }
    let mut portwatch = Portwatch::new().unwrap();
    let file = portwatch.folder().join("recording");
    let path = file.to_str().unwrap().to_owned();
    portwatch.start(&["--record", &path]).unwrap();
    let (listener, port) = Actor::listener("127.34.0.1", 0).unwrap();
    listener.finish().unwrap();
    let asked = port.to_string();
    portwatch.wait_for("exit", &["--port", &asked]).unwrap();
    // A file that exists is not written over.
    let other = Portwatch::new().unwrap();
    assert_said(&other.run(&["daemon", "--record", &path]).unwrap(), 5, "cannot be created: File exists");
    assert!(portwatch.stop().unwrap().success());

    let source = format!("replay:{path}");
    let play =
        |source: &str| portwatch.run(&["watch", "--port", &asked, "--json", "--source", source]).unwrap();
    let played = play(&source);
    assert_eq!(played.code, Some(0), "{played:?}");
    let kinds: Vec<_> =
        played.json_lines().unwrap().iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["bind", "listen", "close", "exit"]);

    let whole = fs::read(&file).unwrap();
    let cut = portwatch.folder().join("cut");
    fs::write(&cut, &whole[..whole.len() - 3]).unwrap();
    let ran = play(&format!("replay:{}", cut.display()));
    assert!(matches!(ran.code, Some(0 | 3 | 5)), "{ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    assert!(ran.stderr.contains("recording"), "it says that it is cut: {ran:?}");
    fs::write(&cut, b"not a recording at all, but long enough").unwrap();
    let ran = play(&format!("replay:{}", cut.display()));
    assert_said(&ran, 5, "is not a portwatch recording");
}
