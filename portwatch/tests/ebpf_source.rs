//! The eBPF source on the real kernel. Where BPF is not to be had these tests say so and pass, unless
//! `PORTWATCH_REQUIRE=ebpf` declares that it is.
#![cfg(target_os = "linux")]

mod support;

use std::net::{Ipv4Addr, TcpListener};

use portwatch::model::{AskedPort, Phase, Protocol, Seen};
use portwatch::source::Source as _;
use support::{Watch, me};

#[test]
fn a_listener_is_seen_from_bind_to_close() {
    let Some(mut watch) = Watch::start() else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let seen = watch.until(|seen| matches!(seen, Seen::Closed(c) if c.by.is_some_and(|p| p.pid == me())));
    let bound = seen.iter().find_map(|s| match s {
        Seen::Bound(b) if b.socket.endpoint.port.get() == port => Some(b),
        _ => None,
    });
    let bound = bound.expect("the bind was seen");
    assert_eq!(bound.socket.endpoint.protocol, Protocol::Tcp);
    assert_eq!(bound.socket.endpoint.address, Ipv4Addr::LOCALHOST);
    assert_eq!(bound.socket.endpoint.netns.map(|n| u64::from(n.0)), Some(support::own_netns()));
    assert_eq!(bound.socket.asked, AskedPort::KernelChosen);
    assert_eq!(bound.socket.options.reuse_addr, Some(true), "the standard library sets it");
    assert_eq!(bound.by.map(|p| p.pid), Some(me()));
    let key = bound.socket.key;
    let listening = seen.iter().find_map(|s| match s {
        Seen::Listening(l) if l.socket.key == key => Some(l),
        _ => None,
    });
    let listening = listening.expect("the listen was seen");
    assert_eq!(listening.socket.endpoint, bound.socket.endpoint);
    assert_eq!(listening.socket.phase, Phase::Listening);
    assert_eq!(listening.by, bound.by);
    assert!(seen.iter().any(|s| matches!(s, Seen::Closed(c) if c.key == key && c.by == bound.by)));
}

#[test]
fn every_hook_of_the_stable_family_attaches() {
    let Some(watch) = Watch::start() else { return };
    let degradations = watch.source.degradations();
    assert!(degradations.is_empty(), "{degradations:#?}");
    assert!(watch.source.coverage().iter().all(|c| c.hook.is_some()), "{:#?}", watch.source.coverage());
}
