//! The IPv6 addresses of the interfaces: `/proc/thread-self/net/if_inet6`.

use std::{fs, net::Ipv6Addr, path::Path};

/// Positions in a line: address, index, prefix, scope, flags, name (`if6_seq_show` in net/ipv6/addrconf.c).
const FLAGS: usize = 4;
/// `include/uapi/linux/if_addr.h`: found to be another's; not yet known not to be; used all the same.
const IFA_F_TENTATIVE: u8 = 0x40;
const IFA_F_OPTIMISTIC: u8 = 0x04;

/// Whether an interface has `address`, in the network namespace of the calling thread, and lets it be used. `None` when that
/// cannot be read.
pub(super) fn have(proc: &Path, address: Ipv6Addr) -> Option<bool> {
    let text = fs::read_to_string(proc.join("thread-self/net/if_inet6")).ok()?;
    Some(text.lines().any(|line| usable(line) == Some(address)))
}

/// The address of a line, if a socket may be bound to it.
fn usable(line: &str) -> Option<Ipv6Addr> {
    let mut fields = line.split_ascii_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let flags = u8::from_str_radix(fields.nth(FLAGS - 1)?, 16).ok()?;
    let waits = flags & IFA_F_TENTATIVE != 0 && flags & IFA_F_OPTIMISTIC == 0;
    (!waits).then(|| Ipv6Addr::from_bits(address))
}

#[cfg(test)]
mod tests {
    use super::usable;

    #[test]
    fn an_address_that_may_be_anothers_is_not_usable_yet() {
        // Of a machine with Linux 6.18, the second while it looked whether another had the address.
        for (line, address) in [
            ("00000000000000000000000000000001 01 80 10 80       lo", Some("::1")),
            ("fd770000000000000000000000000001 03 40 00 c0       va", None),
            ("fd770000000000000000000000000001 03 40 00 44       va", Some("fd77::1")),
            ("nonsense", None),
        ] {
            assert_eq!(usable(line), address.map(|a| a.parse().unwrap()), "{line}");
        }
    }
}
