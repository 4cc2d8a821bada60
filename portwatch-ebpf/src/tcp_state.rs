//! TCP state transitions, for what the cgroup hooks do not say: a listener that stops listening without
//! being closed, and sockets that the kernel made itself and never releases through a descriptor. Who leaves
//! connections is told here too ([`crate::time_wait`]).

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use portwatch_common::record::{Actor, CloseRecord, kind};

use crate::{emit, layout, maps::BOUND, time_wait};

/// `TCP_CLOSE`
const CLOSE: i32 = 7;
/// `TCP_LISTEN`
const LISTEN: i32 = 10;

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn listen_end(ctx: BtfTracePointContext) -> i32 {
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    // One program serves both facts: a second one would be run at each of the ten transitions of a connection.
    if time_wait::concerns(old, new) {
        time_wait::transition(&ctx, new);
        return 0;
    }
    // CLOSE → CLOSE is the end of a bound TCP socket that never listened.
    if new != CLOSE || (old != LISTEN && old != CLOSE) {
        return 0;
    }
    let sock: *const u8 = ctx.arg(0);
    let sock = sock.expose_provenance() as u64;
    let cookie = layout::cookie(sock);
    // An ordinary close has been through sock_release before and is no longer in the map.
    if cookie == 0 || BOUND.get_ptr(&cookie).is_none() {
        return 0;
    }
    let ended = layout::made_by_kernel(sock);
    if ended {
        if BOUND.remove(&cookie).is_err() {
            return 0;
        }
    } else if old != LISTEN {
        return 0;
    }
    let kind = if ended { kind::CLOSE } else { kind::UNLISTEN };
    // SAFETY: a helper without arguments.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    let Some(mut entry) = emit::reserve::<CloseRecord>(kind) else { return 0 };
    entry.write(CloseRecord {
        header: emit::header::<CloseRecord>(kind, boot_ns),
        // The current task is whoever ran when the transition came; it proves nothing.
        actor: Actor { pid: 0, tid: 0, uid: 0, gid: 0, start_ns: 0 },
        cookie,
    });
    entry.submit(0);
    0
}
