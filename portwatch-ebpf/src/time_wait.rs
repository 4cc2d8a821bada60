//! Who left a connection that will end in TIME_WAIT, without a record per connection.
//!
//! TIME_WAIT is not a transition that can be seen, and what leads to it comes in softirq, where the current
//! process is whoever ran. But every connection that ends there was closed from this side first: by `close` or `shutdown`, when it entered
//! FIN_WAIT1, while the process that had it held its lock. Its owner is taken at that transition, where that is hooked, or where the socket is released
//! and a `shutdown` has ended; a peer's FIN that comes between the release and the lock makes one count too many.

use core::mem::MaybeUninit;

use aya_ebpf::{
    helpers::{bpf_jiffies64, bpf_probe_read_kernel_buf},
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray},
};
use portwatch_common::{
    connection::{
        self, LEFT_CHUNK, LEFT_ENTRIES, LEFT_WORDS, Left, Listened, Owner, Place, SUM_START, Tally, TallyKey,
        Tuple, fold, owner,
    },
    layout as word,
    record::{AF_INET, Actor, flag},
};

use crate::{
    layout::{self, Head, field, of_task},
    task::Current,
};

/// `TCP_ESTABLISHED`
const ESTABLISHED: u32 = 1;
/// `TCP_SYN_RECV`
const SYN_RECV: u32 = 3;
/// `TCP_FIN_WAIT1`
const FIN_WAIT1: u32 = 4;
/// `TCP_FIN_WAIT2`
const FIN_WAIT2: u32 = 5;
/// `TCP_CLOSE`
const CLOSE: u32 = 7;
/// `TCP_CLOSING`
const CLOSING: u32 = 11;
/// `1 << SOCK_LINGER`
const LINGERS: u64 = 1 << 4;
/// Nanoseconds in a tick of /proc.
const TICK_NS: u64 = 10_000_000;
/// `PF_KTHREAD`
const KERNEL_THREAD: u32 = 0x0020_0000;

/// `BPF_F_MMAPABLE`: user space reads all of it at once.
const MAPPABLE: u32 = 1 << 10;

/// Who left which connection, in the order in which they were left, as far as one processor goes. A hash map would find one by its addresses, and costs
/// three times as much: each connection's entry lies where nothing in the processor's caches is.
#[map]
pub(crate) static LEFT: Array<Left> = Array::with_max_entries(LEFT_ENTRIES, MAPPABLE);

/// How many chunks of [`LEFT`] were taken.
#[map]
pub(crate) static LEFT_TAKEN: Array<u64> = Array::with_max_entries(1, 0);

/// Where each processor writes next.
#[map]
pub(crate) static LEFT_NEXT: PerCpuArray<Next> = PerCpuArray::with_max_entries(1, 0);

/// A place in the ring.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Next {
    /// The chunk, counted from the first that was ever taken.
    chunk: u64,
    /// Entries of it that are used; none is a chunk's beginning, and of a processor that has no chunk.
    used: u64,
}

/// Who listens, or listened last, on a port. Never believed alone: a connection is a listener's only if the
/// listener's process or a child of it closed it.
#[map]
pub(crate) static LISTENERS: LruHashMap<Place, Owner> = LruHashMap::with_max_entries(8192, 0);

/// Connections that were shut down and are not closed, by the socket's address: whose leaving is told already.
#[map]
pub(crate) static SHUT_DOWN: LruHashMap<u64, u8> = LruHashMap::with_max_entries(4096, 0);

/// Ports that [`LISTENERS`] is to be asked about: those of connections that went out are seldom among them, and a hash is looked up ten times as long.
/// Whoever has listened on a port once leaves its mark.
#[map]
pub(crate) static LISTENED: Array<Listened> = Array::with_max_entries(2 * connection::LISTENED, 0);

/// How many connections each owner left on each port.
#[map]
pub(crate) static LEFT_COUNT: LruHashMap<TallyKey, Tally> = LruHashMap::with_max_entries(4096, 0);

/// The current process, which is this actor, listens. Called by the program that tells so: it knows all of this, and a program of its own would
/// find it once more.
#[inline(always)]
pub(crate) fn listens(place: Place, actor: &Actor, current: &Current) {
    if let Some(ports) = LISTENED.get_ptr_mut(place.port / 64) {
        // SAFETY: a pointer into the map, and within the entry.
        unsafe { ports.cast::<u8>().add((place.port % 64) as usize).write_volatile(1) };
    }
    // SAFETY: a helper without arguments.
    let ticks = unsafe { bpf_jiffies64() };
    let leader = of_task::<u64>(current.task, word::TASK_LEADER, 0);
    if let Some(known) = LISTENERS.get_ptr_mut(&place) {
        // SAFETY: a pointer into the map, valid while we run. Of one process no reader can mix two owners.
        unsafe {
            if (*known).pid == actor.pid && (*known).start_ns == actor.start_ns {
                // An update of an LRU map takes a fresh element for the same key.
                (*known).when_ticks = ticks;
                (*known).cgroup_id = current.cgroup_id;
                (*known).uid = actor.uid;
                comm(leader, &mut *known);
                return;
            }
        }
    }
    let mut listener = Room::<Owner>::EMPTY;
    let listener = listener.zeroed();
    listener.when_ticks = ticks;
    if !is_kernel_thread(current.task) {
        listener.start_ns = actor.start_ns;
        listener.cgroup_id = current.cgroup_id;
        listener.pid = actor.pid;
        listener.uid = actor.uid;
        comm(leader, listener);
    }
    let _ = LISTENERS.insert(&place, &*listener, 0);
}

/// The last descriptor of a connection is closed, which is in this state.
///
/// Where it was shut down before, that was told, or nobody saw by whom: then nobody is noted, lest an older note of the same addresses stand.
#[inline(always)]
pub(crate) fn released(sock: u64, head: &Head, state: u32) {
    if state == ESTABLISHED || state == SYN_RECV {
        if !ends_by_reset(sock, head) {
            left(head, state, true);
        }
    } else if (sent_fin(state) || state == CLOSE) && SHUT_DOWN.remove(&sock).is_err() {
        left(head, state, false);
    }
}

/// `__tcp_close` sends a reset instead of a FIN where something is unread, or where lingering is asked for and takes no time.
#[inline(always)]
fn ends_by_reset(sock: u64, head: &Head) -> bool {
    field::<u32>(sock, word::SOCK_QUEUED).unwrap_or(0) != 0
        || head.field::<u64>(word::SOCK_FLAGS).unwrap_or(0) & LINGERS != 0
            && field::<u64>(sock, word::SOCK_LINGER) == Some(0)
}

/// Whether this side has sent a FIN before the other one's came.
#[inline(always)]
fn sent_fin(state: u32) -> bool {
    state == FIN_WAIT1 || state == FIN_WAIT2 || state == CLOSING
}

/// `shutdown` of a TCP socket has ended; told once, however often it is called.
///
/// Where the connection has ended meanwhile, its addresses are in the socket still, but who sent the first FIN is not: it is noted then, and not
/// counted. A note of a connection that is not in TIME_WAIT is one that nobody asks for.
#[inline(always)]
pub(crate) fn shut_down(sock: u64, state: u32) {
    let mut head = Head::unread(sock);
    if !(sent_fin(state) || state == CLOSE) || !head.read() {
        return;
    }
    let connected = head.field::<u16>(word::SOCK_PEER_PORT).unwrap_or(0) != 0;
    if connected && SHUT_DOWN.get_ptr(&sock).is_none() {
        let _ = SHUT_DOWN.insert(&sock, &1, 0);
        left(&head, state, true);
    }
}

/// This side sends a FIN. In LAST_ACK, the other state in which one is sent, nothing is left to TIME_WAIT.
#[inline(always)]
pub(crate) fn sends_fin(sock: u64) {
    if field::<u8>(sock, word::SOCK_STATE).map(u32::from) == Some(FIN_WAIT1) {
        leaving(sock);
    }
}

/// This side closes a connection first: the current process, if the socket is locked on its behalf. A lock that is owned is owned by the
/// caller: softirq never owns one.
#[inline(always)]
pub(crate) fn leaving(sock: u64) {
    let mut head = Head::unread(sock);
    if head.read() {
        left(&head, FIN_WAIT1, field::<u32>(sock, word::SOCK_OWNED).unwrap_or(0) != 0);
    }
}

/// Room on the stack for a value of whole words.
#[repr(C, align(8))]
struct Room<T>(MaybeUninit<T>);

impl<T: Copy> Room<T> {
    const EMPTY: Self = Self(MaybeUninit::uninit());

    /// Zeroes it, word by word: where a value is written as zeros, the compiler calls a `memset` that goes byte by byte.
    #[inline(always)]
    fn zeroed(&mut self) -> &mut T {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let words = self.0.as_mut_ptr().cast::<u64>();
        // SAFETY: aligned by its type, and all of it is written. The types are plain numbers, which may be zero.
        unsafe {
            for number in 0..size_of::<T>() / 8 {
                words.add(number).write_volatile(0);
            }
            self.0.assume_init_mut()
        }
    }
}

/// Copies a value of whole words: where one is assigned, the compiler calls a `memmove` that goes byte by byte.
///
/// # Safety
/// Both are valid, and aligned as their type is.
#[inline(always)]
unsafe fn copy_words<T: Copy>(to: *mut T, from: *const T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    let (to, from) = (to.cast::<u64>(), from.cast::<u64>());
    for number in 0..size_of::<T>() / 8 {
        // SAFETY: within the value, by the caller's promise.
        unsafe { to.add(number).write_volatile(from.add(number).read_volatile()) };
    }
}

/// Whether anybody has listened on this port, in whatever namespace.
#[inline(always)]
fn is_listened(port: u32) -> bool {
    let marked = |first: u32| {
        let Some(ports) = LISTENED.get_ptr(first + port / 64) else { return false };
        // SAFETY: a pointer into the map, and within the entry.
        unsafe { ports.cast::<u8>().add((port % 64) as usize).read_volatile() != 0 }
    };
    marked(0) || marked(connection::LISTENED)
}

/// A connection in this state is left; `by_caller` where the current process does so, and not whoever was interrupted.
#[inline(always)]
fn left(head: &Head, state: u32, by_caller: bool) {
    let mut port = head.field::<u16>(word::SOCK_LOCAL_PORT).unwrap_or(0);
    if port == 0 {
        port = u16::from_be(head.field(word::SOCK_SOURCE_PORT).unwrap_or(0));
    }
    let place = Place { netns: head.netns(), port: u32::from(port) };
    let mut entry = Room::<Left>::EMPTY;
    let entry = entry.zeroed();
    let who = &mut entry.owner;
    current(by_caller, who);
    let mut counted_port = 0;
    if is_listened(place.port)
        && let Some(listener) = LISTENERS.get_ptr(&place)
    {
        counted_port = place.port;
        // SAFETY: a pointer into the map, valid while we run. An entry that changes meanwhile is still one of
        // somebody who listens there.
        let (pid, start_ns) = unsafe { ((*listener).pid, (*listener).start_ns) };
        if who.pid != 0 && pid > 1 && who.pid != pid && parent_is(pid, start_ns) {
            let when_ticks = who.when_ticks;
            // SAFETY: as above.
            unsafe { copy_words(who, listener) };
            who.when_ticks = when_ticks;
            (who.pid, who.start_ns) = (pid, start_ns);
            who.flags |= owner::INHERITED;
        }
    }
    let options = head.options();
    if options & flag::OPTIONS_KNOWN != 0 {
        who.flags |= owner::OPTIONS_KNOWN;
    }
    if options & flag::REUSE_ADDR != 0 {
        who.flags |= owner::REUSE_ADDR;
    }
    if options & flag::REUSE_PORT != 0 {
        who.flags |= owner::REUSE_PORT;
    }
    if options & flag::V6_ONLY != 0 {
        who.flags |= owner::V6_ONLY;
    }
    let tuple = &mut entry.tuple;
    tuple.netns = place.netns;
    tuple.local_port = port;
    if ends(head, tuple) {
        append(entry);
    }
    if state != CLOSE {
        count(place.netns, counted_port, &entry.owner);
    }
}

/// Writes an entry into the ring, with its sum.
///
/// Nothing is locked. Two processors may take the same chunk, and a processor that was interrupted for long may write into one that is
/// another's by now: what they write into one another has a wrong sum, and of an entry written over, nothing is known.
#[inline(always)]
fn append(entry: &Left) {
    const CHUNKS: u64 = (LEFT_ENTRIES / LEFT_CHUNK) as u64;
    let (Some(taken), Some(next)) = (LEFT_TAKEN.get_ptr_mut(0), LEFT_NEXT.get_ptr_mut(0)) else { return };
    // SAFETY: pointers into maps, valid while we run; this processor's, or written by an atomic addition.
    let place = unsafe {
        let begun = taken.read_volatile();
        let Next { chunk, used } = *next;
        // A chunk that was begun when half a ring ago was written is old: the ring may come round to it.
        if used % u64::from(LEFT_CHUNK) == 0 || begun.wrapping_sub(chunk) > CHUNKS / 2 {
            let _ = core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
                taken, 1,
            );
            *next = Next { chunk: begun, used: 1 };
            begun * u64::from(LEFT_CHUNK)
        } else {
            (*next).used = used + 1;
            chunk * u64::from(LEFT_CHUNK) + used
        }
    };
    let Some(to) = LEFT.get_ptr_mut(place as u32 & (LEFT_ENTRIES - 1)) else { return };
    let (from, to) = ((&raw const *entry).cast::<u64>(), to.cast::<u64>());
    let mut sum = SUM_START;
    for number in 0..LEFT_WORDS {
        // SAFETY: within the entry here and in the map, both aligned by their type.
        unsafe {
            let word = from.add(number).read_volatile();
            to.add(number).write_volatile(word);
            sum = fold(sum, word);
        }
    }
    // SAFETY: the last word of the entry.
    unsafe { to.add(LEFT_WORDS).write_volatile(sum) };
}

/// A function of its own, because the stack of one is 512 bytes.
#[inline(never)]
fn count(netns: u32, port: u32, who: &Owner) {
    let key = TallyKey { netns, port, pid: who.pid, pad: 0, start_ns: who.start_ns };
    match LEFT_COUNT.get_ptr_mut(&key) {
        // SAFETY: a pointer into the map, valid while we run.
        Some(tally) => unsafe {
            let cell = (&raw mut (*tally).count).cast::<u64>();
            let _ = core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
                cell, 1,
            );
            (*tally).owner.when_ticks = who.when_ticks;
        },
        None => drop(LEFT_COUNT.insert(&key, &Tally { count: 1, owner: *who }, 0)),
    }
}

/// The current process, if it is the caller; else nobody: what was zeros stays so.
#[inline(always)]
fn current(by_caller: bool, who: &mut Owner) {
    // SAFETY: a helper without arguments.
    who.when_ticks = unsafe { bpf_jiffies64() };
    let current = Current::new();
    if !by_caller || is_kernel_thread(current.task) {
        return;
    }
    let leader = of_task::<u64>(current.task, word::TASK_LEADER, 0);
    who.start_ns = of_task(leader, word::TASK_START, 0);
    comm(leader, who);
    who.pid = (current.pid_tgid >> 32) as u32;
    who.uid = current.uid_gid as u32;
    who.cgroup_id = current.cgroup_id;
}

/// Where that cannot be read too.
#[inline(always)]
fn is_kernel_thread(task: u64) -> bool {
    of_task(task, word::TASK_FLAGS, KERNEL_THREAD) & KERNEL_THREAD != 0
}

/// Read in place: an array that may be absent is copied around unwritten, which verifiers before 5.12 refuse.
#[inline(always)]
fn comm(leader: u64, who: &mut Owner) {
    let offset = layout::word(word::TASK_COMM);
    if offset == word::ABSENT || leader == 0 {
        return;
    }
    // As words, where they are aligned.
    if layout::word(word::TASK_TYPED) != word::ABSENT && offset.is_multiple_of(8) {
        let half = |more| layout::load_at::<u64>(leader, word::TASK_COMM, more, 0);
        let words: [u64; 2] = [half(0), half(8)];
        // SAFETY: same size, no invalid values.
        who.comm = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(words) };
        return;
    }
    let from = core::ptr::with_exposed_provenance((leader + u64::from(offset)) as usize);
    // SAFETY: bpf_probe_read_kernel checks the address; a failing read leaves zeros behind.
    let _ = unsafe { bpf_probe_read_kernel_buf(from, &mut who.comm) };
}

/// Whether the current process is a child of this one.
#[inline(always)]
fn parent_is(pid: u32, start_ns: u64) -> bool {
    let leader = of_task::<u64>(layout::current_task(), word::TASK_LEADER, 0);
    let parent = of_task::<u64>(leader, word::TASK_PARENT, 0);
    if of_task::<u32>(parent, word::TASK_TGID, 0) != pid {
        return false;
    }
    let leader = of_task::<u64>(parent, word::TASK_LEADER, 0);
    // A listener that was there before is known by the coarser time of /proc.
    of_task::<u64>(leader, word::TASK_START, 0) / TICK_NS == start_ns / TICK_NS
}

/// The addresses of a connection and its peer's port, written in place as [`comm`] is.
#[inline(always)]
fn ends(head: &Head, tuple: &mut Tuple) -> bool {
    let Some(peer_port) = head.field(word::SOCK_PEER_PORT) else { return false };
    tuple.peer_port = u16::from_be(peer_port);
    if head.field::<u16>(word::SOCK_FAMILY) == Some(u16::from(AF_INET)) {
        return head.mapped(word::SOCK_LOCAL4, &mut tuple.local)
            && head.mapped(word::SOCK_PEER4, &mut tuple.peer);
    }
    head.copy(word::SOCK_LOCAL6, &mut tuple.local) && head.copy(word::SOCK_PEER6, &mut tuple.peer)
}
