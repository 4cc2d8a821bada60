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
        let mut found: HashMap<Tuple, Owner> = HashMap::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let ports: HashSet<u16> = wanted.iter().map(|tuple| tuple.local_port).collect();
        let mapped = Mapped::new(&self.0)?;
        for entry in mapped.words().as_chunks::<WORDS>().0 {
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
        Ok(found)
    }
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
