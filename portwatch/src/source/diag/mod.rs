//! The kernel's socket tables, by sock_diag over netlink. No privilege is needed: any user may ask.
//!
//! TCP: listening and (kernel 6.8+) bound without listening. UDP: everything with a port.
//! Connections: when asked for ([`Diag::connections`]).
//! An MPTCP listener appears as the TCP listener it is, with the inode of the MPTCP socket.

mod connections;
mod forget;
mod message;

use std::{collections::HashSet, io, net::Ipv4Addr, os::fd::AsRawFd};

use netlink_packet_core::{DoneBuffer, ErrorBuffer, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use self::message::{
    BOUND_INACTIVE, CLOSE, ESTABLISHED, LISTEN, MOST_PORTS, Row, SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK, Table,
    parse, request, request_both,
};
use crate::model::{
    AskedPort, Attached, Endpoint, Interface, Interfaces, Netns, Phase, Port, Protocol, SocketKey,
    SocketOptions, SocketSeen,
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The kernel repeats nothing by itself when its table changed during a dump; we ask again this often.
const TRIES: usize = 4;
/// Larger than the kernel ever makes a part of a dump (32 KiB).
const BUFFER: usize = 64 * 1024;

/// A connection to sock_diag. It answers for the network namespace in which it was opened, for good.
#[derive(Debug)]
pub struct Diag {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    netns: Option<Netns>,
    bound_supported: Option<bool>,
    /// The kernel does not know the request for both address families at once.
    families_apart: bool,
}

/// A table that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("sock_diag, {table}: {error}")]
pub struct DiagError {
    /// `TCP over IPv4` and so on; "netlink socket" when there was no connection at all.
    pub table: &'static str,
    /// The reason, with errno where the kernel gave one.
    pub error: io::Error,
}

/// Whether a dump has TCP sockets that are bound and do not listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Where the kernel lists them.
    Included,
    /// Not asked for.
    LeftOut,
}

/// What a dump of one protocol came to.
#[derive(Debug, Default)]
pub struct Dump {
    /// The sockets, each once.
    pub sockets: Vec<SocketSeen>,
    /// Bound TCP sockets that do not listen are among them. Always true for UDP.
    pub bound_included: bool,
}

impl Diag {
    /// Connects in the network namespace of the calling thread; `netns` is that namespace, where known.
    pub fn open(netns: Option<Netns>) -> Result<Self, DiagError> {
        let fail = |error| DiagError { table: "netlink socket", error };
        let socket = Socket::new(NETLINK_SOCK_DIAG).map_err(fail)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(fail)?;
        let buffer = Vec::with_capacity(BUFFER);
        Ok(Self { socket, sequence: 0, buffer, netns, bound_supported: None, families_apart: false })
    }

    /// What [`Diag::bound_supported`] found out with another connection holds here too: it is the same kernel.
    #[must_use]
    pub fn with_bound_supported(mut self, known: bool) -> Self {
        self.bound_supported = Some(known);
        self
    }

    /// The namespace it answers for.
    pub fn netns(&self) -> Option<Netns> {
        self.netns
    }

    /// Every socket of `protocol`, or those on `port`.
    pub fn dump(&mut self, protocol: Protocol, port: Option<Port>, bound: Bound) -> Result<Dump, DiagError> {
        let rows = self.rows_of(protocol, port.as_slice(), bound)?;
        let bound_included = match protocol {
            Protocol::Udp => true,
            Protocol::Tcp if bound == Bound::LeftOut => false,
            Protocol::Tcp => {
                if rows.iter().any(|row| is_bound_inactive(row.state)) {
                    self.bound_supported = Some(true);
                }
                self.bound_supported()
            }
        };
        let mut known = HashSet::with_capacity(rows.len());
        let sockets = rows
            .into_iter()
            // A table that changes while it is dumped can show a socket twice.
            .filter(|row| known.insert(row.cookie))
            .filter_map(|row| self.seen(protocol, &row))
            .filter(|seen| port.is_none_or(|port| seen.endpoint.port == port))
            .collect();
        Ok(Dump { sockets, bound_included })
    }

    /// The rows of every table of `protocol`.
    fn rows_of(&mut self, protocol: Protocol, ports: &[Port], bound: Bound) -> Result<Vec<Row>, DiagError> {
        let mut rows = Vec::new();
        match protocol {
            Protocol::Tcp => {
                let states = match bound {
                    Bound::Included => 1 << LISTEN | 1 << BOUND_INACTIVE,
                    Bound::LeftOut => 1 << LISTEN,
                };
                self.rows("TCP over IPv4", Table { v6: false, protocol: TCP, states, ports }, &mut rows)?;
                self.rows("TCP over IPv6", Table { v6: true, protocol: TCP, states, ports }, &mut rows)?;
            }
            Protocol::Udp => {
                let states = 1 << CLOSE | 1 << ESTABLISHED;
                self.rows("UDP over IPv4", Table { v6: false, protocol: UDP, states, ports }, &mut rows)?;
                self.rows("UDP over IPv6", Table { v6: true, protocol: UDP, states, ports }, &mut rows)?;
            }
        }
        Ok(rows)
    }

    /// The interfaces that sockets on `ports` are bound to, as [`Diag::dump`] names the sockets.
    pub fn interfaces(&mut self, ports: &[Port]) -> Result<Interfaces, DiagError> {
        let mut found = Interfaces::default();
        for part in in_order(ports).chunks(MOST_PORTS) {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for row in self.rows_of(protocol, part, Bound::Included)? {
                    found.add(SocketKey::Cookie(row.cookie), Interface::of(row.interface));
                }
            }
        }
        Ok(found)
    }

    /// Whether this kernel lists TCP sockets that are bound and do not listen. Found out once, by outcome:
    /// a socket is bound to a port of the kernel's choice and must be in the table.
    pub fn bound_supported(&mut self) -> bool {
        if let Some(known) = self.bound_supported {
            return known;
        }
        let supported = self.probe_bound();
        // A probe that could not be made (no port left, no address) settles nothing.
        if let Some(supported) = supported {
            self.bound_supported = Some(supported);
        }
        supported.unwrap_or(false)
    }

    fn probe_bound(&mut self) -> Option<bool> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).ok()?;
        // Connections within a busy machine may have every port that the kernel gives out at the first address; nobody
        // uses the second. Where `lo` is down, neither is there to be bound.
        let places = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 85, 170, 1), Ipv4Addr::UNSPECIFIED];
        let at = |address| SockaddrIn::from(std::net::SocketAddrV4::new(address, 0));
        places.into_iter().find(|&address| bind(fd.as_raw_fd(), &at(address)).is_ok())?;
        let port = Port::new(getsockname::<SockaddrIn>(fd.as_raw_fd()).ok()?.port())?;
        let mut rows = Vec::new();
        let table = Table { v6: false, protocol: TCP, states: 1 << BOUND_INACTIVE, ports: &[port] };
        self.rows("TCP over IPv4", table, &mut rows).ok()?;
        Some(rows.iter().any(|row| row.port == port.get()))
    }

    fn seen(&self, protocol: Protocol, row: &Row) -> Option<SocketSeen> {
        let phase = match protocol {
            Protocol::Tcp if row.state == LISTEN => Phase::Listening,
            _ => Phase::Bound,
        };
        Some(SocketSeen {
            key: SocketKey::Cookie(row.cookie),
            inode: (row.inode != 0).then(|| u64::from(row.inode)),
            endpoint: Endpoint {
                netns: self.netns,
                protocol,
                address: row.address,
                port: Port::new(row.port)?,
            },
            phase,
            asked: AskedPort::Unknown,
            // sock_diag tells neither SO_REUSEADDR nor SO_REUSEPORT.
            options: SocketOptions { reuse_addr: None, reuse_port: None, v6_only: row.v6_only },
            uid: Some(row.uid),
            cgroup_id: row.cgroup_id,
            attached: Attached::of(row.interface),
        })
    }

    /// Appends the rows of one table, asking again while the kernel says that it changed during the dump.
    fn rows(&mut self, name: &'static str, table: Table<'_>, rows: &mut Vec<Row>) -> Result<(), DiagError> {
        self.rows_by(name, &|sequence| request(table, sequence), rows)
    }

    /// Appends the TCP sockets in these states, of both address families: by one walk over the kernel's table, or by two where
    /// it does not know that request. Each costs as much as the table is large, whatever is in it.
    fn tcp_rows(&mut self, states: u32, ports: &[Port], rows: &mut Vec<Row>) -> Result<(), DiagError> {
        let start = rows.len();
        if !self.families_apart {
            match self.rows_by("TCP", &|sequence| request_both(states, ports, sequence), rows) {
                Err(DiagError { error, .. }) if error.raw_os_error().is_some() => self.families_apart = true,
                other => return other,
            }
        }
        rows.truncate(start);
        self.rows("TCP over IPv4", Table { v6: false, protocol: TCP, states, ports }, rows)?;
        self.rows("TCP over IPv6", Table { v6: true, protocol: TCP, states, ports }, rows)
    }

    fn rows_by(
        &mut self,
        name: &'static str,
        request: &dyn Fn(u32) -> Vec<u8>,
        rows: &mut Vec<Row>,
    ) -> Result<(), DiagError> {
        let start = rows.len();
        for _ in 0..TRIES {
            rows.truncate(start);
            if self.try_rows(request, rows).map_err(|error| DiagError { table: name, error })? {
                return Ok(());
            }
        }
        let error = io::Error::other(format!("the table changed during each of {TRIES} reads"));
        Err(DiagError { table: name, error })
    }

    /// One dump. `false` when it was interrupted and is therefore inconsistent.
    fn try_rows(&mut self, request: &dyn Fn(u32) -> Vec<u8>, rows: &mut Vec<Row>) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(self.sequence), 0)?;
        let mut consistent = true;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
                let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
                let aligned = length.next_multiple_of(4).min(rest.len());
                rest = rest.get(aligned..).unwrap_or_default();
                // An answer to an earlier request, given up after an error.
                if message.sequence_number() != self.sequence {
                    continue;
                }
                consistent &= message.flags() & NLM_F_DUMP_INTR == 0;
                match message.message_type() {
                    NLMSG_DONE => {
                        let done = DoneBuffer::new_checked(message.payload()).map_err(io::Error::other)?;
                        return match done.code() {
                            code if code < 0 => Err(io::Error::from_raw_os_error(-code)),
                            _ => Ok(consistent),
                        };
                    }
                    NLMSG_ERROR => {
                        let error = ErrorBuffer::new_checked(message.payload()).map_err(io::Error::other)?;
                        let code = error.code().map_or(0, std::num::NonZeroI32::get);
                        return Err(io::Error::from_raw_os_error(-code));
                    }
                    SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => {
                        rows.push(parse(message.payload()).map_err(io::Error::other)?);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// As a filter wants ports: in ascending order, each once.
fn in_order(ports: &[Port]) -> Vec<Port> {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The kernel reports the state it was asked for, or the socket's own, which is CLOSE.
const fn is_bound_inactive(state: u8) -> bool {
    matches!(state, BOUND_INACTIVE | CLOSE)
}
