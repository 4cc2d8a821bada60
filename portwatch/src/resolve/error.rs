//! Why something was not done, and what would work.

use std::{io, net::IpAddr};

use crate::{model::Port, source::SourceError};

/// What it is called that an address is none of the machine's, and what shows those that are.
const NOT_HERE: (&str, &str) =
    if cfg!(windows) { ("WSAEADDRNOTAVAIL", "ipconfig") } else { ("EADDRNOTAVAIL", "ip address") };

/// Why a port could not be waited for, freed or used.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The kernel's tables could not be read.
    #[error("{0}; whether the port is free is not known")]
    Source(#[from] SourceError),
    /// The port needs a privilege.
    #[error(
        "binding {place} is not permitted (EACCES): ports below net.ipv4.ip_unprivileged_port_start need \
         CAP_NET_BIND_SERVICE; do it as root, or: sysctl net.ipv4.ip_unprivileged_port_start={port}"
    )]
    Privileged {
        /// As it was asked.
        place: String,
        /// Its port.
        port: Port,
    },
    /// The address is none of this machine.
    #[error("{address} is not an address of this machine ({}); {} shows those it has", NOT_HERE.0, NOT_HERE.1)]
    Address {
        /// The address.
        address: IpAddr,
    },
    /// A bind failed for another reason.
    #[error("a bind of {place} failed: {error}; whether the port is free is not known")]
    Bind {
        /// As it was asked.
        place: String,
        /// errno.
        error: io::Error,
    },
    /// TIME_WAIT was not ended.
    #[error(
        "the kernel did not forget connections in TIME_WAIT: {error}; {remedy}: they end by themselves within 60 s"
    )]
    TimeWait {
        /// errno.
        error: io::Error,
        /// What would work.
        remedy: &'static str,
    },
    /// A program could not be started.
    #[error("cannot run {program}: {error}")]
    Start {
        /// The program.
        program: String,
        /// errno.
        error: io::Error,
    },
    /// The operating system refused something else.
    #[error("cannot {operation}: {error}")]
    Io {
        /// What was tried.
        operation: String,
        /// errno.
        error: io::Error,
    },
}

impl ResolveError {
    /// What a shell ends with when it cannot start a program: 127 not found, 126 there and not to be run. `None` for other
    /// errors.
    pub fn start_code(&self) -> Option<i32> {
        match self {
            Self::Start { error, .. } if error.kind() == io::ErrorKind::NotFound => Some(127),
            Self::Start { .. } => Some(126),
            _ => None,
        }
    }

    /// The question was wrong, not the machine.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Address { .. })
    }
}
