use std::{path::PathBuf, sync::Arc};

use super::convert;
use crate::{
    model::{
        AskedPort, Attached, CommandLine, Endpoint, Evidence, Holder, Owner, Phase, Port, Process, ProcessId,
        Project, ProjectKind, Protocol, Socket, SocketKey, SocketOptions, SocketSeen, Timestamp, Viewer,
    },
    query::{About, KnownSocket, ListAnswer, claims::ClaimsAnswer},
    registry::Standing,
    source::SourceKind,
};

/// A listener of a process in this project that has a long command line.
fn listener(port: u16, project: &str) -> KnownSocket {
    let id = ProcessId { pid: u32::from(port), start_ticks: 7 };
    let process = Process {
        id,
        started: None,
        comm: "node".to_owned(),
        command: Some(CommandLine { args: vec!["x".repeat(4000)], truncated: false }),
        exe: None,
        cwd: None,
        uid: Some(1000),
        user: None,
        cgroup: None,
        unit: None,
        container: None,
        unproven: None,
        lineage: Vec::new(),
        project: Some(Project {
            root: PathBuf::from("/home/erich").join(project),
            name: project.to_owned(),
            kind: ProjectKind::Git,
            worktree: None,
            evidence: Evidence::Scan,
        }),
        evidence: Evidence::Scan,
    };
    let seen = SocketSeen {
        key: SocketKey::Cookie(port.into()),
        inode: None,
        endpoint: Endpoint {
            netns: None,
            protocol: Protocol::Tcp,
            address: [127, 0, 0, 1].into(),
            port: Port::new(port).unwrap(),
        },
        phase: Phase::Listening,
        asked: AskedPort::Unknown,
        options: SocketOptions::default(),
        uid: Some(1000),
        cgroup_id: None,
        attached: Attached::Unknown,
    };
    let socket = Socket {
        seen,
        creator: None,
        holders: vec![Holder { process: id, evidence: Evidence::Scan }],
        owner: Owner::Known,
        since: Timestamp::UNIX_EPOCH,
        listening_since: None,
        evidence: Evidence::Kernel,
    };
    KnownSocket {
        socket,
        processes: vec![Arc::new(process)],
        user: None,
        noise: false,
        standing: Some(Standing::Rogue),
        netns_name: None,
        forward: None,
    }
}

#[test]
fn what_there_is_no_room_to_describe_is_no_less_unclaimed_and_others_take_no_room() {
    let about = About {
        source: SourceKind::Scan,
        daemon: true,
        note: None,
        coverage: Vec::new(),
        degradations: Vec::new(),
    };
    let (time, unclaimed) = (Timestamp::UNIX_EPOCH, Vec::new());
    let claims = ClaimsAnswer { time, about: about.clone(), claims: Vec::new(), unclaimed };
    let others = (3000..3100).map(|port| listener(port, "other"));
    let sockets = others.chain((3100..3120).map(|port| listener(port, "shop"))).collect();
    let list = ListAnswer {
        time,
        about,
        sockets,
        hidden: 0,
        time_wait: None,
        netns: None,
        elsewhere: 0,
        missing: None,
    };
    let told = convert::drift(&claims, list, Some("shop"), (Viewer::Unrestricted, 100_000));
    let ports: Vec<_> = told.unclaimed.iter().map(|socket| socket.port).collect();
    assert_eq!(ports, (3100..3120).collect::<Vec<_>>());
    let described = told.unclaimed.iter().filter(|s| s.holders[0].process.command.is_some()).count();
    assert!((1..20).contains(&described), "{described}");
    let note = told.source.note.unwrap();
    assert_eq!(note.matches("told by name alone").count(), 1, "{note}");
    assert!(note.starts_with(&format!("{} processes", 20 - described)), "{note}");
}
