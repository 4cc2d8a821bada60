//! Traffic at every width, ordinary and hostile.

use super::by_place;
use crate::{
    render::{
        ls,
        sample::{HOSTILE, at, node, socket, source, target},
        tests::everywhere,
        who,
    },
    wire::{Connection, List, ProcessName, Socket, TimeWaitOwner, Traffic, Verdict, Who, WhoTarget},
};

fn name(pid: u32, comm: &str) -> ProcessName {
    ProcessName {
        pid,
        started: Some(at("2026-03-01T19:14:29Z")),
        comm: comm.to_owned(),
        user: Some("erich".to_owned()),
        evidence: "kernel".to_owned(),
    }
}

fn connection(state: &str, peer_port: u16, process: Option<ProcessName>) -> Connection {
    let waits = state == "time-wait";
    Connection {
        address: "::ffff:127.0.0.1".to_owned(),
        port: 3100,
        netns: Some(4_026_531_840),
        peer_address: "::ffff:127.0.0.1".to_owned(),
        peer_port: Some(peer_port),
        state: state.to_owned(),
        expires_in_ms: waits.then_some(46_200),
        inode: (!waits).then_some(7),
        reuse_addr: waits.then_some(true),
        owner: if process.is_some() { "known" } else { "unknown" }.to_owned(),
        process,
    }
}

fn traffic(established: u64, owners: Vec<(Option<ProcessName>, u64)>) -> Traffic {
    Traffic {
        established,
        time_wait: owners.iter().map(|(_, count)| count).sum(),
        other: 0,
        time_wait_at_least: true,
        time_wait_owners: owners
            .into_iter()
            .map(|(process, connections)| TimeWaitOwner { process, connections, expires_in_ms: Some(46_200) })
            .collect(),
        connections: Vec::new(),
        connections_left_out: 0,
        processes: Vec::new(),
    }
}

fn answer(state: &str, sockets: Vec<Socket>, traffic: Traffic, sentence: &str) -> Who {
    let verdict = serde_json::from_value::<Verdict>(serde_json::json!({ "sentence": sentence })).unwrap();
    let target = WhoTarget {
        protocol: None,
        traffic: Some(traffic),
        verdict: Some(verdict),
        ..target("3100", state, sockets)
    };
    Who {
        schema: 1,
        time: at("2026-03-02T01:26:30Z"),
        source: source(true),
        netns: Some(4_026_531_840),
        targets: vec![target],
    }
}

#[test]
fn a_port_in_time_wait_names_owners_and_the_time_left() {
    let sentence = "A bind of 0.0.0.0:3100 would succeed with SO_REUSEADDR; without it in 47s (14 in TIME_WAIT, left \
                    by node (48291)).";
    let one = answer("free", Vec::new(), traffic(0, vec![(Some(name(48291, "node")), 14)]), sentence);
    let unseen = answer("free", Vec::new(), traffic(0, vec![(None, 3)]), sentence);
    let owners = vec![
        (Some(name(1, "a")), 9),
        (Some(name(2, "b")), 8),
        (None, 7),
        (Some(name(4, HOSTILE)), 6),
        (Some(name(5, "e")), 1),
    ];
    let listener = answer("held", vec![socket("::", 3100, vec![node()])], traffic(3, owners), "No.");
    let all: Vec<_> =
        [one, unseen, listener].iter().map(|answer| everywhere(|out, look| who(out, answer, look))).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_borrowed_port_names_who_is_connected() {
    let holder = name(48291, "node");
    let rows = (0..5).map(|n| connection("established", 80 + n, Some(holder.clone()))).collect();
    let borrowed = Traffic { connections: rows, processes: vec![node()], ..traffic(5, Vec::new()) };
    let sentence = "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) has a connection from \
                    127.0.0.1:3100 to 127.0.0.1:80, and 4 more.";
    let borrowed = answer("held", Vec::new(), borrowed, sentence);
    let mut hidden = connection("established", 80, None);
    hidden.owner = "not-permitted".to_owned();
    let hidden = Traffic { connections: vec![hidden], ..traffic(1, Vec::new()) };
    let hidden = answer("held", Vec::new(), hidden, "No.");
    let all: Vec<_> =
        [borrowed, hidden].iter().map(|answer| everywhere(|out, look| who(out, answer, look))).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_list_of_time_wait_has_a_row_a_connection() {
    let rows = vec![
        connection("time-wait", 40_001, Some(name(48291, "node"))),
        connection("time-wait", 40_002, Some(name(812, HOSTILE))),
        Connection { reuse_addr: None, ..connection("time-wait", 40_003, None) },
    ];
    let list = |rows| List {
        schema: 1,
        time: at("2026-03-02T01:26:30Z"),
        source: source(true),
        sockets: Vec::new(),
        hidden: 0,
        netns: Some(4_026_531_840),
        elsewhere: 0,
        missing: None,
        time_wait: Some(rows),
    };
    let (some, none) = (list(rows), list(Vec::new()));
    let all = everywhere(|out, look| ls(out, &some, look)) + &everywhere(|out, look| ls(out, &none, look));
    insta::assert_snapshot!(all);
}

#[test]
fn where_not_all_connections_are_listed_no_place_has_a_number() {
    let rows: Vec<_> = (0..100).map(|n| connection("established", 80 + n % 2, None)).collect();
    let some = Traffic { connections: rows.clone(), ..traffic(100, Vec::new()) };
    assert_eq!(by_place(&some, &[]), ["50 to 127.0.0.1:80", "50 to 127.0.0.1:81"]);
    let many = Traffic { connections: rows, connections_left_out: 50, other: 3, ..traffic(147, Vec::new()) };
    let places = by_place(&many, &[]);
    let all = "150 in all; --verbose shows a hundred of them";
    assert_eq!(places, ["to 127.0.0.1:80", "to 127.0.0.1:81", all]);
    assert_eq!(by_place(&many, &[3100]), ["on its port 3100", all]);
    // Without a socket the first of them are shown one by one.
    let answer = answer("held", Vec::new(), many, "No.");
    let said = everywhere(|out, look| who(out, &answer, look));
    assert!(said.contains("and at least 97 more"), "{said}");
}
