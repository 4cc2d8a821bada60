//! Whether two sockets whose places overlap may share the port.

use std::net::IpAddr;

use super::{BindRequest, Party, party::Standing};
use crate::model::{Protocol, SocketOptions};

/// Why two sockets cannot share a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// They have no sharing option in common.
    NotShared,
    /// Both have SO_REUSEADDR, but one listens already.
    Listens,
    /// Both have SO_REUSEPORT, but they belong to two users.
    OtherUser,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// By SO_REUSEADDR.
    ByAddress,
    /// By SO_REUSEPORT.
    ByPort,
    Refused(Refusal),
    HistoryDecides,
    OptionsUnknown {
        /// SO_REUSEPORT is among the options on which it depends.
        perhaps_by_port: bool,
    },
    /// SO_REUSEPORT on both, users not known.
    UserUnknown,
}

/// How the other one stands at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    /// Its options, whatever they were when it was bound.
    pub(super) options: SocketOptions,
    /// `fastreuse` of the port is 0.
    pub(super) shut: bool,
}

pub(super) fn share(request: &BindRequest, theirs: Party<'_>, now: Now) -> Share {
    let both = |ours: bool, theirs: Option<bool>| if ours { theirs } else { Some(false) };
    let options = now.options;
    let by_address = both(request.reuse_addr, options.reuse_addr);
    // UDP sockets never listen. For TCP, SO_REUSEADDR lets sockets share a port as long as none listens
    // (inet_bind_conflict); listening itself is checked again by the kernel.
    let listens = theirs.standing() == Standing::Listening;
    let by_address_now = if listens { Some(false) } else { by_address };
    // The remnant of a connection is nobody's any more.
    let same_user = match theirs {
        Party::Connection(connection) if connection.is_remnant => Some(true),
        _ => request.uid.zip(theirs.uid()).map(|(ours, theirs)| ours == theirs),
    };
    let by_port = both(request.reuse_port, options.reuse_port);
    let by_port_now = match (by_port, same_user) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    };
    match (by_address_now, by_port_now) {
        (Some(true), _) => Share::ByAddress,
        (Some(false) | None, Some(true)) => Share::ByPort,
        (Some(false), Some(false)) if history_decides(request, theirs, now) => Share::HistoryDecides,
        (Some(false), Some(false)) => Share::Refused(if by_port == Some(true) {
            Refusal::OtherUser
        } else if listens && by_address == Some(true) {
            Refusal::Listens
        } else {
            Refusal::NotShared
        }),
        (Some(false), None) if by_port == Some(true) => Share::UserUnknown,
        (None, by_port) | (Some(false), by_port @ None) => {
            Share::OptionsUnknown { perhaps_by_port: by_port.is_none() }
        }
    }
}

/// Whether what was before can have opened the port to this request although the two cannot share now.
///
/// The kernel asks the sockets one by one only where it does not remember that nothing is to be asked. As long as every TCP socket that
/// joined a port had SO_REUSEADDR and none listened, `fastreuse` lets in whoever has it, even if one has dropped the option since.
/// And a socket with SO_REUSEPORT that joins a port leaves its address and user in the port's `fastreuseport`
/// (inet_csk_update_fastreuse), and a request that matches them is asked nothing further (sk_reuseport_match), even if that socket is gone.
fn history_decides(request: &BindRequest, theirs: Party<'_>, now: Now) -> bool {
    if request.place.protocol != Protocol::Tcp {
        return false;
    }
    let bound = theirs.options();
    if request.reuse_addr && !now.shut {
        return true;
    }
    if !request.reuse_port {
        return false;
    }
    // It had the option when it joined, and has dropped it.
    let dropped = bound.reuse_port != Some(false) && now.options.reuse_port != bound.reuse_port;
    // It had SO_REUSEADDR too, and joined by that. A listener is not joined so, and its listen sets the port back.
    let had_reuse_addr = bound.reuse_addr != Some(false) || now.options.reuse_addr != Some(false);
    let joined_by_address = theirs.standing() != Standing::Listening && had_reuse_addr;
    // It was on a wildcard of one family, where this one was not in its way. The match compares wildcards without
    // asking whether they take both families.
    let wildcard_of_both = |address: IpAddr, v6_only: Option<bool>| {
        matches!(address, IpAddr::V6(v6) if v6.is_unspecified()) && v6_only == Some(false)
    };
    let joined_beside = wildcard_of_both(request.place.address, Some(request.v6_only))
        && !wildcard_of_both(theirs.endpoint().address, bound.v6_only);
    dropped || joined_by_address || joined_beside
}
