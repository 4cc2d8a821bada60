//! Why bytes are not a record.

use core::fmt;

use super::Kind;
use crate::record::ABI;

/// Why bytes are not a record. Each names what is wrong and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// Not even a header.
    NoHeader {
        /// How many bytes there are.
        len: usize,
    },
    /// Another version of the contract (offset 0).
    Abi {
        /// The version found.
        found: u16,
    },
    /// A kind that this version does not know (offset 2).
    UnknownKind {
        /// The number found.
        found: u16,
    },
    /// The size field is not the kind's size (offset 4).
    WrongSize {
        /// The kind.
        kind: Kind,
        /// The size found.
        found: u32,
    },
    /// The record goes on past the end of the bytes.
    Truncated {
        /// The kind.
        kind: Kind,
        /// How many bytes there are.
        len: usize,
    },
    /// Bytes follow the record.
    TrailingBytes {
        /// The kind.
        kind: Kind,
        /// How many bytes there are.
        len: usize,
    },
    /// A field has a value it cannot have.
    Field {
        /// The kind.
        kind: Kind,
        /// Offset of the field in the record.
        offset: usize,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Padding, or the tail of an IPv4 address, is not zero.
    NotZero,
    /// A truth value is neither 0 nor 1.
    Boolean,
    /// Flag bits that are not defined.
    UnknownFlags,
    /// A value is given and the flag that vouches for it is not.
    NotFlagged,
    /// A process is needed and its pid is 0.
    NoPid,
    /// The pid is 0 and other facts of the process are not.
    HalfKnownActor,
    /// A name of 16 bytes without a terminator.
    Unterminated,
    /// More bytes of command line than the record holds.
    CommandLength,
    /// Neither AF_INET nor AF_INET6.
    Family,
    /// A protocol without ports, or none where one is needed.
    Protocol,
    /// The cookie is 0.
    NoCookie,
    /// The port is 0.
    NoPort,
    /// A refused bind has been given a port.
    UnexpectedPort,
    /// A refused bind without errno.
    NoErrno,
    /// A success with errno.
    UnexpectedErrno,
    /// errno is above 4095.
    ErrnoRange,
    /// No signal has this number, or none comes from there.
    Signal,
}

impl Problem {
    /// The end of a sentence that begins with the field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotZero => "must be zero",
            Self::Boolean => "is neither 0 nor 1",
            Self::UnknownFlags => "has undefined flag bits",
            Self::NotFlagged => "has a value that no flag vouches for",
            Self::NoPid => "has no pid",
            Self::HalfKnownActor => "names a process without a pid",
            Self::Unterminated => "has no terminating zero",
            Self::CommandLength => "exceeds the command line's 256 bytes",
            Self::Family => "is neither AF_INET nor AF_INET6",
            Self::Protocol => "is not a protocol with ports",
            Self::NoCookie => "has no socket cookie",
            Self::NoPort => "has no port",
            Self::UnexpectedPort => "gives a refused bind a port",
            Self::NoErrno => "is zero for a refused bind",
            Self::UnexpectedErrno => "is not zero for a success",
            Self::ErrnoRange => "is above 4095",
            Self::Signal => "is no signal, or no place that signals come from",
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoHeader { len } => write!(f, "{len} bytes are too short for a record header of 16"),
            Self::Abi { found } => {
                write!(f, "record has ABI version {found} at offset 0, this program reads {ABI}")
            }
            Self::UnknownKind { found } => write!(f, "record has unknown kind {found} at offset 2"),
            Self::WrongSize { kind, found } => write!(
                f,
                "{} record states a size of {found} at offset 4, its kind has {}",
                kind.as_str(),
                kind.size()
            ),
            Self::Truncated { kind, len } => {
                write!(f, "{} record ends after {len} of {} bytes", kind.as_str(), kind.size())
            }
            Self::TrailingBytes { kind, len } => {
                write!(
                    f,
                    "{} record of {} bytes is followed by others, {len} in all",
                    kind.as_str(),
                    kind.size()
                )
            }
            Self::Field { kind, offset, problem } => {
                write!(f, "{} record: field at offset {offset} {}", kind.as_str(), problem.as_str())
            }
        }
    }
}

impl core::error::Error for DecodeError {}
