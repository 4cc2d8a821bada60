//! Real files, real processes. Each test has a directory of its own that goes with it.

mod crash;
mod left;
mod opening;
mod reading;
mod refusing;
mod trimming;

use std::{path::PathBuf, sync::Arc};

use tempfile::TempDir;

use super::{Entry, Journal, Opened, Options, Reader};
use crate::model::{
    Ancestor, AskedPort, Cgroup, CommandLine, Compose, Container, Engine, Event, EventKind, Evidence, Netns,
    Phase, Port, Process, ProcessId, Project, ProjectKind, Protocol, SocketKey, SocketOptions, Timestamp,
    Unit, Worktree,
};

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portwatch.db");
    (directory, path)
}

/// The boot that all of this belongs to.
const BOOT: &str = "11111111-2222-3333-4444-555555555555";

fn open(path: &std::path::Path) -> Opened {
    let options =
        Options { boot_id: BOOT.to_owned(), retention_age: std::time::Duration::MAX, ..Options::default() };
    Journal::open(path, options).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn id(pid: u32) -> ProcessId {
    ProcessId { pid, start_ticks: u64::from(pid) * 10 }
}

fn process(pid: u32, comm: &str) -> Arc<Process> {
    Arc::new(Process {
        id: id(pid),
        started: Some(at(-5)),
        comm: comm.to_owned(),
        command: Some(CommandLine { args: vec![comm.to_owned(), "server.js".to_owned()], truncated: false }),
        exe: Some(PathBuf::from("/usr/bin").join(comm)),
        cwd: Some(PathBuf::from("/home/erich/myapp")),
        uid: Some(1000),
        user: Some("erich".to_owned()),
        cgroup: Some(Cgroup { id: Some(77), path: "/user.slice".to_owned() }),
        unit: Some(Unit {
            name: "dev.service".to_owned(),
            slice: Some("app.slice".to_owned()),
            manager: Some(1000),
        }),
        container: Some(Container {
            engine: Some(Engine::Docker),
            id: "ab".repeat(32),
            pod: None,
            name: Some("web".to_owned()),
            image: Some("nginx:1".to_owned()),
            compose: Some(Compose { project: "shop".to_owned(), service: "web".to_owned() }),
            owner: None,
        }),
        unproven: None,
        lineage: vec![Ancestor {
            pid: 2,
            start_ticks: Some(3),
            comm: "zsh".to_owned(),
            command: Some(CommandLine { args: vec!["-zsh".to_owned()], truncated: true }),
        }],
        project: Some(Project {
            root: PathBuf::from("/home/erich/myapp"),
            name: "myapp".to_owned(),
            kind: ProjectKind::Node,
            worktree: Some(Worktree {
                name: "main".to_owned(),
                root: PathBuf::from("/home/erich/myapp"),
                branch: Some("fix".to_owned()),
            }),
            evidence: Evidence::Scan,
        }),
        evidence: Evidence::Kernel,
    })
}

fn event(second: i64, kind: EventKind, port: u16, pid: u32) -> Event {
    let mut event = Event::new(at(second), kind, Evidence::Kernel);
    event.protocol = Some(Protocol::Tcp);
    event.address = Some("127.0.0.1".parse().unwrap());
    event.port = Port::new(port);
    event.netns = Some(Netns(4_026_531_840));
    event.socket = Some(SocketKey::Cookie(u64::from(port)));
    event.phase = Some(Phase::Listening);
    event.asked = Port::new(port).map_or(AskedPort::Unknown, AskedPort::Explicit);
    event.options = SocketOptions { reuse_addr: Some(true), reuse_port: Some(false), v6_only: None };
    event.process = Some(id(pid));
    event
}

/// Writes and closes in order.
fn recorded(path: &std::path::Path, entries: impl IntoIterator<Item = Entry>) -> Reader {
    let opened = open(path);
    for entry in entries {
        opened.writer.write(entry);
    }
    assert_eq!(opened.writer.close().error, None);
    Reader::open(path).unwrap()
}
