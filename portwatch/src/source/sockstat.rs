//! `/proc/net/sockstat`: how many connections are in TIME_WAIT, without a look at each.

use std::{fs, path::Path};

/// TCP connections in TIME_WAIT in the network namespace of this process, IPv4 and IPv6 (proc_pid_net(5); the kernel counts
/// both in the `TCP:` line). `None` where the kernel does not tell.
pub fn time_wait(proc_root: &Path) -> Option<u64> {
    count(&fs::read_to_string(proc_root.join("net/sockstat")).ok()?)
}

fn count(text: &str) -> Option<u64> {
    let mut words = text.lines().find_map(|line| line.strip_prefix("TCP:"))?.split_ascii_whitespace();
    words.find(|word| *word == "tw")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn the_count_is_read_where_there_is_one() {
        // Captured on Linux 6.18.
        let text = "sockets: used 138\nTCP: inuse 7 orphan 0 tw 42 alloc 9 mem 0\nUDP: inuse 1 mem 0\nUDPLITE: inuse 0\n";
        assert_eq!(count(text), Some(42));
        for other in ["", "TCP: inuse 7", "TCP: tw", "TCP: tw x", "UDP: tw 3"] {
            assert_eq!(count(other), None, "{other}");
        }
    }
}
