//! The maps' keys and values as user space reads and writes them.

use core::mem::offset_of;

use super::{OWNER, Owner, PLACE, Place, TALLY, TALLY_KEY, TUPLE, Tally, TallyKey, Tuple};

/// Takes fields out of bytes. Every field is a number or an array of bytes, so any bytes are a value.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let part = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    part.copied().unwrap_or([0; N])
}

fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..field.len())) {
        place.copy_from_slice(field);
    }
}

impl Tuple {
    /// As it lies in the map.
    pub fn to_bytes(self) -> [u8; TUPLE] {
        let mut bytes = [0; TUPLE];
        put(&mut bytes, offset_of!(Self, netns), &self.netns.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, local_port), &self.local_port.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, peer_port), &self.peer_port.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, local), &self.local);
        put(&mut bytes, offset_of!(Self, peer), &self.peer);
        bytes
    }
}

impl Owner {
    /// From a value of the map.
    pub fn from_bytes(bytes: &[u8; OWNER]) -> Self {
        Self {
            start_ns: u64::from_ne_bytes(at(bytes, offset_of!(Self, start_ns))),
            when_ns: u64::from_ne_bytes(at(bytes, offset_of!(Self, when_ns))),
            cgroup_id: u64::from_ne_bytes(at(bytes, offset_of!(Self, cgroup_id))),
            pid: u32::from_ne_bytes(at(bytes, offset_of!(Self, pid))),
            uid: u32::from_ne_bytes(at(bytes, offset_of!(Self, uid))),
            flags: u32::from_ne_bytes(at(bytes, offset_of!(Self, flags))),
            pad: u32::from_ne_bytes(at(bytes, offset_of!(Self, pad))),
            comm: at(bytes, offset_of!(Self, comm)),
        }
    }

    /// As it lies in the map.
    pub fn to_bytes(self) -> [u8; OWNER] {
        let mut bytes = [0; OWNER];
        put(&mut bytes, offset_of!(Self, start_ns), &self.start_ns.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, when_ns), &self.when_ns.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, cgroup_id), &self.cgroup_id.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, pid), &self.pid.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, uid), &self.uid.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, flags), &self.flags.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, pad), &self.pad.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, comm), &self.comm);
        bytes
    }
}

impl Place {
    /// As it lies in the map.
    pub fn to_bytes(self) -> [u8; PLACE] {
        let mut bytes = [0; PLACE];
        put(&mut bytes, offset_of!(Self, netns), &self.netns.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, port), &self.port.to_ne_bytes());
        bytes
    }
}

impl TallyKey {
    /// From a key of the map.
    pub fn from_bytes(bytes: &[u8; TALLY_KEY]) -> Self {
        Self {
            netns: u32::from_ne_bytes(at(bytes, offset_of!(Self, netns))),
            port: u32::from_ne_bytes(at(bytes, offset_of!(Self, port))),
            pid: u32::from_ne_bytes(at(bytes, offset_of!(Self, pid))),
            pad: u32::from_ne_bytes(at(bytes, offset_of!(Self, pad))),
            start_ns: u64::from_ne_bytes(at(bytes, offset_of!(Self, start_ns))),
        }
    }
}

impl Tally {
    /// From a value of the map.
    pub fn from_bytes(bytes: &[u8; TALLY]) -> Self {
        Self {
            count: u64::from_ne_bytes(at(bytes, offset_of!(Self, count))),
            owner: Owner::from_bytes(&at(bytes, offset_of!(Self, owner))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    #[test]
    fn an_owner_comes_out_as_it_went_in() {
        let owner = Owner {
            start_ns: 0x0102_0304_0506_0708,
            when_ns: 2,
            cgroup_id: 3,
            pid: 4,
            uid: 5,
            flags: 6,
            pad: 0,
            comm: *b"node\0\0\0\0\0\0\0\0\0\0\0\x07",
        };
        assert_eq!(Owner::from_bytes(&owner.to_bytes()), owner);
        let mut tally = [0; TALLY];
        tally[..8].copy_from_slice(&9_u64.to_ne_bytes());
        tally[8..].copy_from_slice(&owner.to_bytes());
        assert_eq!(Tally::from_bytes(&tally), Tally { count: 9, owner });
    }

    #[test]
    fn a_tuple_lies_as_the_kernel_side_writes_it() {
        let tuple = Tuple { netns: 1, local_port: 0x0203, peer_port: 0x0405, local: [6; 16], peer: [7; 16] };
        let bytes = tuple.to_bytes();
        assert_eq!(bytes[..4], 1_u32.to_ne_bytes());
        assert_eq!(bytes[4..6], 0x0203_u16.to_ne_bytes());
        assert_eq!(bytes[6..8], 0x0405_u16.to_ne_bytes());
        assert_eq!((bytes[8], bytes[23], bytes[24], bytes[39]), (6, 6, 7, 7));
    }
}
