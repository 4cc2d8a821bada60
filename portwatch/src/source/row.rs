//! One socket as a table tells of it that names no cookie: the output of lsof and netstat, or an API like them.
//! Parsing is total: any bytes give rows and a count of what was not understood.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::Protocol;

/// A socket with a local port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Protocol.
    pub protocol: Protocol,
    /// Local address.
    pub address: IpAddr,
    /// Local port, never 0.
    pub port: u16,
    /// What the socket does.
    pub state: State,
    /// The process that the table names.
    pub pid: Option<u32>,
    /// Owner's uid.
    pub uid: Option<u32>,
    /// What tells this socket from another: on Linux its inode, on macOS its address or number in the kernel.
    pub identity: Option<u64>,
    /// Whether an IPv6 socket keeps to IPv6, where the table tells.
    pub v6_only: Option<bool>,
}

/// What a socket does, as far as it matters for its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It listens (TCP).
    Listening,
    /// It has its port and nothing else: every UDP socket, and a TCP socket that neither listens nor is connected.
    Bound,
    /// Connected, closing or waiting (TCP).
    Other,
}

/// Reads the output of a tool.
pub type Parse = fn(&[u8]) -> Parsed;

/// What a table's output came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed {
    /// The sockets.
    pub rows: Vec<Row>,
    /// Entries that tell of a socket and could not be understood.
    pub unread: usize,
    /// The output has the form of this table at all.
    pub recognized: bool,
}

impl Parsed {
    /// Takes an entry in: `None` was not understood, and one without a port blocks none.
    pub(super) fn add(&mut self, row: Option<Row>) {
        match row {
            Some(row) if row.port == 0 => {}
            Some(row) => self.rows.push(row),
            None => self.unread += 1,
        }
    }
}

/// A state by the names that Linux and macOS give it. A UDP socket is bound, whatever is said of it.
pub(super) fn state(protocol: Protocol, name: Option<&str>) -> State {
    match (protocol, name) {
        (Protocol::Tcp, Some("LISTEN" | "LISTENING")) => State::Listening,
        (Protocol::Udp, _) | (Protocol::Tcp, Some("CLOSED" | "CLOSE" | "BOUND")) => State::Bound,
        (Protocol::Tcp, _) => State::Other,
    }
}

/// An address: bare or in brackets, `*` for every address of its family. A zone (`%eth0`, `%4`) is cut off.
pub(super) fn address(text: &str, v6: bool) -> Option<IpAddr> {
    let text = text.strip_prefix('[').map_or(Some(text), |inner| inner.strip_suffix(']'))?;
    let bare = text.split_once('%').map_or(text, |(address, _)| address);
    match bare {
        "*" if v6 => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        "*" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        _ => bare.parse().ok(),
    }
}

/// The parts of `ADDRESS:PORT` (or, on macOS, `ADDRESS.PORT`): the port stands after the last separator; 0 and `*` are
/// none, given as 0.
pub(super) fn place(text: &str, separator: char, v6: bool) -> Option<(IpAddr, u16)> {
    let (host, port) = text.rsplit_once(separator)?;
    let port = if port == "*" { 0 } else { port.parse().ok()? };
    Some((address(host, v6)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_any_stand_in_brackets_and_have_a_zone() {
        let v6 = |text: &str| Some(IpAddr::V6(text.parse().unwrap()));
        assert_eq!(address("*", false), Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        assert_eq!(address("*", true), v6("::"));
        assert_eq!(address("[::1]", true), v6("::1"));
        assert_eq!(address("fe80::1%en0", true), v6("fe80::1"));
        assert_eq!(address("[fe80::c9ee%4]", true), v6("fe80::c9ee"));
        for wrong in ["", "[", "[]", "[::1", "localhost", "1.2.3", "%4", "[*"] {
            assert_eq!(address(wrong, true), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_port_stands_after_the_last_separator_and_0_is_none() {
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        assert_eq!(place(":::22", ':', true), Some((any, 22)));
        assert_eq!(place("[::]:0", ':', true), Some((any, 0)));
        assert_eq!(place("*.*", '.', true), Some((any, 0)));
        assert_eq!(place("127.0.0.1.53", '.', false), Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 53)));
        for wrong in ["", ":", "22", "::", "127.0.0.1:http", "127.0.0.1:65536", "::1:-1"] {
            assert_eq!(place(wrong, ':', true), None, "{wrong:?}");
        }
    }
}
