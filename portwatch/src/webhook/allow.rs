//! Where webhooks may lead. The addresses count, never the names: a name is looked up once for a delivery, and the address that
//! it gave is judged and connected to.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use crate::model::Port;

/// An address or network, perhaps with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    network: IpAddr,
    bits: u32,
    port: Option<u16>,
}

/// Several of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowList(Vec<Allowance>);

/// Why a line of the configuration is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a place that webhooks may lead to; say loopback, 10.0.0.5, 10.0.0.0/8, 10.0.0.5:9000 or [fd00::/8]:9000"
)]
pub struct AllowError(String);

const LOOPBACK: [Allowance; 2] = [
    Allowance { network: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), bits: 8, port: None },
    Allowance { network: IpAddr::V6(Ipv6Addr::LOCALHOST), bits: 128, port: None },
];

/// Where clouds tell machines their secrets, besides link-local addresses: EC2's IPv6 address, Alibaba's, Azure's.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

impl AllowList {
    /// Reads the lines of the configuration.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, AllowError> {
        let mut all = Vec::new();
        for text in texts {
            let (place, port) = with_port(text).ok_or_else(|| AllowError(text.to_owned()))?;
            if place == "loopback" {
                all.extend(LOOPBACK.map(|allowance| Allowance { port, ..allowance }));
            } else {
                all.push(Allowance { port, ..place.parse()? });
            }
        }
        Ok(Self(all))
    }

    /// This machine.
    pub fn loopback() -> Self {
        Self(LOOPBACK.to_vec())
    }

    /// Whether this may be connected to. What is never allowed is not, whatever is listed.
    pub fn allows(&self, at: SocketAddr) -> bool {
        let address = at.ip().to_canonical();
        if forbidden(address).is_some() {
            return false;
        }
        let lists = |address: IpAddr| {
            self.0.iter().any(|allowed| {
                allowed.port.is_none_or(|port| port == at.port())
                    && holds(allowed.network, allowed.bits, address)
            })
        };
        match translated(address).as_slice() {
            [] => lists(address),
            meant => meant.iter().all(|v4| lists(IpAddr::V4(*v4))),
        }
    }

    /// Nothing is allowed.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `10.0.0.5:9000`, `[fd00::/8]:9000`, or the same without a port.
fn with_port(text: &str) -> Option<(&str, Option<u16>)> {
    let port = |text: &str| text.parse::<Port>().ok().map(Port::get);
    if let Some(rest) = text.strip_prefix('[') {
        let (place, after) = rest.split_once(']')?;
        return match after {
            "" => Some((place, None)),
            after => Some((place, Some(port(after.strip_prefix(':')?)?))),
        };
    }
    match text.split_once(':') {
        Some((place, after)) if !after.contains(':') => Some((place, Some(port(after)?))),
        _ => Some((text, None)),
    }
}

impl FromStr for Allowance {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || AllowError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(prefix(bits).ok_or_else(wrong)?)),
        };
        let network: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most || network != network.to_canonical() {
            return Err(wrong());
        }
        Ok(Self { network, bits, port: None })
    }
}

/// A number without a sign, which `parse` would take.
fn prefix(bits: &str) -> Option<u32> {
    bits.parse().ok().filter(|_| bits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn holds(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

/// Why an address is never led to, whatever the configuration says.
pub fn forbidden(address: IpAddr) -> Option<&'static str> {
    let address = address.to_canonical();
    if METADATA.contains(&address) {
        return Some("the metadata service of a cloud");
    }
    match address {
        IpAddr::V4(v4) => {
            if v4.is_link_local() {
                Some("link-local, where clouds have their metadata service")
            } else if v4.octets().first() == Some(&0) {
                Some("no address of a program")
            } else if v4.is_multicast() || v4.is_broadcast() {
                Some("for many")
            } else {
                None
            }
        }
        IpAddr::V6(v6) => {
            if v6.is_unicast_link_local() {
                Some("link-local")
            } else if v6.is_unspecified() {
                Some("no address of a program")
            } else if v6.is_multicast() {
                Some("for many")
            } else {
                let meant = translated(address);
                if meant.iter().any(Ipv4Addr::is_loopback) {
                    return Some("another machine's loopback");
                }
                meant.into_iter().chain(inner(v6)).find_map(|v4| forbidden(IpAddr::V4(v4)))
            }
        }
    }
}

/// The IPv4 addresses that a NAT64 translator may make of an address: of 64:ff9b::/96 the one that is in it (RFC 6052), of the
/// prefix for local use, 64:ff9b:1::/48 (RFC 8215), each that is in it by one of the prefix lengths that RFC 6052 has, for which
/// of them a network uses nobody here knows. What is no such address has none.
fn translated(address: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return Vec::new() };
    let bits = v6.to_bits();
    let low = |shift: u32| {
        let [.., a, b, c, d] = (bits >> shift).to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => vec![low(0)],
        [0x64, 0xff9b, 1, ..] => {
            // Section 2.2 there: octet 8 is zero, and so is what follows the IPv4 address.
            let [.., o6, o7, o8, o9, o10, o11, o12, _, _, _] = v6.octets();
            let zero_from = |bit: u32| bits << bit == 0;
            let mut all = vec![(true, low(0))];
            if o8 == 0 {
                all.push((zero_from(88), Ipv4Addr::new(o6, o7, o9, o10)));
                all.push((zero_from(96), Ipv4Addr::new(o7, o9, o10, o11)));
                all.push((zero_from(104), Ipv4Addr::new(o9, o10, o11, o12)));
            }
            let mut meant: Vec<Ipv4Addr> =
                all.into_iter().filter_map(|(fits, v4)| fits.then_some(v4)).collect();
            // 0.0.0.0 is in whatever ends with zeros, and is nothing that anybody asks for.
            if meant.iter().any(|v4| !v4.is_unspecified()) {
                meant.retain(|v4| !v4.is_unspecified());
            }
            meant
        }
        _ => Vec::new(),
    }
}

/// The IPv4 address inside that an IPv4-compatible (RFC 4291) or 6to4 address (RFC 3056) leads to.
fn inner(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Where whose webhooks may lead.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// What the configuration says, for every user; `None` where it says nothing.
    pub configured: Option<AllowList>,
    /// The user whose daemon it is.
    pub own_uid: u32,
}

impl Policy {
    /// What holds for a user. Where nothing is configured, the daemon's own user and root may lead webhooks to this machine,
    /// and nobody else anywhere: the daemon asks with rights that a user may not have.
    pub fn of(&self, uid: u32) -> AllowList {
        match &self.configured {
            Some(list) => list.clone(),
            None if uid == 0 || uid == self.own_uid => AllowList::loopback(),
            None => AllowList::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &AllowList, at: &str) -> bool {
        list.allows(at.parse().unwrap())
    }

    #[test]
    fn a_list_says_which_addresses_and_ports() {
        let list = AllowList::parse([
            "10.1.0.0/16",
            "192.0.2.7:9000",
            "loopback:8080",
            "[fd00::/8]:443",
            "2001:db8::5",
        ])
        .unwrap();
        for (at, expected) in [
            ("10.1.255.255:1", true),
            ("10.2.0.0:1", false),
            ("192.0.2.7:9000", true),
            ("192.0.2.7:9001", false),
            ("127.3.4.5:8080", true),
            ("127.0.0.1:80", false),
            ("[::1]:8080", true),
            ("[fd12::9]:443", true),
            ("[fd12::9]:80", false),
            ("[2001:db8::5]:80", true),
            ("[2001:db8::6]:80", false),
            ("[::ffff:10.1.2.3]:5", true),
            ("[::ffff:10.2.2.3]:5", false),
        ] {
            assert_eq!(allows(&list, at), expected, "{at}");
        }
        for text in [
            "",
            "example.org",
            "10.0.0.1/33",
            "10.0.0.1:0",
            "10.0.0.1:+9000",
            "10.0.0.1/+24",
            "10.0.0.1:x",
            "[::1",
            "[::1]x",
            "::ffff:1.2.3.4",
            "10.0.0/8",
            "loopback:",
        ] {
            assert!(AllowList::parse([text]).is_err(), "{text}");
        }
    }

    #[test]
    fn metadata_link_local_and_many_are_never_allowed() {
        let all = AllowList::parse(["0.0.0.0/0", "::/0"]).unwrap();
        for at in [
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[64:ff9b::1]:80",
            "[64:ff9b::127.0.0.1]:80",
            "[64:ff9b::100.100.100.200]:80",
            // 169.254.169.254 behind each length of prefix: 48, 56, 64, 96.
            "[64:ff9b:1:a9fe:a9:fe00::]:80",
            "[64:ff9b:1:bba9:fe:a9fe::]:80",
            "[64:ff9b:1:aabb:a9:fea9:fe00:0]:80",
            "[64:ff9b:1::a9fe:a9fe]:80",
            "[64:ff9b:1:aabb:cc:dd:a9fe:a9fe]:80",
            "[64:ff9b:1::127.0.0.1]:80",
            "[64:ff9b:1::]:80",
            "[2002:a9fe:a9fe::1]:80",
            "[::169.254.169.254]:80",
            "[fe80::1]:80",
            "[fd00:ec2::254]:80",
            "100.100.100.200:80",
            "168.63.129.16:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "[::]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[ff02::1]:80",
        ] {
            assert!(!allows(&all, at), "{at}");
        }
        for at in [
            "8.8.8.8:80",
            "127.0.0.1:80",
            "[2001:db8::1]:80",
            "[::1]:80",
            "[64:ff9b::8.8.8.8]:80",
            "[64:ff9b:1::8.8.8.8]:80",
        ] {
            assert!(allows(&all, at), "{at}");
        }
        let loopback = AllowList::loopback();
        for (at, expected) in
            [("127.9.9.9:1", true), ("[::1]:1", true), ("10.0.0.1:1", false), ("[::2]:1", false)]
        {
            assert_eq!(allows(&loopback, at), expected, "{at}");
        }
    }

    #[test]
    fn an_address_behind_a_translator_is_judged_by_the_one_that_it_leads_to() {
        let list = AllowList::parse(["10.0.0.0/8:80", "64:ff9b::/32", "2001:db8::/32"]).unwrap();
        for (at, expected) in [
            ("[64:ff9b::10.1.2.3]:80", true),
            ("[64:ff9b::10.1.2.3]:81", false),
            ("[64:ff9b::11.1.2.3]:80", false),
            ("[64:ff9b:1::10.1.2.3]:80", true),
            ("[64:ff9b:1::11.1.2.3]:80", false),
            // 10.1.2.3 behind a prefix of 48 bits, or 1.2.3.0 behind one of 56.
            ("[64:ff9b:1:a01:2:300::]:80", false),
            // Neither of the two prefixes.
            ("[64:ff9b:2::11.1.2.3]:80", true),
        ] {
            assert_eq!(allows(&list, at), expected, "{at}");
        }
        let all = AllowList::parse(["::/0"]).unwrap();
        assert!(!allows(&all, "[64:ff9b::10.1.2.3]:80"), "IPv4 is not in that list");
    }

    #[test]
    fn without_configuration_only_the_daemons_own_user_and_root_may_and_only_to_this_machine() {
        let policy = Policy { configured: None, own_uid: 500 };
        assert_eq!(policy.of(0), AllowList::loopback());
        assert_eq!(policy.of(500), AllowList::loopback());
        assert!(policy.of(1000).is_empty());
        let configured = Policy { configured: Some(AllowList::default()), own_uid: 0 };
        assert!(configured.of(0).is_empty(), "an empty list allows nothing to anybody");
    }
}
