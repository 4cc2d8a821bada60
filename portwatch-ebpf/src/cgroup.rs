//! The cgroup family, attached to the root of cgroup v2: it sees every socket of the machine, whatever its
//! namespace, and io_uring too. The contexts are stable ABI.

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_socket_cookie, bpf_ktime_get_boot_ns,
    },
    macros::{cgroup_sock, cgroup_sock_addr},
    programs::{SockAddrContext, SockContext},
};
use portwatch_common::{
    counter,
    record::{
        AF_INET, AF_INET6, CloseRecord, IPPROTO_MPTCP_SHORT, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE,
        SocketRecord, flag, kind,
    },
};

use crate::{
    emit, layout,
    maps::{ASKED, Asked, BOUND, Bound},
    task::Current,
};

/// Allows the operation. These programs watch; they never refuse.
const ALLOW: i32 = 1;

/// `IPPROTO_MPTCP`
const IPPROTO_MPTCP: u32 = 262;

/// The record's protocol number; `None` for sockets without ports (ping).
#[inline(always)]
fn protocol(number: u32) -> Option<u8> {
    if number == IPPROTO_MPTCP {
        return Some(IPPROTO_MPTCP_SHORT);
    }
    if number == u32::from(IPPROTO_TCP)
        || number == u32::from(IPPROTO_UDP)
        || number == u32::from(IPPROTO_UDPLITE)
    {
        return Some(number as u8);
    }
    None
}

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
        boot_ns: unsafe { bpf_ktime_get_boot_ns() },
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
    match ASKED.get_ptr_mut(&key) {
        // SAFETY: only this thread writes its entry.
        Some(entry) => unsafe { *entry = asked },
        // A failure leaves the asked port unknown, which the record says.
        None => drop(ASKED.insert(&key, &asked, 0)),
    }
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
    // SAFETY: helpers without arguments, and one that takes the context.
    let (cookie, boot_ns, cgroup_id) =
        unsafe { (bpf_get_socket_cookie(ctx.cast()), bpf_ktime_get_boot_ns(), bpf_get_current_cgroup_id()) };
    // The context of these programs is the `struct sock` itself.
    let sock = ctx.expose_provenance() as u64;
    let current = Current::new(cgroup_id);
    // Before anything that branches: old verifiers walk what comes here once for each branch before it.
    let actor = current.actor(boot_ns);
    let netns = layout::netns(sock);
    if BOUND.insert(&cookie, &Bound { netns, pad: 0 }, 0).is_err() {
        emit::count(counter::BOUND_FULL);
    }
    let mut flags = flag::ACTOR_KNOWN | layout::options(sock);
    let mut asked_port = 0;
    if let Some(asked) = ASKED.get_ptr_mut(&current.pid_tgid) {
        // SAFETY: only this thread writes its entry.
        unsafe {
            if (*asked).state == Asked::OPEN && ((*asked).cookie == cookie || (*asked).cookie == 0) {
                (*asked).state = Asked::DONE;
                asked_port = (*asked).port;
                flags |= flag::ASKED_KNOWN;
            }
        }
    }
    let Some(mut entry) = emit::reserve::<SocketRecord>(kind::BIND) else { return };
    entry.write(SocketRecord {
        header: emit::header::<SocketRecord>(kind::BIND, boot_ns),
        actor,
        cookie,
        cgroup_id,
        address: bytes(address),
        netns,
        errno: 0,
        port,
        asked_port,
        family,
        protocol,
        flags,
    });
    entry.submit(0);
}

/// The words of an address as the bytes they are in memory.
#[inline(always)]
pub(crate) fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: same size, no invalid values.
    unsafe { core::mem::transmute(words) }
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

/// The last descriptor of a socket was closed. Runs for every socket of the machine: one look at the map of
/// bound sockets is all that a connection costs.
#[cgroup_sock(sock_release)]
pub(crate) fn sock_release(ctx: SockContext) -> i32 {
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.sock.cast()) };
    if BOUND.get_ptr(&cookie).is_none() || BOUND.remove(&cookie).is_err() {
        return ALLOW;
    }
    // SAFETY: helpers without arguments.
    let (boot_ns, cgroup_id) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_current_cgroup_id()) };
    let actor = Current::new(cgroup_id).actor(boot_ns);
    let Some(mut entry) = emit::reserve::<CloseRecord>(kind::CLOSE) else { return ALLOW };
    entry.write(CloseRecord { header: emit::header::<CloseRecord>(kind::CLOSE, boot_ns), actor, cookie });
    entry.submit(0);
    ALLOW
}
