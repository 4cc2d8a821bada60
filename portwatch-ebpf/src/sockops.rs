//! Listening, from the one place where the port is right even without a bind before.

use aya_ebpf::{
    bindings::BPF_SOCK_OPS_TCP_LISTEN_CB,
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns},
    macros::sock_ops,
    programs::SockOpsContext,
};
use portwatch_common::{
    counter,
    record::{AF_INET6, IPPROTO_TCP, SocketRecord, flag, kind},
};

use crate::{
    cgroup::bytes,
    emit, layout,
    maps::{ADOPTED, BOUND, Bound},
    task::Current,
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
    let mut flags = flag::ACTOR_KNOWN | layout::options(sock);
    let netns = if let Some(bound) = BOUND.get_ptr(&cookie) {
        // SAFETY: a pointer into the map, valid while we run.
        unsafe { (*bound).netns }
    } else {
        let netns = layout::netns(sock);
        if BOUND.insert(&cookie, &Bound { netns, pad: 0 }, 0).is_err() {
            emit::count(counter::BOUND_FULL);
        }
        // Never bound, so the kernel chose the port; sure only once all older sockets are in the map.
        if ADOPTED.get(0) == Some(&1) {
            flags |= flag::ASKED_KNOWN;
        }
        netns
    };
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
    let Some(mut entry) = emit::reserve::<SocketRecord>(kind::LISTEN) else { return };
    entry.write(SocketRecord {
        header: emit::header::<SocketRecord>(kind::LISTEN, boot_ns),
        actor,
        cookie,
        cgroup_id: current.cgroup_id,
        address: bytes(address),
        netns,
        errno: 0,
        port,
        asked_port: 0,
        family,
        protocol: IPPROTO_TCP,
        flags,
    });
    entry.submit(0);
}
