//! What is told of sockets, whichever hook saw it: read from `struct sock` itself, where the context does not give it.
//!
//! Hooks of several families may see the same event. A bind is told once for each port that a socket gets
//! ([`Bound::told_port`]), a close by whoever takes the socket out of [`BOUND`].

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_boot_ns};
use portwatch_common::{
    connection, counter, layout as word,
    record::{
        AF_INET, AF_INET6, Actor, CloseRecord, IPPROTO_MPTCP_SHORT, IPPROTO_TCP, IPPROTO_UDP,
        IPPROTO_UDPLITE, SocketRecord, flag, kind,
    },
};

use crate::{
    emit, layout,
    layout::{Head, field},
    maps::{ADOPTED, ASKED, Asked, BOUND, Bound, serves},
    refused,
    task::Current,
    time_wait,
};

/// `IPPROTO_MPTCP`
pub(crate) const IPPROTO_MPTCP: u32 = 262;
/// `TCP_CLOSE`
const CLOSE: u8 = 7;
/// `TCP_LISTEN`
const LISTEN: u8 = 10;

/// Where a socket is bound.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Network byte order.
    pub(crate) address: [u32; 4],
    /// Host byte order.
    pub(crate) port: u16,
    pub(crate) family: u8,
    pub(crate) protocol: u8,
}

/// The record's protocol number; `None` for sockets without ports (ping).
#[inline(always)]
pub(crate) fn protocol(number: u32) -> Option<u8> {
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

/// The words of an address as the bytes they are in memory.
#[inline(always)]
pub(crate) fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: same size, no invalid values.
    unsafe { core::mem::transmute(words) }
}

/// The protocol of a socket; 0 for one without ports.
#[inline(always)]
pub(crate) fn protocol_of(sock: u64) -> u8 {
    match field::<u16>(sock, word::SOCK_PROTOCOL) {
        Some(number) => protocol(u32::from(number)).unwrap_or(0),
        None => 0,
    }
}

/// Where a socket is bound; false for what has no port.
#[inline(always)]
pub(crate) fn place(sock: u64, head: &Head, out: &mut Place) -> bool {
    out.protocol = protocol_of(sock);
    out.port = head.field::<u16>(word::SOCK_LOCAL_PORT).unwrap_or(0);
    if out.protocol == 0 || out.port == 0 {
        return false;
    }
    let family = head.field::<u16>(word::SOCK_FAMILY).unwrap_or(0);
    if family == u16::from(AF_INET6) {
        out.family = AF_INET6;
        if let Some(address) = head.field(word::SOCK_LOCAL6) {
            out.address = address;
        }
        return true;
    }
    out.family = AF_INET;
    out.address = [head.field(word::SOCK_LOCAL4).unwrap_or(0), 0, 0, 0];
    family == u16::from(AF_INET)
}

/// A place before it is known.
pub(crate) const NOWHERE: Place = Place { address: [0; 4], port: 0, family: 0, protocol: 0 };

/// Whether the port that a socket has was told as bound already: where one function calls another, the inner one tells.
#[inline(always)]
pub(crate) fn is_told(head: &Head) -> bool {
    let Some(port) = head.field::<u16>(word::SOCK_LOCAL_PORT) else { return false };
    match BOUND.get_ptr(&head.cookie()) {
        // SAFETY: a pointer into the map, valid while we run.
        Some(entry) => unsafe { (*entry).told_port == u32::from(port) },
        None => false,
    }
}

/// A socket has a port now. `asked` is [`flag::ASKED_KNOWN`] where the port asked for is known, else 0.
#[inline(always)]
pub(crate) fn bound_socket(sock: u64, head: &Head, asked_port: u16, asked: u16) {
    let mut at = NOWHERE;
    if !place(sock, head, &mut at) {
        return;
    }
    bound(sock, head, head.cookie(), &at, asked_port, asked);
}

/// A socket got a port that it did not ask for.
#[inline(always)]
pub(crate) fn port_given(sock: u64) {
    let mut head = Head::unread(sock);
    if head.read() {
        bound_socket(sock, &head, 0, flag::ASKED_KNOWN);
    }
}

/// The same, where the context gave the place.
#[inline(always)]
pub(crate) fn bound(sock: u64, head: &Head, cookie: u64, at: &Place, asked_port: u16, asked: u16) {
    if cookie == 0 {
        // Made before there was anybody who would have the kernel give it a cookie. Counted as lost, so that user
        // space looks for it.
        emit::count(usize::from(kind::BIND));
        return;
    }
    // SAFETY: a helper without arguments.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    let current = Current::new();
    // Before anything that branches: old verifiers walk what comes here once for each branch before it.
    let actor = current.actor(boot_ns);
    if at.protocol == IPPROTO_TCP && (layout::ends_unseen(sock) || current.calls_by_32_bits()) {
        emit::count(counter::NEED);
    }
    let netns = head.netns();
    let port = u32::from(at.port);
    // Nearly every bind is the first of its socket.
    if BOUND.insert(&cookie, &Bound { netns, told_port: port, listens: 0 }, u64::from(BPF_NOEXIST)).is_err() {
        match BOUND.get_ptr_mut(&cookie) {
            // SAFETY: a pointer into the map, valid while we run; only the thread that binds the socket writes it.
            Some(entry) => unsafe {
                // No socket that listens can be bound.
                (*entry).listens = 0;
                if (*entry).told_port == port {
                    return;
                }
                (*entry).told_port = port;
            },
            None => emit::count(counter::BOUND_FULL),
        }
    }
    let mut flags = flag::ACTOR_KNOWN | head.options() | asked;
    let mut asked_port = asked_port;
    if let Some(entry) = ASKED.get_ptr_mut(&current.pid_tgid) {
        // SAFETY: only this thread writes its entry.
        unsafe {
            let of_this = (*entry).cookie == cookie || (*entry).cookie == 0 && (*entry).sock == sock;
            if (*entry).state == Asked::OPEN && of_this {
                (*entry).state = Asked::DONE;
                asked_port = (*entry).port;
                flags |= flag::ASKED_KNOWN;
            }
        }
    }
    let Some(mut entry) = emit::reserve::<SocketRecord>(kind::BIND) else { return };
    entry.write(SocketRecord {
        header: emit::header::<SocketRecord>(kind::BIND, boot_ns),
        actor,
        cookie,
        cgroup_id: current.cgroup_id,
        address: bytes(at.address),
        netns,
        errno: 0,
        port: at.port,
        asked_port,
        family: at.family,
        protocol: at.protocol,
        flags,
    });
    entry.submit(0);
}

/// A socket listens now, or was refused to. `listen` and `refused` are the words of whoever asks in [`crate::maps::SERVES`].
#[inline(always)]
pub(crate) fn listening_socket(sock: u64, listen: u32, refused: u32) {
    let mut head = Head::unread(sock);
    if !head.read() {
        return;
    }
    let state = head.field::<u8>(word::SOCK_STATE);
    if state == Some(CLOSE) && serves(refused) {
        refused::to_listen(sock);
    }
    if state != Some(LISTEN) || !serves(listen) {
        return;
    }
    let mut at = NOWHERE;
    if !place(sock, &head, &mut at) {
        return;
    }
    let cookie = head.cookie();
    // SAFETY: a helper without arguments.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    let current = Current::new();
    let actor = current.actor(boot_ns);
    if cookie == 0 {
        emit::count(usize::from(kind::LISTEN));
        let place = connection::Place { netns: head.netns(), port: u32::from(at.port) };
        time_wait::listens(place, &actor, &current);
        return;
    }
    listening(sock, head.options(), cookie, &at, actor, &current, boot_ns);
}

/// The same, where the context gave the place.
#[inline(always)]
pub(crate) fn listening(
    sock: u64,
    options: u16,
    cookie: u64,
    at: &Place,
    actor: Actor,
    current: &Current,
    boot_ns: u64,
) {
    let mut flags = flag::ACTOR_KNOWN | options;
    let netns = if let Some(bound) = BOUND.get_ptr_mut(&cookie) {
        // SAFETY: a pointer into the map, valid while we run; the socket is locked while its state changes.
        unsafe {
            (*bound).listens = 1;
            (*bound).netns
        }
    } else {
        let netns = layout::netns(sock);
        if BOUND.insert(&cookie, &Bound { netns, told_port: 0, listens: 1 }, 0).is_err() {
            emit::count(counter::BOUND_FULL);
        }
        // Never bound, so the kernel chose the port; sure only once all older sockets are in the map.
        if ADOPTED.get(0) == Some(&1) {
            flags |= flag::ASKED_KNOWN;
        }
        netns
    };
    let place = connection::Place { netns, port: u32::from(at.port) };
    time_wait::listens(place, &actor, current);
    let Some(mut entry) = emit::reserve::<SocketRecord>(kind::LISTEN) else { return };
    entry.write(SocketRecord {
        header: emit::header::<SocketRecord>(kind::LISTEN, boot_ns),
        actor,
        cookie,
        cgroup_id: current.cgroup_id,
        address: bytes(at.address),
        netns,
        errno: 0,
        port: at.port,
        asked_port: 0,
        family: at.family,
        protocol: IPPROTO_TCP,
        flags,
    });
    entry.submit(0);
}

/// Whether a bound socket is known to listen; `None` for any other.
#[inline(always)]
pub(crate) fn listens(cookie: u64) -> Option<bool> {
    // SAFETY: a pointer into the map, valid while we run.
    BOUND.get_ptr(&cookie).map(|bound| unsafe { (*bound).listens != 0 })
}

/// The last descriptor of a socket was closed. Comes for every socket of the machine: one look at the map of bound
/// sockets is all that a connection costs.
#[inline(always)]
pub(crate) fn released(cookie: u64) {
    if cookie == 0 || BOUND.get_ptr(&cookie).is_none() || BOUND.remove(&cookie).is_err() {
        return;
    }
    // SAFETY: a helper without arguments.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    let actor = Current::new().actor(boot_ns);
    closed(kind::CLOSE, cookie, actor, boot_ns);
}

/// A socket listens no longer, and was not closed: an ordinary close has been through [`released`] before.
#[inline(always)]
pub(crate) fn unlistened(cookie: u64) {
    let Some(bound) = BOUND.get_ptr_mut(&cookie) else { return };
    // SAFETY: as in `listening`.
    unsafe { (*bound).listens = 0 };
    closed_by_nobody(kind::UNLISTEN, cookie);
}

/// A socket that the kernel made gave its port up: no descriptor is ever closed.
#[inline(always)]
pub(crate) fn ended(cookie: u64) {
    if cookie == 0 || BOUND.get_ptr(&cookie).is_none() || BOUND.remove(&cookie).is_err() {
        return;
    }
    closed_by_nobody(kind::CLOSE, cookie);
}

/// The current task is whoever ran when it happened; it proves nothing.
#[inline(always)]
fn closed_by_nobody(kind: u16, cookie: u64) {
    // SAFETY: a helper without arguments.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    closed(kind, cookie, Actor { pid: 0, tid: 0, uid: 0, gid: 0, start_ns: 0 }, boot_ns);
}

#[inline(always)]
fn closed(kind: u16, cookie: u64, actor: Actor, boot_ns: u64) {
    let Some(mut entry) = emit::reserve::<CloseRecord>(kind) else { return };
    entry.write(CloseRecord { header: emit::header::<CloseRecord>(kind, boot_ns), actor, cookie });
    entry.submit(0);
}
