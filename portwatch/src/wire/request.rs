//! What can be asked: query parameters of the API, made by the CLI's flags.

use std::{fmt, net::IpAddr, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{ParsePortError, Port, Protocol};

/// Parameters of `who`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WhoQuery {
    /// What is asked about.
    pub targets: Vec<Target>,
    /// Inode of the network namespace that is meant; the observer's own when absent.
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
    /// Inode of the network namespace that is meant; the observer's own when absent.
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
    /// Noise too.
    pub all: bool,
}

/// What `who` is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `3100`, `3100/udp`, `127.0.0.1:3100`, `[::1]:3100/tcp`, `:3100`, `localhost:3100`
    Port {
        /// Address, where one was given. `localhost` is kept out: it means two addresses.
        address: Option<IpAddr>,
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
        let (place, protocol) = match text.rsplit_once('/') {
            None => (text, None),
            Some((place, "tcp")) => (place, Some(Protocol::Tcp)),
            Some((place, "udp")) => (place, Some(Protocol::Udp)),
            Some((_, other)) => return Err(TargetError::Protocol(other.to_owned())),
        };
        let (host, port) = match place.rsplit_once(':') {
            None => ("", place),
            Some(split) => split,
        };
        if port.chars().all(|c| c.is_ascii_digit() || c == '-' || c == '+') && !port.is_empty() {
            let address = parse_host(host).map_err(|()| TargetError::Form(text.to_owned()))?;
            return Ok(Self::Port { address, port: port.parse()?, protocol });
        }
        // A claim has no host: what follows one is meant as a port.
        if port.is_empty() {
            return Err(TargetError::Form(text.to_owned()));
        }
        if !matches!(host, "" | "*") && parse_host(host).is_ok() {
            port.parse::<Port>()?;
        }
        let claim_character = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-:*".contains(c);
        if protocol.is_none() && text.chars().all(claim_character) {
            return Ok(Self::Claim(text.to_owned()));
        }
        Err(TargetError::Form(text.to_owned()))
    }
}

/// `None` means every address.
fn parse_host(host: &str) -> Result<Option<IpAddr>, ()> {
    match host {
        "" | "*" | "localhost" => Ok(None),
        _ => {
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            bare.parse().map(Some).map_err(|_| ())
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { address, port, protocol } => {
                match address {
                    None => {}
                    Some(IpAddr::V4(a)) => write!(f, "{a}:")?,
                    Some(IpAddr::V6(a)) => write!(f, "[{a}]:")?,
                }
                write!(f, "{port}")?;
                protocol.map_or(Ok(()), |p| write!(f, "/{p}"))
            }
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Claim(name) => f.write_str(name),
        }
    }
}
