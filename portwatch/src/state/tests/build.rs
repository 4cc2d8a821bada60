//! Short hands for observations.

use std::{collections::HashSet, net::IpAddr};

use crate::model::{
    AskedPort, Bound, Change, Closed, Endpoint, EventKind, Evidence, Exited, Forked, GapReason, Holder,
    Listening, LossCounts, Netns, Observation, Owner, Phase, Port, ProcessId, Protocol, Seen, Snapshot,
    SnapshotSocket, SocketKey, SocketOptions, SocketSeen, Timestamp, Unlistened,
};

pub(super) const HOST: Netns = Netns(1);

pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
}

pub(super) const fn pid(pid: u32) -> ProcessId {
    ProcessId { pid, start_ticks: 100 }
}

pub(super) const fn key(cookie: u64) -> SocketKey {
    SocketKey::Cookie(cookie)
}

pub(super) fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

pub(super) fn tcp(cookie: u64, address: &str, number: u16) -> SocketSeen {
    SocketSeen {
        key: key(cookie),
        inode: None,
        endpoint: Endpoint {
            netns: Some(HOST),
            protocol: Protocol::Tcp,
            address: address.parse::<IpAddr>().unwrap(),
            port: port(number),
        },
        phase: Phase::Bound,
        asked: AskedPort::Explicit(port(number)),
        options: SocketOptions::default(),
        uid: None,
        cgroup_id: None,
        attached: crate::model::Attached::Unknown,
    }
}

pub(super) fn udp(cookie: u64, asked: AskedPort, number: u16) -> SocketSeen {
    let mut seen = tcp(cookie, "0.0.0.0", number);
    seen.endpoint.protocol = Protocol::Udp;
    seen.asked = asked;
    seen
}

pub(super) fn listens(mut seen: SocketSeen) -> SocketSeen {
    seen.phase = Phase::Listening;
    seen
}

fn kernel(ms: i64, seen: Seen) -> Observation {
    Observation::new(at(ms), Evidence::Kernel, seen)
}

pub(super) fn bound(ms: i64, socket: SocketSeen, by: u32) -> Observation {
    kernel(ms, Seen::Bound(Bound { socket, by: Some(pid(by)) }))
}

pub(super) fn listening(ms: i64, socket: SocketSeen, by: u32) -> Observation {
    kernel(ms, Seen::Listening(Listening { socket: listens(socket), by: Some(pid(by)) }))
}

pub(super) fn unlistened(ms: i64, cookie: u64) -> Observation {
    kernel(ms, Seen::Unlistened(Unlistened { key: key(cookie) }))
}

pub(super) fn closed(ms: i64, cookie: u64, by: u32) -> Observation {
    kernel(ms, Seen::Closed(Closed { key: key(cookie), by: Some(pid(by)) }))
}

pub(super) fn gap(ms: i64) -> Observation {
    let lost = LossCounts { listen: 1, ..LossCounts::default() };
    kernel(ms, Seen::Gap { lost, since: at(0), reason: GapReason::BufferFull })
}

pub(super) fn exited(ms: i64, process: ProcessId) -> Observation {
    kernel(ms, Seen::Exited(Exited { process, status: None, sender: None }))
}

pub(super) fn forked(ms: i64, parent: u32, child: u32) -> Observation {
    kernel(ms, Seen::Forked(Forked { parent: pid(parent), child: pid(child) }))
}

pub(super) fn snapshot(begun: i64, ended: i64, sockets: Vec<SnapshotSocket>) -> Snapshot {
    Snapshot {
        begun: at(begun),
        ended: at(ended),
        namespaces: vec![HOST, Netns(2)],
        beyond: crate::model::Beyond::NotLooked,
        protocols: vec![Protocol::Tcp, Protocol::Udp],
        ports: Vec::new(),
        bound_included: true,
        bound_left_out: false,
        connected: HashSet::new(),
        sockets,
        processes: Vec::new(),
    }
}

pub(super) fn taken(snapshot: Snapshot) -> Observation {
    Observation::new(snapshot.ended, Evidence::Scan, Seen::Snapshot(Box::new(snapshot)))
}

pub(super) fn held(socket: &SocketSeen, holders: &[u32]) -> SnapshotSocket {
    SnapshotSocket {
        socket: SocketSeen { asked: AskedPort::Unknown, ..socket.clone() },
        holders: holders.iter().map(|&p| Holder { process: pid(p), evidence: Evidence::Scan }).collect(),
        owner: if holders.is_empty() { Owner::NoProcess } else { Owner::Known },
    }
}

/// Kind, evidence and time (ms) of rows.
pub(super) fn told(changes: &[Change]) -> Vec<(EventKind, Evidence, i64)> {
    let zero = at(0).as_millisecond();
    changes.iter().map(|c| (c.event.kind, c.event.evidence, c.event.at.as_millisecond() - zero)).collect()
}
