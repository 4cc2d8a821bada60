//! Binds and listens that the kernel refuses.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use portwatch_common::record::{AF_INET, AF_INET6, SocketRecord, flag, kind};

use crate::{
    emit,
    layout::{self, Head},
    task::Current,
    told::{NOWHERE, bytes, place, protocol_of},
};

/// `EADDRINUSE`
const IN_USE: u32 = 98;

/// What a bind asks for.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// Network byte order.
    pub(crate) address: [u32; 4],
    /// Host byte order.
    pub(crate) port: u16,
    pub(crate) family: u8,
}

impl Request {
    /// Nothing yet.
    pub(crate) const EMPTY: Self = Self { address: [0; 4], port: 0, family: 0 };

    /// Reads a `struct sockaddr_in` or `sockaddr_in6` that the kernel has copied; false for any other, and for one that
    /// is too short to be read.
    #[inline(always)]
    pub(crate) fn read(&mut self, sockaddr: u64, length: u32) -> bool {
        /// `sizeof(struct sockaddr_in)`
        const SHORTEST4: u32 = 16;
        /// `SIN6_LEN_RFC2133`
        const SHORTEST6: u32 = 24;
        if length < SHORTEST4 {
            return false;
        }
        let family = raw::<u16>(sockaddr, 0).unwrap_or(u16::MAX);
        self.port = u16::from_be(raw(sockaddr, 2).unwrap_or(0));
        // An IPv4 socket takes AF_UNSPEC too.
        if family == u16::from(AF_INET) || family == 0 {
            self.family = AF_INET;
            self.address = [raw(sockaddr, 4).unwrap_or(0), 0, 0, 0];
            return true;
        }
        if family == u16::from(AF_INET6) && length >= SHORTEST6 {
            self.family = AF_INET6;
            self.address = raw(sockaddr, 8).unwrap_or([0; 4]);
            return true;
        }
        false
    }
}

/// Reads memory of the kernel whose layout is ABI.
#[inline(always)]
fn raw<T>(base: u64, offset: u64) -> Option<T> {
    // SAFETY: bpf_probe_read_kernel checks the address and fails on a bad one.
    unsafe {
        aya_ebpf::helpers::bpf_probe_read_kernel(core::ptr::with_exposed_provenance::<T>(
            (base + offset) as usize,
        ))
    }
    .ok()
}

/// A bind of this socket was refused.
#[inline(always)]
pub(crate) fn to_bind(sock: u64, request: &Request, errno: u32) {
    let protocol = protocol_of(sock);
    if protocol == 0 {
        return;
    }
    // SAFETY: a helper without arguments.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    let current = Current::new();
    let actor = current.actor(boot_ns);
    let (netns, options, cookie) = (layout::netns(sock), layout::options(sock), layout::cookie(sock));
    let Some(mut record) = emit::reserve::<SocketRecord>(kind::REFUSED) else { return };
    record.write(SocketRecord {
        header: emit::header::<SocketRecord>(kind::REFUSED, boot_ns),
        actor,
        cookie,
        cgroup_id: current.cgroup_id,
        address: bytes(request.address),
        netns,
        errno,
        port: 0,
        asked_port: request.port,
        family: request.family,
        protocol,
        flags: flag::ACTOR_KNOWN | flag::ASKED_KNOWN | options,
    });
    record.submit(0);
}

/// A bound socket was to listen and does not: another one, which shares its port by SO_REUSEADDR, was first. `inet_csk_listen_start` asks for
/// the port once more, with the state of a listener, and nothing else can fail after that state is set.
#[inline(always)]
pub(crate) fn to_listen(sock: u64) {
    let (mut head, mut at) = (Head::unread(sock), NOWHERE);
    if !head.read() || !place(sock, &head, &mut at) {
        return;
    }
    let (cookie, netns) = (head.cookie(), head.netns());
    // SAFETY: a helper without arguments.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    let current = Current::new();
    let actor = current.actor(boot_ns);
    let Some(mut record) = emit::reserve::<SocketRecord>(kind::REFUSED) else { return };
    record.write(SocketRecord {
        header: emit::header::<SocketRecord>(kind::REFUSED, boot_ns),
        actor,
        cookie,
        cgroup_id: current.cgroup_id,
        address: bytes(at.address),
        netns,
        errno: IN_USE,
        port: at.port,
        asked_port: at.port,
        family: at.family,
        protocol: at.protocol,
        flags: flag::ACTOR_KNOWN | flag::ASKED_KNOWN | head.options(),
    });
    record.submit(0);
}
