//! Interfaces of the network namespace of the calling thread, and their IPv6 addresses: `/proc/thread-self/net/if_inet6`.

use std::{fs, net::Ipv6Addr, path::Path};

use nix::{errno::Errno, net::if_::if_indextoname};

use crate::model::Zone;

/// Positions in a line: address, index, prefix, scope, flags, name (`if6_seq_show` in net/ipv6/addrconf.c).
const FLAGS: usize = 4;
/// `include/uapi/linux/if_addr.h`: found to be another's; not yet known not to be; used all the same.
const IFA_F_TENTATIVE: u8 = 0x40;
const IFA_F_OPTIMISTIC: u8 = 0x04;

/// What an interface is called; `None` where there is none of this number.
pub(super) fn name(zone: Zone) -> Result<Option<String>, Errno> {
    let found = match if_indextoname(zone.0.get()) {
        // The null of a failure passes for a name in nix 0.31; no interface is called nothing.
        Ok(name) if name.is_empty() => Err(Errno::last()),
        other => other,
    };
    match found {
        Ok(name) => Ok(Some(name.to_string_lossy().into_owned())),
        Err(Errno::ENXIO | Errno::ENODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether an interface, or this one, has `address` and lets it be used. `None` when that cannot be read.
pub(super) fn have(proc: &Path, address: Ipv6Addr, zone: Option<Zone>) -> Option<bool> {
    let text = fs::read_to_string(proc.join("thread-self/net/if_inet6")).ok()?;
    let is_it = |(found, on): (Ipv6Addr, u32)| found == address && zone.is_none_or(|zone| zone.0.get() == on);
    Some(text.lines().filter_map(usable).any(is_it))
}

/// The address of a line and the number of its interface, if a socket may be bound to it.
fn usable(line: &str) -> Option<(Ipv6Addr, u32)> {
    let mut fields = line.split_ascii_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let interface = u32::from_str_radix(fields.next()?, 16).ok()?;
    let flags = u8::from_str_radix(fields.nth(FLAGS - 2)?, 16).ok()?;
    let waits = flags & IFA_F_TENTATIVE != 0 && flags & IFA_F_OPTIMISTIC == 0;
    (!waits).then(|| (Ipv6Addr::from_bits(address), interface))
}

#[cfg(test)]
mod tests {
    use super::usable;

    #[test]
    fn an_address_that_may_be_anothers_is_not_usable_yet() {
        // Of a machine with Linux 6.18, the second while it looked whether another had the address.
        for (line, address) in [
            ("00000000000000000000000000000001 01 80 10 80       lo", Some(("::1", 1))),
            ("fd770000000000000000000000000001 03 40 00 c0       va", None),
            ("fd770000000000000000000000000001 1a 40 00 44       va", Some(("fd77::1", 26))),
            ("nonsense", None),
        ] {
            assert_eq!(usable(line), address.map(|(a, on)| (a.parse().unwrap(), on)), "{line}");
        }
    }
}
