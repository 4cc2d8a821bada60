//! Claims whose programs end, however soon; and files that are no project files.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    io::Read as _,
    process::{Command, Stdio},
};

use portwatch_tests::{DEADLINE, Netns, Portwatch, free_port, require_bpf, require_netns, wait_until};
use serde_json::Value;

/// Ends as soon as it listens: whoever looks then finds nothing.
const BRIEF: &str = "import os, socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); os._exit(int(sys.argv[2]))";

fn ghosts(portwatch: &Portwatch, port: u16) -> Vec<Value> {
    let ran = portwatch.run(&["log", "--type", "ghost", "--port", &port.to_string(), "--json"]).unwrap();
    ran.json().unwrap()["events"].as_array().unwrap().clone()
}

#[test]
fn a_claimed_program_that_ends_as_soon_as_it_listens_is_a_ghost_each_time() {
    if !require_bpf() {
        return;
    }
    let mut portwatch = Portwatch::new().unwrap();
    portwatch.start(&[]).unwrap();
    let port = free_port().unwrap();
    let claimed = portwatch.run(&["claim", "brief:api", "--port", &port.to_string()]).unwrap();
    assert_eq!(claimed.code, Some(0), "{claimed:?}");
    for round in 1..=3 {
        let mut brief = Command::new("python3");
        let status = brief.args(["-c", BRIEF, &port.to_string(), "3"]).current_dir("/").status().unwrap();
        assert_eq!(status.code(), Some(3));
        wait_until("the ghost", DEADLINE, || (ghosts(&portwatch, port).len() == round).then_some(()))
            .unwrap();
    }
    let found = portwatch.run(&["find", "brief:api", "--json"]).unwrap().json().unwrap();
    let claim = &found["claims"][0];
    assert_eq!(claim["state"], "ghost", "{claim:#}");
    assert_eq!(claim["ended"]["exit"]["code"], 3, "{claim:#}");
}

#[test]
fn a_program_in_another_namespace_is_nothing_to_a_claim() {
    if !require_bpf() || !require_netns() {
        return;
    }
    let mut portwatch = Portwatch::new().unwrap();
    portwatch.start(&[]).unwrap();
    let json = |words: &[&str]| portwatch.run(&[words, &["--json"]].concat()).unwrap().json().unwrap();
    let (port, other) = (free_port().unwrap(), free_port().unwrap());
    for (name, port) in [("apart:api", port), ("apart:other", other)] {
        let claimed = portwatch.run(&["claim", name, "--port", &port.to_string()]).unwrap();
        assert_eq!(claimed.code, Some(0), "{claimed:?}");
    }
    let brief = |port: u16, code: i32| {
        let (port, code) = (port.to_string(), code.to_string());
        Command::new("python3").args(["-c", BRIEF, &port, &code]).current_dir("/").status().unwrap()
    };
    let elsewhere = Netns::new().unwrap();
    let inode = elsewhere.inode().unwrap();
    let brief_elsewhere = |code| {
        let before = |events: &Value| {
            let is_there = |event: &&Value| event["netns"] == inode;
            events["events"].as_array().unwrap().iter().filter(is_there).count()
        };
        let words = ["log", "--type", "close", "--port", &port.to_string(), "--limit", "0"];
        let known = before(&json(&words));
        assert_eq!(elsewhere.enter(|| Ok(brief(port, code))).unwrap().code(), Some(code));
        wait_until("its end", DEADLINE, || (before(&json(&words)) > known).then_some(())).unwrap();
    };
    let claim = || json(&["find", "apart:api"])["claims"][0].clone();

    brief_elsewhere(7);
    // What is told of this one is told after everything about that one.
    assert_eq!(brief(other, 3).code(), Some(3));
    wait_until("the ghost", DEADLINE, || (!ghosts(&portwatch, other).is_empty()).then_some(())).unwrap();
    assert_eq!(claim()["state"], "idle", "{:#}", claim());

    assert_eq!(brief(port, 3).code(), Some(3));
    wait_until("the ghost", DEADLINE, || (!ghosts(&portwatch, port).is_empty()).then_some(())).unwrap();
    brief_elsewhere(8);
    assert_eq!(claim()["ended"]["exit"]["code"], 3, "{:#}", claim());
    assert_eq!(ghosts(&portwatch, port).len(), 1);
}

#[test]
fn what_is_no_regular_file_is_not_waited_for_and_a_gigantic_one_is_not_read() {
    let portwatch = Portwatch::new().unwrap();
    let directory = portwatch.folder().join("trap");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join(".portwatch.toml");
    let refused = |part: &str| {
        let mut command = portwatch.command(&["claim", "api"]);
        let mut claiming = command.current_dir(&directory).stderr(Stdio::piped()).spawn().unwrap();
        let ended = wait_until("the refusal", DEADLINE, || claiming.try_wait().unwrap());
        if ended.is_err() {
            claiming.kill().unwrap();
        }
        assert_eq!(ended.unwrap().code(), Some(2), "{part}");
        let mut told = String::new();
        claiming.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(told.contains(part) && told.contains(".portwatch.toml"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    };
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("not a regular file");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    refused("it is a directory");
    std::fs::remove_dir(&file).unwrap();
    std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
    refused("65536 at most");
}
