//! What the kernel decides a bind by, besides sockets.

use std::ops::RangeInclusive;

use super::{Local, Port, Protocol, Zone};

/// Settings of a network namespace, and its addresses as far as they were asked about. `None` is "not known".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindRules {
    /// `net.ipv4.ip_unprivileged_port_start`: below it a bind needs CAP_NET_BIND_SERVICE. For both families.
    pub unprivileged_from: Option<u16>,
    /// `net.ipv4.ip_local_port_range`: where the kernel chooses ports.
    pub ephemeral: Option<RangeInclusive<u16>>,
    /// `net.ipv4.ip_local_reserved_ports`: which of them it leaves out.
    pub reserved: Option<Vec<RangeInclusive<u16>>>,
    /// Ranges whose binds are refused whoever asks, over TCP and over UDP (excluded port ranges of Windows).
    pub excluded: Option<[Vec<RangeInclusive<u16>>; 2]>,
    /// `net.ipv6.bindv6only`: what IPV6_V6ONLY is on a new socket.
    pub v6_only: Option<bool>,
    /// Sockets on one port share it where their addresses overlap and are not the same, unless one of them was asked for alone, which no
    /// table shows (Windows, SO_EXCLUSIVEADDRUSE).
    pub shares_overlaps: bool,
    /// For each address asked about: whether a socket may be bound to it here.
    pub addresses: Vec<(Local, bool)>,
    /// For each interface asked about: its name; `None` where there is no such interface.
    pub interfaces: Vec<(Zone, Option<String>)>,
}

impl Default for BindRules {
    /// Nothing is known but which system this is.
    fn default() -> Self {
        Self {
            unprivileged_from: None,
            ephemeral: None,
            reserved: None,
            excluded: None,
            v6_only: None,
            shares_overlaps: cfg!(windows),
            addresses: Vec::new(),
            interfaces: Vec::new(),
        }
    }
}

impl BindRules {
    /// Whether a bind of this port needs a privilege.
    pub fn needs_privilege(&self, port: Port) -> Option<bool> {
        self.unprivileged_from.map(|from| port.get() < from)
    }

    /// Whether the kernel chooses from a range that this port lies in. Reserved ports are left out.
    pub fn is_ephemeral(&self, port: Port) -> Option<bool> {
        let inside = self.ephemeral.as_ref()?.contains(&port.get());
        Some(inside && !self.is_reserved(port)?)
    }

    /// Whether the port is reserved: the kernel never chooses it by itself.
    pub fn is_reserved(&self, port: Port) -> Option<bool> {
        Some(self.reserved.as_ref()?.iter().any(|range| range.contains(&port.get())))
    }

    /// The range that keeps everybody from this port.
    pub fn excludes(&self, protocol: Protocol, port: Port) -> Option<&RangeInclusive<u16>> {
        let [tcp, udp] = self.excluded.as_ref()?;
        let ranges = match protocol {
            Protocol::Tcp => tcp,
            Protocol::Udp => udp,
        };
        ranges.iter().find(|range| range.contains(&port.get()))
    }

    /// Whether a socket may be bound to this address here; `None` when nobody looked.
    pub fn has_address(&self, local: Local) -> Option<bool> {
        let plain = |local: Local| Local { address: local.address.to_canonical(), ..local };
        let wanted = plain(local);
        self.addresses.iter().find(|(known, _)| plain(*known) == wanted).map(|&(_, here)| here)
    }

    /// Whether there is such an interface here; `None` when nobody looked.
    pub fn has_interface(&self, zone: Zone) -> Option<bool> {
        self.interfaces.iter().find(|(known, _)| *known == zone).map(|(_, name)| name.is_some())
    }

    /// What it is called here, where that is known.
    pub fn interface(&self, zone: Zone) -> Option<&str> {
        self.interfaces.iter().find(|(known, _)| *known == zone).and_then(|(_, name)| name.as_deref())
    }
}
