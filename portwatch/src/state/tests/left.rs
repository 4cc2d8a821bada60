use super::{
    super::{LiveTable, Policy},
    build::*,
};
use crate::model::{
    Began, Change, EventKind, Evidence, LeftOpen, Netns, Phase, Socket, SocketKey, SocketSeen,
};

fn left(seen: &SocketSeen, key: Option<SocketKey>) -> LeftOpen {
    LeftOpen {
        endpoint: seen.endpoint,
        key,
        phase: seen.phase,
        asked: seen.asked,
        options: seen.options,
        by: Some((pid(7), Evidence::Kernel)),
        since: at(-500),
        began: Some(Began { since: at(-900), listening_since: Some(at(-800)), evidence: Evidence::Kernel }),
    }
}

/// A socket as the first snapshot shows it, held by process 8, where the record left `open`.
fn recalled(open: LeftOpen, seen: &SocketSeen) -> Socket {
    let mut table = LiveTable::new(Policy::default());
    table.expect(vec![open]);
    table.apply(taken(snapshot(-10, -5, vec![held(seen, &[8])])), &mut Vec::new());
    table.get(seen.key).unwrap().clone()
}

#[test]
fn since_when_a_socket_is_there_is_recalled_where_it_is_the_same_one() {
    let seen = listens(tcp(1, "127.0.0.1", 3100));
    let open = left(&seen, Some(seen.key));
    let socket = recalled(open.clone(), &seen);
    let times = |socket: &Socket| (socket.since, socket.listening_since, socket.evidence);
    assert_eq!(times(&socket), (at(-900), Some(at(-800)), Evidence::Kernel));
    assert_eq!(socket.creator, None, "who made it has it no more");
    let by = Some((pid(8), Evidence::Kernel));
    assert_eq!(recalled(LeftOpen { by, ..open.clone() }, &seen).creator, Some(pid(8)));

    let new = (at(-5), None, Evidence::Scan);
    let other = listens(tcp(2, "127.0.0.1", 3100));
    assert_eq!(times(&recalled(open.clone(), &other)), new, "another socket at its place");
    let mut elsewhere = seen.clone();
    elsewhere.endpoint.netns = Some(Netns(2));
    assert_eq!(times(&recalled(open.clone(), &elsewhere)), new, "the namespace is another one");
    assert_eq!(
        times(&recalled(LeftOpen { began: None, ..open.clone() }, &seen)),
        new,
        "perhaps another boot"
    );
    let began = Began { since: at(3), listening_since: None, evidence: Evidence::Kernel };
    let ahead = LeftOpen { began: Some(began), ..open.clone() };
    assert_eq!(times(&recalled(ahead, &seen)), new, "the clock was set back");
    let bound = LeftOpen { phase: Phase::Bound, ..open.clone() };
    assert_eq!(times(&recalled(bound, &seen)), new, "it began to listen meanwhile");
    let deaf = tcp(1, "127.0.0.1", 3100);
    assert_eq!(
        times(&recalled(open, &deaf)),
        (at(-900), None, Evidence::Kernel),
        "it does not listen any more"
    );
}

#[test]
fn by_its_inode_a_socket_is_the_same_only_at_its_place_and_with_who_made_it() {
    let mut seen = listens(tcp(1, "127.0.0.1", 3100));
    seen.key = SocketKey::Inode { netns: Some(HOST), inode: 12 };
    let open = left(&seen, Some(seen.key));
    let with = |process| LeftOpen { by: Some((process, Evidence::Scan)), ..open.clone() };
    assert_eq!(recalled(with(pid(8)), &seen).since, at(-900));
    assert_eq!(recalled(with(pid(7)), &seen).since, at(-5));
    assert_eq!(recalled(LeftOpen { by: None, ..open.clone() }, &seen).since, at(-5));
    let reused = crate::model::ProcessId { start_ticks: 101, ..pid(8) };
    assert_eq!(recalled(with(reused), &seen).since, at(-5), "the pid is another process's by now");
    let mut moved = seen;
    moved.endpoint.port = port(3101);
    assert_eq!(recalled(with(pid(8)), &moved).since, at(-5));
}

/// What a first snapshot with the sockets `there` tells of one that was left open.
fn told_of(open: LeftOpen, there: &[SocketSeen]) -> Vec<Change> {
    let mut table = LiveTable::new(Policy::default());
    table.expect(vec![open]);
    let mut out = Vec::new();
    let sockets = there.iter().map(|seen| held(seen, &[8])).collect::<Vec<_>>();
    table.apply(taken(snapshot(-10, -5, sockets.clone())), &mut out);
    let after = out.len();
    table.apply(taken(snapshot(10, 15, sockets)), &mut out);
    assert_eq!(out.len(), after, "it is told once");
    out
}

#[test]
fn the_end_of_what_an_earlier_run_left_open_is_told_when_it_is_found_out() {
    let gone = listens(tcp(1, "127.0.0.1", 3100));
    let out = told_of(left(&gone, Some(gone.key)), &[listens(tcp(2, "127.0.0.1", 3100))]);
    assert_eq!(told(&out), [(EventKind::Close, Evidence::Scan, -5)]);
    let event = &out[0].event;
    assert_eq!((event.since, event.port, event.socket), (Some(at(-500)), Some(port(3100)), Some(gone.key)));
    assert_eq!((event.process, event.other), (None, Some(pid(7))), "who closed it nobody saw");
    assert_eq!((event.phase, event.message.is_some()), (Some(Phase::Listening), true));
}

#[test]
fn what_is_still_there_or_was_not_looked_at_has_no_end() {
    let open = listens(tcp(1, "127.0.0.1", 3100));
    assert!(told_of(left(&open, Some(open.key)), std::slice::from_ref(&open)).is_empty());
    let mut elsewhere = open;
    elsewhere.endpoint.netns = Some(Netns(99));
    assert!(told_of(left(&elsewhere, Some(elsewhere.key)), &[]).is_empty());
}

#[test]
fn without_an_identity_in_common_only_an_empty_place_tells_of_an_end() {
    let open = listens(tcp(1, "127.0.0.1", 3100));
    let inode = Some(SocketKey::Inode { netns: Some(HOST), inode: 12 });
    for key in [None, inode] {
        assert!(told_of(left(&open, key), &[listens(tcp(2, "127.0.0.1", 3100))]).is_empty(), "{key:?}");
        assert_eq!(told_of(left(&open, key), &[listens(tcp(2, "127.0.0.1", 3101))]).len(), 1, "{key:?}");
    }
}
