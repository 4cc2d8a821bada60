//! Putting records into the ring buffer, and counting those that do not fit.

use aya_ebpf::maps::ring_buf::RingBufEntry;
use portwatch_common::record::{ABI, Header, kind};

use crate::maps::{COUNTERS, RECORDS};

/// Room for one record; a refusal is counted under its kind.
#[inline(always)]
pub(crate) fn reserve<T: 'static>(kind: u16) -> Option<RingBufEntry<T>> {
    let entry = RECORDS.reserve::<T>(0);
    if entry.is_none() {
        count(usize::from(kind));
    }
    entry
}

/// The header of a record of type `T`.
#[inline(always)]
pub(crate) fn header<T>(kind: u16, boot_ns: u64) -> Header {
    Header { abi: ABI, kind, size: size_of::<T>() as u32, boot_ns }
}

/// Adds one to a counter. Atomic, because a task can be preempted in the middle by another on the same CPU;
/// a loss that is counted wrongly could not be accounted for.
#[inline(always)]
pub(crate) fn count(index: usize) {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else { return };
    // SAFETY: `index` is a constant below the array's length; the map's memory is valid while we run.
    unsafe {
        let cell = counters.cast::<u64>().add(index);
        let _ =
            core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(cell, 1);
    }
}

const _: () = assert!(kind::END as usize <= portwatch_common::counter::BOUND_FULL);
