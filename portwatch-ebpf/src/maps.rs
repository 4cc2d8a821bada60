//! Every map. Sizes are the defaults; the loader may change them.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use portwatch_common::{counter::Counters, record::Actor, serves};

/// The records. User space reads it through two mappings of the same pages, so it counts twice in RSS.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Bound and listening sockets by cookie: the filter that keeps the release of a mere connection silent.
#[map]
pub(crate) static BOUND: HashMap<u64, Bound> = HashMap::with_max_entries(131_072, 0);

/// What is remembered of a bound socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    /// Network namespace inode.
    pub(crate) netns: u32,
    /// The port that was told as bound; 0 for a socket that user space adopted, or that listened without a bind.
    pub(crate) told_port: u32,
    /// 1 while it listens. The kernel takes a socket through the same states whose listen it refuses.
    pub(crate) listens: u32,
}

/// The bind (or listen, which kprobes note too) a thread is in, by pid_tgid. An entry stays and is written over by the thread's next bind: that
/// is cheaper than removing it. LRU, because nobody removes those of threads that are gone.
#[map]
pub(crate) static ASKED: LruHashMap<u64, Asked> = LruHashMap::with_max_entries(8192, 0);

/// A bind under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// When, in ticks of the kernel: reading a clock costs more.
    pub(crate) jiffies: u64,
    /// `struct sock *`, only for reading with a check of the cookie; 0 when unknown.
    pub(crate) sock: u64,
    /// 0 when unknown.
    pub(crate) cookie: u64,
    /// Network byte order.
    pub(crate) address: [u32; 4],
    /// Host byte order.
    pub(crate) port: u16,
    pub(crate) family: u8,
    pub(crate) protocol: u8,
    /// [`Asked::OPEN`], [`Asked::DONE`].
    pub(crate) state: u32,
    /// The descriptor, for binds noted at the system call.
    pub(crate) fd: u32,
    pub(crate) pad: u32,
}

impl Asked {
    /// The outcome is not known yet.
    pub(crate) const OPEN: u32 = 1;
    /// The bind succeeded, or its failure was reported.
    pub(crate) const DONE: u32 = 2;
    /// Not a bind: the thread begins to listen.
    pub(crate) const LISTEN: u32 = 3;
    /// Not a bind: a socket is about to get a port without one.
    pub(crate) const AUTO: u32 = 4;

    /// Notes what the thread of this pid_tgid is in. Written over in place where the thread has an entry: an update of an LRU map takes a
    /// fresh element for the same key.
    #[inline(always)]
    pub(crate) fn note(&self, pid_tgid: u64) {
        match ASKED.get_ptr_mut(&pid_tgid) {
            // SAFETY: a pointer into the map, valid while we run; only this thread writes its entry.
            Some(entry) => unsafe { *entry = *self },
            // A failure leaves the end without a beginning, and then nothing is told of it, or not the port asked for.
            None => drop(ASKED.insert(&pid_tgid, self, 0)),
        }
    }
}

/// Processes that were named in a record, by pid; removed when they end. Not LRU: an idle server of weeks
/// must not lose its exit record to a crowd of newcomers.
#[map]
pub(crate) static PROCESSES: HashMap<u32, Known> = HashMap::with_max_entries(32_768, 0);

/// What makes a process record still valid.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) start_ns: u64,
    /// `self_exec_id`: counts exec calls, so a new image is told from the old one.
    pub(crate) exec_id: u64,
}

/// The latest of each signal sent to a process of [`PROCESSES`] that ends one unless it is handled, by
/// [`Sent::key`]; one that the process sends itself again takes no other sender's place. LRU, because most are handled and nobody removes them.
#[map]
pub(crate) static SENT: LruHashMap<u64, Sent> = LruHashMap::with_max_entries(2048, 0);

/// A signal that was sent.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) at_ns: u64,
    /// Start of the process it was sent to: a pid is used again.
    pub(crate) start_ns: u64,
    /// All zero unless a process sent it.
    pub(crate) sender: Actor,
    /// One of `record::from`.
    pub(crate) from: u32,
    pub(crate) signal: u16,
    /// 1 when the process has sent it to itself since.
    pub(crate) again: u16,
}

impl Sent {
    /// Start times that came from /proc are whole ticks.
    const TICK_NS: u64 = 10_000_000;

    /// The latest signal of this number sent to exactly this process.
    #[inline(always)]
    pub(crate) fn latest(pid: u32, signal: u32, start_ns: u64) -> Option<*mut Self> {
        let found = SENT.get_ptr_mut(&Self::key(pid, signal))?;
        // SAFETY: a pointer into the map, valid while we run.
        (unsafe { (*found).start_ns } / Self::TICK_NS == start_ns / Self::TICK_NS).then_some(found)
    }

    /// By process and signal.
    #[inline(always)]
    pub(crate) const fn key(pid: u32, signal: u32) -> u64 {
        (pid as u64) << 32 | signal as u64
    }
}

/// What was lost, per CPU.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Word 0 is 1 once user space has put the sockets that existed before into [`BOUND`]. Until then a listen
/// of an unknown socket does not mean that it was never bound.
#[map]
pub(crate) static ADOPTED: Array<u32> = Array::with_max_entries(1, 0);

/// What the programs tell that could tell of several facts, by the words of [`portwatch_common::serves`]: 1 where it is theirs, and not
/// another program's. Set by user space before anything is taken for told.
#[map]
pub(crate) static SERVES: Array<u32> = Array::with_max_entries(serves::END, 0);

/// Whether a program is to tell of this.
#[inline(always)]
pub(crate) fn serves(word: u32) -> bool {
    SERVES.get(word) == Some(&1)
}
