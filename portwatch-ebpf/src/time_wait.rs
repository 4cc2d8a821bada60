//! Who left a connection that will end in TIME_WAIT, without a record per connection.
//!
//! TIME_WAIT is not a transition that can be seen, and what leads to it comes in softirq, where the current
//! process is whoever ran. But every connection that ends there was closed from this side first: it entered
//! FIN_WAIT1, in `close` or `shutdown`, while the process that had it held its lock. That is the one moment at
//! which its owner is taken.

use aya_ebpf::{
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
        bpf_ktime_get_boot_ns, bpf_probe_read_kernel_buf,
    },
    macros::map,
    maps::LruHashMap,
    programs::BtfTracePointContext,
};
use portwatch_common::{
    connection::{Owner, Place, Tally, TallyKey, Tuple, owner},
    layout as word,
    record::{AF_INET, COMM_LEN, flag},
};

use crate::layout::field;

/// How much of a socket's beginning holds what is read here: `struct sock_common` on every kernel of 64 bits.
const HEAD: usize = 96;
/// `TCP_FIN_WAIT1`
const FIN_WAIT1: i32 = 4;
/// `TCP_LISTEN`
const LISTEN: i32 = 10;
/// Nanoseconds in a tick of /proc.
const TICK_NS: u64 = 10_000_000;
/// `PF_KTHREAD`
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Who left which connection. LRU: the oldest give way.
#[map]
pub(crate) static LEFT: LruHashMap<Tuple, Owner> = LruHashMap::with_max_entries(16_384, 0);

/// Who listens, or listened last, on a port. Never believed alone: a connection is a listener's only if the
/// listener's process or a child of it closed it.
#[map]
pub(crate) static LISTENERS: LruHashMap<Place, Owner> = LruHashMap::with_max_entries(8192, 0);

/// How many connections each owner left on each port.
#[map]
pub(crate) static LEFT_COUNT: LruHashMap<TallyKey, Tally> = LruHashMap::with_max_entries(4096, 0);

/// Whether a transition is one of the two kinds that tell something here. A close after a shutdown sets the state
/// again that it has.
#[inline(always)]
pub(crate) fn concerns(old: i32, new: i32) -> bool {
    (new == FIN_WAIT1 || new == LISTEN) && old != new
}

/// Takes a transition in.
#[inline(always)]
pub(crate) fn transition(ctx: &BtfTracePointContext, new: i32) {
    let sock: *const u8 = ctx.arg(0);
    let sock = sock.expose_provenance() as u64;
    let mut head = Head([0; HEAD / 8]);
    if !head.read(sock) {
        return;
    }
    let Some(port) = head.field::<u16>(word::SOCK_LOCAL_PORT) else { return };
    let net = head.field::<u64>(word::SOCK_NET).unwrap_or(0);
    let netns = field::<u32>(net, word::NET_INODE).unwrap_or(0);
    let place = Place { netns, port: u32::from(port) };
    if new == LISTEN {
        // A listen without a bind has no port yet, and then no child of the listener is known as one.
        if port != 0 {
            let mut listener = NOBODY;
            current(sock, &mut listener);
            let _ = LISTENERS.insert(&place, &listener, 0);
        }
        return;
    }
    left(sock, &head, place, port);
}

/// The beginning of a socket, where its addresses are: one read instead of one for each.
struct Head([u64; HEAD / 8]);

impl Head {
    /// Filled in place: a copy would not fit the stack.
    #[inline(always)]
    fn read(&mut self, sock: u64) -> bool {
        let from = core::ptr::with_exposed_provenance(sock as usize);
        // SAFETY: the array's own bytes, all of which may hold anything; bpf_probe_read_kernel checks the address.
        unsafe {
            let bytes = core::slice::from_raw_parts_mut((&raw mut self.0).cast::<u8>(), HEAD);
            bpf_probe_read_kernel_buf(from, bytes).is_ok()
        }
    }

    /// A field of it; `None` when this kernel has it elsewhere.
    #[inline(always)]
    fn field<T: Copy>(&self, index: usize) -> Option<T> {
        let offset = crate::layout::word(index) as usize;
        if offset > HEAD - size_of::<T>() {
            return None;
        }
        // SAFETY: within the array, as was just checked.
        Some(unsafe { (&raw const self.0).cast::<u8>().add(offset).cast::<T>().read_unaligned() })
    }
}

#[inline(always)]
fn left(sock: u64, head: &Head, place: Place, port: u16) {
    let mut who = NOBODY;
    current(sock, &mut who);
    let mut counted_port = 0;
    if let Some(listener) = LISTENERS.get_ptr(&place) {
        counted_port = place.port;
        // SAFETY: a pointer into the map, valid while we run. An entry that changes meanwhile is still one of
        // somebody who listens there.
        let (pid, start_ns) = unsafe { ((*listener).pid, (*listener).start_ns) };
        if who.pid != 0 && pid > 1 && who.pid != pid && parent_is(pid, start_ns) {
            // SAFETY: as above.
            unsafe {
                who.cgroup_id = (*listener).cgroup_id;
                who.uid = (*listener).uid;
                who.comm = (*listener).comm;
            }
            who.pid = pid;
            who.start_ns = start_ns;
            who.flags |= owner::INHERITED;
        }
    }
    let options = options(head);
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
    if let Some(tuple) = tuple(head, place.netns, port) {
        let _ = LEFT.insert(&tuple, &who, 0);
    }
    count(place.netns, counted_port, &who);
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
            (*tally).owner.when_ns = who.when_ns;
        },
        None => drop(LEFT_COUNT.insert(&key, &Tally { count: 1, owner: *who }, 0)),
    }
}

/// Nobody that can be named.
const NOBODY: Owner =
    Owner { start_ns: 0, when_ns: 0, cgroup_id: 0, pid: 0, uid: 0, flags: 0, pad: 0, comm: [0; COMM_LEN] };

/// The current process, if the socket is locked on its behalf; else nobody. A lock that is owned is owned by the
/// caller: softirq never owns one.
#[inline(always)]
fn current(sock: u64, who: &mut Owner) {
    // SAFETY: helpers without arguments.
    let (when_ns, task) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_current_task()) };
    who.when_ns = when_ns;
    let owned = field::<u32>(sock, word::SOCK_OWNED).unwrap_or(0) != 0;
    let thread_of_kernel = match field::<u32>(task, word::TASK_FLAGS) {
        Some(flags) => flags & KERNEL_THREAD != 0,
        None => true,
    };
    if !owned || thread_of_kernel {
        return;
    }
    let leader = field::<u64>(task, word::TASK_LEADER).unwrap_or(0);
    who.start_ns = field(leader, word::TASK_START).unwrap_or(0);
    who.comm = field(leader, word::TASK_COMM).unwrap_or([0; COMM_LEN]);
    who.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    who.uid = bpf_get_current_uid_gid() as u32;
    // SAFETY: a helper without arguments.
    who.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
}

/// Whether the current process is a child of this one.
#[inline(always)]
fn parent_is(pid: u32, start_ns: u64) -> bool {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let leader = field::<u64>(task, word::TASK_LEADER).unwrap_or(0);
    let parent = field::<u64>(leader, word::TASK_PARENT).unwrap_or(0);
    if field::<u32>(parent, word::TASK_TGID) != Some(pid) {
        return false;
    }
    let leader = field::<u64>(parent, word::TASK_LEADER).unwrap_or(0);
    // A listener that was there before is known by the coarser time of /proc.
    field::<u64>(leader, word::TASK_START).is_some_and(|start| start / TICK_NS == start_ns / TICK_NS)
}

#[inline(always)]
fn tuple(head: &Head, netns: u32, local_port: u16) -> Option<Tuple> {
    let peer_port = u16::from_be(head.field(word::SOCK_PEER_PORT)?);
    let family: u16 = head.field(word::SOCK_FAMILY)?;
    let (local, peer) = if family == u16::from(AF_INET) {
        (mapped(head.field(word::SOCK_LOCAL4)?), mapped(head.field(word::SOCK_PEER4)?))
    } else {
        (head.field(word::SOCK_LOCAL6)?, head.field(word::SOCK_PEER6)?)
    };
    Some(Tuple { netns, local_port, peer_port, local, peer })
}

/// The sharing options, as bits of [`flag`].
#[inline(always)]
fn options(head: &Head) -> u16 {
    head.field::<u8>(word::SOCK_OPTIONS).map_or(0, crate::layout::option_flags)
}

/// An IPv4 address as the IPv6 address that maps it (RFC 4291, 2.5.5.2).
#[inline(always)]
fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}
