//! Bytes of sock_diag: what is asked (`inet_diag_req_v2`) and what comes back (`inet_diag_msg`).
//!
//! Layouts are the kernel's published ones (`include/uapi/linux/inet_diag.h`), in host byte order except for
//! addresses and ports. Written by hand because the packet crates know neither state 13 nor the cgroup
//! attribute. Parsing is total: any bytes give a row or a [`ParseError`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::NlasIterator;

use crate::model::Port;

/// `SOCK_DIAG_BY_FAMILY`, the type of requests and answers.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `TCPDIAG_GETSOCK`, the older request, and its answers: TCP, of both address families in one walk over the table
/// (`inet_diag_dump_compat` in net/ipv4/inet_diag.c). With the newer one, a family must be named.
pub(super) const TCPDIAG_GETSOCK: u16 = 18;

/// `TCP_ESTABLISHED`: for UDP, a connected socket.
pub(super) const ESTABLISHED: u8 = 1;
/// `TCP_SYN_SENT`.
pub(super) const SYN_SENT: u8 = 2;
/// `TCP_FIN_WAIT1`.
pub(super) const FIN_WAIT1: u8 = 4;
/// `TCP_FIN_WAIT2`.
pub(super) const FIN_WAIT2: u8 = 5;
/// `TCP_TIME_WAIT`.
pub(super) const TIME_WAIT: u8 = 6;
/// `TCP_CLOSE_WAIT`.
pub(super) const CLOSE_WAIT: u8 = 8;
/// `TCP_LAST_ACK`.
pub(super) const LAST_ACK: u8 = 9;
/// `TCP_CLOSING`.
pub(super) const CLOSING: u8 = 11;
/// `TCP_CLOSE`: for UDP, an unconnected socket.
pub(super) const CLOSE: u8 = 7;
/// `TCP_LISTEN`.
pub(super) const LISTEN: u8 = 10;
/// `TCP_BOUND_INACTIVE`: bound, neither listening nor connected. Kernel 6.8 and later; an older one ignores it.
pub(super) const BOUND_INACTIVE: u8 = 13;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_SKV6ONLY: u16 = 11;
const INET_DIAG_CGROUP_ID: u16 = 21;

const NLMSG_HEADER: usize = 16;
const REQUEST: usize = 56;
const REQUEST_BOTH: usize = 60;
const RESPONSE: usize = 72;

/// One dump: a protocol of one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table<'a> {
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// `IPPROTO_TCP` (6) or `IPPROTO_UDP` (17).
    pub protocol: u8,
    /// States wanted, a bit each.
    pub states: u32,
    /// Only sockets with one of these local ports, filtered in the kernel: in ascending order, at most [`MOST_PORTS`]; empty for all.
    pub ports: &'a [Port],
}

/// A socket as sock_diag reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub state: u8,
    /// Which timer runs; 3 for the remnants of connections.
    pub timer: u8,
    pub address: IpAddr,
    pub port: u16,
    /// Remote address; unspecified unless connected.
    pub peer: IpAddr,
    /// Remote port; 0 unless connected.
    pub peer_port: u16,
    /// Until the timer runs out, ms; in TIME_WAIT the time left.
    pub expires_ms: u32,
    /// The interface it is bound to; 0 for none.
    pub interface: u32,
    pub cookie: u64,
    pub uid: u32,
    pub inode: u32,
    pub v6_only: Option<bool>,
    pub cgroup_id: Option<u64>,
}

/// Why an answer is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseError {
    #[error("answer of {0} bytes is shorter than inet_diag_msg")]
    Short(usize),
    #[error("address family {0} was not asked for")]
    Family(u8),
    #[error("damaged attribute")]
    Attribute,
}

/// The whole netlink message that asks for `table`.
pub(super) fn request(table: Table<'_>, sequence: u32) -> Vec<u8> {
    let filter = port_filter(table.ports);
    let length = NLMSG_HEADER + REQUEST + filter.len();
    let family = if table.v6 { AF_INET6 } else { AF_INET };
    let mut bytes = header(length, SOCK_DIAG_BY_FAMILY, sequence);
    bytes.extend([family, table.protocol, 0, 0]);
    bytes.extend(table.states.to_ne_bytes());
    // inet_diag_sockid: nothing named. Its port would not be compared for state 13, the bytecode is.
    bytes.extend([0; 48]);
    bytes.extend(filter);
    bytes
}

/// The whole netlink message that asks for TCP sockets of both families in these states: `inet_diag_req`.
pub(super) fn request_both(states: u32, ports: &[Port], sequence: u32) -> Vec<u8> {
    let filter = port_filter(ports);
    let length = NLMSG_HEADER + REQUEST_BOTH + filter.len();
    let mut bytes = header(length, TCPDIAG_GETSOCK, sequence);
    // The kernel reads neither the family nor the lengths of addresses, and `inet_diag_sockid` not for a dump.
    bytes.extend([0; 4 + 48]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(filter);
    bytes
}

/// `nlmsghdr` of a request for a dump.
fn header(length: usize, kind: u16, sequence: u32) -> Vec<u8> {
    const REQUEST_DUMP: u16 = 0x1 | 0x100 | 0x200;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// So many ports fit into one filter: its length and its jumps are 16-bit numbers.
pub(super) const MOST_PORTS: usize = 1024;

/// A comparison: the operation and the port, which takes the place of another one.
const COMPARISON: usize = 8;
/// One port: not below, not above, and then to the end, which accepts.
const LEAF: usize = 2 * COMPARISON + 4;

/// Bytes of the program for so many ports.
const fn size(ports: usize) -> usize {
    ports * LEAF + ports.saturating_sub(1) * COMPARISON
}

/// Bytecode for "local port is one of these": halves the ports until one is left, so that a socket costs as many steps as the number of ports
/// has digits. (`S_EQ` is one instruction, but only newer kernels have it.)
fn port_filter(ports: &[Port]) -> Vec<u8> {
    if ports.is_empty() {
        return Vec::new();
    }
    let length = 4 + size(ports.len());
    let mut attribute = Vec::with_capacity(length);
    attribute.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    attribute.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
    one_of(ports, 0, &mut attribute);
    attribute
}

fn distance(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_ne_bytes()
}

/// Appends the program for `ports`, behind which `after` bytes of the whole follow. A jump to the end accepts, one four bytes further rejects
/// (`inet_diag_bc_run`). Jumps lead forward, to where one operation follows the other (`inet_diag_bc_audit`).
fn one_of(ports: &[Port], after: usize, out: &mut Vec<u8>) {
    const JUMP: u8 = 1;
    const S_GE: u8 = 2;
    const S_LE: u8 = 3;
    let compare = |code: u8, port: Port, otherwise: usize, out: &mut Vec<u8>| {
        out.extend([code, 8]);
        out.extend(distance(otherwise));
        out.extend([0, 0]);
        out.extend(port.get().to_ne_bytes());
    };
    let (below, from) = ports.split_at(ports.len() / 2);
    match (below, from) {
        (_, []) => {}
        ([], [only, ..]) => {
            compare(S_GE, *only, LEAF + after + 4, out);
            compare(S_LE, *only, LEAF - COMPARISON + after + 4, out);
            out.extend([JUMP, 4]);
            out.extend(distance(4 + after));
        }
        (_, [first, ..]) => {
            compare(S_GE, *first, COMPARISON + size(from.len()), out);
            one_of(from, size(below.len()) + after, out);
            one_of(below, after, out);
        }
    }
}

/// Reads the payload of one answer.
pub(super) fn parse(payload: &[u8]) -> Result<Row, ParseError> {
    let short = ParseError::Short(payload.len());
    let (head, attributes) = payload.split_at_checked(RESPONSE).ok_or(short)?;
    let [family, state, timer, _retransmits, tail @ ..] = head else { return Err(short) };
    let (id, counters) = tail.split_at_checked(48).ok_or(short)?;
    let address_at = |at| match *family {
        AF_INET => Ok(IpAddr::V4(Ipv4Addr::from(array::<4>(id, at).ok_or(short)?))),
        AF_INET6 => Ok(IpAddr::V6(Ipv6Addr::from(array::<16>(id, at).ok_or(short)?))),
        other => Err(ParseError::Family(other)),
    };
    let (address, peer) = (address_at(4)?, address_at(20)?);
    // Two 32-bit halves, low one first.
    let low = u32::from_ne_bytes(array(id, 40).ok_or(short)?);
    let high = u32::from_ne_bytes(array(id, 44).ok_or(short)?);
    let mut row = Row {
        state: *state,
        timer: *timer,
        address,
        port: u16::from_be_bytes(array(id, 0).ok_or(short)?),
        peer,
        peer_port: u16::from_be_bytes(array(id, 2).ok_or(short)?),
        expires_ms: u32::from_ne_bytes(array(counters, 0).ok_or(short)?),
        interface: u32::from_ne_bytes(array(id, 36).ok_or(short)?),
        cookie: u64::from(high) << 32 | u64::from(low),
        uid: u32::from_ne_bytes(array(counters, 12).ok_or(short)?),
        inode: u32::from_ne_bytes(array(counters, 16).ok_or(short)?),
        v6_only: None,
        cgroup_id: None,
    };
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.map_err(|_| ParseError::Attribute)?;
        let value = attribute.value();
        match attribute.kind() {
            INET_DIAG_SKV6ONLY => {
                row.v6_only = Some(*value.first().ok_or(ParseError::Attribute)? != 0);
            }
            INET_DIAG_CGROUP_ID => {
                row.cgroup_id = Some(u64::from_ne_bytes(array(value, 0).ok_or(ParseError::Attribute)?));
            }
            _ => {}
        }
    }
    Ok(row)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured on Linux 6.18 (x86-64): `[::]:3003`, IPV6_V6ONLY, listening, in a fresh network namespace.
    const LISTENER: &str = "0a0a00000bbb0000000000000000000000000000000000000000000000000000000000000000000000\
        000000641c00000000000000000000000000008000000000000000d52c1f000500080000000000\
        05000b000100000008000f00000000000c00150001000000000000000600160012000000";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_captured_answer_is_read_field_by_field() {
        let row = parse(&bytes(LISTENER)).unwrap();
        let expected = Row {
            state: LISTEN,
            timer: 0,
            address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            port: 3003,
            peer: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            peer_port: 0,
            expires_ms: 0,
            interface: 0,
            cookie: 0x1c64,
            uid: 0,
            inode: 0x1f_2cd5,
            v6_only: Some(true),
            cgroup_id: Some(1),
        };
        assert_eq!(row, expected);
    }

    #[test]
    fn a_cut_answer_is_an_error_or_has_fewer_attributes_and_never_a_panic() {
        let whole = bytes(LISTENER);
        for length in 0..whole.len() {
            match parse(&whole[..length]) {
                Ok(row) => assert!(length >= RESPONSE && row.port == 3003),
                Err(ParseError::Short(n)) => assert!(n == length && length < RESPONSE),
                Err(error) => assert_eq!((error, length > RESPONSE), (ParseError::Attribute, true)),
            }
        }
    }

    #[test]
    fn a_foreign_family_and_a_short_attribute_are_refused() {
        let mut unix = bytes(LISTENER);
        unix[0] = 1;
        assert_eq!(parse(&unix), Err(ParseError::Family(1)));
        // A cgroup id of four bytes.
        let mut short = bytes(LISTENER)[..RESPONSE].to_vec();
        short.extend([8_u16, INET_DIAG_CGROUP_ID].map(u16::to_ne_bytes).concat());
        short.extend([0; 4]);
        assert_eq!(parse(&short), Err(ParseError::Attribute));
        // A length that runs past the end.
        let mut long = bytes(LISTENER)[..RESPONSE].to_vec();
        long.extend([200_u16, INET_DIAG_SKV6ONLY].map(u16::to_ne_bytes).concat());
        assert_eq!(parse(&long), Err(ParseError::Attribute));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
