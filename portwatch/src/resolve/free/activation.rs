//! Socket units: ports that systemd holds for services, so that the first connection starts them.

use std::{collections::BTreeSet, net::SocketAddr};

use super::units::{self, Told, UnitStop};
use crate::model::{Endpoint, Process, Protocol, SnapshotSocket, Unit};

/// A socket unit, as its manager tells of it.
#[derive(Debug, PartialEq, Eq)]
struct SocketUnit {
    name: String,
    listens: Vec<(SocketAddr, Protocol)>,
    /// The service that has the socket too once it runs; none where each connection has a service of its own, which
    /// only has that.
    service: Option<String>,
}

/// Asks a manager which of its socket units the sockets are of.
pub(super) fn ask(manager: &Process, held: &[&SnapshotSocket]) -> Told {
    // Only whose manager it is matters of the unit.
    let system = Unit { name: String::new(), slice: None, manager: None };
    let flags = units::manager(manager.unit.as_ref().unwrap_or(&system));
    let places: Vec<Endpoint> = held.iter().map(|socket| socket.socket.endpoint).collect();
    units::show(&flags, "Id,ActiveState,Accept,Listen,Triggers", "*.socket", |text| {
        let names = names(&socket_units(text), &places);
        if names.is_empty() {
            return Told::NoManager;
        }
        Told::Stop(UnitStop { names, manager: flags.clone(), holders: Vec::new() })
    })
}

/// What to stop so that these places are free, sockets first; empty when a place is of no unit.
fn names(units: &[SocketUnit], places: &[Endpoint]) -> Vec<String> {
    let mut found: Vec<&SocketUnit> = Vec::new();
    for place in places {
        let Some(unit) = of_place(units, place) else { return Vec::new() };
        if !found.contains(&unit) {
            found.push(unit);
        }
    }
    let sockets = found.iter().map(|unit| unit.name.clone());
    let mut names: Vec<String> =
        sockets.chain(found.iter().filter_map(|unit| unit.service.clone())).collect();
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn of_place<'a>(units: &'a [SocketUnit], place: &Endpoint) -> Option<&'a SocketUnit> {
    let same = |exactly: bool| {
        let address = place.address.to_canonical();
        move |unit: &&SocketUnit| {
            let here = |(at, protocol): &(SocketAddr, Protocol)| {
                let meets = !exactly || at.ip().to_canonical() == address;
                *protocol == place.protocol && at.port() == place.port.get() && meets
            };
            unit.listens.iter().any(here)
        }
    };
    // `BindToDevice` and the like show other words than the kernel's.
    units.iter().find(same(true)).or_else(|| units.iter().find(same(false)))
}

/// The form of `systemctl show` for several units: `KEY=VALUE` lines, an empty line between units, a `Listen` for each
/// address.
fn socket_units(text: &str) -> Vec<SocketUnit> {
    let unit = |block: &str| {
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let name = value("Id").filter(|name| name.ends_with(".socket"))?.to_owned();
        if value("ActiveState") != Some("active") {
            return None;
        }
        let listens = block.lines().filter_map(|line| listen(line.strip_prefix("Listen=")?)).collect();
        let shared = value("Accept") != Some("yes");
        let services = value("Triggers").unwrap_or_default().split_whitespace();
        let service = services.filter(|name| shared && name.ends_with(".service")).map(str::to_owned).next();
        Some(SocketUnit { name, listens, service })
    };
    text.split("\n\n").filter_map(unit).collect()
}

/// `127.0.0.1:3100 (Stream)`, `[fe80::1]:3100%eth0 (Datagram)`; paths, queues and the like are no ports.
fn listen(text: &str) -> Option<(SocketAddr, Protocol)> {
    let (address, kind) = text.rsplit_once(" (")?;
    let protocol = match kind.strip_suffix(')')? {
        "Stream" => Protocol::Tcp,
        "Datagram" => Protocol::Udp,
        _ => return None,
    };
    let address = address.split('%').next()?.parse().ok()?;
    Some((address, protocol))
}

#[cfg(test)]
mod tests {
    use super::{names, socket_units};
    use crate::model::{Endpoint, Port, Protocol};

    /// Captured from systemd 252 (Debian 12), which ran as pid 1 of a namespace.
    const SHOWN: &str = "Accept=no\nListen=127.0.0.1:24002 (Stream)\nId=act.socket\nTriggers=act.service\n\
        ActiveState=active\n\nAccept=no\nListen=[::]:24005 (Stream)\nListen=[::]:24005 (Datagram)\n\
        Listen=[::1]:24006 (Stream)\nId=acc.socket\nTriggers=acc.service\nActiveState=active\n\nAccept=yes\n\
        Listen=[::]:24007 (Stream)\nId=inet.socket\nTriggers=inet@0-127.0.0.1:24007-127.0.0.1:38396.service\n\
        ActiveState=active\n\nAccept=no\nListen=/run/initctl (FIFO)\nListen=audit 1 (Netlink)\n\
        Id=odd.socket\nTriggers=odd.service\nActiveState=active\n\nAccept=no\nListen=[::]:24008 (Stream)\n\
        Id=off.socket\nTriggers=off.service\nActiveState=inactive\n";

    fn stopped(places: &[(&str, u16, Protocol)]) -> String {
        let place = |&(address, port, protocol): &(&str, u16, Protocol)| Endpoint {
            netns: None,
            protocol,
            address: address.parse().unwrap(),
            port: Port::new(port).unwrap(),
        };
        names(&socket_units(SHOWN), &places.iter().map(place).collect::<Vec<_>>()).join(" ")
    }

    #[test]
    fn the_unit_of_a_place_is_found_by_its_address_and_stopped_with_its_service() {
        use Protocol::{Tcp, Udp};
        assert_eq!(stopped(&[("127.0.0.1", 24002, Tcp)]), "act.socket act.service");
        assert_eq!(stopped(&[("::", 24005, Udp)]), "acc.socket acc.service");
        assert_eq!(stopped(&[("::", 24005, Tcp), ("::1", 24006, Tcp)]), "acc.socket acc.service");
        // As a device or another family may show it.
        assert_eq!(stopped(&[("0.0.0.0", 24002, Tcp)]), "act.socket act.service");
        // Who is connected stays connected.
        assert_eq!(stopped(&[("::", 24007, Tcp)]), "inet.socket");
        assert_eq!(stopped(&[("127.0.0.1", 24002, Udp)]), "");
        assert_eq!(stopped(&[("::", 24008, Tcp)]), "");
        assert_eq!(stopped(&[("127.0.0.1", 24002, Tcp), ("127.0.0.1", 3100, Tcp)]), "");
    }
}
