//! What may be in the way of a bind: a socket, or a connection that keeps its local port.

use crate::model::{
    Connection, Endpoint, Interface, Interfaces, Owner, Phase, Sharing, Socket, SocketOptions, TcpState,
};

/// One that has the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party<'a> {
    /// A bound or listening socket.
    Socket(&'a Socket),
    /// A connection, living or in TIME_WAIT.
    Connection(&'a Connection),
}

/// How it stands, from what is named last to what is named first of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    TimeWait,
    Connected,
    Bound,
    Listening,
}

impl<'a> Party<'a> {
    /// Where.
    pub const fn endpoint(self) -> &'a Endpoint {
        match self {
            Self::Socket(socket) => &socket.seen.endpoint,
            Self::Connection(connection) => &connection.local,
        }
    }

    /// Options at the time of its bind, or when it began to listen.
    pub(super) const fn options(self) -> SocketOptions {
        match self {
            Self::Socket(socket) => socket.seen.options,
            Self::Connection(connection) => connection.options,
        }
    }

    /// The interface it is bound to.
    pub(super) fn interface(self, known: Option<&Interfaces>) -> Interface {
        match self {
            Self::Socket(socket) => known.map_or(Interface::Unknown, |known| known.of(socket.seen.key)),
            Self::Connection(connection) => connection.interface,
        }
    }

    /// Options as they are now.
    pub(super) fn options_now(self, sharing: &Sharing) -> SocketOptions {
        match self {
            // No program has it to set anything.
            Self::Socket(socket) if matches!(socket.owner, Owner::Kernel(_)) => socket.seen.options,
            Self::Socket(socket) => sharing.of(socket.seen.inode, socket.seen.options),
            // No program has it any more: what it had when it was left stays.
            Self::Connection(connection) if connection.inode.is_none() => connection.options,
            Self::Connection(connection) => sharing.of(connection.inode, connection.options),
        }
    }

    /// Its bind, or its listen, has set the port's `fastreuse` to 0, which stays as long as anybody has the port
    /// (inet_csk_update_fastreuse).
    pub(super) fn shuts(self) -> bool {
        let listened = matches!(self, Self::Socket(socket) if socket.listening_since.is_some());
        listened || self.standing() == Standing::Listening || self.options().reuse_addr == Some(false)
    }

    /// Whose.
    pub const fn uid(self) -> Option<u32> {
        match self {
            Self::Socket(socket) => socket.seen.uid,
            Self::Connection(connection) => connection.uid,
        }
    }

    pub(super) fn standing(self) -> Standing {
        match self {
            Self::Socket(socket) if socket.seen.phase == Phase::Listening => Standing::Listening,
            Self::Socket(_) => Standing::Bound,
            Self::Connection(connection) if connection.state == TcpState::TimeWait => Standing::TimeWait,
            Self::Connection(_) => Standing::Connected,
        }
    }
}
