//! The end of processes that were named in a record.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use portwatch_common::{
    layout,
    record::{Actor, ExitRecord, KilledRecord, kind},
};

use crate::{
    emit,
    layout::field,
    maps::{PROCESSES, Sent},
};

/// `SIGNAL_GROUP_EXIT`, the same since 2.6.
const SIGNAL_GROUP_EXIT: u32 = 4;

/// A process that ends by itself within this time of a signal that asks for its end is taken to obey.
const OBEYED_NS: u64 = 30_000_000_000;

/// Signals that ask a process to end, which many programs handle: HUP, INT, QUIT, TERM.
const ASKING: [u32; 4] = [15, 2, 1, 3];

/// Runs in the context of each thread that ends; all but the last thread of a known process end early.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn process_exit(ctx: BtfTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let pid = (pid_tgid >> 32) as u32;
    let Some(known) = PROCESSES.get_ptr(&pid) else { return 0 };
    // SAFETY: a pointer into the map, valid while we run.
    let start_ns = unsafe { (*known).start_ns };
    let task: *const u8 = ctx.arg(0);
    let task = task.expose_provenance() as u64;
    let signal = field::<u64>(task, layout::TASK_SIGNAL).unwrap_or(0);
    // Other threads live on. The count is taken down before this tracepoint, on every kernel since 2.6.
    if field::<u32>(signal, layout::SIGNAL_LIVE).unwrap_or(0) != 0 {
        return 0;
    }
    // Two last threads may both come here; the one that removes the entry reports.
    if PROCESSES.remove(&pid).is_err() {
        return 0;
    }
    let group_exit = field::<u32>(signal, layout::SIGNAL_FLAGS).unwrap_or(0) & SIGNAL_GROUP_EXIT != 0;
    // What wait(2) will report: the group's code, or the leader's own.
    let (holder, index) = if group_exit {
        (signal, layout::SIGNAL_EXIT_CODE)
    } else {
        (field::<u64>(task, layout::TASK_LEADER).unwrap_or(0), layout::TASK_EXIT_CODE)
    };
    // Not kept as an `Option`: its absent value is copied around unwritten, which verifiers before 5.12 refuse.
    let (mut code, mut known) = (0, 0);
    if let Some(read) = field::<u32>(holder, index) {
        (code, known) = (read, 1);
    }
    // SAFETY: a helper without arguments.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    let uid_gid = bpf_get_current_uid_gid();
    let actor =
        Actor { pid, tid: pid_tgid as u32, uid: uid_gid as u32, gid: (uid_gid >> 32) as u32, start_ns };
    if known == 1
        && let Some(sent) = signal_before(pid, code & 0x7f, start_ns, boot_ns)
    {
        killed(actor, code, sent, boot_ns);
        return 0;
    }
    let Some(mut entry) = emit::reserve::<ExitRecord>(kind::EXIT) else { return 0 };
    entry.write(ExitRecord {
        header: emit::header::<ExitRecord>(kind::EXIT, boot_ns),
        actor,
        exit_code: code,
        exit_code_known: known,
        pad: [0; 3],
    });
    entry.submit(0);
    0
}

/// The signal that ended the process; where it ended by itself, the one that had asked for it.
#[inline(always)]
fn signal_before(pid: u32, signal: u32, start_ns: u64, now_ns: u64) -> Option<*mut Sent> {
    if signal != 0 {
        return Sent::latest(pid, signal, start_ns);
    }
    let mut latest: Option<*mut Sent> = None;
    for signal in ASKING {
        if let Some(found) = Sent::latest(pid, signal, start_ns) {
            // SAFETY: pointers into the map, valid while we run.
            let newer = unsafe {
                now_ns - (*found).at_ns < OBEYED_NS
                    && match latest {
                        Some(other) => (*found).at_ns > (*other).at_ns,
                        None => true,
                    }
            };
            if newer {
                latest = Some(found);
            }
        }
    }
    latest
}

#[inline(always)]
fn killed(actor: Actor, exit_code: u32, sent: *mut Sent, boot_ns: u64) {
    let Some(mut entry) = emit::reserve::<KilledRecord>(kind::KILLED) else { return };
    // SAFETY: a pointer into the map, valid while we run.
    let sent = unsafe { *sent };
    entry.write(KilledRecord {
        header: emit::header::<KilledRecord>(kind::KILLED, boot_ns),
        actor,
        exit_code,
        signal: sent.signal as u8,
        from: sent.from as u8,
        again: sent.again as u8,
        pad: 0,
        sent_ns: sent.at_ns,
        sender: sent.sender,
    });
    entry.submit(0);
}
