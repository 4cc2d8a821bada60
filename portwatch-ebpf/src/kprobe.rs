//! The kprobe family: the functions of the fentry family where the kernel has no trampolines for them. Arguments are
//! in the registers at entry and gone at the end, so a thread keeps a note in between ([`ASKED`]).
//!
//! Registers are found by the layout that user space resolved: the object is the same on every architecture.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, bpf_jiffies64},
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use portwatch_common::{layout as word, serves};

use crate::{
    layout::{self, Head, address_of, field},
    maps::{ASKED, Asked},
    refused::{self, Request},
    time_wait, told,
};

/// A register of the function that is probed; 0 where it is not known.
#[inline(always)]
fn register(registers: *const core::ffi::c_void, index: usize) -> u64 {
    field::<u64>(address_of(registers), index).unwrap_or(0)
}

/// What the function returned.
#[inline(always)]
fn returned(ctx: &RetProbeContext) -> i32 {
    register(ctx.as_ptr(), word::REGISTER_RETURN) as i32
}

#[inline(always)]
fn first(ctx: &ProbeContext) -> u64 {
    register(ctx.as_ptr(), word::REGISTER_FIRST)
}

/// `sock->sk` of the first argument.
#[inline(always)]
fn first_sock(ctx: &ProbeContext) -> u64 {
    field::<u64>(first(ctx), word::SOCKET_SK).unwrap_or(0)
}

/// Keeps a note of what this thread is about to do.
#[inline(always)]
fn note(sock: u64, request: &Request, state: u32) {
    let key = bpf_get_current_pid_tgid();
    let asked = Asked {
        // SAFETY: a helper without arguments.
        jiffies: unsafe { bpf_jiffies64() },
        sock,
        cookie: 0,
        address: request.address,
        port: request.port,
        family: request.family,
        protocol: 0,
        state,
        fd: 0,
        pad: 0,
    };
    asked.note(key);
}

/// The note of this thread, where it is of this kind.
#[inline(always)]
fn noted(state: u32) -> Option<*mut Asked> {
    let entry = ASKED.get_ptr_mut(&bpf_get_current_pid_tgid())?;
    // SAFETY: only this thread writes its entry.
    (unsafe { (*entry).state } == state).then_some(entry)
}

#[inline(always)]
fn bind_begins(ctx: &ProbeContext, sock: u64) {
    let mut request = Request::EMPTY;
    let sockaddr = register(ctx.as_ptr(), word::REGISTER_SECOND);
    let length = register(ctx.as_ptr(), word::REGISTER_THIRD) as u32;
    let readable = request.read(sockaddr, length);
    note(sock, &request, if readable { Asked::OPEN } else { Asked::DONE });
}

/// `inet_bind`, `inet6_bind` and `mptcp_bind`: `(struct socket *, struct sockaddr *, int)`
#[kprobe]
pub(crate) fn probe_bind(ctx: ProbeContext) -> u32 {
    bind_begins(&ctx, first_sock(&ctx));
    0
}

/// `inet_bind_sk` and `inet6_bind_sk`: `(struct sock *, struct sockaddr *, int)`
#[kprobe]
pub(crate) fn probe_bind_sk(ctx: ProbeContext) -> u32 {
    bind_begins(&ctx, first(&ctx));
    0
}

/// The ends of all five. Where one calls another the inner one tells, and closes the note.
#[kretprobe]
pub(crate) fn return_bind(ctx: RetProbeContext) -> u32 {
    if returned(&ctx) == 0
        && let Some(asked) = noted(Asked::OPEN)
    {
        // SAFETY: only this thread writes its entry.
        let sock = unsafe { (*asked).sock };
        // The port asked for is taken from the note.
        let mut head = Head::unread(sock);
        if head.read() {
            told::bound_socket(sock, &head, 0, 0);
        }
    }
    0
}

#[inline(always)]
fn refused(ctx: &RetProbeContext, by_kernel_too: bool) {
    let returned = returned(ctx);
    if returned >= 0 {
        return;
    }
    let Some(asked) = noted(Asked::OPEN) else { return };
    // SAFETY: only this thread writes its entry.
    let (sock, request) = unsafe {
        let request = Request { address: (*asked).address, port: (*asked).port, family: (*asked).family };
        ((*asked).sock, request)
    };
    if !by_kernel_too && layout::made_by_kernel(sock) {
        return;
    }
    // SAFETY: as above.
    unsafe { (*asked).state = Asked::DONE };
    refused::to_bind(sock, &request, returned.unsigned_abs());
}

/// The ends of `inet_bind` and `inet6_bind`. A socket that the kernel made asks on behalf of MPTCP, whose own refusal
/// is told.
#[kretprobe]
pub(crate) fn return_refused(ctx: RetProbeContext) -> u32 {
    refused(&ctx, false);
    0
}

/// The end of `mptcp_bind`.
#[kretprobe]
pub(crate) fn return_refused_mptcp(ctx: RetProbeContext) -> u32 {
    refused(&ctx, true);
    0
}

/// `inet_autobind(struct sock *)`
#[kprobe]
pub(crate) fn probe_autobind(ctx: ProbeContext) -> u32 {
    note(first(&ctx), &Request::EMPTY, Asked::AUTO);
    0
}

#[kretprobe]
pub(crate) fn return_autobind(ctx: RetProbeContext) -> u32 {
    if returned(&ctx) == 0
        && let Some(asked) = noted(Asked::AUTO)
    {
        // SAFETY: only this thread writes its entry.
        let sock = unsafe {
            (*asked).state = Asked::DONE;
            (*asked).sock
        };
        told::port_given(sock);
    }
    0
}

/// `inet_csk_listen_start(struct sock *, …)`
#[kprobe]
pub(crate) fn probe_listen(ctx: ProbeContext) -> u32 {
    note(first(&ctx), &Request::EMPTY, Asked::LISTEN);
    0
}

/// Its end.
#[kretprobe]
pub(crate) fn return_listen(_ctx: RetProbeContext) -> u32 {
    if let Some(asked) = noted(Asked::LISTEN) {
        // SAFETY: only this thread writes its entry.
        let sock = unsafe { (*asked).sock };
        told::listening_socket(sock, serves::LISTEN_BY_RETURN, serves::REFUSED_BY_RETURN);
    }
    0
}

/// `tcp_send_fin(struct sock *)`
#[kprobe]
pub(crate) fn probe_send_fin(ctx: ProbeContext) -> u32 {
    time_wait::sends_fin(first(&ctx));
    0
}

/// `inet_release(struct socket *)`
#[kprobe]
pub(crate) fn probe_release(ctx: ProbeContext) -> u32 {
    told::released(layout::cookie(first_sock(&ctx)));
    0
}

/// `inet_csk_listen_stop(struct sock *)`
#[kprobe]
pub(crate) fn probe_listen_stop(ctx: ProbeContext) -> u32 {
    let sock = first(&ctx);
    if !layout::made_by_kernel(sock) || layout::is_shut_down_only(sock) {
        told::unlistened(layout::cookie(sock));
    }
    0
}

/// `inet_put_port(struct sock *)`
#[kprobe]
pub(crate) fn probe_put_port(ctx: ProbeContext) -> u32 {
    let sock = first(&ctx);
    if layout::made_by_kernel(sock) {
        told::ended(layout::cookie(sock));
    }
    0
}
