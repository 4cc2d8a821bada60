//! Whose the connections are that a walk over the kernel's table found.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv4Addr},
};

use super::of_each;
use crate::model::{
    Connection, Endpoint, Interface, Owner, Port, ProcessId, Protocol, SocketOptions, TcpState,
};

fn connection(inode: u64, state: TcpState) -> Connection {
    Connection {
        local: Endpoint {
            netns: None,
            protocol: Protocol::Tcp,
            address: IpAddr::from(Ipv4Addr::LOCALHOST),
            port: Port::new(3100).unwrap(),
        },
        peer: IpAddr::from(Ipv4Addr::LOCALHOST),
        peer_port: u16::try_from(inode).ok().and_then(Port::new),
        state,
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

#[test]
fn each_process_has_the_first_hundred_of_its_connections_and_a_count_of_the_others() {
    // Three forked children that share all of them, one with a single one, and one with none.
    let shared: HashSet<u64> = (1..=150).collect();
    let inodes = [shared.clone(), shared.clone(), shared, [7].into(), [1000].into()];
    let process = |pid| ProcessId { pid, start_ticks: 1 };
    let processes = (1..).map(process).zip(inodes).collect();
    let state = |inode| if inode > 140 { TcpState::CloseWait } else { TcpState::Established };
    // The kernel's table has no order.
    let rows = (1..=160).rev().map(|inode| connection(inode, state(inode))).collect();
    let found = of_each(rows, processes);
    let counts: Vec<_> = found.iter().map(|of| (of.process.pid, of.rows.len())).collect();
    assert_eq!(counts, [(1, 100), (2, 100), (3, 100), (4, 1), (5, 0)]);
    for of in &found {
        let holders: Vec<Vec<_>> =
            of.rows.iter().map(|row| row.holders.iter().map(|h| h.process).collect()).collect();
        assert!(holders.iter().all(|holders| *holders == [of.process]), "{holders:?}");
    }
    let listed: Vec<_> = found[1].rows.iter().filter_map(|row| row.inode).collect();
    assert_eq!(listed, (1..=100).collect::<Vec<_>>());
    let left_out = BTreeMap::from([(TcpState::Established, 40), (TcpState::CloseWait, 10)]);
    assert_eq!((&found[1].left_out, &found[3].left_out), (&left_out, &BTreeMap::new()));
}
