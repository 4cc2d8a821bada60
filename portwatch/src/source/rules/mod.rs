//! What the kernel decides a bind by besides sockets: settings in `/proc/sys/net` and the routes to its own
//! addresses, of the network namespace of the calling thread.

mod interfaces;
mod route;
mod sysctl;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::model::{BindRules, Local, Zone};

/// What an interface of the calling thread's network namespace is called.
pub fn interface_name(zone: Zone) -> Option<String> {
    interfaces::name(zone).ok().flatten()
}

/// Settings and addresses of one network namespace.
#[derive(Debug)]
pub struct Rules {
    /// Netlink, for routes; it stays in the namespace in which it was opened.
    routes: Option<Socket>,
    sequence: u32,
}

impl Rules {
    /// Opens its handle, in the network namespace of the calling thread. Without one, addresses stay unknown.
    pub fn open() -> Self {
        Self { routes: connect().ok(), sequence: 0 }
    }

    /// The settings in effect, and whether a socket may be bound to each of `addresses` here. `proc` is procfs; the
    /// calling thread must be in the namespace in which this was opened.
    pub fn read(&mut self, proc: &Path, addresses: &[Local]) -> BindRules {
        let v4 = proc.join("sys/net/ipv4");
        let (mut known, mut interfaces) = (Vec::new(), Vec::new());
        for &local in addresses {
            interfaces.extend(local.zone.and_then(|zone| Some((zone, interfaces::name(zone).ok()?))));
            let nonlocal = match local.address.to_canonical() {
                IpAddr::V4(_) => v4.join("ip_nonlocal_bind"),
                IpAddr::V6(_) => proc.join("sys/net/ipv6/ip_nonlocal_bind"),
            };
            let here = match sysctl::flag(&nonlocal) {
                Some(true) => Some(true),
                Some(false) | None => self.is_here(proc, local),
            };
            known.extend(here.map(|here| (local, here)));
        }
        BindRules {
            unprivileged_from: sysctl::number(&v4.join("ip_unprivileged_port_start")),
            ephemeral: sysctl::pair(&v4.join("ip_local_port_range")),
            reserved: sysctl::ranges(&v4.join("ip_local_reserved_ports")),
            v6_only: sysctl::flag(&proc.join("sys/net/ipv6/bindv6only")),
            addresses: known,
            interfaces,
            ..BindRules::default()
        }
    }

    /// Whether the kernel takes `local` for one of its own. `None` when it could not be asked, and for addresses
    /// that mean something only together with an interface where none is named.
    fn is_here(&mut self, proc: &Path, local: Local) -> Option<bool> {
        let address = local.address.to_canonical();
        match address {
            _ if address.is_unspecified() || address.is_multicast() => return Some(true),
            // Everywhere, whether a route leads there or not (__inet_dev_addr_type).
            IpAddr::V4(Ipv4Addr::BROADCAST) => return Some(true),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                return interfaces::have(proc, v6, Some(local.zone?));
            }
            _ => {}
        }
        self.sequence = self.sequence.wrapping_add(1);
        let socket = self.routes.as_ref()?;
        match route::to(socket, address, self.sequence) {
            // A local route is enough for IPv4; for IPv6 an interface must have the very address (ipv6_chk_addr).
            Ok(kind) => Some(match address {
                IpAddr::V4(_) => kind.is_own(),
                IpAddr::V6(v6) => kind.is_own() && interfaces::have(proc, v6, None).unwrap_or(true),
            }),
            Err(error) => {
                tracing::debug!(%address, %error, "the route to an address could not be asked for");
                None
            }
        }
    }
}

fn connect() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}
