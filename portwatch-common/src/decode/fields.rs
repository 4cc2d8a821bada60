//! Reading single fields of a record by their offset.

use core::{
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::{NonZeroU32, NonZeroU64},
};

use super::{Actor, Comm, DecodeError, Kind, Problem};
use crate::record::{self, AF_INET, AF_INET6};

/// The bytes of a record whose length was checked against its kind.
pub(super) struct Fields<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn new(kind: Kind, bytes: &'a [u8]) -> Self {
        Self { kind, bytes }
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) const fn bad(&self, offset: usize, problem: Problem) -> DecodeError {
        DecodeError::Field { kind: self.kind, offset, problem }
    }

    pub(super) fn bytes<const N: usize>(&self, offset: usize) -> Result<[u8; N], DecodeError> {
        self.bytes
            .get(offset..)
            .and_then(<[u8]>::first_chunk)
            .copied()
            .ok_or(DecodeError::Truncated { kind: self.kind, len: self.bytes.len() })
    }

    pub(super) fn u8(&self, offset: usize) -> Result<u8, DecodeError> {
        self.bytes(offset).map(|[byte]| byte)
    }

    pub(super) fn u16(&self, offset: usize) -> Result<u16, DecodeError> {
        self.bytes(offset).map(u16::from_ne_bytes)
    }

    pub(super) fn u32(&self, offset: usize) -> Result<u32, DecodeError> {
        self.bytes(offset).map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&self, offset: usize) -> Result<u64, DecodeError> {
        self.bytes(offset).map(u64::from_ne_bytes)
    }

    pub(super) fn zero<const N: usize>(&self, offset: usize) -> Result<(), DecodeError> {
        if self.bytes(offset)? == [0; N] { Ok(()) } else { Err(self.bad(offset, Problem::NotZero)) }
    }

    pub(super) fn boolean(&self, offset: usize) -> Result<bool, DecodeError> {
        match self.u8(offset)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad(offset, Problem::Boolean)),
        }
    }

    pub(super) fn comm(&self, offset: usize) -> Result<Comm, DecodeError> {
        Comm::from_kernel(self.bytes(offset)?).ok_or(self.bad(offset, Problem::Unterminated))
    }

    /// A process, or all zero.
    pub(super) fn actor(&self, offset: usize) -> Result<Option<Actor>, DecodeError> {
        let pid = self.u32(offset + offset_of!(record::Actor, pid))?;
        let tid = self.u32(offset + offset_of!(record::Actor, tid))?;
        let uid = self.u32(offset + offset_of!(record::Actor, uid))?;
        let gid = self.u32(offset + offset_of!(record::Actor, gid))?;
        let start_ns = self.u64(offset + offset_of!(record::Actor, start_ns))?;
        match NonZeroU32::new(pid) {
            Some(pid) => Ok(Some(Actor { pid, tid, uid, gid, start_ns: NonZeroU64::new(start_ns) })),
            None if (tid, uid, gid, start_ns) == (0, 0, 0, 0) => Ok(None),
            None => Err(self.bad(offset, Problem::HalfKnownActor)),
        }
    }

    pub(super) fn known_actor(&self, offset: usize) -> Result<Actor, DecodeError> {
        self.actor(offset)?.ok_or(self.bad(offset, Problem::NoPid))
    }

    pub(super) fn address(&self, family_at: usize, address_at: usize) -> Result<IpAddr, DecodeError> {
        match self.u8(family_at)? {
            AF_INET => {
                self.zero::<12>(address_at + 4)?;
                Ok(IpAddr::V4(Ipv4Addr::from(self.bytes::<4>(address_at)?)))
            }
            AF_INET6 => Ok(IpAddr::V6(Ipv6Addr::from(self.bytes::<16>(address_at)?))),
            _ => Err(self.bad(family_at, Problem::Family)),
        }
    }
}
