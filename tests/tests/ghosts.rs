//! Claims whose programs end, however soon; and files that are no project files.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail like tests")]

use std::{
    io::Read as _,
    process::{Command, Stdio},
};

use portwatch_tests::{DEADLINE, Portwatch, free_port, require_bpf, wait_until};
use serde_json::Value;

/// Ends as soon as it listens: whoever looks then finds nothing.
const BRIEF: &str = "import os, socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); os._exit(3)";

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
        let status = brief.args(["-c", BRIEF, &port.to_string()]).current_dir("/").status().unwrap();
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
    refused("not a regular file");
    std::fs::remove_dir(&file).unwrap();
    std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
    refused("65536 at most");
}
