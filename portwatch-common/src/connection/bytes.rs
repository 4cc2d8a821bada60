//! The maps' keys and values as user space reads and writes them.

use core::mem::offset_of;

use super::{
    LEFT, LEFT_WORDS, Left, OWNER, Owner, PLACE, Place, SUM_START, TALLY, TALLY_KEY, TUPLE, Tally, TallyKey,
    Tuple, fold,
};

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
    /// As it lies in the ring.
    fn from_bytes(bytes: &[u8; TUPLE]) -> Self {
        Self {
            netns: u32::from_ne_bytes(at(bytes, offset_of!(Self, netns))),
            local_port: u16::from_ne_bytes(at(bytes, offset_of!(Self, local_port))),
            peer_port: u16::from_ne_bytes(at(bytes, offset_of!(Self, peer_port))),
            local: at(bytes, offset_of!(Self, local)),
            peer: at(bytes, offset_of!(Self, peer)),
        }
    }
}

impl Owner {
    /// From a value of the map.
    pub fn from_bytes(bytes: &[u8; OWNER]) -> Self {
        Self {
            start_ns: u64::from_ne_bytes(at(bytes, offset_of!(Self, start_ns))),
            when_ticks: u64::from_ne_bytes(at(bytes, offset_of!(Self, when_ticks))),
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
        put(&mut bytes, offset_of!(Self, when_ticks), &self.when_ticks.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, cgroup_id), &self.cgroup_id.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, pid), &self.pid.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, uid), &self.uid.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, flags), &self.flags.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, pad), &self.pad.to_ne_bytes());
        put(&mut bytes, offset_of!(Self, comm), &self.comm);
        bytes
    }
}

impl Left {
    /// The port that a connection had here, from the first word of its entry.
    pub fn local_port(first: u64) -> u16 {
        u16::from_ne_bytes(at(&first.to_ne_bytes(), offset_of!(Tuple, local_port)))
    }

    /// From the words of an entry; `None` where its sum is wrong.
    pub fn from_words(words: &[u64; LEFT / 8]) -> Option<Self> {
        let (summed, sum) = words.split_at(LEFT_WORDS);
        let &[sum] = sum else { return None };
        if summed.iter().copied().fold(SUM_START, fold) != sum {
            return None;
        }
        let mut bytes = [0; LEFT];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_ne_bytes();
        }
        let tuple = Tuple::from_bytes(&at(&bytes, offset_of!(Self, tuple)));
        let owner = Owner::from_bytes(&at(&bytes, offset_of!(Self, owner)));
        Some(Self { tuple, owner, sum })
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
    use core::mem::offset_of;

    use super::{super::*, put};

    #[test]
    fn an_owner_comes_out_as_it_went_in() {
        let owner = Owner {
            start_ns: 0x0102_0304_0506_0708,
            when_ticks: 2,
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
    fn an_entry_of_the_ring_is_believed_only_whole() {
        let tuple = Tuple { netns: 1, local_port: 3100, peer_port: 4, local: [5; 16], peer: [6; 16] };
        let owner = Owner {
            start_ns: 7,
            when_ticks: 8,
            cgroup_id: 9,
            pid: 10,
            uid: 11,
            flags: owner::REUSE_ADDR,
            pad: 0,
            comm: *b"node\0\0\0\0\0\0\0\0\0\0\0\0",
        };
        let mut bytes = [0; LEFT];
        put(&mut bytes, offset_of!(Tuple, netns), &tuple.netns.to_ne_bytes());
        put(&mut bytes, offset_of!(Tuple, local_port), &tuple.local_port.to_ne_bytes());
        put(&mut bytes, offset_of!(Tuple, peer_port), &tuple.peer_port.to_ne_bytes());
        put(&mut bytes, offset_of!(Tuple, local), &tuple.local);
        put(&mut bytes, offset_of!(Tuple, peer), &tuple.peer);
        put(&mut bytes, offset_of!(Left, owner), &owner.to_bytes());
        let mut words = [0; LEFT / 8];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        let sum = words[..LEFT_WORDS].iter().copied().fold(SUM_START, fold);
        words[LEFT_WORDS] = sum;
        assert_eq!(Left::from_words(&words), Some(Left { tuple, owner, sum }));
        assert_eq!(Left::local_port(words[0]), 3100);
        for place in 0..LEFT / 8 {
            let mut torn = words;
            torn[place] ^= 1;
            assert_eq!(Left::from_words(&torn), None, "word {place}");
        }
        assert_eq!(Left::from_words(&[0; LEFT / 8]), None, "nobody wrote it");
    }
}
