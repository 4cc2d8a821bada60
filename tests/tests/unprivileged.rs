//! The same commands for a user without privileges: what can be seen is told, what cannot is named.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    fs::{self, File, Permissions},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::PathBuf,
};

use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, Ran, free_port, require_bpf, require_netns, require_program,
    require_root, wait_until,
};
use serde_json::Value;

const NOBODY: u32 = 65534;

/// A portwatch that nobody may run, and a folder that is nobody's.
struct Nobody {
    portwatch: Portwatch,
    binary: PathBuf,
}

impl Nobody {
    fn new() -> Option<Self> {
        if !require_root() {
            return None;
        }
        let portwatch = Portwatch::new().unwrap();
        let binary = portwatch.folder().join("portwatch");
        fs::copy(portwatch.binary(), &binary).unwrap();
        fs::set_permissions(&binary, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(portwatch.folder(), Permissions::from_mode(0o711)).unwrap();
        Some(Self { portwatch, binary })
    }

    /// Gives nobody the folder, so that it may keep a state of its own.
    fn with_state(self) -> Self {
        chown(self.portwatch.folder(), Some(NOBODY), Some(NOBODY)).unwrap();
        self
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What follows events, and the first line that it says beside them.
    fn watch(&self, arguments: &[&str]) -> (Actor, String) {
        let beside = self.portwatch.folder().join("stderr");
        let watch = Actor::start(self.command(arguments).stderr(File::create(&beside).unwrap())).unwrap();
        let line = || fs::read_to_string(&beside).ok().filter(|text| text.ends_with('\n'));
        (watch, wait_until("its first words", DEADLINE, line).unwrap())
    }

    /// A process of nobody's. Not one that becomes nobody by itself: the kernel then lets only root look at its descriptors.
    fn python(program: &str, arguments: &[&str]) -> Actor {
        let mut python = std::process::Command::new("/usr/bin/python3");
        python.args(["-S", "-u", "-c", program]).args(arguments).uid(NOBODY).gid(NOBODY);
        Actor::start(&mut python).unwrap()
    }

    /// A process of nobody's that listens until its input ends.
    fn listener(address: &str, port: u16) -> (Actor, String) {
        let program = format!(
            "import socket, sys
s = socket.create_server(('{address}', {port})); print(s.getsockname()[1]); sys.stdin.read()"
        );
        let mut own = Self::python(&program, &[]);
        let port = own.line().unwrap();
        (own, port)
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        // With another uid and no groups named, the standard library drops root's groups too.
        let mut command = std::process::Command::new(&self.binary);
        for (name, value) in self.portwatch.command(arguments).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(arguments).env("HOME", "/nonexistent").uid(NOBODY).gid(NOBODY);
        command
    }
}

#[test]
fn without_a_daemon_a_held_port_is_held_and_its_owner_is_not_guessed() {
    let Some(nobody) = Nobody::new() else { return };
    let (_listener, port) = Actor::listener("127.41.0.1", 0).unwrap();
    let ran = nobody.run(&["who", &port.to_string(), "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answer = ran.json().unwrap();
    let socket = &answer["targets"][0]["sockets"][0];
    assert_eq!((&socket["owner"], &socket["uid"]), (&"not-permitted".into(), &0.into()), "{socket:#}");
    assert!(socket["holders"].as_array().unwrap().is_empty());
    assert!(answer["source"]["note"].as_str().unwrap().contains("portwatch start"));
    let ran = nobody.run(&["who", &port.to_string()]);
    assert!(ran.stdout.contains("not permitted to see the owner"), "{ran:?}");
    assert!(
        ran.stdout.contains("the socket belongs to uid 0; run as root, or start the daemon as root"),
        "{ran:?}"
    );

    // What a process of root's has open cannot be known: never "nothing".
    let ran = nobody.run(&["who", &format!("pid:{}", std::process::id())]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let list = nobody.run(&["ls", "--port", &port.to_string()]);
    assert_eq!(list.code, Some(0), "{list:?}");
    assert!(
        list.stdout.contains("(not permitted)") && list.stdout.contains("note: no daemon runs"),
        "{list:?}"
    );
}

#[test]
fn a_list_of_what_may_not_be_looked_into_says_so_and_is_no_empty_one() {
    let Some(nobody) = Nobody::new().map(Nobody::with_state) else { return };
    if !require_netns() {
        return;
    }
    let other = Netns::new().unwrap();
    let netns = other.inode().unwrap().to_string();
    let told = || {
        for way in [&[][..], &["--no-daemon"]] {
            let asked = |words: &[&str]| nobody.run(&[words, way].concat());
            let one = asked(&["ls", "--netns", &netns]);
            assert_eq!(one.code, Some(3), "{way:?} {one:?}");
            // Where somebody on the machine has a namespace that is seen and may not be entered, that is an error and all of the answer.
            let barred = |ran: &Ran| ran.code == Some(3) && ran.stderr.contains("could not be entered");
            assert!(
                barred(&one)
                    || one.stdout.contains(&format!("{netns} could not be looked into; ask as root")),
                "{one:?}"
            );
            let all = asked(&["ls", "--all-namespaces", "--json"]);
            if !barred(&all) {
                let all = all.json().unwrap();
                let missing = all["missing"].as_str().unwrap();
                assert!(missing.contains("of processes that may not be looked into"), "{way:?} {all:#}");
            }
            // In the own one all is seen, if not whose it is.
            let own = asked(&["ls", "--json"]).json().unwrap();
            assert_eq!(own["missing"], Value::Null, "{way:?} {own:#}");
            let who = asked(&["who", "3100", "--all-namespaces"]);
            assert_eq!(who.code, Some(3), "{way:?} {who:?}");
        }
        let lsof = nobody.run(&["--no-daemon", "--source", "lsof", "ls", "--user", "root"]);
        assert_eq!(lsof.code, Some(3), "{lsof:?}");
        assert!(
            lsof.stdout.contains("shows a plain user only the sockets of their own processes"),
            "{lsof:?}"
        );
        // Of UDP netstat shows all.
        for (words, code) in [(&["--tcp"][..], 3), (&["--udp"], 1)] {
            let words = [&["--no-daemon", "--source", "netstat", "ls", "--port", "1"], words].concat();
            let ran = nobody.run(&words);
            assert_eq!(ran.code, Some(code), "{words:?} {ran:?}");
        }
    };
    let started = nobody.run(&["start"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(told));
    let stopped = nobody.run(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn a_list_by_whose_it_is_is_no_empty_one_where_that_is_hidden() {
    let Some(mut nobody) = Nobody::new().map(Nobody::with_state) else { return };
    let (_listener, port) = Actor::listener("127.41.0.7", 0).unwrap();
    let (own, visible) = Nobody::listener("127.41.0.7", 0);
    let port = port.to_string();
    let filters = [["--project", "no-such"], ["--user", "4000000"], ["--container", "no-such"]];
    let told = |nobody: &Nobody| {
        for way in [&[][..], &["--no-daemon"]] {
            for filter in filters {
                let words = [&["ls", "--port", &port][..], &filter, way].concat();
                let ran = nobody.run(&words);
                assert_eq!(ran.code, Some(3), "{words:?} {ran:?}");
                if filter[0] == "--container" {
                    // Where somebody has a network namespace that may not be entered, that is the answer.
                    continue;
                }
                let said = ran.stdout.replace("\n  ", " ");
                let why = "1 socket belongs to processes that may not be looked into here; ask as root, or a daemon";
                assert!(said.contains("Nothing found, and not everything") && said.contains(why), "{ran:?}");
                let json = nobody.run(&[&words[..], &["--json"]].concat());
                let missing = json.json().unwrap()["missing"].clone();
                assert!(json.code == Some(3) && missing.as_str().unwrap().contains(why), "{json:?}");
            }
            // The socket's own user the kernel tells everybody.
            assert_eq!(nobody.run(&[&["ls", "--port", &port, "--user", "0"], way].concat()).code, Some(0));
            // Of one's own process all is known.
            for filter in &filters[..2] {
                let ran = nobody.run(&[&["ls", "--port", &visible][..], filter, way].concat());
                assert!(
                    ran.code == Some(1) && ran.stdout.starts_with("Nothing found.\n"),
                    "{filter:?} {ran:?}"
                );
            }
        }
    };
    let started = nobody.run(&["start"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| told(&nobody)));
    let stopped = nobody.run(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // Root sees whose it is. Which containers there are is not known where pid 1 is closed even to root.
    let filters = [filters[0], filters[1]];
    for filter in filters {
        let words = [&["--no-daemon", "ls", "--port", &port][..], &filter].concat();
        let ran = nobody.portwatch.run(&words).unwrap();
        assert_eq!(ran.code, Some(1), "{words:?} {ran:?}");
    }
    // A daemon of root's knows it, and shows the project to whose it is and to root.
    nobody.portwatch.start(&[]).unwrap();
    for (filter, code) in filters.iter().zip([3, 1]) {
        let ran = nobody.run(&[&["ls", "--port", &port][..], filter].concat());
        assert_eq!(ran.code, Some(code), "{filter:?} {ran:?}");
        let only = ran.stdout.contains("ask as root") && !ran.stdout.contains("or a daemon");
        assert_eq!(only, code == 3, "{filter:?} {ran:?}");
    }
    own.finish().unwrap();
}

#[test]
fn doctor_and_status_say_what_is_missing_and_what_would_mend_it() {
    let Some(nobody) = Nobody::new() else { return };
    let doctor = nobody.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(doctor.stdout.contains("kernel programs cannot be loaded"), "{doctor:?}");
    assert!(doctor.stdout.contains("CAP_BPF"), "{doctor:?}");
    let status = nobody.run(&["status"]);
    assert_eq!(status.code, Some(1), "{status:?}");
    let start = nobody.run(&["start"]);
    assert_eq!(start.code, Some(3), "the state is root's: {start:?}");
    assert!(start.stderr.contains("Permission denied"), "{start:?}");
    let ebpf = nobody.run(&["watch", "--source", "ebpf"]);
    assert_eq!(ebpf.code, Some(5), "what was asked for by name is not replaced: {ebpf:?}");
}

#[test]
fn who_watches_is_told_first_what_is_not_seen() {
    let Some(nobody) = Nobody::new().map(Nobody::with_state) else { return };
    let port = free_port().unwrap();
    for follow in [&["watch", "--limit", "1"][..], &["watch", "--limit", "1", "--json"], &["log", "-f"]] {
        let (mut watch, note) = nobody.watch(&[follow, &["--port", &port.to_string()]].concat());
        for words in ["note: no daemon runs", "not recorded", "refused binds", "CAP_BPF"] {
            assert!(note.contains(words), "{words}: {note}");
        }
        let own = Nobody::listener("127.41.0.6", port).0;
        let event = watch.line().unwrap();
        assert!(event.contains(&own.pid().to_string()), "{event}");
        own.finish().unwrap();
    }
    // Of a daemon that polls the same, beside what is only so without one.
    assert_eq!(nobody.run(&["start"]).code, Some(0));
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| nobody.watch(&["watch"]).1));
    assert_eq!(nobody.run(&["stop"]).code, Some(0));
    let note = told.unwrap();
    assert!(note.contains("refused binds") && !note.contains("no daemon"), "{note}");
}

#[test]
fn a_daemon_of_ones_own_polls_and_says_so() {
    polls(&["start"], "scan", "127.41.0.2");
}

#[test]
fn a_daemon_of_ones_own_on_a_tool_sees_what_is_its_users() {
    for (tool, address) in [("lsof", "127.41.0.4"), ("netstat", "127.41.0.5")] {
        if require_program(tool) {
            polls(&["start", "--source", tool], tool, address);
        }
    }
}

/// A plain user's daemon, and a listener of that user's.
fn polls(start: &[&str], source: &str, address: &str) {
    let Some(nobody) = Nobody::new().map(Nobody::with_state) else { return };
    let started = nobody.run(start);
    assert_eq!(started.code, Some(0), "{started:?}");
    let told = || {
        let status = nobody.run(&["status", "--json"]).json().unwrap();
        let list = |pointer: &str| status.pointer(pointer).and_then(Value::as_array).unwrap();
        let is = |value: &Value, name: &str, text: &str| value.get(name).is_some_and(|value| value == text);
        assert!(status.pointer("/source/source").is_some_and(|value| value == source), "{status:#}");
        // What was asked for by name is no less than was wanted.
        let less = list("/source/degradations").iter().any(|d| is(d, "name", "no-bpf-permission"));
        assert_eq!(less, source == "scan", "{status:#}");
        let refused = list("/coverage").iter().find(|c| is(c, "fact", "refused")).unwrap();
        assert_eq!(refused.get("hook"), Some(&Value::Null));

        let (own, port) = Nobody::listener(address, 0);
        let events = |kind: &str| {
            let log = nobody.run(&["log", "--json", "--port", &port, "--type", kind]);
            log.json().ok()?.pointer("/events/0").cloned()
        };
        let listen = wait_until("the poll to find it", DEADLINE, || events("listen")).unwrap();
        assert!(is(&listen, "evidence", "scan"), "{listen:#}");
        let pid = own.pid();
        let its = |event: &Value| event.pointer("/process/pid").and_then(Value::as_u64) == Some(pid.into());
        assert!(its(&listen), "whose it is, is what a plain user wants to know: {listen:#}");
        own.finish().unwrap();
        let close = wait_until("the poll to miss it", DEADLINE, || events("close")).unwrap();
        assert!(its(&close), "{close:#}");
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(told));
    let stopped = nobody.run(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn the_system_daemon_answers_everybody_and_obeys_only_its_own() {
    if !require_bpf() {
        return;
    }
    let Some(mut nobody) = Nobody::new() else { return };
    nobody.portwatch.start(&[]).unwrap();
    let (listener, port) = Actor::listener("127.41.0.3", 0).unwrap();
    let ran = nobody.run(&["who", &port.to_string()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains(&format!("python3 ({})", listener.pid())), "{ran:?}");
    // As /proc would: the working directory of another's process is not shown.
    let answer = nobody.run(&["who", &port.to_string(), "--json"]).json().unwrap();
    let holder = &answer["targets"][0]["sockets"][0]["holders"][0]["process"];
    assert!(holder["cwd"].is_null() && holder["exe"].is_null(), "{holder:#}");
    assert!(holder["command"].is_array(), "{holder:#}");

    let stop = nobody.run(&["stop"]);
    assert_eq!(stop.code, Some(3), "{stop:?}");
    assert!(stop.stderr.contains("do it as the user whose daemon it is, or as root"), "{stop:?}");
    let database = nobody.run(&["log", "--no-daemon"]);
    assert_eq!(database.code, Some(3), "the journal is root's: {database:?}");
}

/// Connects to each place named and says so; has them until its input ends.
const CONNECTS: &str = "
import socket, sys
held = [socket.create_connection(('127.41.0.8', int(port))) for port in sys.argv[1:]]
print('there', flush=True)
sys.stdin.read()
";

#[test]
fn which_connections_a_process_has_is_told_to_its_user_and_to_root() {
    if !require_bpf() {
        return;
    }
    let Some(mut nobody) = Nobody::new() else { return };
    nobody.portwatch.start(&[]).unwrap();
    let (server, port) = Actor::listener("127.41.0.8", 0).unwrap();
    let port = port.to_string();
    let (mut busy, mut silent) =
        (Actor::python(CONNECTS, &[&port, &port]).unwrap(), Actor::python(CONNECTS, &[]).unwrap());
    let mut own = Nobody::python(CONNECTS, &[&port]);
    for actor in [&mut busy, &mut silent, &mut own] {
        assert_eq!(actor.line().unwrap(), "there");
    }
    let of = |actor: &Actor| format!("pid:{}", actor.pid());
    let target = |ran: &Ran, index: usize| ran.json().unwrap()["targets"][index].clone();

    // Of another's neither which it has nor whether it has any.
    let mut told = Vec::new();
    for foreign in [&busy, &silent] {
        let json = nobody.run(&["who", &of(foreign), "--json"]);
        let mut answer = target(&json, 0);
        assert_eq!((json.code, &answer["state"]), (Some(3), &"unknown".into()), "{json:?}");
        assert_eq!(answer["traffic"], Value::Null, "{json:?}");
        assert_eq!(answer["asked"].take(), of(foreign).as_str());
        let ran = nobody.run(&["who", &of(foreign), "--verbose"]);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        let said = ran.stdout.replace(&of(foreign), "pid:N");
        assert!(!said.contains(&port) && said.contains("is told to that user and to root"), "{ran:?}");
        told.push((answer, said));
    }
    assert_eq!(told.first(), told.last());
    // What `who PORT` tells everybody, the socket and whose it is, `who pid:N` does too; and no more.
    let held = nobody.run(&["who", &of(&server), "--json"]);
    let answer = target(&held, 0);
    assert_eq!((held.code, &answer["state"], &answer["traffic"]), (Some(0), &"held".into(), &Value::Null));
    assert_eq!(answer["sockets"][0]["port"].to_string(), port, "{answer:#}");

    // Asked together, each is judged for itself.
    for words in [[of(&own), of(&busy)], [of(&busy), of(&own)]] {
        let ran = nobody.run(&["who", &words[0], &words[1], "--json"]);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        for (index, asked) in words.iter().enumerate() {
            let count = if *asked == of(&own) { 1.into() } else { Value::Null };
            assert_eq!(target(&ran, index)["traffic"]["established"], count, "{ran:?}");
        }
    }
    let ran = nobody.run(&["who", &of(&own)]);
    assert!(ran.code == Some(0) && ran.stdout.contains(&port), "{ran:?}");
    for (actor, count) in [(&busy, 2), (&silent, 0), (&own, 1)] {
        let answer = nobody.portwatch.who(&of(actor)).unwrap();
        assert_eq!(answer["traffic"]["established"], count, "{answer:#}");
    }

    // Without a daemon the kernel lets nobody look: no answer that it has none.
    let ran = nobody.run(&["--no-daemon", "who", &of(&silent)]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let ran = nobody.run(&["--no-daemon", "who", &of(&own)]);
    assert!(ran.code == Some(0) && ran.stdout.contains(&port), "{ran:?}");
    for actor in [busy, silent, own, server] {
        actor.finish().unwrap();
    }
}
