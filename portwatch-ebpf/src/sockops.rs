//! Listening, from the one place where the port is right even without a bind before.

use aya_ebpf::{
    bindings::BPF_SOCK_OPS_TCP_LISTEN_CB,
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns},
    macros::sock_ops,
    programs::SockOpsContext,
};
use portwatch_common::record::{AF_INET6, IPPROTO_TCP};

use crate::{
    layout,
    task::Current,
    told::{self, Place},
};

/// Runs at many moments of every connection of the machine; all but one end at the first line.
#[sock_ops]
pub(crate) fn sock_listen(ctx: SockOpsContext) -> u32 {
    if ctx.op() == BPF_SOCK_OPS_TCP_LISTEN_CB {
        listening(&ctx);
    }
    1
}

#[inline(always)]
fn listening(ctx: &SockOpsContext) {
    let ops = ctx.ops;
    // SAFETY: helpers that take nothing or the context.
    let (cookie, boot_ns) = unsafe { (bpf_get_socket_cookie(ops.cast()), bpf_ktime_get_boot_ns()) };
    // Before anything that branches: old verifiers walk what comes here once for each branch before it.
    let current = Current::by_reading();
    let actor = current.actor(boot_ns);
    // SAFETY: the context is valid while the program runs.
    let sock = layout::address_of(unsafe { (*ops).__bindgen_anon_2.sk }.cast());
    let family = ctx.family() as u8;
    // SAFETY: the context is valid while the program runs; the verifier wants each word read by itself.
    let (address, port) = unsafe {
        let port = (*ops).local_port as u16;
        if family == AF_INET6 {
            let words = (&raw const (*ops).local_ip6).cast::<u32>();
            let address = [
                words.read_volatile(),
                words.add(1).read_volatile(),
                words.add(2).read_volatile(),
                words.add(3).read_volatile(),
            ];
            (address, port)
        } else {
            ([(*ops).local_ip4, 0, 0, 0], port)
        }
    };
    let at = Place { address, port, family, protocol: IPPROTO_TCP };
    told::listening(sock, layout::options(sock), cookie, &at, actor, &current, boot_ns);
}
