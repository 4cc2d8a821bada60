//! The kinds of record, as a type.

use core::mem::size_of;

use crate::record::{self, kind};

/// Kinds of record, as a type: every `match` on it is exhaustive, so a new kind does not compile until the
/// decoder, the encoder and the conversion handle it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// Facts of a process.
    Process = kind::PROCESS,
    /// A bind succeeded.
    Bind = kind::BIND,
    /// A bind was refused.
    Refused = kind::REFUSED,
    /// A socket began to listen.
    Listen = kind::LISTEN,
    /// A socket stopped listening.
    Unlisten = kind::UNLISTEN,
    /// A socket was closed.
    Close = kind::CLOSE,
    /// A process ended.
    Exit = kind::EXIT,
    /// A process has a child.
    Fork = kind::FORK,
    /// A process called exec.
    Exec = kind::EXEC,
    /// A process ended after a signal.
    Killed = kind::KILLED,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Process,
        Self::Bind,
        Self::Refused,
        Self::Listen,
        Self::Unlisten,
        Self::Close,
        Self::Exit,
        Self::Fork,
        Self::Exec,
        Self::Killed,
    ];

    /// The kind with this number; `None` for 0, for holes and for numbers not given out yet.
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            kind::PROCESS => Self::Process,
            kind::BIND => Self::Bind,
            kind::REFUSED => Self::Refused,
            kind::LISTEN => Self::Listen,
            kind::UNLISTEN => Self::Unlisten,
            kind::CLOSE => Self::Close,
            kind::EXIT => Self::Exit,
            kind::FORK => Self::Fork,
            kind::EXEC => Self::Exec,
            kind::KILLED => Self::Killed,
            _ => return None,
        })
    }

    /// The number in the header.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Size of a record of this kind in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Process => size_of::<record::ProcessRecord>(),
            Self::Bind | Self::Refused | Self::Listen => size_of::<record::SocketRecord>(),
            Self::Unlisten | Self::Close => size_of::<record::CloseRecord>(),
            Self::Exit => size_of::<record::ExitRecord>(),
            Self::Fork => size_of::<record::ForkRecord>(),
            Self::Exec => size_of::<record::ExecRecord>(),
            Self::Killed => size_of::<record::KilledRecord>(),
        }
    }

    /// The word used in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Bind => "bind",
            Self::Refused => "refused",
            Self::Listen => "listen",
            Self::Unlisten => "unlisten",
            Self::Close => "close",
            Self::Exit => "exit",
            Self::Fork => "fork",
            Self::Exec => "exec",
            Self::Killed => "killed",
        }
    }
}

// A number given out in `record::kind` must have its variant here, and every variant is in the list.
const _: () = {
    let (mut number, mut known) = (0, 0);
    while number < kind::END {
        if Kind::from_number(number).is_some() {
            known += 1;
        }
        number += 1;
    }
    assert!(known == Kind::ALL.len(), "a record kind has no decoder");
    assert!(Kind::from_number(kind::END - 1).is_some(), "kind::END is not one past the highest kind");
    assert!(Kind::from_number(kind::END).is_none(), "kind::END is not one past the highest kind");
};
