//! Properties of the decoder over generated records and bytes.

use core::{
    net::{Ipv4Addr, Ipv6Addr},
    num::{NonZeroU16, NonZeroU32, NonZeroU64},
};
use std::{boxed::Box, string::ToString, vec::Vec};

use proptest::{array::uniform16, collection::vec, option, prelude::*};

use super::{
    Actor, Close, Comm, Command, Exec, Exit, Fork, IpAddr, Killed, Kind, Options, Process, Protocol, Record,
    Refused, SentFrom, Socket, decode,
};
use crate::encode::encode;

prop_compose! {
    fn actor()(
        pid in any::<NonZeroU32>(), tid: u32, uid: u32, gid: u32, start_ns: Option<NonZeroU64>,
    ) -> Actor {
        Actor { pid, tid, uid, gid, start_ns }
    }
}

prop_compose! {
    fn comm()(mut bytes in uniform16(any::<u8>())) -> Comm {
        bytes[15] = 0;
        Comm::from_kernel(bytes).unwrap()
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        any::<[u8; 16]>().prop_map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
        any::<[u8; 4]>().prop_map(|octets| IpAddr::V6(Ipv4Addr::from(octets).to_ipv6_mapped())),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::UdpLite), Just(Protocol::Mptcp)]
}

fn options() -> impl Strategy<Value = Options> {
    any::<(bool, bool, bool)>().prop_map(|(reuse_addr, reuse_port, v6_only)| Options {
        reuse_addr,
        reuse_port,
        v6_only,
    })
}

prop_compose! {
    fn process()(
        boot_ns: u64, actor in actor(), cgroup_id: Option<NonZeroU64>, parent_pid: Option<NonZeroU32>,
        comm in comm(), parent_comm in comm(), command in vec(any::<u8>(), 0..300), truncated: bool,
    ) -> Process {
        let command = Command::new(&command, truncated);
        Process { boot_ns, actor, cgroup_id, parent_pid, comm, parent_comm, command }
    }
}

prop_compose! {
    fn socket()(
        boot_ns: u64, actor in option::of(actor()), cookie: NonZeroU64, cgroup_id: Option<NonZeroU64>,
        address in address(), netns: Option<NonZeroU32>, port: NonZeroU16, asked_port: Option<u16>,
        protocol in protocol(), options in option::of(options()),
    ) -> Socket {
        Socket { boot_ns, actor, cookie, cgroup_id, address, netns, port, asked_port, protocol, options }
    }
}

prop_compose! {
    fn refused()(
        socket in socket(), cookie: Option<NonZeroU64>, errno in 1..=4095_u16,
        protocol in option::of(protocol()), listen: bool,
    ) -> Refused {
        let Socket { boot_ns, actor, cgroup_id, address, netns, asked_port, options, .. } = socket;
        let errno = NonZeroU16::new(errno).unwrap();
        let listen = listen && asked_port.is_some_and(|port| port != 0);
        Refused { boot_ns, actor, cookie, cgroup_id, address, netns, errno, asked_port, listen, protocol, options }
    }
}

prop_compose! {
    fn close()(boot_ns: u64, actor in option::of(actor()), cookie: NonZeroU64) -> Close {
        Close { boot_ns, actor, cookie }
    }
}

prop_compose! {
    fn exit()(boot_ns: u64, actor in actor(), exit_code: Option<u32>) -> Exit {
        Exit { boot_ns, actor, exit_code }
    }
}

prop_compose! {
    fn fork()(
        boot_ns: u64, actor in actor(), child_pid: NonZeroU32, child_start_ns: Option<NonZeroU64>,
    ) -> Fork {
        Fork { boot_ns, actor, child_pid, child_start_ns }
    }
}

fn sent_from() -> impl Strategy<Value = SentFrom> {
    prop_oneof![actor().prop_map(SentFrom::Process), Just(SentFrom::Kernel), Just(SentFrom::OutOfMemory)]
}

prop_compose! {
    fn killed()(
        boot_ns: u64, actor in actor(), exit_code: u32, signal in 1..=64_u8, from in sent_from(), again: bool,
        sent_ns: u64,
    ) -> Killed {
        Killed { boot_ns, actor, exit_code, signal, from, again, sent_ns }
    }
}

/// A record of any kind; the `match` makes sure that none is forgotten.
fn record() -> impl Strategy<Value = Record> {
    proptest::sample::select(Kind::ALL.as_slice()).prop_flat_map(|kind| match kind {
        Kind::Process => process().prop_map(Record::Process).boxed(),
        Kind::Bind => socket().prop_map(Record::Bind).boxed(),
        Kind::Refused => refused().prop_map(Record::Refused).boxed(),
        Kind::Listen => socket().prop_map(Record::Listen).boxed(),
        Kind::Unlisten => close().prop_map(Record::Unlisten).boxed(),
        Kind::Close => close().prop_map(Record::Close).boxed(),
        Kind::Exit => exit().prop_map(Record::Exit).boxed(),
        Kind::Fork => fork().prop_map(Record::Fork).boxed(),
        Kind::Exec => {
            (any::<u64>(), actor()).prop_map(|(boot_ns, actor)| Record::Exec(Exec { boot_ns, actor })).boxed()
        }
        Kind::Killed => killed().prop_map(Record::Killed).boxed(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_an_encoded_record_gives_it_back(record in record().prop_map(Box::new)) {
        prop_assert_eq!(decode(&encode(&record)), Ok(*record));
    }

    #[test]
    fn any_bytes_are_a_record_or_a_named_error(bytes in vec(any::<u8>(), 0..400)) {
        if let Err(error) = decode(&bytes) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_record_with_one_byte_changed_is_a_record_or_a_named_error(
        record in record().prop_map(Box::new), at: proptest::sample::Index, byte: u8,
    ) {
        let mut bytes: Vec<u8> = encode(&record).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        match decode(&bytes) {
            // What is accepted survives another round, so nothing half-read came out.
            Ok(other) => prop_assert_eq!(decode(&encode(&other)), Ok(other)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn a_record_cut_anywhere_is_refused(
        record in record().prop_map(Box::new), at: proptest::sample::Index,
    ) {
        let bytes = encode(&record);
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
    }
}
