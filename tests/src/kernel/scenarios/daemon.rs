//! The whole way: source, live table, journal, and the answers of the real binary.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a scenario asserts")]

use portwatch::source::ebpf::HookChoice;
use serde_json::Value;

use crate::{
    Actor, DEADLINE, Portwatch, Ran,
    kernel::{
        Outcome,
        child::{Role, heard},
    },
    wait_until,
};

pub(super) fn start(role: Role, port: u16) -> (Actor, i32) {
    let mut actor = Actor::start(&mut role.command(port).unwrap()).unwrap();
    loop {
        let line = actor.line().unwrap();
        if let Some(number) = heard(&line).unwrap() {
            return (actor, number);
        }
    }
}

/// What `who` says once it can say something: on a machine that is very busy the daemon may not have looked in time,
/// which is exit code 3 and no answer. Found is 0, free is 1, and neither may come in place of the other.
fn answer(portwatch: &Portwatch, port: &str) -> Ran {
    let seen = || {
        let ran = portwatch.run(&["who", port, "--json"]).unwrap();
        (ran.code != Some(3)).then_some(ran)
    };
    wait_until("an answer that is not 'unknown'", DEADLINE, seen).unwrap()
}

/// Events of this type and process, or of a process that is not known.
fn events<'a>(log: &'a Value, kind: &str, pid: u32) -> Vec<&'a Value> {
    let of = |event: &&Value| event["type"] == kind && event["process"]["pid"] == pid;
    log["events"].as_array().unwrap().iter().filter(of).collect()
}

pub(super) fn the_daemon_says_who_listens_and_writes_down_how_it_went(hooks: HookChoice) -> Outcome {
    let portwatch = Portwatch::started(&["--hooks", hooks.as_str()]).unwrap();
    let programs = hooks != HookChoice::None;
    let status = portwatch.run(&["status", "--json"]).unwrap().json().unwrap();
    let source = if programs { "ebpf" } else { "scan" };
    assert_eq!(status["source"]["source"], source, "{status:#}");

    let (server, port) = start(Role::Listen, 0);
    let word = port.to_string();
    let who = answer(&portwatch, &word).json().unwrap();
    let socket = &who["targets"][0]["sockets"][0];
    assert_eq!(socket["state"], "listening", "{who:#}");
    assert_eq!(socket["address"], "127.0.0.1");
    assert_eq!(socket["creator"]["pid"].as_u64(), programs.then(|| server.pid().into()), "{who:#}");
    assert_eq!(socket["holders"][0]["process"]["pid"], server.pid(), "{who:#}");
    assert_eq!(socket["random"].as_bool(), programs.then_some(true), "{who:#}");

    let (rival, errno) = start(Role::Bind, u16::try_from(port).unwrap());
    assert_eq!(errno, nix::libc::EADDRINUSE);
    let rival_pid = rival.pid();
    assert!(rival.finish().unwrap().success());
    let server_pid = server.pid();
    assert!(server.finish().unwrap().success());
    let free = portwatch.run(&["who", &word, "--json"]).unwrap();
    if !programs && free.code == Some(3) {
        // Before 6.8 sock_diag shows no TCP socket that is bound without listening: free would be a guess.
        assert!(free.stdout.contains("bound without listening"), "{free:?}");
    } else {
        assert_eq!(answer(&portwatch, &word).code, Some(1), "{free:?}");
    }

    let log = portwatch.run(&["log", "--port", &word, "--limit", "0", "--json"]).unwrap().json().unwrap();
    // Who called, only kernel programs see; a scan finds who has it, and names that.
    let listens = events(&log, "listen", server_pid);
    assert_eq!(listens.len(), 1, "{log:#}");
    assert_eq!(listens[0]["evidence"], if programs { "kernel" } else { "scan" });
    assert_eq!(events(&log, "close", server_pid).len(), 1, "{log:#}");
    if programs {
        let refused = events(&log, "refused", rival_pid);
        assert_eq!(refused.len(), 1, "{log:#}");
        assert_eq!(refused[0]["errno_name"], "EADDRINUSE");
        assert_eq!(refused[0]["other"]["pid"], server_pid, "{log:#}");
        let command = listens[0]["process"]["command"].as_array().unwrap();
        assert!(command.iter().any(|word| word == Role::Listen.as_str()), "{command:?}");
    }
    Outcome::Held
}
