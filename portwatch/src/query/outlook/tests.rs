use std::sync::Arc;

use super::*;
use crate::model::{
    AskedPort, Evidence, Holder, Process, ProcessId, SocketKey, SocketOptions, SocketSeen, Timestamp,
};

const NODE: ProcessId = ProcessId { pid: 48291, start_ticks: 1 };

fn node() -> Process {
    Process {
        id: NODE,
        started: None,
        comm: "node".to_owned(),
        command: None,
        exe: None,
        cwd: None,
        uid: Some(1000),
        user: Some("erich".to_owned()),
        cgroup: None,
        unit: None,
        container: None,
        lineage: Vec::new(),
        project: None,
        evidence: Evidence::Scan,
    }
}

fn held(protocol: Protocol, address: &str, phase: Phase) -> KnownSocket {
    let endpoint =
        Endpoint { netns: None, protocol, address: address.parse().unwrap(), port: Port::new(3100).unwrap() };
    let options = SocketOptions { reuse_addr: Some(false), reuse_port: Some(false), v6_only: Some(false) };
    let seen = SocketSeen {
        key: SocketKey::Cookie(1),
        inode: None,
        endpoint,
        phase,
        asked: AskedPort::Unknown,
        options,
        uid: Some(1000),
        cgroup_id: None,
    };
    let socket = Socket {
        seen,
        creator: Some(NODE),
        holders: vec![Holder { process: NODE, evidence: Evidence::Scan }],
        owner: Owner::Known,
        since: Timestamp::UNIX_EPOCH,
        listening_since: None,
        evidence: Evidence::Kernel,
    };
    KnownSocket { socket, processes: vec![Arc::new(node())], user: Some("erich".to_owned()), noise: false }
}

fn listener(address: &str) -> KnownSocket {
    held(Protocol::Tcp, address, Phase::Listening)
}

fn asked(address: Option<&str>) -> Place {
    let address = address.map(|a| a.parse().unwrap());
    Place { address, port: Port::new(3100).unwrap(), protocol: None, netns: None }
}

fn told(address: Option<&str>, sockets: &[KnownSocket]) -> (Option<bool>, String) {
    let Outlook { bindable, sentence } = outlook(asked(address), sockets, &Completeness::Complete);
    (bindable, sentence)
}

#[test]
fn the_holder_is_named_with_its_place() {
    for (ours, theirs, sentence) in [
        (None, "0.0.0.0", "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) listens there."),
        (
            None,
            "127.0.0.1",
            "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) listens on 127.0.0.1:3100.",
        ),
        (
            Some("127.0.0.1"),
            "::",
            "A bind of 127.0.0.1:3100 would fail with EADDRINUSE: node (48291) listens on [::]:3100, which takes \
             IPv4 too.",
        ),
        (
            Some("::1"),
            "::",
            "A bind of [::1]:3100 would fail with EADDRINUSE: node (48291) listens on [::]:3100.",
        ),
    ] {
        assert_eq!(told(ours, &[listener(theirs)]), (Some(false), sentence.to_owned()));
    }
}

#[test]
fn where_ipv4_and_both_families_fare_differently_both_are_told() {
    let (bindable, sentence) = told(None, &[listener("::1")]);
    assert_eq!(bindable, Some(false));
    assert_eq!(
        sentence,
        "A bind of [::]:3100 would fail with EADDRINUSE: node (48291) listens on [::1]:3100. \
         A bind of 0.0.0.0:3100 would succeed as far as sockets go, unless a connection still uses the port (not \
         looked at)."
    );
}

#[test]
fn an_option_that_would_help_is_named() {
    let mut bound = held(Protocol::Tcp, "0.0.0.0", Phase::Bound);
    bound.socket.seen.options.reuse_addr = Some(true);
    assert_eq!(
        told(None, &[bound]).1,
        "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) is bound there without listening. \
         With SO_REUSEADDR it would succeed."
    );
    let mut group = listener("0.0.0.0");
    group.socket.seen.options.reuse_port = Some(true);
    assert_eq!(
        told(Some("0.0.0.0"), &[group]).1,
        "A bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) listens there. \
         With SO_REUSEPORT a socket of erich could join."
    );
}

#[test]
fn a_port_that_only_udp_has_is_judged_for_udp() {
    let sockets = [held(Protocol::Udp, "0.0.0.0", Phase::Bound)];
    assert_eq!(
        told(None, &sockets).1,
        "A UDP bind of 0.0.0.0:3100 would fail with EADDRINUSE: node (48291) receives there."
    );
    let tcp = Place { protocol: Some(Protocol::Tcp), ..asked(None) };
    let outlook = outlook(tcp, &sockets, &Completeness::Complete);
    assert!(outlook.sentence.starts_with("A bind of 0.0.0.0:3100 would succeed"), "{outlook:?}");
}

#[test]
fn success_is_certain_only_where_everything_was_looked_at() {
    let udp = Place { protocol: Some(Protocol::Udp), ..asked(None) };
    let certain = outlook(udp, &[], &Completeness::Complete);
    assert_eq!(certain.sentence, "A UDP bind of 0.0.0.0:3100 would succeed.");
    assert_eq!(certain.bindable, Some(true));
    // TCP connections and their TIME_WAIT were not looked at.
    assert_eq!(told(None, &[]).0, None);
    let partly = outlook(udp, &[], &Completeness::Partial("no permission".to_owned()));
    assert_eq!(partly.bindable, None);
    assert!(partly.sentence.contains("not everything could be seen"), "{partly:?}");
    // What is seen is in the way all the same.
    let partly = outlook(asked(None), &[listener("0.0.0.0")], &Completeness::Partial(String::new()));
    assert_eq!(partly.bindable, Some(false));
}

#[test]
fn a_holder_that_is_not_known_is_not_invented() {
    for (owner, sentence) in [
        (Owner::Kernel, "the kernel listens there"),
        (Owner::NotPermitted, "a process that may not be looked into here listens there"),
        (Owner::NoProcess, "a socket without a known process listens there"),
    ] {
        let mut known = listener("0.0.0.0");
        known.socket.owner = owner;
        known.socket.creator = None;
        known.socket.holders.clear();
        let (_, told) = told(None, &[known]);
        assert!(told.contains(sentence), "{told}");
    }
}

#[test]
fn a_doubt_is_told_with_its_reason() {
    let mut known = listener("::");
    known.socket.seen.options.v6_only = None;
    assert_eq!(
        told(Some("127.0.0.1"), &[known]),
        (
            None,
            "Whether a bind of 127.0.0.1:3100 would succeed is not known: node (48291) has [::]:3100, and whether \
             that takes IPv4 too could not be seen."
                .to_owned()
        )
    );
}
