//! System call tracepoints: the only stable place that knows the errno of a refused bind. io_uring does not
//! pass here.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_jiffies64, bpf_ktime_get_boot_ns},
    macros::tracepoint,
    programs::TracePointContext,
};
use portwatch_common::record::{SocketRecord, flag, kind};

use crate::{
    emit, layout,
    maps::{ASKED, Asked},
    task::Current,
    told::bytes,
};

/// A bind takes microseconds. An entry of more ticks ago was left behind by a bind that came through io_uring and failed; it has
/// nothing to do with the system call that ends now. A quarter of a second to two and a half, by the kernel's HZ.
const STALE_TICKS: u64 = 250;

/// Offset of `ret` in `syscalls/sys_exit_*`: after the common fields and the call's number, 64 bits wide.
const RET: usize = 16;

/// Where the cgroup hooks note what is asked for, this adds the errno.
#[tracepoint]
pub(crate) fn bind_exit(ctx: TracePointContext) -> u32 {
    // SAFETY: inside the context of this tracepoint, aligned.
    let ret = unsafe { ctx.as_ptr().byte_add(RET).cast::<i64>().read() };
    if ret < 0 {
        refused(ret.unsigned_abs() as u32);
    }
    0
}

#[inline(always)]
fn refused(errno: u32) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(entry) = ASKED.get_ptr_mut(&pid_tgid) else { return };
    // SAFETY: helpers without arguments.
    let (boot_ns, jiffies) = unsafe { (bpf_ktime_get_boot_ns(), bpf_jiffies64()) };
    // SAFETY: only this thread writes its entry.
    let asked = unsafe {
        if (*entry).state != Asked::OPEN || jiffies - (*entry).jiffies > STALE_TICKS {
            return;
        }
        (*entry).state = Asked::DONE;
        *entry
    };
    // Another thread may have closed the socket meanwhile: only memory that still bears its cookie is it.
    let same = asked.sock != 0 && layout::cookie(asked.sock) == asked.cookie;
    let (netns, options) =
        if same { (layout::netns(asked.sock), layout::options(asked.sock)) } else { (0, 0) };
    let current = Current::new();
    let actor = current.actor(boot_ns);
    let Some(mut record) = emit::reserve::<SocketRecord>(kind::REFUSED) else { return };
    record.write(SocketRecord {
        header: emit::header::<SocketRecord>(kind::REFUSED, boot_ns),
        actor,
        cookie: asked.cookie,
        cgroup_id: current.cgroup_id,
        address: bytes(asked.address),
        netns,
        errno,
        port: 0,
        asked_port: asked.port,
        family: asked.family,
        protocol: asked.protocol,
        flags: flag::ACTOR_KNOWN | flag::ASKED_KNOWN | options,
    });
    record.submit(0);
}
