//! Children and exec of processes that were named in a record: a child has its parent's descriptors, and exec closes
//! some of them.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use portwatch_common::{
    counter, layout,
    record::{Actor, ExecRecord, ForkRecord, kind},
};

use crate::{
    emit,
    layout::{address_of, field},
    maps::{Known, PROCESSES},
};

/// No exec id: the process is announced with the first event that names it.
const UNANNOUNCED: u64 = u64::MAX;

/// The current process where it was named in a record.
#[inline(always)]
fn known() -> Option<Actor> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let pid = (pid_tgid >> 32) as u32;
    let known = PROCESSES.get_ptr(&pid)?;
    // SAFETY: a pointer into the map, valid while we run.
    let start_ns = unsafe { (*known).start_ns };
    let uid_gid = bpf_get_current_uid_gid();
    Some(Actor { pid, tid: pid_tgid as u32, uid: uid_gid as u32, gid: (uid_gid >> 32) as u32, start_ns })
}

/// Runs in the parent's context for every new task of the machine.
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn process_fork(ctx: BtfTracePointContext) -> i32 {
    let Some(actor) = known() else { return 0 };
    let child: *const core::ffi::c_void = ctx.arg(1);
    let child = address_of(child);
    let child_pid = field::<u32>(child, layout::TASK_TGID).unwrap_or(0);
    // A thread, or not readable.
    if child_pid == actor.pid || child_pid == 0 {
        return 0;
    }
    let child_start_ns = field::<u64>(child, layout::TASK_START).unwrap_or(0);
    if PROCESSES.insert(&child_pid, &Known { start_ns: child_start_ns, exec_id: UNANNOUNCED }, 0).is_err() {
        emit::count(counter::PROCESSES_FULL);
    }
    // SAFETY: a helper without arguments.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    let Some(mut entry) = emit::reserve::<ForkRecord>(kind::FORK) else { return 0 };
    entry.write(ForkRecord {
        header: emit::header::<ForkRecord>(kind::FORK, boot_ns),
        actor,
        child_start_ns,
        child_pid,
        pad: 0,
    });
    entry.submit(0);
    0
}

/// Runs after the descriptors marked close-on-exec were closed.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn process_exec(_ctx: BtfTracePointContext) -> i32 {
    let Some(actor) = known() else { return 0 };
    // One that never acted is followed no longer, or whatever is started from a server's shell would be. Where it
    // kept a socket user space will find it, and have it followed again.
    if let Some(entry) = PROCESSES.get_ptr(&actor.pid)
        // SAFETY: a pointer into the map, valid while we run.
        && unsafe { (*entry).exec_id } == UNANNOUNCED
    {
        let _ = PROCESSES.remove(&actor.pid);
    }
    // SAFETY: a helper without arguments.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    let Some(mut entry) = emit::reserve::<ExecRecord>(kind::EXEC) else { return 0 };
    entry.write(ExecRecord { header: emit::header::<ExecRecord>(kind::EXEC, boot_ns), actor });
    entry.submit(0);
    0
}
