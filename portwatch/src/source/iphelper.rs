//! The tables of Windows' IP helper (`GetExtendedTcpTable`, `GetExtendedUdpTable`), as bytes. Pure, and total.
//!
//! A table is a count and rows behind it; a row is made of 32-bit words and IPv6 addresses (`MIB_TCPROW_OWNER_PID` and
//! its like, tcpmib.h and udpmib.h). Ports stand in the low 16 bits of their word, in network order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::row::{Parsed, Row, State};
use crate::model::Protocol;

/// `MIB_TCP_STATE_LISTEN`.
const LISTEN: u32 = 2;
/// `MIB_TCP_STATE_CLOSED`: bound and nothing else, where it is shown at all.
const CLOSED: u32 = 1;

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
}

impl Kind {
    /// Every table.
    pub const ALL: [Self; 4] = [Self::Tcp4, Self::Tcp6, Self::Udp4, Self::Udp6];

    /// Bytes of a row.
    const fn size(self) -> usize {
        match self {
            Self::Tcp4 => 24,
            Self::Tcp6 => 56,
            Self::Udp4 => 12,
            Self::Udp6 => 28,
        }
    }
}

/// Reads a table. What its count promises and its bytes do not hold was not understood.
pub fn parse(kind: Kind, table: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let Some((count, rows)) = table.split_first_chunk::<4>() else { return parsed };
    parsed.recognized = true;
    let count = usize::try_from(u32::from_ne_bytes(*count)).unwrap_or(usize::MAX);
    let mut met = 0;
    for bytes in rows.chunks_exact(kind.size()).take(count) {
        parsed.add(row(kind, bytes));
        met += 1;
    }
    parsed.unread += count - met;
    parsed
}

/// `None` when it is not understood; port 0 when it has none.
fn row(kind: Kind, bytes: &[u8]) -> Option<Row> {
    let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk::<4>()?));
    let v4 = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?)));
    let v6 = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?)));
    let port = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?));
    let (protocol, address, port, state, pid) = match kind {
        Kind::Tcp4 => (Protocol::Tcp, v4(4)?, port(8)?, Some(word(0)?), word(20)?),
        Kind::Tcp6 => (Protocol::Tcp, v6(0)?, port(20)?, Some(word(48)?), word(52)?),
        Kind::Udp4 => (Protocol::Udp, v4(0)?, port(4)?, None, word(8)?),
        Kind::Udp6 => (Protocol::Udp, v6(0)?, port(20)?, None, word(24)?),
    };
    let state = match state {
        None | Some(CLOSED) => State::Bound,
        Some(LISTEN) => State::Listening,
        Some(_) => State::Other,
    };
    Some(Row {
        protocol,
        address,
        port,
        state,
        // 0 is nobody: a connection in TIME_WAIT.
        pid: Some(pid).filter(|&pid| pid != 0),
        uid: None,
        identity: None,
        v6_only: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&[u8]]]) -> Vec<u8> {
        let count = u32::try_from(rows.len()).unwrap().to_ne_bytes();
        let rows: Vec<u8> = rows.iter().flat_map(|row| row.concat()).collect();
        [&count[..], &rows].concat()
    }

    fn word(value: u32) -> [u8; 4] {
        value.to_ne_bytes()
    }

    /// In the low half of its word, in network order.
    fn port(number: u16) -> [u8; 4] {
        let [high, low] = number.to_be_bytes();
        [high, low, 0xaa, 0xaa]
    }

    fn told(parsed: &Parsed) -> Vec<(String, State, Option<u32>)> {
        assert_eq!((parsed.recognized, parsed.unread), (true, 0));
        let place = |r: &Row| format!("{} {} {}", r.protocol, r.address, r.port);
        parsed.rows.iter().map(|r| (place(r), r.state, r.pid)).collect()
    }

    #[test]
    fn each_table_has_its_own_rows() {
        let (here, there) = ([127, 0, 0, 1], [10, 0, 0, 9]);
        let six = Ipv6Addr::LOCALHOST.octets();
        let tcp4 = table(&[
            &[&word(2), &here, &port(8080), &word(0), &word(0), &word(19004)],
            &[&word(11), &here, &port(8090), &there, &port(50000), &word(0)],
            &[&word(2), &here, &port(0), &word(0), &word(0), &word(5)],
        ]);
        assert_eq!(
            told(&parse(Kind::Tcp4, &tcp4)),
            [
                ("tcp 127.0.0.1 8080".to_owned(), State::Listening, Some(19004)),
                ("tcp 127.0.0.1 8090".to_owned(), State::Other, None),
            ]
        );
        let tcp6 = table(&[&[&six, &word(7), &port(443), &[0; 16], &word(0), &word(0), &word(2), &word(9)]]);
        assert_eq!(told(&parse(Kind::Tcp6, &tcp6)), [("tcp ::1 443".to_owned(), State::Listening, Some(9))]);
        let udp4 = table(&[&[&[0; 4], &port(5353), &word(1156)]]);
        assert_eq!(
            told(&parse(Kind::Udp4, &udp4)),
            [("udp 0.0.0.0 5353".to_owned(), State::Bound, Some(1156))]
        );
        let udp6 = table(&[&[&six, &word(0), &port(1900), &word(3668)]]);
        assert_eq!(told(&parse(Kind::Udp6, &udp6)), [("udp ::1 1900".to_owned(), State::Bound, Some(3668))]);
    }

    #[test]
    fn a_table_that_is_cut_is_counted_and_not_guessed() {
        let whole = table(&[&[&[0; 4], &port(53), &word(1)], &[&[0; 4], &port(54), &word(1)]]);
        for end in 0..whole.len() {
            let parsed = parse(Kind::Udp4, &whole[..end]);
            assert_eq!(parsed.recognized, end >= 4);
            assert_eq!(parsed.rows.len() + parsed.unread, if end >= 4 { 2 } else { 0 }, "{end}");
        }
        assert_eq!(parse(Kind::Tcp4, &u32::MAX.to_ne_bytes()).unread, 0xffff_ffff);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes: Vec<u8>, which in 0..Kind::ALL.len()) {
            let parsed = parse(Kind::ALL[which], &bytes);
            proptest::prop_assert!(parsed.rows.iter().all(|row| row.port != 0));
        }
    }
}
