//! What is said of a bind.

use std::time::Duration;

use super::{Overlap, Party, Refusal};
use crate::model::Connection;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// What would happen, as far as the known sockets go.
    pub outcome: Outcome<'a>,
    /// What could make it otherwise and is not in the known sockets. Empty where the bind fails anyway.
    pub caveats: Vec<Caveat>,
}

/// What would happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// No known socket is in the way. A listen right after would succeed too.
    Succeeds,
    /// The kernel would refuse.
    Fails {
        /// errno, positive.
        errno: i32,
        /// Why.
        because: Cause<'a>,
    },
    /// It depends on something that is not known.
    Unknown {
        /// On what.
        why: Doubt<'a>,
    },
}

/// Why a bind would fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause<'a> {
    /// Somebody has the port. Of several one that listens is named, else one that is bound, else one that is
    /// connected.
    InUse {
        /// That one.
        blocker: Party<'a>,
        /// How the two places have something in common.
        overlap: Overlap,
        /// Why they cannot share it.
        refusal: Refusal,
    },
    /// Nobody has the port any more, but connections in TIME_WAIT keep it.
    TimeWait {
        /// The one that stays longest.
        longest: &'a Connection,
        /// How many are in the way.
        count: usize,
        /// When the last of them goes, at the latest.
        expires: Option<Duration>,
        /// Why the port cannot be shared with `longest`.
        refusal: Refusal,
    },
    /// The port needs CAP_NET_BIND_SERVICE, which the asker lacks.
    Privileged {
        /// `net.ipv4.ip_unprivileged_port_start`: the first port that does not.
        from: u16,
    },
    /// The system keeps the port back, in a range with others (Windows).
    Excluded {
        /// The first of them.
        from: u16,
        /// The last.
        to: u16,
    },
    /// The machine does not have the address.
    AddressNotHere,
    /// A v4-mapped address with IPV6_V6ONLY: IPv4 and not IPv4 at once.
    MappedButV6Only,
    /// An address of a link, which is one only together with an interface, and none was named.
    NeedsInterface,
    /// There is no such interface.
    NoInterface,
    /// TCP on an IPv6 multicast address.
    MulticastOverTcp,
}

/// Why it cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt<'a> {
    /// The socket is an IPv6 wildcard, and whether it takes IPv4 too is not known.
    V6OnlyUnknown(Party<'a>),
    /// Both might share the port, but whether that one has the option is not known.
    OptionsUnknown(Party<'a>),
    /// Both have SO_REUSEPORT, but whether they belong to one user is not known.
    UserUnknown(Party<'a>),
    /// It is not known whether the socket is in the namespace asked about.
    NamespaceUnknown(Party<'a>),
    /// It is not known whether the socket is bound to the interface asked about, or to another one.
    InterfaceUnknown(Party<'a>),
    /// The two do not share, but sockets with SO_REUSEPORT that came before, even if they are gone, may have
    /// opened the port to a request with SO_REUSEPORT (TCP).
    HistoryDecides(Party<'a>),
    /// Both may have the port unless one of them was asked for alone, which nobody sees: whether their addresses only overlap, or the request
    /// would share (Windows: learn.microsoft.com/windows/win32/winsock/using-so-reuseaddr-and-so-exclusiveaddruse).
    AloneUnknown(Party<'a>),
    /// One socket would share and another would not, and the kernel lets the first one it meets decide
    /// (UDP with SO_REUSEPORT).
    OrderDecides {
        /// The one that would not share.
        unwilling: Party<'a>,
    },
}

/// What the known sockets do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caveat {
    /// Connections and their TIME_WAIT keep their local port, and were not looked at (TCP).
    Connections,
    /// The port needs CAP_NET_BIND_SERVICE, and whether the asker has it is not known.
    Privileged {
        /// `net.ipv4.ip_unprivileged_port_start`; `None` when that could not be read either.
        from: Option<u16>,
    },
    /// A connection over IPv6 may be older than the listener on its address, and then takes the place of IPv4 too.
    OlderConnection,
    /// Whether this machine has the address was not looked at.
    AddressNotChecked,
}

impl<'a> From<Outcome<'a>> for Verdict<'a> {
    fn from(outcome: Outcome<'a>) -> Self {
        Self { outcome, caveats: Vec::new() }
    }
}
