//! Local addresses in the network namespace of a process.

use std::net::{IpAddr, Ipv6Addr};

use super::pid::PidDir;

/// Tables of routes; a router's may be large.
const LIMIT: usize = 1 << 20;

/// Addresses of the namespace of this process. Empty when it is gone or may not be looked into: a hint, not a proof
/// of absence.
pub(super) fn of(process: &PidDir) -> Vec<IpAddr> {
    let mut found = Vec::new();
    if let Ok((bytes, _)) = process.read("net/fib_trie", LIMIT) {
        found.extend(v4(&String::from_utf8_lossy(&bytes)));
    }
    if let Ok((bytes, _)) = process.read("net/if_inet6", LIMIT) {
        found.extend(v6(&String::from_utf8_lossy(&bytes)));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// A leaf `|-- ADDRESS` followed by `/32 host LOCAL`.
fn v4(table: &str) -> Vec<IpAddr> {
    let mut leaf: Option<IpAddr> = None;
    let mut found = Vec::new();
    for line in table.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(leaf);
        }
    }
    found
}

/// 32 hex digits first on each line.
fn v6(table: &str) -> Vec<IpAddr> {
    let digits = table.lines().filter_map(|line| line.split(' ').next());
    digits
        .filter(|digits| digits.len() == 32)
        .filter_map(|digits| u128::from_str_radix(digits, 16).ok())
        .map(|bits| Ipv6Addr::from_bits(bits).into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured in a Docker container of Debian 12's docker.io on its default bridge.
    const FIB_TRIE: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 172.17.0.0/16 2 0 2
        +-- 172.17.0.0/30 2 0 2
           |-- 172.17.0.0
              /16 link UNICAST
           |-- 172.17.0.2
              /32 host LOCAL
        |-- 172.17.255.255
           /32 link BROADCAST
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 172.17.0.0/16 2 0 2
        +-- 172.17.0.0/30 2 0 2
           |-- 172.17.0.0
              /16 link UNICAST
           |-- 172.17.0.2
              /32 host LOCAL
        |-- 172.17.255.255
           /32 link BROADCAST
";

    #[test]
    fn own_addresses_are_told_from_networks_and_broadcasts() {
        let mut found = v4(FIB_TRIE);
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, ["127.0.0.1".parse::<IpAddr>().unwrap(), "172.17.0.2".parse().unwrap()]);
        assert_eq!(v4("     |-- 172.17.0.2\n"), Vec::<IpAddr>::new());
    }

    #[test]
    fn addresses_of_interfaces_are_read_from_their_digits() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\nzz 1\n\n";
        assert_eq!(v6(table), ["::1".parse::<IpAddr>().unwrap()]);
    }
}
