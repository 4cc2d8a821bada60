//! What can be asked: query parameters of the API, made by the CLI's flags.

use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    model::{ParsePortError, Port, Protocol, UrlError, needs_zone, without_url},
    registry::{Pattern, PatternError},
};

/// The name that means the loopback addresses of both families.
const LOCALHOST: &str = "localhost";

/// Parameters of `who`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WhoQuery {
    /// What is asked about.
    pub targets: Vec<Target>,
    /// Inode of the network namespace that is meant, with `all_namespaces` of the one that is asked from; the observer's own when absent.
    pub netns: Option<u32>,
    /// Every network namespace.
    pub all_namespaces: bool,
}

/// Parameters of `ls`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListQuery {
    /// tcp or udp.
    pub protocol: Option<String>,
    /// Project name.
    pub project: Option<String>,
    /// User name or uid.
    pub user: Option<String>,
    /// First port of a range.
    pub from: Option<u16>,
    /// Last port of a range.
    pub to: Option<u16>,
    /// `port`, `process`, `project`, `since`.
    pub sort: Option<String>,
    /// Noise too.
    pub all: bool,
    /// Connections in TIME_WAIT instead of sockets.
    pub time_wait: bool,
    /// Name or beginning of the id of a container.
    pub container: Option<String>,
    /// Inode of the network namespace that is meant, with `all_namespaces` of the one that is asked from; the observer's own when absent.
    pub netns: Option<u32>,
    /// Every network namespace.
    pub all_namespaces: bool,
}

/// Parameters of `log`. Lists are comma-separated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogQuery {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Types, comma-separated.
    #[serde(rename = "type")]
    pub kinds: Option<String>,
    /// Ports, comma-separated.
    pub port: Option<String>,
    /// Pids, comma-separated.
    pub pid: Option<String>,
    /// Pattern.
    pub filter: Option<String>,
    /// At most so many; absent is 1000, 0 is all.
    pub limit: Option<u64>,
    /// Newest first.
    pub newest_first: bool,
    /// Only rows after this id.
    pub after_id: Option<i64>,
    /// Of the last nanosecond before `until` only rows before this id.
    pub before_id: Option<i64>,
    /// Noise too.
    pub all: bool,
}

/// What `who` is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `3100`, `3100/udp`, `127.0.0.1:3100`, `[::1]:3100/tcp`, `:3100`, `localhost:3100`, `[fe80::1%eth0]:3100`
    Port {
        /// Address, where one was given.
        address: Option<IpAddr>,
        /// `localhost` was given in place of one: it means two addresses.
        localhost: bool,
        /// Interface of an address of a link, by name or number. A daemon is asked by number: names are those of the asker's namespace.
        zone: Option<String>,
        /// Port.
        port: Port,
        /// Protocol, where one was given.
        protocol: Option<Protocol>,
    },
    /// `pid:812`
    Pid(u32),
    /// A claim name: `myapp:api`.
    Claim(String),
}

/// Why a text is not a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing was given.
    #[error("nothing was asked; give a port (3100), host:port, port/udp, pid:N or a claim name")]
    Empty,
    /// A bad port.
    #[error(transparent)]
    Port(#[from] ParsePortError),
    /// A bad protocol.
    #[error("'{0}' is not a protocol; say tcp or udp")]
    Protocol(String),
    /// A bad pid.
    #[error("'{0}' is not a pid; say pid:N with a whole number from 1")]
    Pid(String),
    /// An address that has no zone, with one.
    #[error(
        "'{address}%{zone}' names an interface, which only an address of a link has (fe80::..., ff02::...); say '{address}'"
    )]
    Zone {
        /// The address.
        address: IpAddr,
        /// What was said of the interface.
        zone: String,
    },
    /// A place without a port.
    #[error("'{given}' names no port; say which: {example}")]
    NoPort {
        /// What was given.
        given: String,
        /// The same with a port.
        example: String,
    },
    /// A number that is no port, as it is written.
    #[error("'{0}' is not a port; write a port as a decimal number: 3100, 3100/udp")]
    Number(String),
    /// Several ports in one word.
    #[error("'{given}' is several ports in one word; name them one by one: {apart}")]
    Several {
        /// What was given.
        given: String,
        /// With blanks.
        apart: String,
    },
    /// A range.
    #[error("'{0}' is a range of ports; portwatch ls --port {0} shows what is open there")]
    Range(String),
    /// The protocol first.
    #[error("'{given}' has the protocol first; say {turned}")]
    Turned {
        /// What was given.
        given: String,
        /// With the protocol last.
        turned: String,
    },
    /// A URL that names no place.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A name that is too long for one.
    #[error(transparent)]
    Name(PatternError),
    /// None of the forms.
    #[error("'{0}' is not a port, host:port, port/udp, pid:N or claim name")]
    Form(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if let Some(pid) = text.strip_prefix("pid:") {
            return match pid.parse() {
                Ok(pid) if pid > 0 => Ok(Self::Pid(pid)),
                _ => Err(TargetError::Pid(pid.to_owned())),
            };
        }
        let text = &*without_url(text)?;
        let (place, protocol) =
            Protocol::split_off(text).map_err(|word| TargetError::Protocol(word.to_owned()))?;
        mistaken(text, place)?;
        let (host, port) = match place.rsplit_once(':') {
            None => ("", place),
            Some(split) => split,
        };
        if port.chars().all(|c| c.is_ascii_digit() || c == '-' || c == '+') && !port.is_empty() {
            let (address, zone) = parse_host(host).ok_or_else(|| TargetError::Form(text.to_owned()))?;
            if let (Some(address), Some(zone)) = (address, zone.clone())
                && !matches!(address, IpAddr::V6(v6) if needs_zone(v6))
            {
                return Err(TargetError::Zone { address, zone });
            }
            let localhost = host == LOCALHOST;
            return Ok(Self::Port { address, localhost, zone, port: port.parse()?, protocol });
        }
        // A claim has no host: what follows one is meant as a port.
        if port.is_empty() {
            return Err(TargetError::Form(text.to_owned()));
        }
        if !matches!(host, "" | "*") && parse_host(host).is_some() {
            port.parse::<Port>()?;
        }
        let claim_character = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-:*".contains(c);
        if protocol.is_none() && text.chars().all(claim_character) {
            return match text.parse::<Pattern>() {
                Err(error @ PatternError::Long(_)) => Err(TargetError::Name(error)),
                _ => Ok(Self::Claim(text.to_owned())),
            };
        }
        Err(TargetError::Form(text.to_owned()))
    }
}

/// What is typed for a port and would be taken for the name of a claim, of which nobody has one: that there is none of it reads as "free".
fn mistaken(text: &str, place: &str) -> Result<(), TargetError> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let given = || text.to_owned();
    let words: Vec<_> = place.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    if words.len() > 1 {
        return Err(TargetError::Several { given: given(), apart: words.join(" ") });
    }
    if let Some((first, last)) = place.split_once('-')
        && digits(first)
        && digits(last)
    {
        return Err(TargetError::Range(place.to_owned()));
    }
    if let Some((word, port)) = place.split_once(':')
        && digits(port)
        && let Some(protocol) = Protocol::from_word(&word.to_ascii_lowercase())
    {
        return Err(TargetError::Turned { given: given(), turned: format!("{port}/{protocol}") });
    }
    // What is an address and an address with a port (fe80::1:3100) is read as the second.
    let is_place =
        place.rsplit_once(':').is_some_and(|(host, port)| digits(port) && parse_host(host).is_some());
    if !is_place && let Some((address, zone)) = split_zone(place) {
        let zone = zone.map_or_else(String::new, |zone| format!("%{zone}"));
        let example = match address.parse() {
            _ if place == LOCALHOST => Some("localhost:3100".to_owned()),
            Ok(IpAddr::V4(address)) => Some(format!("{address}:3100")),
            Ok(IpAddr::V6(address)) => Some(format!("[{address}{zone}]:3100")),
            Err(_) => None,
        };
        if let Some(example) = example {
            return Err(TargetError::NoPort { given: given(), example });
        }
    }
    let hexadecimal = place.strip_prefix("0x").or_else(|| place.strip_prefix("0X"));
    let is_number = hexadecimal.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || (!digits(place)
            && place.starts_with(|c: char| c.is_ascii_digit())
            && place.bytes().all(|byte| byte.is_ascii_digit() || b"._".contains(&byte)));
    if is_number { Err(TargetError::Number(given())) } else { Ok(()) }
}

/// The address, where `None` means every one, and its zone. `None` when it is no host.
fn parse_host(host: &str) -> Option<(Option<IpAddr>, Option<String>)> {
    if matches!(host, "" | "*" | LOCALHOST) {
        return Some((None, None));
    }
    let (address, zone) = split_zone(host)?;
    Some((Some(address.parse().ok()?), zone.map(str::to_owned)))
}

fn bare(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// An address and its zone, as RFC 4007 writes them (`fe80::1%eth0`) and as `ss` does (`[fe80::1]%eth0`). `None` when the zone is none: a name
/// of an interface has at most 15 bytes, and neither slash nor blank (`dev_valid_name` in net/core/dev.c).
fn split_zone(host: &str) -> Option<(&str, Option<&str>)> {
    let host = bare(host).unwrap_or(host);
    let Some((address, zone)) = host.split_once('%') else { return Some((host, None)) };
    let is_zone = (1..=15).contains(&zone.len()) && !zone.contains(|c: char| c == '/' || c.is_whitespace());
    is_zone.then_some((bare(address).unwrap_or(address), Some(zone)))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { address, localhost, zone, port, protocol } => {
                let zone = zone.as_ref().map_or(Cow::Borrowed(""), |zone| Cow::Owned(format!("%{zone}")));
                match address {
                    None if *localhost => write!(f, "{LOCALHOST}:")?,
                    None => {}
                    Some(IpAddr::V4(a)) => write!(f, "{a}:")?,
                    Some(IpAddr::V6(a)) => write!(f, "[{a}{zone}]:")?,
                }
                write!(f, "{port}")?;
                protocol.map_or(Ok(()), |p| write!(f, "/{p}"))
            }
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Claim(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_for_a_port_is_not_taken_for_a_claim() {
        let said =
            |text: &str| text.parse::<Target>().map(|target| format!("{target:?}")).unwrap_err().to_string();
        for (text, example) in [
            ("127.0.0.1", "127.0.0.1:3100"),
            ("localhost", "localhost:3100"),
            ("localhost/tcp", "localhost:3100"),
            ("::1", "[::1]:3100"),
            ("[::1]", "[::1]:3100"),
            ("::", "[::]:3100"),
            ("2001:db8::5", "[2001:db8::5]:3100"),
            ("fe80::1%eth0", "[fe80::1%eth0]:3100"),
            ("::ffff:127.0.0.1", "[::ffff:127.0.0.1]:3100"),
        ] {
            assert_eq!(said(text), format!("'{text}' names no port; say which: {example}"));
        }
        for text in ["0x1f90", "0X1F90", "0x", "127.1", "3.100", "3_100", "3100."] {
            assert!(matches!(text.parse::<Target>(), Err(TargetError::Number(_))), "{text}");
        }
        for name in [
            "myapp",
            "myapp:api",
            "3d-viewer",
            "0xdata",
            "2048:web",
            "127.0.0.1-proxy",
            "localhost:web",
            "1.2:*",
        ] {
            let claim = name.parse::<Target>();
            if name == "localhost:web" {
                assert!(matches!(claim, Err(TargetError::Port(_))), "{name}: {claim:?}");
            } else {
                assert_eq!(claim, Ok(Target::Claim(name.to_owned())));
            }
        }
    }

    #[test]
    fn what_is_meant_is_taken_or_what_to_type_is_said() {
        for (text, meant) in [
            ("http://localhost:3100/", "localhost:3100/tcp"),
            ("localhost:53", "localhost:53"),
            ("https://127.0.0.1:8443/x?y", "127.0.0.1:8443/tcp"),
            ("ws://[::1]", "[::1]:80/tcp"),
            ("3100/TCP", "3100/tcp"),
            ("127.0.0.1:53/Udp", "127.0.0.1:53/udp"),
            ("fe80::1:3100", "[fe80::1]:3100"),
            ("::1:3100", "[::1]:3100"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), meant, "{text}");
        }
        for (text, words) in [
            ("3100,3101", "one by one: 3100 3101"),
            ("3100, 3101,/udp", "one by one: 3100 3101"),
            ("3000-3010", "portwatch ls --port 3000-3010"),
            ("tcp:3100", "say 3100/tcp"),
            ("UDP:53", "say 53/udp"),
            ("redis://localhost:6379", "http, https, ws, wss, tcp and udp"),
            ("http://example.org/x", "is not a port, host:port"),
            (",", "',' is not a port, host:port"),
            ("3100,", "'3100,' is not a port, host:port"),
        ] {
            let said = text.parse::<Target>().unwrap_err().to_string();
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_zone_is_taken_as_it_is_typed_and_as_ss_prints_it() {
        for text in
            ["[fe80::1%eth0]:3100", "[fe80::1]%eth0:3100", "fe80::1%eth0:3100", " [fe80::1%eth0]:3100 "]
        {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), "[fe80::1%eth0]:3100", "{text}");
        }
        for text in ["[ff02::5%7]:53/udp", "[fe80::1%a%b]:1", "[fe80::1%\u{1b}]:1"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        // Whoever answers may be in another network namespace, where names mean others.
        let numbered = |zone: &str| {
            let target: Target = format!("[fe80::1%{zone}]:80").parse().unwrap();
            crate::wire::convert::asked(&target).map(|asked| asked.to_string())
        };
        assert_eq!(numbered("7").unwrap(), "[fe80::1%7]:80");
        for zone in ["eth0", "0", "+7", "4294967296"] {
            assert!(numbered(zone).is_err(), "{zone}");
        }
        for text in ["127.0.0.53%lo:53", "[::1%lo]:80", "[::%lo]:80", "[::ffff:127.0.0.1%lo]:80"] {
            assert!(matches!(text.parse::<Target>(), Err(TargetError::Zone { .. })), "{text}");
        }
        for text in [
            "[fe80::1%]:80",
            "[fe80::1%sixteen-letters-]:80",
            "[fe80::1%a b]:80",
            "%lo:80",
            "localhost%lo:80",
        ] {
            assert_eq!(text.parse::<Target>(), Err(TargetError::Form(text.to_owned())), "{text}");
        }
    }
}
