//! The fentry family: programs at the entry and exit of kernel functions, with typed arguments. They see every path
//! to a function: system calls, io_uring, the kernel's own callers.
//!
//! The value that a function returns is the argument after its last one: the helper for it came with 5.17. Each fact
//! has programs of its own, so that each can be served by another family.

use aya_ebpf::{
    helpers::bpf_get_socket_cookie,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use portwatch_common::{layout as word, record::flag, serves};

use crate::{
    layout::{self, Head, field},
    refused::{self, Request},
    time_wait, told,
};

/// A pointer among the arguments, as a number.
#[inline(always)]
fn number(pointer: *const core::ffi::c_void) -> u64 {
    pointer.expose_provenance() as u64
}

/// `sock->sk`
#[inline(always)]
fn sock_of(socket: *const core::ffi::c_void) -> u64 {
    field::<u64>(number(socket), word::SOCKET_SK).unwrap_or(0)
}

/// Has the kernel give a socket its cookie before it gets a port: `inet_csk_get_port(sk, …)`,
/// `udp_lib_get_port(sk, …)`. Tracing programs can since 5.12.
#[inline(always)]
fn cookie_made(ctx: &FEntryContext) {
    // SAFETY: the first argument of both functions is a `struct sock`, which the helper takes.
    let _ = unsafe { bpf_get_socket_cookie(ctx.arg::<*mut core::ffi::c_void>(0)) };
}

#[fentry(function = "inet_csk_get_port")]
pub(crate) fn cookie_tcp(ctx: FEntryContext) -> i32 {
    cookie_made(&ctx);
    0
}

#[fentry(function = "udp_lib_get_port")]
pub(crate) fn cookie_udp(ctx: FEntryContext) -> i32 {
    cookie_made(&ctx);
    0
}

/// `(…, struct sockaddr *, int) -> int` ends: a bind that succeeded.
#[inline(always)]
fn bound(ctx: &FExitContext, sock: u64) {
    let mut head = Head::unread(sock);
    if !head.read() || told::is_told(&head) {
        return;
    }
    let mut request = Request::EMPTY;
    let known = request.read(number(ctx.arg(1)), ctx.arg(2));
    told::bound_socket(sock, &head, request.port, if known { flag::ASKED_KNOWN } else { 0 });
}

/// `inet_bind(struct socket *, …)`
#[fexit(function = "inet_bind")]
pub(crate) fn exit_bind4(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(3) == 0 {
        bound(&ctx, sock_of(ctx.arg(0)));
    }
    0
}

/// `inet6_bind(struct socket *, …)`
#[fexit(function = "inet6_bind")]
pub(crate) fn exit_bind6(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(3) == 0 {
        bound(&ctx, sock_of(ctx.arg(0)));
    }
    0
}

/// `inet_bind_sk(struct sock *, …)`: what MPTCP calls since 6.6.
#[fexit(function = "inet_bind_sk")]
pub(crate) fn exit_bind4_sk(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(3) == 0 {
        bound(&ctx, number(ctx.arg(0)));
    }
    0
}

/// `inet6_bind_sk(struct sock *, …)`
#[fexit(function = "inet6_bind_sk")]
pub(crate) fn exit_bind6_sk(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(3) == 0 {
        bound(&ctx, number(ctx.arg(0)));
    }
    0
}

/// A bind ends that may have failed.
#[inline(always)]
fn refused(ctx: &FExitContext, sock: u64) {
    let returned: i32 = ctx.arg(3);
    let mut request = Request::EMPTY;
    if returned < 0 && request.read(number(ctx.arg(1)), ctx.arg(2)) {
        refused::to_bind(sock, &request, returned.unsigned_abs());
    }
}

/// A socket that the kernel made asks on behalf of MPTCP, whose own refusal is told.
#[inline(always)]
fn refused_by_program(ctx: &FExitContext) {
    if ctx.arg::<i32>(3) < 0 {
        let sock = sock_of(ctx.arg(0));
        if !layout::made_by_kernel(sock) {
            refused(ctx, sock);
        }
    }
}

#[fexit(function = "inet_bind")]
pub(crate) fn exit_refused4(ctx: FExitContext) -> i32 {
    refused_by_program(&ctx);
    0
}

#[fexit(function = "inet6_bind")]
pub(crate) fn exit_refused6(ctx: FExitContext) -> i32 {
    refused_by_program(&ctx);
    0
}

/// `mptcp_bind(struct socket *, …)`
#[fexit(function = "mptcp_bind")]
pub(crate) fn exit_refused_mptcp(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(3) < 0 {
        refused(&ctx, sock_of(ctx.arg(0)));
    }
    0
}

/// `inet_autobind(struct sock *) -> int`: a port without a bind, on the first send or connect of a UDP socket.
#[fexit(function = "inet_autobind")]
pub(crate) fn exit_autobind(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(1) == 0 {
        told::port_given(number(ctx.arg(0)));
    }
    0
}

/// `inet_csk_listen_start(struct sock *, …)`: every way to listen ends here, and fails here, that of MPTCP too, which does not pass
/// `inet_listen` since 6.6. Its number of arguments changes, so the result is read from the socket.
#[fexit(function = "inet_csk_listen_start")]
pub(crate) fn exit_listen(ctx: FExitContext) -> i32 {
    told::listening_socket(number(ctx.arg(0)), serves::LISTEN_BY_EXIT, serves::REFUSED_BY_EXIT);
    0
}

/// `tcp_send_fin(struct sock *)`: this side closes a connection. Once for each, where the state tracepoint runs ten
/// times.
#[fentry(function = "tcp_send_fin")]
pub(crate) fn entry_send_fin(ctx: FEntryContext) -> i32 {
    time_wait::sends_fin(number(ctx.arg(0)));
    0
}

/// `inet_release(struct socket *)`: the last descriptor is closed. `inet6_release` ends in it.
#[fentry(function = "inet_release")]
pub(crate) fn entry_release(ctx: FEntryContext) -> i32 {
    let cookie = layout::cookie(sock_of(ctx.arg(0)));
    told::released(cookie);
    0
}

/// `inet_csk_listen_stop(struct sock *)`: closed, or shut down.
#[fentry(function = "inet_csk_listen_stop")]
pub(crate) fn entry_listen_stop(ctx: FEntryContext) -> i32 {
    let sock = number(ctx.arg(0));
    if !layout::made_by_kernel(sock) || layout::is_shut_down_only(sock) {
        told::unlistened(layout::cookie(sock));
    }
    0
}

/// `inet_put_port(struct sock *)`: TCP gives a port up. For sockets that the kernel made (MPTCP), whose end nothing
/// else tells.
#[fentry(function = "inet_put_port")]
pub(crate) fn entry_put_port(ctx: FEntryContext) -> i32 {
    let sock = number(ctx.arg(0));
    if layout::made_by_kernel(sock) {
        told::ended(layout::cookie(sock));
    }
    0
}
