//! Who left a connection that will end in TIME_WAIT, without a record per connection.
//!
//! TIME_WAIT is not a transition that can be seen, and what leads to it comes in softirq, where the current
//! process is whoever ran. But every connection that ends there was closed from this side first: it entered
//! FIN_WAIT1, in `close` or `shutdown`, while the process that had it held its lock. That is the one moment at
//! which its owner is taken.

use aya_ebpf::{
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
        bpf_ktime_get_boot_ns,
    },
    macros::{btf_tracepoint, map},
    maps::LruHashMap,
    programs::BtfTracePointContext,
};
use portwatch_common::{
    connection::{Owner, Place, Tally, TallyKey, Tuple, owner},
    layout as word,
    record::{AF_INET, COMM_LEN, flag},
};

use crate::layout::{field, netns, options};

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
pub(crate) static LEFT: LruHashMap<Tuple, Owner> = LruHashMap::with_max_entries(32_768, 0);

/// Who listens, or listened last, on a port. Never believed alone: a connection is a listener's only if the
/// listener's process or a child of it closed it.
#[map]
pub(crate) static LISTENERS: LruHashMap<Place, Owner> = LruHashMap::with_max_entries(8192, 0);

/// How many connections each owner left on each port.
#[map]
pub(crate) static LEFT_COUNT: LruHashMap<TallyKey, Tally> = LruHashMap::with_max_entries(4096, 0);

/// Runs at every transition of every connection; all but two kinds end at the first line.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn connection_left(ctx: BtfTracePointContext) -> i32 {
    let new: i32 = ctx.arg(2);
    if new != FIN_WAIT1 && new != LISTEN {
        return 0;
    }
    let sock: *const u8 = ctx.arg(0);
    let sock = sock.expose_provenance() as u64;
    let Some(port) = field::<u16>(sock, word::SOCK_LOCAL_PORT) else { return 0 };
    let place = Place { netns: netns(sock), port: u32::from(port) };
    if new == LISTEN {
        // A listen without a bind has no port yet, and then no child of the listener is known as one.
        if port != 0 {
            let listener = current(sock);
            let _ = LISTENERS.insert(&place, &listener, 0);
        }
        return 0;
    }
    left(sock, place, port);
    0
}

#[inline(always)]
fn left(sock: u64, place: Place, port: u16) {
    let mut who = current(sock);
    let mut counted_port = 0;
    if let Some(listener) = LISTENERS.get_ptr(&place) {
        counted_port = place.port;
        // SAFETY: a pointer into the map, valid while we run. An entry that changes meanwhile is still one of
        // somebody who listens there.
        let (pid, start_ns) = unsafe { ((*listener).pid, (*listener).start_ns) };
        if who.pid != 0 && pid > 1 && who.pid != pid && parent_is(pid, start_ns) {
            // SAFETY: as above.
            let listener = unsafe { *listener };
            who = Owner { when_ns: who.when_ns, flags: who.flags | owner::INHERITED, ..listener };
        }
    }
    let options = options(sock);
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
    if let Some(tuple) = tuple(sock, place.netns, port) {
        let _ = LEFT.insert(&tuple, &who, 0);
    }
    count(place.netns, counted_port, &who);
}

#[inline(always)]
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

/// The current process, if the socket is locked on its behalf; else nobody. A lock that is owned is owned by the
/// caller: softirq never owns one.
#[inline(always)]
fn current(sock: u64) -> Owner {
    // SAFETY: helpers without arguments.
    let (when_ns, task) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_current_task()) };
    let mut who =
        Owner { start_ns: 0, when_ns, cgroup_id: 0, pid: 0, uid: 0, flags: 0, pad: 0, comm: [0; COMM_LEN] };
    let owned = field::<u32>(sock, word::SOCK_OWNED).unwrap_or(0) != 0;
    let thread_of_kernel = match field::<u32>(task, word::TASK_FLAGS) {
        Some(flags) => flags & KERNEL_THREAD != 0,
        None => true,
    };
    if !owned || thread_of_kernel {
        return who;
    }
    let leader = field::<u64>(task, word::TASK_LEADER).unwrap_or(0);
    who.start_ns = field(leader, word::TASK_START).unwrap_or(0);
    who.comm = field(leader, word::TASK_COMM).unwrap_or([0; COMM_LEN]);
    who.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    who.uid = bpf_get_current_uid_gid() as u32;
    // SAFETY: a helper without arguments.
    who.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    who
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
fn tuple(sock: u64, netns: u32, local_port: u16) -> Option<Tuple> {
    let peer_port = u16::from_be(field(sock, word::SOCK_PEER_PORT)?);
    let family: u16 = field(sock, word::SOCK_FAMILY)?;
    let (local, peer) = if family == u16::from(AF_INET) {
        (mapped(field(sock, word::SOCK_LOCAL4)?), mapped(field(sock, word::SOCK_PEER4)?))
    } else {
        (field(sock, word::SOCK_LOCAL6)?, field(sock, word::SOCK_PEER6)?)
    };
    Some(Tuple { netns, local_port, peer_port, local, peer })
}

/// An IPv4 address as the IPv6 address that maps it (RFC 4291, 2.5.5.2).
#[inline(always)]
fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}
