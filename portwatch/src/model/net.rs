//! Where a socket is: namespace, protocol, address, port.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::{NonZeroU16, NonZeroU32},
    str::FromStr,
};

/// A real port, 1 to 65535. "Port 0" is a request for any port, never a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

/// Why a text is not a [`Port`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a port; ports are whole numbers from 1 to 65535")]
pub struct ParsePortError {
    text: String,
}

impl Port {
    /// `None` for 0.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, host byte order.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl From<NonZeroU16> for Port {
    fn from(number: NonZeroU16) -> Self {
        Self(number)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Port {
    type Err = ParsePortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A sign would be taken too, and nobody writes a port with one.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.map(Self).ok_or_else(|| ParsePortError { text: text.to_owned() })
    }
}

/// Transport protocol of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, and MPTCP, whose listeners are TCP listeners.
    Tcp,
    /// UDP and UDP-Lite.
    Udp,
}

impl Protocol {
    /// The word used everywhere: `tcp` or `udp`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// From that word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp].into_iter().find(|known| known.as_str() == word)
    }

    /// `53/udp` and `53/UDP` as `53` and UDP; a text without a slash as it is.
    ///
    /// # Errors
    /// The word behind the slash, where it is none of a protocol.
    pub fn split_off(text: &str) -> Result<(&str, Option<Self>), &str> {
        let Some((place, word)) = text.rsplit_once('/') else { return Ok((text, None)) };
        Self::from_word(&word.to_ascii_lowercase()).map(|known| (place, Some(known))).ok_or(word)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A network namespace, by the inode of its nsfs file (`/proc/PID/ns/net`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netns(pub u32);

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An interface, by its number in its network namespace: `sin6_scope_id`, which the zone of an address stands for (RFC 4007).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(pub NonZeroU32);

impl Zone {
    /// `None` for 0, which is no interface.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A local address as a bind names it: that of a link is one only together with its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Local {
    /// The address.
    pub address: IpAddr,
    /// The interface, for an address of a link.
    pub zone: Option<Zone>,
}

impl From<IpAddr> for Local {
    fn from(address: IpAddr) -> Self {
        Self { address, zone: None }
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        self.zone.map_or(Ok(()), |zone| write!(f, "%{zone}"))
    }
}

/// Whether an address means a place only together with an interface (`__ipv6_addr_needs_scope_id`): unicast of a link, multicast of a
/// link or of the machine.
pub const fn needs_zone(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_unicast_link_local() || (first == 0xff && matches!(second & 0x0f, 1 | 2))
}

/// The key of everything: a container's port 3000 and the host's are two endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Namespace; `None` where the platform has none or the source cannot tell.
    pub netns: Option<Netns>,
    /// Protocol.
    pub protocol: Protocol,
    /// Local address; unspecified (`0.0.0.0`, `::`) means every address of the family.
    pub address: IpAddr,
    /// Local port.
    pub port: Port,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(a) => write!(f, "{a}:{}/{}", self.port, self.protocol),
            IpAddr::V6(a) => write!(f, "[{a}]:{}/{}", self.port, self.protocol),
        }
    }
}

/// Whether two local addresses claim a common address, so that sockets on them can be in each other's way.
///
/// `v6_only` is that socket's IPV6_V6ONLY; `None` (unknown) counts as off, the kernel's default
/// (`net.ipv6.bindv6only` = 0). A v4-mapped address is the IPv4 address it maps.
pub fn addresses_overlap(a: (IpAddr, Option<bool>), b: (IpAddr, Option<bool>)) -> bool {
    let dual = |(address, v6_only): (IpAddr, Option<bool>)| {
        matches!(address, IpAddr::V6(a) if a.is_unspecified()) && v6_only != Some(true)
    };
    let (x, y) = (a.0.to_canonical(), b.0.to_canonical());
    match (x, y) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            x == y || x.is_unspecified() || y.is_unspecified()
        }
        (IpAddr::V6(_), IpAddr::V4(_)) => dual(a),
        (IpAddr::V4(_), IpAddr::V6(_)) => dual(b),
    }
}
