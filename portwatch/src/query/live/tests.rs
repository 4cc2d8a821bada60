//! What many targets of one question share.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use super::{Around, Live};
use crate::{
    attribute::{Attributor, Roots},
    model::{
        Completeness, Connection, Connections, Endpoint, Interface, Netns, OfProcess, Owner, Port, ProcessId,
        Protocol, SocketOptions, TcpState,
    },
    query::{Asked, Space, TargetAnswer},
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

fn ask(asked: &[Asked], around: &Around) -> Vec<TargetAnswer> {
    let nowhere = tempfile::tempdir().unwrap();
    let roots = Roots { proc: nowhere.path().into(), cgroup: nowhere.path().into() };
    let mut live = Live::new(Policy::default(), Attributor::new(roots), Some(NETNS));
    live.set_completeness(Completeness::Complete);
    live.who(asked, Space::Own, around)
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
