//! What many targets of one question share.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use super::{Around, Live};
use crate::{
    attribute::{Attributor, Roots},
    model::{
        AskedPort, Attached, Beyond, Completeness, Connection, Connections, Endpoint, Evidence, Interface,
        Netns, Observation, OfProcess, Owner, Phase, Port, ProcessId, Protocol, Seen, Snapshot,
        SnapshotSocket, SocketKey, SocketOptions, SocketSeen, TcpState, Timestamp,
    },
    query::{
        Asked, KnownSocket, ListFilter, Space, TargetAnswer,
        claims::{Known, add_claims, expand, view},
        rows,
    },
    registry::{Claim, ClaimPort, Kind, State},
    state::Policy,
};

const NETNS: Netns = Netns(4_026_531_840);

fn connection(address: Ipv4Addr, inode: u64) -> Connection {
    Connection {
        local: Endpoint {
            netns: Some(NETNS),
            protocol: Protocol::Tcp,
            address: address.into(),
            port: Port::new(3100).unwrap(),
        },
        peer: IpAddr::from(Ipv4Addr::LOCALHOST),
        peer_port: Port::new(80),
        state: TcpState::Established,
        expires: None,
        is_remnant: false,
        key: None,
        inode: Some(inode),
        uid: None,
        options: SocketOptions::default(),
        holders: Vec::new(),
        owner: Owner::Unknown,
        interface: Interface::Unknown,
    }
}

/// These sockets are there.
fn live(sockets: Vec<SocketSeen>) -> Live {
    let nowhere = tempfile::tempdir().unwrap();
    let roots = Roots { proc: nowhere.path().into(), cgroup: nowhere.path().into() };
    let mut live = Live::new(Policy::default(), Attributor::new(roots), Some(NETNS));
    let (at, owner) = (Timestamp::now(), Owner::NoProcess);
    let snapshot = Snapshot {
        begun: at,
        ended: at,
        namespaces: vec![NETNS],
        beyond: Beyond::NotLooked,
        protocols: vec![Protocol::Tcp, Protocol::Udp],
        ports: Vec::new(),
        bound_included: true,
        bound_left_out: false,
        connected: HashSet::new(),
        sockets: sockets
            .into_iter()
            .map(|socket| SnapshotSocket { socket, holders: Vec::new(), owner })
            .collect(),
        processes: Vec::new(),
    };
    live.take(Observation::new(at, Evidence::Scan, Seen::Snapshot(Box::new(snapshot))), &mut Vec::new());
    live.set_completeness(Completeness::Complete);
    live
}

fn ask(asked: &[Asked], around: &Around) -> Vec<TargetAnswer> {
    live(Vec::new()).who(asked, Space::Own, around, Duration::MAX)
}

/// The `n`th listener of a user on a port.
fn listener(n: u32, port: u16, uid: u32) -> SocketSeen {
    SocketSeen {
        key: SocketKey::Cookie((u64::from(port) << 40) | (u64::from(uid) << 24) | u64::from(n)),
        inode: None,
        endpoint: Endpoint {
            netns: Some(NETNS),
            protocol: Protocol::Tcp,
            address: Ipv4Addr::from(0x7f00_0001 + n).into(),
            port: Port::new(port).unwrap(),
        },
        phase: Phase::Listening,
        asked: AskedPort::Unknown,
        options: SocketOptions::default(),
        uid: Some(uid),
        cgroup_id: None,
        attached: Attached::Nothing,
    }
}

fn of_user(sockets: &[KnownSocket], uid: u32) -> usize {
    sockets.iter().filter(|known| known.socket.seen.uid == Some(uid)).count()
}

fn all_share(answers: &[TargetAnswer]) -> bool {
    let first = answers[0].traffic.as_ref().unwrap();
    answers.iter().all(|answer| Arc::ptr_eq(answer.traffic.as_ref().unwrap(), first))
}

#[test]
fn addresses_of_one_port_share_its_connections_and_each_has_its_own_of_them() {
    let port = Port::new(3100).unwrap();
    let address = |n| Ipv4Addr::new(127, 0, 0, n);
    let rows = vec![connection(address(1), 1), connection(address(1), 2), connection(address(2), 3)];
    let connections = Some(Connections { netns: Some(NETNS), rows, ..Connections::default() });
    let around = Around { netns: Some(NETNS), connections, ..Around::default() };
    let of = |local: Option<Ipv4Addr>| Asked::Port {
        address: local.map(|address| IpAddr::from(address).into()),
        localhost: false,
        port,
        protocol: None,
    };
    let asked = [None, Some(address(1)), Some(address(2)), Some(address(3)), None].map(of);
    let answers = ask(&asked, &around);
    assert!(all_share(&answers));
    let counts = answers.iter().map(|a| a.traffic.as_ref().unwrap().rows_of(&a.asked).count());
    assert_eq!(counts.collect::<Vec<_>>(), [3, 2, 1, 0, 3]);
    let states = answers.iter().map(|answer| answer.state.as_str());
    assert_eq!(states.collect::<Vec<_>>(), ["held", "held", "held", "free", "held"]);
}

#[test]
fn a_process_that_is_asked_about_often_is_told_from_one_list_of_its_connections() {
    let pid = std::process::id();
    let of = OfProcess {
        process: ProcessId { pid, start_ticks: 1 },
        rows: vec![connection(Ipv4Addr::LOCALHOST, 1)],
        left_out: [(TcpState::Established, 40)].into(),
    };
    let found = Connections { of_processes: vec![of], ..Connections::default() };
    let around = Around { of_processes: Some(found), ..Around::default() };
    let answers = ask(&[Asked::Pid(pid), Asked::Pid(pid), Asked::Pid(pid)], &around);
    assert!(all_share(&answers));
    assert!(answers.iter().all(|answer| answer.state.as_str() == "held"));
}

#[test]
fn of_a_hundred_thousand_sockets_a_list_has_some_and_other_users_are_not_kept_out() {
    let flood = (0..100_000).map(|n| listener(n, u16::try_from(1024 + n % 50_000).unwrap(), 1000));
    let others = (0..5).map(|n| listener(200_000 + n, 60_000, 1001));
    let mut live = live(flood.chain(others).collect());
    let listed = live.list(&ListFilter::default(), &mut |_| true);
    assert_eq!([of_user(&listed.sockets, 1000), of_user(&listed.sockets, 1001)], [rows::MOST - 5, 5]);
    assert_eq!(listed.left_out, 100_005 - rows::MOST as u64);
    let ports: Vec<u16> = listed.sockets.iter().map(|s| s.socket.seen.endpoint.port.get()).collect();
    assert!(
        ports.is_sorted() && ports[..10_000] == (1024..6024).flat_map(|p| [p, p]).collect::<Vec<_>>()[..]
    );
    let filter = ListFilter { from: Some(2000), to: Some(2001), ..ListFilter::default() };
    let listed =
        live.list(&filter, &mut |socket| socket.socket.seen.endpoint.address.to_string() != "127.0.3.210");
    assert_eq!((listed.sockets.len(), listed.left_out), (3, 0));
}

#[test]
fn of_a_port_with_thousands_of_sockets_some_are_told_and_all_are_counted() {
    let flood = (0..3000).map(|n| listener(n, 3100, 1000));
    let mut live = live(flood.chain([listener(5000, 3100, 0), listener(5001, 3100, 1001)]).collect());
    let asked = |address: Option<u32>| Asked::Port {
        address: address.map(|n| IpAddr::from(Ipv4Addr::from(0x7f00_0001 + n)).into()),
        localhost: false,
        port: Port::new(3100).unwrap(),
        protocol: None,
    };
    let [all, one, last] =
        &live.who(&[None, Some(7), Some(5001)].map(asked), Space::Own, &Around::default(), Duration::MAX)[..]
    else {
        panic!("three answers")
    };
    assert_eq!(
        [of_user(&all.sockets, 1000), of_user(&all.sockets, 0), of_user(&all.sockets, 1001)],
        [998, 1, 1]
    );
    assert_eq!((all.state.as_str(), all.left_out), ("held", 2002));
    assert_eq!((one.sockets.len(), one.other_addresses.len(), one.left_out), (1, 999, 2002));
    assert_eq!(one.verdict.as_ref().unwrap().bindable, Some(false));
    assert_eq!(
        (last.sockets.len(), of_user(&last.sockets, 1001)),
        (1, 1),
        "what was asked about comes first"
    );
    let hundreds: Vec<_> = (0..256).map(|n| asked(Some(n))).collect();
    let answers = live.who(&hundreds, Space::Own, &Around::default(), Duration::MAX);
    let rows: usize = answers.iter().map(|a| a.sockets.len() + a.other_addresses.len()).sum();
    assert!(rows <= rows::MOST, "{rows}");
    assert!(answers.iter().all(|a| a.state.as_str() == "held" && a.sockets.len() == 1));
    let answers = live.who(&hundreds, Space::Own, &Around::default(), Duration::ZERO);
    assert!(answers.iter().all(|a| a.state.as_str() == "unknown" && a.verdict.is_none()));
}

#[test]
fn a_claim_that_is_meant_often_is_looked_at_once_and_told_with_some_of_its_sockets() {
    let port = Port::new(3100).unwrap();
    let claim = Claim {
        id: 1,
        name: "a:web".parse().unwrap(),
        kind: Kind::Explicit,
        owner: 1001,
        owner_name: None,
        agent: None,
        session: None,
        root: None,
        worktree: None,
        ports: vec![ClaimPort { slot: 0, protocol: Protocol::Tcp, port }],
        created: Timestamp::UNIX_EPOCH,
        renewed: Timestamp::UNIX_EPOCH,
        expires: None,
        seen: None,
    };
    let mut live = live((0..3000).map(|n| listener(n, 3100, 1000)).collect());
    let told = view(&mut live, claim.clone());
    assert_eq!((told.state, told.sockets.len(), told.left_out), (State::Squatted, 500, 2500));
    assert_eq!(told.strangers, (0..500).collect::<Vec<_>>());
    let known = Known::new(vec![claim], Vec::new());
    let name = |text: &str| Asked::Claim(text.to_owned());
    let web = Asked::Port { address: None, localhost: false, port, protocol: Some(Protocol::Tcp) };
    let asked = expand(&known, &[name("*"), name("b:*"), name("a:web"), web.clone(), name("*")]);
    assert_eq!(asked, [web.clone(), name("b:*"), web]);
    let mut targets = live.who(&asked, Space::Own, &Around::default(), Duration::MAX);
    add_claims(&mut live, &known, &mut targets);
    for at in [0, 2] {
        let claim = targets[at].claim.as_ref().unwrap();
        assert_eq!((claim.state, claim.sockets.len()), (State::Squatted, 0), "they are the target's own");
    }
}
