//! The cgroup family, attached to the root of cgroup v2: it sees every socket of the machine, whatever its
//! namespace, and io_uring too. The contexts are stable ABI.

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::{bpf_get_current_pid_tgid, bpf_get_socket_cookie, bpf_jiffies64},
    macros::{cgroup_sock, cgroup_sock_addr},
    programs::{SockAddrContext, SockContext},
};
use portwatch_common::{
    layout::SOCK_PEER_PORT,
    record::{AF_INET, AF_INET6, IPPROTO_TCP, kind},
    serves::LEFT_BY_RELEASE,
};

use crate::{
    emit,
    layout::{self, Head, field},
    maps::{Asked, serves},
    time_wait,
    told::{self, IPPROTO_MPTCP, Place, protocol},
};

/// `TCP_CLOSE`
const CLOSE: u32 = 7;
/// `TCP_LISTEN`
const LISTEN: u32 = 10;

/// Allows the operation. These programs watch; they never refuse.
const ALLOW: i32 = 1;

/// Before a bind is decided: what is asked for.
#[inline(always)]
fn asked(ctx: *mut bpf_sock_addr, address: [u32; 4], family: u8) {
    // SAFETY: the context is valid while the program runs; each field is read at its own width.
    let (number, port, sock) =
        unsafe { ((*ctx).protocol, (*ctx).user_port, (*ctx).__bindgen_anon_1.sk.expose_provenance() as u64) };
    let Some(protocol) = protocol(number) else { return };
    let key = bpf_get_current_pid_tgid();
    let asked = Asked {
        // SAFETY: a helper without arguments.
        jiffies: unsafe { bpf_jiffies64() },
        sock,
        // SAFETY: the helper takes the context.
        cookie: unsafe { bpf_get_socket_cookie(ctx.cast()) },
        address,
        port: u16::from_be(port as u16),
        family,
        protocol,
        state: Asked::OPEN,
        fd: 0,
        pad: 0,
    };
    asked.note(key);
}

#[cgroup_sock_addr(bind4)]
pub(crate) fn bind4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let address = unsafe { (*ctx.sock_addr).user_ip4 };
    asked(ctx.sock_addr, [address, 0, 0, 0], AF_INET);
    ALLOW
}

#[cgroup_sock_addr(bind6)]
pub(crate) fn bind6(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is valid while the program runs; the verifier wants each word read by itself.
    let address = unsafe {
        let words = (&raw const (*ctx.sock_addr).user_ip6).cast::<u32>();
        [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ]
    };
    asked(ctx.sock_addr, address, AF_INET6);
    ALLOW
}

/// After a bind succeeded.
#[inline(always)]
fn bound(ctx: *mut bpf_sock, address: [u32; 4], family: u8) {
    // SAFETY: the context is valid while the program runs.
    let (number, port) = unsafe { ((*ctx).protocol, (*ctx).src_port as u16) };
    let Some(protocol) = protocol(number) else { return };
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.cast()) };
    // The context of these programs is the `struct sock` itself.
    let sock = ctx.expose_provenance() as u64;
    let mut head = Head::unread(sock);
    if !head.read() {
        // Counted as lost, so that user space looks for it.
        emit::count(usize::from(kind::BIND));
        return;
    }
    told::bound(sock, &head, cookie, &Place { address, port, family, protocol }, 0, 0);
}

#[cgroup_sock(post_bind4)]
pub(crate) fn post_bind4(ctx: SockContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let address = unsafe { (*ctx.sock).src_ip4 };
    bound(ctx.sock, [address, 0, 0, 0], AF_INET);
    ALLOW
}

#[cgroup_sock(post_bind6)]
pub(crate) fn post_bind6(ctx: SockContext) -> i32 {
    // SAFETY: the context is valid while the program runs; the verifier wants each word read by itself.
    let address = unsafe {
        let words = (&raw const (*ctx.sock).src_ip6).cast::<u32>();
        [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ]
    };
    bound(ctx.sock, address, AF_INET6);
    ALLOW
}

/// The last descriptor of a socket was closed.
#[cgroup_sock(sock_release)]
pub(crate) fn sock_release(ctx: SockContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let (number, state) = unsafe { ((*ctx.sock).protocol, (*ctx.sock).state) };
    // The context of these programs is the `struct sock` itself.
    let sock = ctx.sock.expose_provenance() as u64;
    let tcp = number == u32::from(IPPROTO_TCP);
    // What listens, or is closed and never was connected, has left nothing.
    let connected = || state != CLOSE || field::<u16>(sock, SOCK_PEER_PORT).unwrap_or(0) != 0;
    if (tcp || number == IPPROTO_MPTCP) && state != LISTEN && connected() {
        let mut head = Head::unread(sock);
        let read = head.read();
        if read && serves(LEFT_BY_RELEASE) {
            time_wait::released(sock, &head, state);
        }
        // A connection is among bound sockets only if it was bound before, and then it has a cookie. The helper would give it one.
        if read && tcp {
            told::released(head.cookie());
            return ALLOW;
        }
    }
    // SAFETY: the helper takes the context.
    told::released(unsafe { bpf_get_socket_cookie(ctx.sock.cast()) });
    if number == IPPROTO_MPTCP {
        told::released(layout::cookie(layout::subflow_of(sock)));
    }
    ALLOW
}

/// Has the kernel give a socket its cookie, for programs that can only read it: tracing programs before 5.12, and all
/// kprobes.
#[inline(always)]
fn cookie_made(ctx: &SockContext) -> i32 {
    // SAFETY: the helper takes the context.
    let _ = unsafe { bpf_get_socket_cookie(ctx.sock.cast()) };
    ALLOW
}

/// When a program makes a socket.
#[cgroup_sock(sock_create)]
pub(crate) fn cookie_create(ctx: SockContext) -> i32 {
    cookie_made(&ctx)
}

/// Before the bind of a socket that the kernel made comes to its end.
#[cgroup_sock(post_bind4)]
pub(crate) fn cookie_bind4(ctx: SockContext) -> i32 {
    cookie_made(&ctx)
}

/// The same for IPv6.
#[cgroup_sock(post_bind6)]
pub(crate) fn cookie_bind6(ctx: SockContext) -> i32 {
    cookie_made(&ctx)
}
