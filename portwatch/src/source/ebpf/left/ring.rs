//! The ring in which the kernel side notes who left which connection, read at once: the map is mapped for as long as a look
//! takes, because asking for its entries one by one is a system call each.

use std::{
    collections::{HashMap, HashSet},
    io,
    num::NonZeroUsize,
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{Map, MapData};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use portwatch_common::connection::{LEFT, LEFT_ENTRIES, Left, Owner, Tuple};

/// Words of an entry.
const WORDS: usize = LEFT / 8;
/// Bytes of the whole map.
const SIZE: NonZeroUsize = match NonZeroUsize::new(LEFT * LEFT_ENTRIES as usize) {
    Some(size) => size,
    None => panic!("the ring has entries"),
};

/// The map.
pub(super) struct Ring(MapData);

impl Ring {
    /// `None` where the map is of another type.
    pub(super) fn of(map: Map) -> Option<Self> {
        match map {
            Map::Array(data) => Some(Self(data)),
            _ => None,
        }
    }

    /// Who left these connections. Where the ring has a connection twice, whose ports were used again, the later one stands.
    pub(super) fn owners(&self, wanted: &HashSet<Tuple>) -> io::Result<HashMap<Tuple, Owner>> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        Ok(owners(Mapped::new(&self.0)?.words(), wanted))
    }
}

fn owners(ring: &[AtomicU64], wanted: &HashSet<Tuple>) -> HashMap<Tuple, Owner> {
    let mut found: HashMap<Tuple, Owner> = HashMap::new();
    let ports: HashSet<u16> = wanted.iter().map(|tuple| tuple.local_port).collect();
    for entry in ring.as_chunks::<WORDS>().0 {
        // The sums of all entries would take ten times as long.
        let [first, ..] = entry;
        if !ports.contains(&Left::local_port(first.load(Ordering::Relaxed))) {
            continue;
        }
        let Some(Left { tuple, owner, .. }) =
            Left::from_words(&entry.each_ref().map(|word| word.load(Ordering::Relaxed)))
        else {
            continue;
        };
        if wanted.contains(&tuple)
            && found.get(&tuple).is_none_or(|known| known.when_ticks <= owner.when_ticks)
        {
            found.insert(tuple, owner);
        }
    }
    found
}

/// The map's memory, until this is dropped.
struct Mapped(NonNull<AtomicU64>);

impl Mapped {
    fn new(map: &MapData) -> io::Result<Self> {
        // SAFETY: a new mapping, of which nobody else knows.
        let memory = unsafe {
            mmap(
                None,
                SIZE,
                ProtFlags::PROT_READ,
                MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE,
                map.fd().as_fd(),
                0,
            )
        }?;
        Ok(Self(memory.cast()))
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: SIZE bytes that stay mapped as long as `self` is there, aligned to a page. The kernel side writes them meanwhile, word by
        // word, which atomic loads allow.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), SIZE.get() / size_of::<u64>()) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no slice of it outlives `self`.
        if let Err(error) = unsafe { munmap(self.0.cast(), SIZE.get()) } {
            tracing::debug!(%error, "the ring of connections stays mapped");
        }
    }
}

#[cfg(test)]
mod tests {
    use portwatch_common::connection::{SUM_START, fold};

    use super::*;

    fn tuple(port: u16) -> Tuple {
        Tuple { netns: 1, local_port: port, peer_port: 4, local: [5; 16], peer: [6; 16] }
    }

    /// As the kernel side writes it.
    fn entry(tuple: Tuple, pid: u32, when_ticks: u64) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let half = |first: u32, second: u32| u64::from(first) | u64::from(second) << 32;
        let ports = u32::from(tuple.local_port) | u32::from(tuple.peer_port) << 16;
        let address = |bytes: [u8; 16]| {
            bytes.as_chunks::<8>().0.iter().map(|b| u64::from_ne_bytes(*b)).collect::<Vec<_>>()
        };
        let summed = [
            vec![half(tuple.netns, ports)],
            address(tuple.local),
            address(tuple.peer),
            vec![7, when_ticks, 0, half(pid, 1000), 0, u64::from_ne_bytes(*b"node\0\0\0\0"), 0],
        ]
        .concat();
        let sum = summed.iter().copied().fold(SUM_START, fold);
        words.iter_mut().zip(summed.into_iter().chain([sum])).for_each(|(to, word)| *to = word);
        words
    }

    fn ring(entries: &[[u64; WORDS]]) -> Vec<AtomicU64> {
        entries.iter().flatten().map(|&word| AtomicU64::new(word)).collect()
    }

    fn pids(entries: &[[u64; WORDS]], wanted: &[u16]) -> Vec<(u16, u32)> {
        let found = owners(&ring(entries), &wanted.iter().map(|&port| tuple(port)).collect());
        let mut pids: Vec<_> = found.iter().map(|(tuple, owner)| (tuple.local_port, owner.pid)).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn those_that_are_wanted_are_found_wherever_they_lie() {
        let entries =
            [entry(tuple(3100), 10, 1), [0; WORDS], entry(tuple(3200), 20, 1), entry(tuple(3300), 30, 1)];
        assert_eq!(pids(&entries, &[3100, 3300, 3400]), [(3100, 10), (3300, 30)]);
        assert_eq!(pids(&entries, &[]), []);
        let found = owners(&ring(&entries), &HashSet::from([tuple(3200)]));
        assert_eq!(found[&tuple(3200)].comm, *b"node\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn of_two_that_had_the_same_addresses_the_later_one_stands() {
        let (early, late) = (entry(tuple(3100), 10, 1), entry(tuple(3100), 11, 2));
        assert_eq!(pids(&[early, late], &[3100]), [(3100, 11)]);
        assert_eq!(pids(&[late, early], &[3100]), [(3100, 11)], "the ring came round");
    }

    #[test]
    fn an_entry_that_two_wrote_at_once_is_nobodys() {
        // They differ in the word of the pid and in the sum.
        let (one, other) = (entry(tuple(3100), 10, 1), entry(tuple(3100), 11, 1));
        let of_both = |torn_at: usize| {
            let mut torn = one;
            torn[torn_at..].copy_from_slice(&other[torn_at..]);
            pids(&[torn], &[3100])
        };
        assert_eq!((of_both(8), of_both(WORDS)), (vec![(3100, 11)], vec![(3100, 10)]));
        for torn_at in 9..WORDS {
            assert_eq!(of_both(torn_at), [], "torn at {torn_at}");
        }
    }
}
