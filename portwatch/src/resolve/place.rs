//! The place a caller wants: port, protocol and the addresses a server there would bind.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::model::{
    Attached, Local, ParsePortError, Port, Protocol, SocketSeen, UrlError, Zone, addresses_overlap,
    without_url,
};

/// A port on some addresses of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Addresses; none means every address, as a server on `0.0.0.0` and `[::]` would bind.
    pub hosts: Vec<IpAddr>,
    /// The port.
    pub port: Port,
    /// The protocol.
    pub protocol: Protocol,
    /// The protocol was said and not assumed.
    pub protocol_said: bool,
    /// The interface, for an address of a link.
    pub zone: Option<Zone>,
    /// It as it was typed.
    link: Option<String>,
    localhost: bool,
}

/// Why a text is not a [`Place`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A bad port.
    #[error(transparent)]
    Port(#[from] ParsePortError),
    /// A bad protocol.
    #[error("'{0}' is not a protocol; say tcp or udp")]
    Protocol(String),
    /// A bad address.
    #[error("'{0}' is not an address; write 3100, 127.0.0.1:3100, [::1]:3100, localhost:3100 or 3100/udp")]
    Host(String),
    /// An address with its interface, whose number is not looked up here ([`Place::on_link`]).
    #[error("'{0}' names an interface; write the port alone")]
    Zone(String),
    /// A URL that names no place.
    #[error(transparent)]
    Url(#[from] UrlError),
}

impl Place {
    /// This port on every address, over TCP.
    pub const fn everywhere(port: Port) -> Self {
        Self {
            hosts: Vec::new(),
            port,
            protocol: Protocol::Tcp,
            protocol_said: false,
            zone: None,
            link: None,
            localhost: false,
        }
    }

    /// An address of a link, with its interface and how that was typed.
    pub fn on_link(local: Local, typed: String, port: Port, protocol: Option<Protocol>) -> Self {
        Self {
            hosts: vec![local.address],
            protocol: protocol.unwrap_or(Protocol::Tcp),
            protocol_said: protocol.is_some(),
            zone: local.zone,
            link: Some(typed),
            ..Self::everywhere(port)
        }
    }

    /// One of its addresses, with the interface.
    pub(super) const fn local(&self, address: IpAddr) -> Local {
        Local { address, zone: self.zone }
    }

    /// Whether a bind of this place would meet the socket.
    pub fn meets(&self, seen: &SocketSeen) -> bool {
        let there = (seen.endpoint.address, seen.options.v6_only);
        let is_elsewhere =
            matches!((seen.attached, self.zone), (Attached::To { zone, .. }, Some(ours)) if zone != ours);
        !is_elsewhere
            && seen.endpoint.port == self.port
            && seen.endpoint.protocol == self.protocol
            && (self.hosts.is_empty()
                || self.hosts.iter().any(|&host| addresses_overlap(there, (host, None))))
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = &*without_url(text.trim())?;
        let (place, protocol) =
            Protocol::split_off(text).map_err(|word| PlaceError::Protocol(word.to_owned()))?;
        let (host, port) = place.rsplit_once(':').unwrap_or(("", place));
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let hosts = match bare {
            "" | "*" => Vec::new(),
            // Programs that are told `localhost` bind one of the two, or both.
            "localhost" => vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            _ if bare.contains('%') => return Err(PlaceError::Zone(host.to_owned())),
            _ => vec![bare.parse().map_err(|_| PlaceError::Host(host.to_owned()))?],
        };
        Ok(Self {
            localhost: bare == "localhost",
            zone: None,
            link: None,
            hosts,
            port: port.parse()?,
            protocol: protocol.unwrap_or(Protocol::Tcp),
            protocol_said: protocol.is_some(),
        })
    }
}

impl fmt::Display for Place {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hosts.as_slice() {
            _ if self.localhost => write!(f, "localhost:{}", self.port)?,
            [IpAddr::V4(host)] => write!(f, "{host}:{}", self.port)?,
            [IpAddr::V6(host)] => match &self.link {
                Some(link) => write!(f, "[{host}%{link}]:{}", self.port)?,
                None => write!(f, "[{host}]:{}", self.port)?,
            },
            _ => write!(f, "{}", self.port)?,
        }
        if self.protocol_said || self.protocol == Protocol::Udp {
            write!(f, "/{}", self.protocol)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_place_is_shown_as_it_was_typed() {
        for text in ["3100", "3100/udp", "3100/tcp", "127.0.0.1:3100", "[::1]:3100/tcp", "localhost:3100"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert_eq!(":3100".parse::<Place>().unwrap().to_string(), "3100");
        assert_eq!("localhost:1".parse::<Place>().unwrap().hosts.len(), 2);
        for (text, shown) in [
            ("http://localhost:3100/x", "localhost:3100/tcp"),
            ("ws://[::1]", "[::1]:80/tcp"),
            ("53/UDP", "53/udp"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_forms_that_exist() {
        let words: Vec<String> = ["0", "70000", "http", "3100/sctp", "example.org:80", ""]
            .map(|text| text.parse::<Place>().unwrap_err().to_string())
            .to_vec();
        assert!(words[3].contains("tcp or udp") && words[4].contains("localhost:3100"), "{words:?}");
        let zone = "[fe80::1%eth0]:3100".parse::<Place>().unwrap_err().to_string();
        assert!(zone.contains("write the port alone"), "{zone}");
        assert!(words[0].contains("1 to 65535") && words[1].contains("1 to 65535"), "{words:?}");
    }
}
