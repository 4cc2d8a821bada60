//! TCP connections by sock_diag. Not those that are being accepted (SYN_RECV): they have no hold on the port.

use std::{collections::HashSet, time::Duration};

use super::{
    Diag, DiagError, TCP, TRIES,
    message::{
        CLOSE, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK, Row, SYN_SENT, TIME_WAIT,
        Table,
    },
};
use crate::model::{Connection, Endpoint, Owner, Port, Protocol, SocketOptions, TcpState};

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
    /// Connections in one of `states`, all of them or those with this local port.
    pub fn connections(
        &mut self,
        states: &[TcpState],
        port: Option<Port>,
    ) -> Result<Vec<Connection>, DiagError> {
        let states = states.iter().fold(0, |bits, &state| bits | 1 << number(state));
        let mut rows = Vec::new();
        for (name, v6) in [("TCP connections over IPv4", false), ("TCP connections over IPv6", true)] {
            let start = rows.len();
            // The kernel picks sockets under a lock and describes them after it (`inet_diag_dump_icsk`). One that ended
            // between the two is described as closed, and what took its place, the remnant in FIN_WAIT2 or TIME_WAIT
            // that still holds the port, is not in the answer.
            for _ in 0..TRIES {
                rows.truncate(start);
                self.rows(name, Table { v6, protocol: TCP, states, port }, &mut rows)?;
                if rows.iter().skip(start).all(|row| row.state != CLOSE) {
                    break;
                }
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
            is_remnant: row.timer == TIMER_OF_REMNANTS,
            inode: lives.then(|| u64::from(row.inode)),
            uid: (state != TcpState::TimeWait).then_some(row.uid),
            options: SocketOptions { v6_only: row.v6_only, ..SocketOptions::default() },
            holders: Vec::new(),
            owner: Owner::Unknown,
        })
    }
}
