//! TCP connections by sock_diag. Not those that are being accepted (SYN_RECV): they have no hold on the port.

use std::{collections::HashSet, time::Duration};

use super::{
    Diag, DiagError, MOST_PORTS, TRIES, in_order,
    message::{
        CLOSE, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK, Row, SYN_SENT, TIME_WAIT,
    },
};
use crate::model::{
    Connection, Endpoint, Interface, Owner, Port, Protocol, SocketKey, SocketOptions, TcpState,
};

/// What `idiag_timer` is for the small sockets that are left of connections (`inet_twsk_diag_fill`).
const TIMER_OF_REMNANTS: u8 = 3;

/// The kernel's number of a state.
const fn number(state: TcpState) -> u8 {
    match state {
        TcpState::Established => ESTABLISHED,
        TcpState::SynSent => SYN_SENT,
        TcpState::FinWait1 => FIN_WAIT1,
        TcpState::FinWait2 => FIN_WAIT2,
        TcpState::TimeWait => TIME_WAIT,
        TcpState::CloseWait => CLOSE_WAIT,
        TcpState::LastAck => LAST_ACK,
        TcpState::Closing => CLOSING,
    }
}

impl Diag {
    /// Connections in one of `states`, all of them or those with one of these local ports: by one walk over the kernel's table, however many ports.
    pub fn connections(&mut self, states: &[TcpState], ports: &[Port]) -> Result<Vec<Connection>, DiagError> {
        let states = states.iter().fold(0, |bits, &state| bits | 1 << number(state));
        let ports = in_order(ports);
        if ports.is_empty() {
            return self.connections_on(states, &[]);
        }
        let mut all = Vec::new();
        for part in ports.chunks(MOST_PORTS) {
            all.extend(self.connections_on(states, part)?);
        }
        Ok(all)
    }

    fn connections_on(&mut self, states: u32, ports: &[Port]) -> Result<Vec<Connection>, DiagError> {
        let mut rows = Vec::new();
        // The kernel picks sockets under a lock and describes them after it (`inet_diag_dump_icsk`). One that ended
        // between the two is described as closed, and what took its place, the remnant in FIN_WAIT2 or TIME_WAIT
        // that still holds the port, is not in the answer.
        for _ in 0..TRIES {
            rows.clear();
            self.tcp_rows(states, ports, &mut rows)?;
            if rows.iter().all(|row| row.state != CLOSE) {
                break;
            }
        }
        let mut known = HashSet::with_capacity(rows.len());
        // A connection can end in TIME_WAIT while it is dumped, and then there are two rows of it.
        rows.reverse();
        rows.retain(|row| known.insert((row.address, row.port, row.peer, row.peer_port)));
        rows.reverse();
        Ok(rows.iter().filter_map(|row| self.connection(row)).collect())
    }

    pub(super) fn connection(&self, row: &Row) -> Option<Connection> {
        let state = TcpState::ALL.into_iter().find(|&state| number(state) == row.state)?;
        let expires = u64::from(row.expires_ms);
        let lives = row.inode != 0;
        let is_remnant = row.timer == TIMER_OF_REMNANTS;
        Some(Connection {
            local: Endpoint {
                netns: self.netns(),
                protocol: Protocol::Tcp,
                address: row.address,
                port: Port::new(row.port)?,
            },
            peer: row.peer,
            peer_port: Port::new(row.peer_port),
            state,
            expires: (state == TcpState::TimeWait).then(|| Duration::from_millis(expires)),
            is_remnant,
            key: (!is_remnant).then_some(SocketKey::Cookie(row.cookie)),
            inode: lives.then(|| u64::from(row.inode)),
            uid: (state != TcpState::TimeWait).then_some(row.uid),
            options: SocketOptions { v6_only: row.v6_only, ..SocketOptions::default() },
            holders: Vec::new(),
            owner: Owner::Unknown,
            interface: Interface::of(row.interface),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn one_walk_over_both_families_tells_what_two_walks_tell() {
        let mut diag = Diag::open(None).unwrap();
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = v4.local_addr().unwrap();
        // The same number over IPv6, where this machine has IPv6.
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, at.port())).ok();
        let places = [Some(at), v6.as_ref().map(|v6| v6.local_addr().unwrap())];
        let clients: Vec<TcpStream> =
            places.into_iter().flatten().map(|at: SocketAddr| TcpStream::connect(at).unwrap()).collect();
        let mut told = |apart: bool| {
            diag.families_apart = apart;
            let rows = diag.connections(&TcpState::ALL, Port::new(at.port()).as_slice()).unwrap();
            let rows: BTreeSet<_> =
                rows.iter().map(|row| (row.local.address, row.peer, row.peer_port, row.inode)).collect();
            // Whoever serves the one request serves it for both; nothing was given up.
            assert_eq!(diag.families_apart, apart);
            rows
        };
        let (together, apart) = (told(false), told(true));
        assert_eq!(together.len(), clients.len());
        assert_eq!(together, apart);
    }

    #[test]
    fn connections_on_many_ports_are_found_by_one_walk_and_no_others() {
        let mut diag = Diag::open(None).unwrap();
        let listeners: Vec<TcpListener> =
            (0..6).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        let _clients: Vec<TcpStream> =
            ports.iter().map(|&port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()).collect();
        let (wanted, others) = ports.split_at(3);
        for count in [0, 1, 2, 3, 7, 255, MOST_PORTS - 3, 3000] {
            // Ports around them, which others may have; not the ports that are not wanted.
            let around = (1..=u16::MAX).rev().step_by(13).filter(|port| !others.contains(port)).take(count);
            let asked: Vec<Port> = wanted.iter().copied().chain(around).filter_map(Port::new).collect();
            let before = diag.sequence;
            let found: BTreeSet<u16> = diag
                .connections(&TcpState::ALL, &asked)
                .unwrap()
                .iter()
                .map(|row| row.local.port.get())
                .collect();
            let walks = diag.sequence.wrapping_sub(before);
            assert!(wanted.iter().all(|port| found.contains(port)), "{count}");
            assert!(
                found.iter().all(|&port| asked.contains(&Port::new(port).unwrap())),
                "{count}: {found:?}"
            );
            // An interrupted one is repeated.
            let most = asked.len().div_ceil(MOST_PORTS) * TRIES;
            assert!(usize::try_from(walks).unwrap() <= most, "{count}: {walks}");
        }
    }
}
