//! Addresses as people read them.

use std::net::IpAddr;

use crate::wire::Socket;

/// `127.0.0.1:3100`, `[::1]:3100`, `*:3100`.
pub(super) fn with_port(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn is_wildcard(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|a| a.is_unspecified())
}

fn is_v6(address: &str) -> bool {
    address.contains(':')
}

/// The addresses of sockets on one port, each once: both wildcards, or the dual one, are `*`.
pub(super) fn merged(sockets: &[&Socket]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for socket in sockets {
        let mut beside = sockets.iter().filter(|other| other.interface == socket.interface);
        let wildcard = |v6: bool, s: &Socket| is_wildcard(&s.address) && is_v6(&s.address) == v6;
        let dual = beside.clone().any(|s| is_dual(s))
            || (beside.clone().any(|s| wildcard(true, s)) && beside.any(|s| wildcard(false, s)));
        let word = if dual && is_wildcard(&socket.address) { on("*", socket) } else { whole(socket) };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// A socket's address with the interface that it is bound to, as `ss` and RFC 4007 write it: `fe80::1%eth0`.
pub(super) fn whole(socket: &Socket) -> String {
    on(&socket.address, socket)
}

fn on(address: &str, socket: &Socket) -> String {
    match &socket.interface {
        Some(interface) => format!("{address}%{interface}"),
        None => address.to_owned(),
    }
}

fn is_dual(socket: &Socket) -> bool {
    socket.v6_only == Some(false) && is_v6(&socket.address) && is_wildcard(&socket.address)
}

/// One socket's address with what it means: `*:3100 (IPv4 and IPv6)`.
pub(super) fn explained(socket: &Socket) -> String {
    let text = with_port(&whole(socket), socket.port);
    if !is_wildcard(&socket.address) {
        return text;
    }
    match (is_v6(&socket.address), socket.v6_only) {
        (false, _) => format!("{text} (every IPv4 address)"),
        (true, Some(false)) => format!("{}:{} (IPv4 and IPv6)", on("*", socket), socket.port),
        (true, Some(true)) => format!("{text} (every IPv6 address, no IPv4)"),
        (true, None) => format!("{text} (every IPv6 address, IPv4 perhaps)"),
    }
}
