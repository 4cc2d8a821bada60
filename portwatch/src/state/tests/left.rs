use super::{
    super::{LiveTable, Policy},
    build::*,
};
use crate::model::{Change, EventKind, Evidence, LeftOpen, Netns, Phase, SocketKey, SocketSeen};

fn left(seen: &SocketSeen, key: Option<SocketKey>) -> LeftOpen {
    LeftOpen {
        endpoint: seen.endpoint,
        key,
        phase: seen.phase,
        asked: seen.asked,
        options: seen.options,
        by: Some((pid(7), Evidence::Kernel)),
        since: at(-500),
    }
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
