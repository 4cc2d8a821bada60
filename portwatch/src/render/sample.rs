//! Answers for the tests of the renderers, built as wire values: ordinary ones and hostile ones.

use jiff::{Timestamp, tz::TimeZone};

use super::Look;
use crate::wire::{
    Ancestor, Cgroup, Degradation, Event, Exit, Gap, Holder, LostCounts, Process, Project, Socket,
    SourceInfo, WhoTarget, Worktree,
};

/// A name that tries everything: a forged row, an escape sequence, a direction override, a zero-width blank.
pub(super) const HOSTILE: &str = "ev\u{202e}il\u{200b}\n3100/tcp  LISTEN  sshd (1)\x1b[2J\t日本";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A terminal so many columns wide, in the evening of 1 March, local time Berlin's.
pub(super) fn look(columns: usize) -> Look {
    Look {
        width: Some(columns),
        color: false,
        terminal: true,
        verbose: false,
        now: at("2026-03-02T01:26:30Z"),
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        home: Some("/home/erich".to_owned()),
    }
}

/// No terminal.
pub(super) fn pipe() -> Look {
    Look { width: None, terminal: false, ..look(80) }
}

pub(super) fn source(daemon: bool) -> SourceInfo {
    let note = "a snapshot without a daemon: no history, and sockets of other users have no owner; 'sudo portwatch \
                start' adds both";
    SourceInfo {
        source: if daemon { "ebpf" } else { "scan" }.to_owned(),
        daemon,
        note: (!daemon).then(|| note.to_owned()),
        degradations: if daemon { Vec::new() } else { vec![degradation()] },
    }
}

pub(super) fn degradation() -> Degradation {
    Degradation {
        name: "no-bpf-permission".to_owned(),
        what: "kernel programs cannot be loaded: bpf() failed with EPERM.".to_owned(),
        remedy: "Run as root, or give the daemon CAP_BPF and CAP_PERFMON.".to_owned(),
    }
}

pub(super) fn process(pid: u32, comm: &str, args: &[&str]) -> Process {
    Process {
        pid,
        started: Some(at("2026-03-01T19:14:29Z")),
        comm: comm.to_owned(),
        command: Some(args.iter().map(|&arg| arg.to_owned()).collect()),
        command_truncated: false,
        exe: Some(format!("/usr/bin/{comm}")),
        cwd: None,
        uid: Some(1000),
        user: Some("erich".to_owned()),
        cgroup: None,
        unit: None,
        container: None,
        unproven_container: None,
        lineage: Vec::new(),
        project: None,
        evidence: "kernel".to_owned(),
    }
}

/// The server of the manual's first example.
pub(super) fn node() -> Process {
    let ancestor = |pid, comm: &str, args: Option<&[&str]>| Ancestor {
        pid,
        comm: comm.to_owned(),
        command: args.map(|args| args.iter().map(|&arg| arg.to_owned()).collect()),
        command_truncated: false,
    };
    Process {
        cwd: Some("/home/erich/code/myapp".to_owned()),
        cgroup: Some(Cgroup { id: Some(77), path: "/user.slice/user@1000.service/app.slice".to_owned() }),
        lineage: vec![
            ancestor(48277, "npm", Some(&["npm", "run", "dev"])),
            ancestor(41002, "zsh", None),
            ancestor(1201, "tmux", None),
        ],
        project: Some(project("myapp", "/home/erich/code/myapp")),
        ..process(48291, "node", &["node", "server.js"])
    }
}

pub(super) fn project(name: &str, root: &str) -> Project {
    serde_json::from_value(serde_json::json!({
        "name": name, "root": root, "kind": "node", "evidence": "scan",
        "worktree": { "name": "main", "root": root, "branch": "main" },
    }))
    .unwrap()
}

pub(super) fn holder(process: Process) -> Holder {
    Holder { process, evidence: "kernel".to_owned() }
}

pub(super) fn socket(address: &str, port: u16, holders: Vec<Process>) -> Socket {
    Socket {
        interface: None,
        interface_index: None,
        protocol: "tcp".to_owned(),
        address: address.to_owned(),
        port,
        netns: Some(4_026_531_840),
        state: "listening".to_owned(),
        asked_port: Some(port),
        random: Some(false),
        reuse_addr: Some(true),
        reuse_port: Some(false),
        v6_only: if address.contains(':') { Some(false) } else { None },
        cookie: Some(4711),
        inode: Some(990_017),
        uid: Some(1000),
        user: Some("erich".to_owned()),
        since: at("2026-03-01T19:14:30Z"),
        listening_since: Some(at("2026-03-01T19:14:30Z")),
        creator: holders.first().cloned(),
        owner: if holders.is_empty() { "unknown" } else { "known" }.to_owned(),
        holders: holders.into_iter().map(holder).collect(),
        device: None,
        netns_name: None,
        forwards_to: None,
        claim: None,
        standing: None,
        explained_by: None,
        evidence: "kernel".to_owned(),
    }
}

pub(super) fn target(asked: &str, state: &str, sockets: Vec<Socket>) -> WhoTarget {
    WhoTarget {
        asked: asked.to_owned(),
        port: Some(3100),
        protocol: Some("tcp".to_owned()),
        state: state.to_owned(),
        reason: None,
        sockets,
        other_addresses: Vec::new(),
        elsewhere: Vec::new(),
        published: Vec::new(),
        last: Vec::new(),
        refused: Vec::new(),
        refused_before: false,
        traffic: None,
        claim: None,
        verdict: None,
    }
}

pub(super) fn event(kind: &str, time: &str, port: Option<u16>, process: Option<Process>) -> Event {
    Event {
        id: Some(9),
        time: at(time),
        kind: kind.to_owned(),
        evidence: "kernel".to_owned(),
        protocol: port.map(|_| "tcp".to_owned()),
        address: port.map(|_| "127.0.0.1".to_owned()),
        port,
        netns: Some(4_026_531_840),
        cookie: port.map(|_| 4711),
        state: None,
        asked_port: port,
        random: Some(false),
        process,
        other: None,
        claim: None,
        subject: None,
        errno: None,
        errno_name: None,
        exit: None,
        gap: None,
        since: None,
        count: 1,
        message: None,
    }
}

pub(super) fn killed() -> Exit {
    let name = Some("SIGKILL".to_owned());
    Exit {
        code: None,
        signal: Some(9),
        signal_name: name.clone(),
        core_dumped: false,
        sent_signal: Some(9),
        sent_signal_name: name,
        sent_by: Some("process".to_owned()),
        sent_again: false,
    }
}

pub(super) fn refused(time: &str) -> Event {
    let loser = Process {
        cwd: Some("/home/erich/code/other".to_owned()),
        ..process(51202, "python3", &["python3", "seed.py"])
    };
    Event {
        errno: Some(98),
        errno_name: Some("EADDRINUSE".to_owned()),
        other: Some(node()),
        ..event("refused", time, Some(3100), Some(loser))
    }
}

pub(super) fn gap(time: &str) -> Event {
    let lost = LostCounts {
        total: 1204,
        process: 0,
        bind: 600,
        refused: 0,
        listen: 4,
        close: 600,
        exit: 0,
        undecodable: 0,
    };
    let since = time.replace(".080", "");
    Event {
        gap: Some(Gap { reason: "buffer-full".to_owned(), since: Some(at(&since)), lost: Some(lost) }),
        ..event("gap", time, None, None)
    }
}

pub(super) fn worktree(name: &str, branch: Option<&str>) -> Worktree {
    Worktree { name: name.to_owned(), root: "/w".to_owned(), branch: branch.map(str::to_owned) }
}
