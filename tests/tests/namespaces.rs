//! The same port in several network namespaces: several places, no conflict, and each is found.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::{os::unix::process::CommandExt as _, process::Command};

use portwatch_tests::{
    Actor, DEADLINE, Netns, Portwatch, Source, each_source, require_bpf, require_netns, require_program,
    wait_until,
};
use serde_json::Value;

/// A namespace with a name, as `ip netns add` makes it.
struct Named(String);

impl Named {
    fn new(word: &str) -> Self {
        let name = format!("pwt-{word}-{}", std::process::id());
        ip(&["netns", "add", &name]);
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        Self(name)
    }

    /// A listener on 127.0.0.1:3100 in it.
    fn listener(&self) -> Actor {
        let program = "
import socket, sys
s = socket.create_server(('127.0.0.1', 3100))
print('ready')
sys.stdin.read()
";
        let arguments = ["netns", "exec", &self.0, "python3", "-S", "-u", "-c", program];
        let mut actor = Actor::start(Command::new("ip").args(arguments)).unwrap();
        assert_eq!(actor.line().unwrap(), "ready");
        actor
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}: {status}");
}

fn json(portwatch: &Portwatch, netns: &Netns, words: &[&str]) -> Value {
    let ran = netns.enter(|| portwatch.run(&[words, &["--json"]].concat())).unwrap();
    ran.json().unwrap_or_else(|error| panic!("{error:#}: {ran:?}"))
}

fn pids(sockets: &Value) -> Vec<u64> {
    let holder = |socket: &Value| socket["holders"][0]["process"]["pid"].as_u64().unwrap();
    let mut pids: Vec<_> = sockets.as_array().unwrap().iter().map(holder).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn one_port_in_three_namespaces_is_three_places_with_a_daemon_and_without_one() {
    if !(require_netns() && require_bpf()) {
        return;
    }
    let own = Netns::new().unwrap();
    let (blue, green) = (Named::new("blue"), Named::new("green"));
    // One is there before the daemon, one comes after it.
    let early = blue.listener();
    let portwatch = own.enter(|| Portwatch::started(&[])).unwrap();
    let late = green.listener();
    let mut both = [u64::from(early.pid()), u64::from(late.pid())];
    both.sort_unstable();
    for way in [&[][..], &["--no-daemon"]] {
        let ask = |words: &[&str]| json(&portwatch, &own, &[words, way].concat());
        let target = ask(&["who", "3100"])["targets"][0].clone();
        assert_eq!((&target["state"], &target["verdict"]["bindable"]), (&"free".into(), &true.into()));
        // Other tests may have that port too.
        let elsewhere = pids(&target["elsewhere"]);
        assert!(both.iter().all(|pid| elsewhere.contains(pid)), "{both:?}: {target:#}");
        let names: Vec<_> =
            target["elsewhere"].as_array().unwrap().iter().map(|s| &s["netns_name"]).collect();
        assert!(
            names.contains(&&Value::from(blue.0.as_str())) && names.contains(&&Value::from(green.0.as_str()))
        );

        // By name, by inode and by a process in it.
        let inode =
            target["elsewhere"].as_array().unwrap().iter().find(|s| s["netns_name"] == blue.0.as_str());
        let inode = inode.unwrap()["netns"].to_string();
        for netns in [blue.0.as_str(), &inode, &format!("pid:{}", early.pid())] {
            let answer = ask(&["who", "3100", "--netns", netns]);
            let target = &answer["targets"][0];
            assert_eq!(
                (&target["state"], &target["verdict"]["bindable"]),
                (&"held".into(), &false.into()),
                "{netns}"
            );
            assert_eq!(pids(&target["sockets"]), [u64::from(early.pid())]);
            assert_eq!(pids(&target["elsewhere"]), [u64::from(late.pid())]);
            assert_eq!(answer["netns"].to_string(), inode);
        }
        let all = ask(&["who", "3100", "--all-namespaces"])["targets"][0].clone();
        assert_eq!((pids(&all["sockets"]), &all["elsewhere"]), (both.to_vec(), &Value::Array(Vec::new())));

        let list = ask(&["ls", "--port", "3100"]);
        assert_eq!(list["sockets"], Value::Array(Vec::new()), "nothing here");
        assert!(list["elsewhere"].as_u64().unwrap() >= 2, "other tests may have one too");
        let list = ask(&["ls", "--port", "3100", "--netns", &green.0]);
        assert_eq!(pids(&list["sockets"]), [u64::from(late.pid())]);
        let words = [&["ls", "--port", "3100", "--all-namespaces"], way].concat();
        let ran = own.enter(|| portwatch.run(&words)).unwrap();
        let row = ran.stdout.lines().find(|line| line.contains(&blue.0)).unwrap_or_else(|| panic!("{ran:?}"));
        assert!(row.contains(&early.pid().to_string()), "{row}");
    }

    // A holder here does not hide the others, and theirs does not make it a conflict.
    let (here, _) = own.enter(|| Actor::listener("127.0.0.1", 3100)).unwrap();
    let target = json(&portwatch, &own, &["who", "3100"])["targets"][0].clone();
    assert_eq!(
        (pids(&target["sockets"]), pids(&target["elsewhere"])),
        (vec![u64::from(here.pid())], both.to_vec())
    );
    let ran = own.enter(|| portwatch.run(&["who", "3100"])).unwrap();
    assert!(ran.stdout.contains(&format!("in netns {}", blue.0)), "{}", ran.stdout);
    assert!(ran.stdout.contains("no conflict"), "{}", ran.stdout);

    // One that ends is gone, whoever began first.
    early.finish().unwrap();
    let gone = wait_until("its socket to be gone", DEADLINE, || {
        let target = json(&portwatch, &own, &["who", "3100"])["targets"][0].clone();
        (pids(&target["elsewhere"]) == [u64::from(late.pid())]).then_some(())
    });
    gone.unwrap();
}

#[test]
fn where_ip_netns_exec_hides_the_control_groups_the_daemon_has_its_programs_all_the_same_or_says_what_hid_them()
 {
    if !(require_netns() && require_bpf() && require_program("setpriv")) {
        return;
    }
    let teal = Named::new("teal");
    let portwatch = Portwatch::new().unwrap();
    let exec = |before: &[&str]| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &teal.0]).args(before).arg(portwatch.binary());
        command.args(["daemon", "--source", "ebpf", "--hooks", "stable"]);
        portwatch.environment().around(command)
    };
    // Without the right to mount what is missing.
    let ran = portwatch.run_command(exec(&["setpriv", "--bounding-set", "-sys_admin"])).unwrap();
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stderr.contains("cgroup v2 is not mounted here, and could not be"), "{ran:?}");

    let daemon = Actor::start(&mut exec(&[])).unwrap();
    wait_until("the daemon to serve", DEADLINE, || {
        portwatch.status().ok().filter(|status| status["running"] == true)
    })
    .unwrap();
    assert_eq!(portwatch.status().unwrap()["source"]["source"], "ebpf");
    let mounted = std::fs::read_to_string(format!("/proc/{}/mountinfo", daemon.pid())).unwrap();
    assert!(!mounted.contains("cgroup2"), "nobody else sees the mount: {mounted}");
    let listener = teal.listener();
    let pid = listener.pid().to_string();
    listener.finish().unwrap();
    let seen = portwatch.wait_for("close", &["--pid", &pid]).unwrap();
    assert_eq!((&seen["port"], &seen["evidence"]), (&3100.into(), &"kernel".into()), "{seen}");
    daemon.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    daemon.end().unwrap();
}

each_source![a_daemon_that_polls_looks_into_other_namespaces_and_forgets_those_that_are_gone];

fn a_daemon_that_polls_looks_into_other_namespaces_and_forgets_those_that_are_gone(source: Source) {
    if !require_netns() {
        return;
    }
    let own = Netns::new().unwrap();
    let red = Named::new("red");
    let listener = red.listener();
    let portwatch = own.enter(|| Portwatch::started_on(source)).unwrap();
    if !source.looks_elsewhere() {
        // Nothing seen would not be nothing there, and is not said.
        for words in [&["who", "3100"][..], &["ls", "--port", "3100"]] {
            for space in [&["--netns", &red.0][..], &["--all-namespaces"]] {
                for way in [&[][..], &["--no-daemon"]] {
                    let words = [words, space, way].concat();
                    let ran = own.enter(|| portwatch.run(&words)).unwrap();
                    let said = format!("{} shows its own network namespace and no other", source.name());
                    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""), "{words:?} {ran:?}");
                    assert!(ran.stderr.contains(&said), "{words:?} {ran:?}");
                }
            }
        }
        return;
    }
    let target = json(&portwatch, &own, &["who", "3100", "--netns", &red.0])["targets"][0].clone();
    assert_eq!(pids(&target["sockets"]), [u64::from(listener.pid())]);
    listener.finish().unwrap();
    let inode = target["sockets"][0]["netns"].clone();
    drop(red);
    let gone = wait_until("the namespace to be forgotten", DEADLINE * 2, || {
        let answer = json(&portwatch, &own, &["ls", "--port", "3100", "--all-namespaces"]);
        let still = answer["sockets"].as_array().unwrap().iter().any(|s| s["netns"] == inode);
        (!still).then_some(())
    });
    gone.unwrap();
}

#[test]
fn who_may_not_enter_a_namespace_is_told_so_and_not_that_it_is_empty() {
    if !require_netns() {
        return;
    }
    let own = Netns::new().unwrap();
    let gray = Named::new("gray");
    let _listener = gray.listener();
    let portwatch = Portwatch::new().unwrap();
    let run = |words: &[&str]| {
        own.enter(|| {
            let mut command = portwatch.command(words);
            // Readable for everybody, as an installed program is.
            let output = command.uid(65534).gid(65534).output()?;
            Ok((output.status.code(), String::from_utf8(output.stderr)?))
        })
        .unwrap()
    };
    let (code, complaint) = run(&["who", "3100", "--netns", &gray.0]);
    assert_eq!(code, Some(3), "{complaint}");
    assert!(complaint.contains("could not be entered") && complaint.contains("root"), "{complaint}");
    let (code, complaint) = run(&["who", "3100", "--netns", "no-such-name"]);
    assert_eq!(code, Some(2), "{complaint}");
    assert!(complaint.contains("there is no network namespace named no-such-name"), "{complaint}");
}
