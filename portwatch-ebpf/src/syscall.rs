//! The ends of system calls, by tracepoints and by io_uring's own: the only stable place that knows the errno of a refused bind, and that costs a
//! connection nothing.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_jiffies64, bpf_ktime_get_boot_ns, generated},
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use portwatch_common::{
    layout as word,
    record::{IPPROTO_TCP, SocketRecord, flag, kind},
    serves::{CLOSE_BY_CALL, LEFT_BY_RELEASE, LISTEN_BY_CALL, NEVER, REFUSED_BY_CALL},
};

use crate::{
    emit,
    layout::{self, field},
    maps::{ASKED, Asked, serves},
    refused,
    task::Current,
    time_wait,
    told::{self, IPPROTO_MPTCP, bytes},
};

/// A bind takes microseconds. An entry of more ticks ago was left behind by a bind that came through io_uring and failed; it has
/// nothing to do with the system call that ends now. A quarter of a second to two and a half, by the kernel's HZ.
const STALE_TICKS: u64 = 250;

/// `TCP_CLOSE`
const CLOSE: u32 = 7;
/// `EADDRINUSE`
const IN_USE: i32 = 98;
/// Offset of `ret` in `syscalls/sys_exit_*`: after the common fields and the call's number, 64 bits wide.
const RET: usize = 16;

/// `SHUT_RD`: nothing is sent.
const READING: u32 = 0;
/// `SHUT_WR`
const WRITING: u32 = 1;
/// `IORING_OP_SHUTDOWN`
const OP_SHUTDOWN: u8 = 34;
/// `IORING_OP_BIND`
const OP_BIND: u8 = 56;
/// `IORING_OP_LISTEN`
const OP_LISTEN: u8 = 57;

#[inline(always)]
fn returned(ctx: &TracePointContext) -> i64 {
    // SAFETY: inside the context of this tracepoint, aligned.
    unsafe { ctx.as_ptr().byte_add(RET).cast::<i64>().read() }
}

/// An argument of the system call that ends now, and the socket that the first one names. Tracepoints of their beginnings tell the arguments, but make each system call of
/// the machine take the longer way in; the way out is taken already, for [`bind_exit`].
#[inline(always)]
fn argument(register: usize) -> u32 {
    // SAFETY: helpers without arguments, and one that takes what the first returns.
    let registers =
        unsafe { generated::bpf_task_pt_regs(generated::bpf_get_current_task_btf()) }.cast_unsigned();
    layout::load::<u64>(registers, register, u64::MAX) as u32
}

#[inline(always)]
fn called_on() -> u64 {
    layout::socket_at(argument(word::CALL_FIRST))
}

/// `listen(fd, …)` ends.
#[tracepoint]
#[inline(always)]
pub(crate) fn listen_exit(ctx: TracePointContext) -> u32 {
    listen_ended(called_on(), returned(&ctx) as i32);
    0
}

/// Exported as [`crate::task::announce`] is, and so are the other two: walked once, and each with the stack for itself.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn listen_ended(sock: u64, returned: i32) -> u64 {
    if sock == 0 {
        return 0;
    }
    let listener = listener_of(sock);
    if returned == -IN_USE {
        // A filter of system calls may have answered in the kernel's place.
        if serves(REFUSED_BY_CALL) && field::<u8>(listener, word::SOCK_STATE).map(u32::from) == Some(CLOSE) {
            refused::to_listen(listener);
        }
    } else if returned == 0 {
        // Told already where the programs at need are attached, and where a listener is given another backlog.
        if told::listens(layout::cookie(listener)) != Some(true) {
            told::listening_socket(listener, LISTEN_BY_CALL, NEVER);
        }
    }
    0
}

/// `shutdown(fd, how)` ends. What of a socket was shut down is to be seen by its state.
#[tracepoint]
#[inline(always)]
pub(crate) fn shutdown_exit(ctx: TracePointContext) -> u32 {
    if returned(&ctx) == 0 {
        shutdown_ended(called_on(), argument(word::CALL_SECOND));
    }
    0
}

#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn shutdown_ended(sock: u64, how: u32) -> u64 {
    let number = u32::from(field::<u16>(sock, word::SOCK_PROTOCOL).unwrap_or(0));
    if number != u32::from(IPPROTO_TCP) && number != IPPROTO_MPTCP {
        return 0;
    }
    let state = u32::from(field::<u8>(sock, word::SOCK_STATE).unwrap_or(0));
    if state == CLOSE && serves(CLOSE_BY_CALL) {
        let cookie = layout::cookie(listener_of(sock));
        if told::listens(cookie) == Some(true) {
            told::unlistened(cookie);
            return 0;
        }
    }
    if how != READING && serves(LEFT_BY_RELEASE) {
        time_wait::shut_down(sock, state);
    }
    0
}

/// The socket that binds and listens for a program's: of MPTCP the first subflow.
#[inline(always)]
fn listener_of(sock: u64) -> u64 {
    if field::<u16>(sock, word::SOCK_PROTOCOL).map(u32::from) == Some(IPPROTO_MPTCP) {
        return layout::subflow_of(sock);
    }
    sock
}

/// The same calls through io_uring, and binds that are refused there. Since 5.19 the request is the second argument and has its result. A request that wants no completion
/// (IOSQE_CQE_SKIP_SUCCESS) does not come here.
#[btf_tracepoint(function = "io_uring_complete")]
#[inline(always)]
pub(crate) fn uring_complete(ctx: BtfTracePointContext) -> i32 {
    let request: *const u8 = ctx.arg(1);
    let request = request.expose_provenance() as u64;
    let opcode = field::<u8>(request, word::REQUEST_OPCODE).unwrap_or(0);
    if opcode != OP_SHUTDOWN && opcode != OP_BIND && opcode != OP_LISTEN {
        return 0;
    }
    let returned = field::<i32>(request, word::REQUEST_RESULT).unwrap_or(0);
    let sock = layout::socket_of(field(request, word::REQUEST_FILE).unwrap_or(0));
    if opcode == OP_BIND {
        let binds = listener_of(sock);
        // What is no socket has asked for no port: the thread's note is another's.
        if returned < 0 && binds != 0 && serves(REFUSED_BY_CALL) {
            bind_refused(returned.unsigned_abs(), binds);
        }
    } else if opcode == OP_LISTEN {
        listen_ended(sock, returned);
    } else if returned == 0 {
        shutdown_ended(sock, field(request, word::REQUEST_HOW).unwrap_or(WRITING));
    }
    0
}

/// Where the cgroup hooks note what is asked for, this adds the errno.
#[tracepoint]
pub(crate) fn bind_exit(ctx: TracePointContext) -> u32 {
    let ret = returned(&ctx);
    if ret < 0 {
        bind_refused(ret.unsigned_abs() as u32, 0);
    }
    0
}

/// Of the thread's bind, and where `sock` is not 0, only if that was of this socket: io_uring completes requests when all of a batch have been issued, and the note is the
/// last one's.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn bind_refused(errno: u32, sock: u64) -> u64 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(entry) = ASKED.get_ptr_mut(&pid_tgid) else { return 0 };
    // SAFETY: helpers without arguments.
    let (boot_ns, jiffies) = unsafe { (bpf_ktime_get_boot_ns(), bpf_jiffies64()) };
    // SAFETY: only this thread writes its entry.
    let asked = unsafe {
        if (*entry).state != Asked::OPEN || jiffies - (*entry).jiffies > STALE_TICKS {
            return 0;
        }
        if sock != 0 && (*entry).sock != sock {
            return 0;
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
    let Some(mut record) = emit::reserve::<SocketRecord>(kind::REFUSED) else { return 0 };
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
    0
}
