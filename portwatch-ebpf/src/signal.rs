//! Who sends signals to processes that were named in a record. Nothing is told when a signal is sent, since most are
//! handled: it is kept, and told with the end of the process ([`crate::process`]).

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns},
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use portwatch_common::{
    layout,
    record::{Actor, from},
};

use crate::{
    layout::{address_of, field},
    maps::{PROCESSES, SENT, Sent},
    task::Current,
};

/// `SIGKILL`
pub(crate) const SIGKILL: u32 = 9;

/// Signals that do nothing, stop or continue unless they are handled: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH,
/// as bits. The numbers are those of every architecture that runs BPF but MIPS.
const HARMLESS: u64 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23 | 1 << 28;

/// `TRACE_SIGNAL_DELIVERED`; others were ignored, or the process had the same one pending.
const DELIVERED: i32 = 0;
/// `TRACE_SIGNAL_LOSE_INFO`: delivered, and the receiver will not learn from whom.
const LOSE_INFO: i32 = 4;

/// `SEND_SIG_NOINFO`, in place of a pointer: from the current process.
const NO_INFO: u64 = 0;
/// `SEND_SIG_PRIV`, in place of a pointer: from the kernel.
const PRIVATE: u64 = 1;

/// `SI_USER`: kill(2)
const USER: i32 = 0;
/// `SI_QUEUE`: sigqueue(3)
const QUEUE: i32 = -1;
/// `SI_TKILL`: tgkill(2)
const TKILL: i32 = -6;

/// A process that sends itself within this time what another has sent it is taken to have handled that: it gives back the
/// default action and raises the signal again, as many programs do once they have tidied up. Longer than managers of
/// services wait for that by default: 90 s.
const AGAIN_NS: u64 = 300_000_000_000;

/// An OOM kill marks its victim this long after the signal at most. It is microseconds.
const MARK_NS: u64 = 1_000_000_000;

/// Runs for every signal of the machine; all but those that end processes we know leave at the second look.
#[btf_tracepoint(function = "signal_generate")]
pub(crate) fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    let signal = ctx.arg::<i32>(0).cast_unsigned();
    if !(1..64).contains(&signal) || HARMLESS & 1 << signal != 0 {
        return 0;
    }
    let result: i32 = ctx.arg(4);
    if result != DELIVERED && result != LOSE_INFO {
        return 0;
    }
    // Taken as numbers: `info` may be 0 or 1, and newer verifiers would take such a comparison for settled.
    let (info, task): (*const core::ffi::c_void, *const core::ffi::c_void) = (ctx.arg(1), ctx.arg(2));
    let (info, task) = (address_of(info), address_of(task));
    let Some(pid) = field::<u32>(task, layout::TASK_TGID) else { return 0 };
    let Some(known) = PROCESSES.get_ptr(&pid) else { return 0 };
    // SAFETY: a pointer into the map, valid while we run.
    let start_ns = unsafe { (*known).start_ns };
    // SAFETY: a helper without arguments.
    let at_ns = unsafe { bpf_ktime_get_boot_ns() };
    let by_process = match info {
        NO_INFO => true,
        PRIVATE => false,
        // The code is the sender's own where a process sent it: one that lies says "kernel".
        info => matches!(field::<i32>(info, layout::SIGINFO_CODE), Some(USER | QUEUE | TKILL)),
    };
    if by_process
        && (bpf_get_current_pid_tgid() >> 32) as u32 == pid
        && raised_again(pid, signal, start_ns, at_ns)
    {
        return 0;
    }
    let nobody = Actor { pid: 0, tid: 0, uid: 0, gid: 0, start_ns: 0 };
    let (from, sender) =
        if by_process { (from::PROCESS, Current::new().actor(at_ns)) } else { (from::KERNEL, nobody) };
    // The idle task sends nothing; were it current, nobody would be known.
    let from = if sender.pid == 0 { from::KERNEL } else { from };
    let sent = Sent { at_ns, start_ns, sender, from: u32::from(from), signal: signal as u16, again: 0 };
    let _ = SENT.insert(&Sent::key(pid, signal), &sent, 0);
    0
}

/// Notes that a process sends itself a signal that it got from elsewhere shortly before. False where it got none: then it is
/// the sender.
#[inline(always)]
fn raised_again(pid: u32, signal: u32, start_ns: u64, now_ns: u64) -> bool {
    let Some(first) = Sent::latest(pid, signal, start_ns) else { return false };
    // SAFETY: a pointer into the map, valid while we run; signals to one process are sent under its lock.
    unsafe {
        if (*first).sender.pid == pid || now_ns - (*first).at_ns >= AGAIN_NS {
            return false;
        }
        (*first).again = 1;
    }
    true
}

/// Offset of `pid` in `oom/mark_victim`: the first field after the common ones, on every kernel.
const MARKED: usize = 8;

/// The kernel chose a process to end for want of memory. Its SIGKILL has been seen a moment before.
#[tracepoint]
pub(crate) fn mark_victim(ctx: TracePointContext) -> u32 {
    // SAFETY: inside the context of this tracepoint, aligned.
    let pid = unsafe { ctx.as_ptr().byte_add(MARKED).cast::<u32>().read() };
    let Some(sent) = SENT.get_ptr_mut(&Sent::key(pid, SIGKILL)) else { return 0 };
    // SAFETY: a helper without arguments; a pointer into the map, valid while we run.
    unsafe {
        if (*sent).from == u32::from(from::KERNEL) && bpf_ktime_get_boot_ns() - (*sent).at_ns < MARK_NS {
            (*sent).from = u32::from(from::OUT_OF_MEMORY);
        }
    }
    0
}
