use super::{
    super::{LiveTable, Policy},
    build::*,
};
use crate::model::{
    AskedPort, BindRefused, Change, EventKind, Evidence, Exited, Holder, Netns, Observation, Owner, Phase,
    Port, ProcessId, Protocol, Seen, SnapshotSocket, SocketSeen,
};
use EventKind::{Bind, Close, Exit, Gap, Listen, Noise, Unlisten};
use Evidence::{Kernel, Scan};

fn feed(table: &mut LiveTable, observations: Vec<Observation>) -> Vec<Change> {
    let mut out = Vec::new();
    for observation in observations {
        table.apply(observation, &mut out);
    }
    out
}

fn started() -> LiveTable {
    let mut table = LiveTable::new(Policy::default());
    assert!(feed(&mut table, vec![taken(snapshot(-10, -5, vec![]))]).is_empty());
    table
}

fn refused(address: &str, number: u16, netns: Netns) -> Observation {
    Observation::new(
        at(90),
        Kernel,
        Seen::Refused(BindRefused {
            key: None,
            listen: false,
            netns: Some(netns),
            protocol: Some(Protocol::Tcp),
            address: address.parse().unwrap(),
            port: Port::new(number),
            errno: 98,
            by: Some(pid(99)),
        }),
    )
}

fn other(table: &mut LiveTable, request: Observation) -> Option<(u32, Evidence)> {
    let event = feed(table, vec![request]).remove(0).event;
    event.other.map(|p| (p.pid, event.other_evidence.unwrap()))
}

#[test]
fn a_bind_is_told_at_listen_with_its_own_time() {
    let mut table = started();
    let s = tcp(1, "127.0.0.1", 3100);
    assert!(feed(&mut table, vec![bound(1, s.clone(), 7)]).is_empty());
    assert!(table.next_tick().is_some());
    let out = feed(&mut table, vec![listening(3, s, 7), closed(5, 1, 8)]);
    assert_eq!(told(&out), [(Bind, Kernel, 1), (Listen, Kernel, 3), (Close, Kernel, 5)]);
    assert_eq!(out[2].event.process, Some(pid(8)));
    assert_eq!(out[2].event.other, Some(pid(7)));
    assert!(table.is_empty() && table.next_tick().is_none());
}

#[test]
fn a_silent_blocker_is_told_after_the_grace() {
    let mut table = started();
    feed(&mut table, vec![bound(1, tcp(1, "127.0.0.1", 3100), 7)]);
    let mut out = Vec::new();
    table.tick(at(1_000), &mut out);
    assert!(out.is_empty());
    table.tick(at(1_001), &mut out);
    assert_eq!(told(&out), [(Bind, Kernel, 1)]);
    assert_eq!(table.bound_only(), 1);
}

#[test]
fn a_blocker_that_outlived_its_grace_is_told_even_if_no_tick_came() {
    let out = feed(&mut started(), vec![bound(1, tcp(1, "127.0.0.1", 3100), 7), closed(5_000, 1, 7)]);
    assert_eq!(told(&out), [(Bind, Kernel, 1), (Close, Kernel, 5_000)]);
}

#[test]
fn binds_that_end_without_listening_make_one_summary_per_process_and_minute() {
    let mut table = started();
    for i in 0..5 {
        let s = tcp(i, "127.0.0.1", 3100);
        assert!(feed(&mut table, vec![bound(1, s, 7), closed(2, i, 7)]).is_empty());
    }
    let mut out = Vec::new();
    table.tick(at(60_000), &mut out);
    assert!(out.is_empty());
    table.tick(at(60_001), &mut out);
    assert_eq!(told(&out), [(Noise, Kernel, 60_001)]);
    assert_eq!(
        (out[0].event.count, out[0].event.process, out[0].event.since),
        (5, Some(pid(7)), Some(at(1)))
    );
    assert_eq!(table.next_tick(), None);
}

#[test]
fn a_bind_whose_listen_may_be_among_lost_records_is_no_noise() {
    let mut table = started();
    let out = feed(
        &mut table,
        vec![
            gap(5),
            bound(4, tcp(1, "127.0.0.1", 3100), 7),
            closed(6, 1, 7),
            bound(7, tcp(2, "127.0.0.1", 3101), 7),
            closed(8, 2, 7),
        ],
    );
    assert_eq!(told(&out), [(Gap, Kernel, 5), (Bind, Kernel, 4), (Close, Kernel, 6)]);
    assert_eq!(table.tally().noise_binds, 1, "what was bound after the loss is judged as ever");
}

#[test]
fn a_close_whose_bind_was_lost_makes_a_row_without_a_place() {
    let mut table = started();
    assert!(feed(&mut table, vec![closed(1, 1, 7)]).is_empty());
    let out = feed(&mut table, vec![gap(5), closed(6, 2, 7)]);
    assert_eq!(told(&out), [(Gap, Kernel, 5), (Close, Kernel, 6)]);
    assert_eq!((out[1].event.socket, out[1].event.port), (Some(key(2)), None));
    assert_eq!(out[1].event.process, Some(pid(7)));
}

#[test]
fn kept_noise_is_told_bind_by_bind() {
    let mut table = LiveTable::new(Policy { keep_noise: true, ..Policy::default() });
    let out = feed(
        &mut table,
        vec![
            bound(1, tcp(1, "127.0.0.1", 3100), 7),
            closed(2, 1, 7),
            bound(3, udp(2, AskedPort::KernelChosen, 40_000), 7),
            closed(4, 2, 7),
        ],
    );
    assert_eq!(told(&out).iter().map(|t| t.0).collect::<Vec<_>>(), [Bind, Close, Bind, Close]);
}

#[test]
fn a_kernel_chosen_udp_port_is_a_row_of_the_table_and_no_event() {
    let mut table = started();
    let s = udp(1, AskedPort::KernelChosen, 40_000);
    assert!(feed(&mut table, vec![bound(1, s, 7)]).is_empty());
    assert_eq!(table.on_port(port(40_000), None).count(), 1);
    assert!(feed(&mut table, vec![closed(2, 1, 7), exited(3, pid(7))]).is_empty());
}

#[test]
fn an_explicit_udp_bind_is_told_at_once() {
    let mut table = started();
    let s = udp(1, AskedPort::Explicit(port(5353)), 5353);
    let out = feed(&mut table, vec![bound(1, s, 7), closed(2, 1, 7)]);
    assert_eq!(told(&out), [(Bind, Kernel, 1), (Close, Kernel, 2)]);
}

#[test]
fn a_listen_without_a_known_bind_enters_the_table_with_its_caller() {
    let mut table = started();
    let out = feed(
        &mut table,
        vec![listening(1, SocketSeen { asked: AskedPort::KernelChosen, ..tcp(1, "::", 41_000) }, 7)],
    );
    assert_eq!(told(&out), [(Listen, Kernel, 1)]);
    assert_eq!(out[0].event.asked, AskedPort::KernelChosen);
    assert_eq!(table.get(key(1)).unwrap().creator, Some(pid(7)));
}

#[test]
fn the_first_snapshot_fills_the_table_and_tells_nothing() {
    let mut table = LiveTable::new(Policy::default());
    let s = listens(tcp(1, "0.0.0.0", 80));
    assert!(feed(&mut table, vec![taken(snapshot(0, 5, vec![held(&s, &[7])]))]).is_empty());
    let socket = table.get(key(1)).unwrap();
    assert_eq!((socket.since, socket.evidence, socket.creator), (at(5), Scan, None));
    assert_eq!(told(&feed(&mut table, vec![closed(9, 1, 7)])), [(Close, Kernel, 9)]);
}

#[test]
fn a_later_snapshot_tells_what_was_missed_as_scan() {
    let mut table = started();
    let s = tcp(1, "0.0.0.0", 80);
    let seen = vec![held(&listens(s.clone()), &[7]), held(&tcp(2, "0.0.0.0", 81), &[7])];
    let out = feed(&mut table, vec![taken(snapshot(10, 12, seen))]);
    assert_eq!(told(&out), [(Listen, Scan, 12)]);
    let mut out = Vec::new();
    table.tick(at(1_012), &mut out);
    assert_eq!(told(&out), [(Bind, Scan, 12)]);
    let out = feed(&mut table, vec![taken(snapshot(2_000, 2_001, vec![held(&tcp(1, "0.0.0.0", 80), &[7])]))]);
    assert_eq!(told(&out), [(Unlisten, Scan, 2_001), (Close, Scan, 2_001)]);
}

#[test]
fn a_row_that_a_look_makes_names_the_oldest_holder_and_at_the_end_the_last() {
    let mut table = started();
    let held_by = |ids: &[(u32, u64)]| {
        let holder = |&(pid, start_ticks): &(u32, u64)| Holder {
            process: ProcessId { pid, start_ticks },
            evidence: Scan,
        };
        SnapshotSocket {
            holders: ids.iter().map(holder).collect(),
            ..held(&listens(tcp(1, "0.0.0.0", 80)), &[7])
        }
    };
    let named = |out: &[Change]| {
        out.iter().map(|c| (c.event.kind, c.event.process.map(|p| p.pid))).collect::<Vec<_>>()
    };
    // Its child has a smaller number: they start again from the beginning.
    let both = held_by(&[(3, 200), (7, 100)]);
    let out = feed(&mut table, vec![taken(snapshot(10, 12, vec![both]))]);
    assert_eq!(named(&out), [(Listen, Some(7))]);
    let gone = |ms, pid, start_ticks| {
        let process = ProcessId { pid, start_ticks };
        Observation::new(at(ms), Scan, Seen::Exited(Exited { process, status: None, sender: None }))
    };
    feed(&mut table, vec![gone(20, 7, 100)]);
    let out = feed(&mut table, vec![gone(21, 3, 200), taken(snapshot(21, 22, vec![]))]);
    assert_eq!(named(&out).last(), Some(&(Close, Some(3))));
    // A look that finds the socket and its process no more: it had it all the same.
    let third = listens(tcp(3, "0.0.0.0", 82));
    feed(&mut table, vec![taken(snapshot(23, 24, vec![held(&third, &[9])]))]);
    let left = taken(snapshot(25, 26, vec![held(&third, &[])]));
    let out = feed(&mut table, vec![left, taken(snapshot(27, 28, vec![]))]);
    assert_eq!(named(&out), [(Close, Some(9))]);
    // What no process had is nobody's.
    let out =
        feed(&mut table, vec![taken(snapshot(30, 31, vec![held(&listens(tcp(2, "0.0.0.0", 81)), &[])]))]);
    assert_eq!(named(&out), [(Listen, None)]);
}

#[test]
fn an_event_that_comes_after_the_snapshot_that_shows_it_makes_its_row_once() {
    let mut table = started();
    let s = tcp(1, "0.0.0.0", 80);
    let out = feed(
        &mut table,
        vec![
            taken(snapshot(10, 12, vec![held(&listens(s.clone()), &[7])])),
            bound(3, s.clone(), 7),
            listening(4, s, 7),
        ],
    );
    assert_eq!(told(&out), [(Listen, Scan, 12), (Bind, Kernel, 3), (Listen, Kernel, 4)]);
    let socket = table.get(key(1)).unwrap();
    assert_eq!((socket.evidence, socket.creator, socket.since), (Kernel, Some(pid(7)), at(3)));
    assert_eq!(table.listening(), 1);
}

#[test]
fn a_snapshot_begun_before_a_close_does_not_revive_the_socket() {
    let mut table = started();
    let s = tcp(1, "0.0.0.0", 80);
    let out = feed(
        &mut table,
        vec![
            listening(1, s.clone(), 7),
            closed(11, 1, 7),
            taken(snapshot(10, 12, vec![held(&listens(s), &[7])])),
        ],
    );
    assert_eq!(told(&out), [(Listen, Kernel, 1), (Close, Kernel, 11)]);
    assert!(table.is_empty());
}

#[test]
fn a_socket_bound_after_the_snapshot_began_is_not_missing() {
    let mut table = started();
    feed(&mut table, vec![listening(11, tcp(1, "0.0.0.0", 80), 7), taken(snapshot(10, 12, vec![]))]);
    assert_eq!(table.listening(), 1);
}

#[test]
fn a_bind_older_than_the_snapshot_that_misses_it_does_not_enter_the_table() {
    let mut table = started();
    let s = tcp(1, "0.0.0.0", 80);
    let out = feed(
        &mut table,
        vec![taken(snapshot(10, 12, vec![])), bound(3, s.clone(), 7), listening(4, s, 7), closed(5, 1, 7)],
    );
    assert_eq!(told(&out), [(Bind, Kernel, 3), (Listen, Kernel, 4), (Close, Kernel, 5)]);
    assert!(table.is_empty());
}

#[test]
fn a_close_that_comes_after_a_scan_found_it_keeps_its_row_and_its_facts() {
    let mut table = started();
    feed(&mut table, vec![listening(1, tcp(1, "0.0.0.0", 80), 7)]);
    let out = feed(&mut table, vec![taken(snapshot(10, 12, vec![])), closed(5, 1, 7), closed(6, 1, 7)]);
    assert_eq!(told(&out), [(Close, Scan, 12), (Close, Kernel, 5)]);
    assert_eq!(out[1].event.port, Port::new(80));
    assert_eq!(table.tally().unknown, 1);
}

#[test]
fn a_snapshot_judges_only_what_it_looked_at() {
    let mut table = started();
    let mut elsewhere = tcp(3, "0.0.0.0", 80);
    elsewhere.endpoint.netns = Some(Netns(9));
    feed(
        &mut table,
        vec![
            listening(1, tcp(1, "0.0.0.0", 80), 7),
            listening(1, tcp(2, "0.0.0.0", 81), 7),
            listening(1, elsewhere, 7),
            bound(1, tcp(4, "0.0.0.0", 82), 7),
            bound(1, udp(5, AskedPort::Explicit(port(80)), 80), 7),
        ],
    );
    let mut look = snapshot(10, 12, vec![]);
    look.ports = vec![port(80), port(82)];
    look.protocols = vec![Protocol::Tcp];
    look.bound_included = false;
    feed(&mut table, vec![taken(look)]);
    let left: Vec<_> = table.sockets().map(|s| s.seen.key).collect();
    assert_eq!(left, [key(3), key(5), key(2), key(4)]);
}

#[test]
fn an_mptcp_subflow_that_ended_without_close_goes_with_the_next_look_at_its_port() {
    for bound_included in [true, false] {
        let mut table = started();
        let out = feed(&mut table, vec![listening(1, tcp(1, "::", 80), 7), unlistened(2, 1)]);
        assert_eq!(told(&out), [(Listen, Kernel, 1), (Unlisten, Kernel, 2)]);
        assert_eq!(table.get(key(1)).unwrap().seen.phase, Phase::Bound);
        let mut look = snapshot(10, 12, vec![]);
        look.ports = vec![port(80)];
        look.bound_included = bound_included;
        let evidence = if bound_included { Scan } else { Evidence::Inferred };
        assert_eq!(told(&feed(&mut table, vec![taken(look)])), [(Close, evidence, 12)]);
    }
}

#[test]
fn a_look_that_leaves_bound_sockets_out_says_nothing_of_them() {
    let mut table = started();
    feed(&mut table, vec![listening(1, tcp(1, "::", 80), 7), unlistened(2, 1)]);
    let mut look = snapshot(10, 12, vec![]);
    look.ports = vec![port(80)];
    look.bound_included = false;
    look.bound_left_out = true;
    assert_eq!(told(&feed(&mut table, vec![taken(look)])), []);
    assert_eq!(table.get(key(1)).unwrap().seen.phase, Phase::Bound);
}

#[test]
fn an_exit_takes_the_holder_and_leaves_the_socket() {
    let mut table = started();
    let s = listens(tcp(1, "0.0.0.0", 80));
    feed(&mut table, vec![taken(snapshot(1, 2, vec![held(&s, &[7, 8])]))]);
    assert_eq!(told(&feed(&mut table, vec![exited(3, pid(7))])), [(Exit, Kernel, 3)]);
    assert_eq!(table.get(key(1)).unwrap().holders.len(), 1);
    feed(&mut table, vec![exited(4, pid(8))]);
    let socket = table.get(key(1)).unwrap();
    assert_eq!((socket.holders.len(), socket.owner), (0, Owner::NoProcess));
}

#[test]
fn an_exit_is_told_only_of_a_process_that_had_a_socket_lately() {
    let mut table = started();
    let run = |table: &mut LiveTable, p: u32, exit: i64| {
        let s = tcp(u64::from(p), "0.0.0.0", 80);
        feed(table, vec![listening(1, s, p), closed(2, p.into(), p)]);
        told(&feed(table, vec![exited(exit, pid(p))])).len()
    };
    assert_eq!(run(&mut table, 7, 299_000), 1);
    assert_eq!(run(&mut table, 8, 301_000), 0);
    assert_eq!(feed(&mut table, vec![exited(3, pid(55))]).len(), 0);
}

#[test]
fn a_snapshot_begun_before_an_exit_does_not_bring_the_holder_back() {
    let mut table = started();
    let s = listens(tcp(1, "0.0.0.0", 80));
    feed(&mut table, vec![exited(11, pid(7)), taken(snapshot(10, 12, vec![held(&s, &[7])]))]);
    assert_eq!(table.get(key(1)).unwrap().owner, Owner::NoProcess);
}

#[test]
fn a_reused_pid_inherits_nothing() {
    let mut table = started();
    feed(&mut table, vec![listening(1, tcp(1, "0.0.0.0", 80), 7)]);
    let reborn = ProcessId { pid: 7, start_ticks: 200 };
    assert!(feed(&mut table, vec![exited(2, reborn)]).is_empty());
    assert_eq!(table.get(key(1)).unwrap().holders[0].process, pid(7));
}

#[test]
fn holders_that_a_snapshot_did_not_look_for_stay() {
    let mut table = started();
    let s = tcp(1, "0.0.0.0", 80);
    let mut item = held(&listens(s.clone()), &[]);
    item.owner = Owner::Unknown;
    feed(&mut table, vec![listening(1, s, 7), taken(snapshot(10, 12, vec![item]))]);
    assert_eq!(table.get(key(1)).unwrap().holders[0].process, pid(7));
}

#[test]
fn a_refused_bind_names_who_was_in_the_way() {
    let mut table = started();
    feed(&mut table, vec![listening(1, tcp(1, "0.0.0.0", 80), 7), listening(1, tcp(2, "::", 90), 8)]);
    assert_eq!(other(&mut table, refused("127.0.0.1", 80, HOST)), Some((7, Kernel)));
    assert_eq!(other(&mut table, refused("::", 80, HOST)), Some((7, Kernel)));
    assert_eq!(other(&mut table, refused("::1", 80, HOST)), None);
    assert_eq!(other(&mut table, refused("::ffff:127.0.0.1", 80, HOST)), Some((7, Kernel)));
    assert_eq!(other(&mut table, refused("10.0.0.1", 90, HOST)), Some((8, Kernel)));
    assert_eq!(other(&mut table, refused("127.0.0.1", 80, Netns(2))), None);
}

#[test]
fn a_refused_listen_is_told_after_its_bind_and_names_who_was_first_and_not_itself() {
    let mut table = started();
    let refuse = |listen| {
        let Observation { at, evidence, seen: Seen::Refused(asked) } = refused("127.0.0.1", 80, HOST) else {
            panic!("not refused")
        };
        let asked = BindRefused { key: Some(key(2)), listen, by: Some(pid(8)), ..asked };
        Observation { at, evidence, seen: Seen::Refused(asked) }
    };
    feed(&mut table, vec![bound(1, tcp(2, "127.0.0.1", 80), 8)]);
    // A second bind of one socket: nobody else is there.
    assert_eq!(other(&mut table, refuse(false)), None);
    feed(&mut table, vec![bound(2, tcp(1, "127.0.0.1", 80), 7), listening(3, tcp(1, "127.0.0.1", 80), 7)]);
    let told: Vec<_> = feed(&mut table, vec![refuse(true)]).into_iter().map(|change| change.event).collect();
    assert_eq!(told.iter().map(|event| event.kind).collect::<Vec<_>>(), [Bind, EventKind::Refused]);
    assert_eq!(told[1].phase, Some(Phase::Listening));
    assert_eq!((told[1].socket, told[1].other), (Some(key(2)), Some(pid(7))));
    assert_eq!(table.get(key(2)).unwrap().seen.phase, Phase::Bound);
}

#[test]
fn several_processes_in_the_way_are_ambiguous_and_the_first_is_named() {
    let mut table = started();
    feed(
        &mut table,
        vec![
            bound(1, tcp(1, "127.0.0.3", 80), 6),
            listening(3, tcp(2, "127.0.0.1", 80), 8),
            listening(2, tcp(3, "127.0.0.2", 80), 7),
        ],
    );
    assert_eq!(other(&mut table, refused("0.0.0.0", 80, HOST)), Some((7, Evidence::Ambiguous)));
}

#[test]
fn a_late_bind_does_not_make_the_binder_a_holder_again() {
    let mut table = started();
    let s = tcp(1, "0.0.0.0", 80);
    let look = snapshot(10, 12, vec![held(&listens(s.clone()), &[8])]);
    feed(&mut table, vec![taken(look), bound(3, s, 7)]);
    let socket = table.get(key(1)).unwrap();
    assert_eq!(socket.creator, Some(pid(7)));
    assert_eq!(socket.holders.iter().map(|h| h.process.pid).collect::<Vec<_>>(), [8]);
}

#[test]
fn a_child_inherits_until_a_look_says_otherwise_and_ends_without_a_row() {
    let mut table = started();
    let server = tcp(1, "127.0.0.1", 3100);
    feed(&mut table, vec![bound(10, server.clone(), 7), listening(11, server.clone(), 7)]);
    feed(&mut table, vec![forked(20, 7, 8), forked(21, 8, 9), forked(22, 5, 6)]);
    let holders = |table: &LiveTable| -> Vec<(u32, Evidence)> {
        let socket = table.sockets().next().unwrap();
        socket.holders.iter().map(|h| (h.process.pid, h.evidence)).collect()
    };
    let inherited = Evidence::Inherited;
    assert_eq!(holders(&table), [(7, Kernel), (8, inherited), (9, inherited)]);
    // A child of a child that ended, and one that a later look did not find, told late.
    assert!(feed(&mut table, vec![exited(30, pid(9)), forked(31, 9, 10)]).is_empty());
    feed(&mut table, vec![taken(snapshot(40, 45, vec![held(&listens(server), &[7, 8])]))]);
    assert_eq!(holders(&table), [(7, Scan), (8, Scan)]);
    feed(&mut table, vec![forked(35, 7, 11)]);
    assert_eq!(holders(&table), [(7, Scan), (8, Scan)]);
    // The worker that was seen to hold the port is worth a row; the port is in it.
    let changes = feed(&mut table, vec![exited(50, pid(8))]);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].event.kind, changes[0].event.port), (Exit, Port::new(3100)));
}

#[test]
fn the_table_stays_right_when_the_clock_is_set_back() {
    let mut table = started();
    let (gone, stays) = (tcp(1, "127.0.0.1", 3100), tcp(2, "127.0.0.1", 3200));
    let hour = 3_600_000;
    feed(
        &mut table,
        vec![bound(10, gone.clone(), 7), listening(11, gone.clone(), 7), bound(12, stays.clone(), 7)],
    );
    let by = jiff::SignedDuration::from_hours(-1);
    let set = Observation::new(at(20 - hour), Kernel, Seen::ClockSet { by });
    let told_set = feed(&mut table, vec![set]);
    assert_eq!(told(&told_set), [(EventKind::Error, Kernel, 20 - hour)]);
    let message = told_set[0].event.message.as_deref().unwrap();
    assert!(message.starts_with("the clock was set back by 1h"), "{message}");
    assert_eq!(told_set[0].event.since, Some(at(20)));
    // What happens now is dated before what happened then, and counts.
    feed(&mut table, vec![listening(30 - hour, stays.clone(), 7)]);
    let socket = table.get(key(2)).unwrap();
    assert_eq!((socket.seen.phase, socket.listening_since), (Phase::Listening, Some(at(30 - hour))));
    assert_eq!(socket.since, at(12 - hour), "as old as it was");
    // Its close was lost: the next look tells.
    feed(&mut table, vec![taken(snapshot(40 - hour, 41 - hour, vec![held(&listens(stays), &[7])]))]);
    assert_eq!((table.get(key(1)), table.len()), (None, 1));
}

#[test]
fn a_fork_and_an_end_among_many_holders_cost_no_walk_over_all_of_them() {
    const HOLDERS: u32 = 20_000;
    let mut table = started();
    feed(&mut table, vec![listening(1, tcp(1, "0.0.0.0", 80), 1)]);
    let children = 2..=HOLDERS;
    feed(&mut table, children.clone().map(|child| forked(2, 1, child)).collect());
    let begun = std::time::Instant::now();
    for child in HOLDERS + 1..HOLDERS + 2000 {
        feed(&mut table, vec![forked(3, 1, child), exited(4, pid(child))]);
    }
    // To take the socket's holders out of an index and put them back for each would take a minute.
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    // The oldest first, as when their parent is killed with them.
    feed(&mut table, children.map(|child| exited(5, pid(child))).collect());
    let socket = table.get(key(1)).unwrap();
    assert_eq!(socket.holders.iter().map(|h| h.process).collect::<Vec<_>>(), [pid(1)]);
    assert_eq!(table.processes().collect::<Vec<_>>(), [pid(1)]);
    assert!(feed(&mut table, vec![exited(6, pid(1))]).len() == 1);
    assert_eq!((table.get(key(1)).unwrap().owner, table.of_process(1).count()), (Owner::NoProcess, 1));
}

#[test]
fn a_snapshot_begun_before_a_close_revives_no_socket_whose_bind_was_lost() {
    let mut table = started();
    let s = listens(tcp(1, "127.0.0.1", 3100));
    feed(&mut table, vec![gap(5), closed(8, 1, 7), taken(snapshot(6, 9, vec![held(&s, &[])]))]);
    assert!(table.is_empty(), "it was closed after the look");
}

#[test]
fn a_bound_socket_that_became_a_connection_is_doubted_and_stays_and_one_that_is_gone_goes() {
    let mut table = started();
    let (first, second) = (tcp(1, "127.0.0.1", 3100), tcp(2, "127.0.0.1", 3101));
    feed(&mut table, vec![taken(snapshot(1, 2, vec![held(&first, &[]), held(&second, &[])]))]);
    let mut later = snapshot(6, 9, Vec::new());
    assert_eq!(table.doubted(&later).iter().map(|&(key, _)| key).collect::<Vec<_>>(), [key(1), key(2)]);
    later.connected.insert(key(1));
    feed(&mut table, vec![taken(later.clone())]);
    assert!(table.get(key(1)).is_some() && table.get(key(2)).is_none());
    // A look that does not show bound sockets doubts none.
    later.bound_included = false;
    assert_eq!(table.doubted(&later), []);
}
