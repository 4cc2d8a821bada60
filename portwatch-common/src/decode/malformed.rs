//! Malformed records and the verdict on each.

use core::mem::offset_of;
use std::{vec, vec::Vec};

use super::{
    DecodeError,
    DecodeError::{Abi, NoHeader, TrailingBytes, Truncated, UnknownKind, WrongSize},
};
use super::{Kind, Problem, decode};
use crate::record::{
    self, CloseRecord, ExitRecord, ForkRecord, Header, KilledRecord, ProcessRecord, SocketRecord, flag, kind,
};

/// A well-formed record of the kind, laid out by hand: the encoder has no part in it.
fn well_formed(kind: Kind) -> Vec<u8> {
    let mut bytes = vec![0; kind.size()];
    put(&mut bytes, offset_of!(Header, abi), &record::ABI.to_ne_bytes());
    put(&mut bytes, offset_of!(Header, kind), &kind.number().to_ne_bytes());
    put(&mut bytes, offset_of!(Header, size), &u32::try_from(kind.size()).unwrap().to_ne_bytes());
    put(&mut bytes, offset_of!(Header, boot_ns), &7_000_000_000_u64.to_ne_bytes());
    put(&mut bytes, 16, &4242_u32.to_ne_bytes());
    match kind {
        Kind::Process => {
            put(&mut bytes, offset_of!(ProcessRecord, comm), b"node");
            put(&mut bytes, offset_of!(ProcessRecord, command), b"node\0server.js\0");
            put(&mut bytes, offset_of!(ProcessRecord, command_len), &15_u16.to_ne_bytes());
        }
        Kind::Bind | Kind::Refused | Kind::Listen => {
            put(&mut bytes, offset_of!(SocketRecord, cookie), &11_u64.to_ne_bytes());
            put(&mut bytes, offset_of!(SocketRecord, address), &[127, 0, 0, 1]);
            put(&mut bytes, offset_of!(SocketRecord, family), &[record::AF_INET]);
            put(&mut bytes, offset_of!(SocketRecord, protocol), &[record::IPPROTO_TCP]);
            let flags = flag::ACTOR_KNOWN | flag::ASKED_KNOWN;
            put(&mut bytes, offset_of!(SocketRecord, flags), &flags.to_ne_bytes());
            put(&mut bytes, offset_of!(SocketRecord, asked_port), &3100_u16.to_ne_bytes());
            if kind == Kind::Refused {
                put(&mut bytes, offset_of!(SocketRecord, errno), &98_u32.to_ne_bytes());
            } else {
                put(&mut bytes, offset_of!(SocketRecord, port), &3100_u16.to_ne_bytes());
            }
        }
        Kind::Unlisten | Kind::Close => {
            put(&mut bytes, offset_of!(CloseRecord, cookie), &11_u64.to_ne_bytes());
        }
        Kind::Exit => put(&mut bytes, offset_of!(ExitRecord, exit_code_known), &[1]),
        Kind::Fork => put(&mut bytes, offset_of!(ForkRecord, child_pid), &4243_u32.to_ne_bytes()),
        Kind::Exec => {}
        Kind::Killed => {
            put(&mut bytes, offset_of!(KilledRecord, exit_code), &9_u32.to_ne_bytes());
            put(&mut bytes, offset_of!(KilledRecord, signal), &[9, record::from::PROCESS]);
            put(&mut bytes, offset_of!(KilledRecord, sender), &812_u32.to_ne_bytes());
        }
    }
    bytes
}

fn put(bytes: &mut [u8], offset: usize, source: &[u8]) {
    bytes[offset..offset + source.len()].copy_from_slice(source);
}

/// A well-formed record of the kind with some bytes replaced.
fn with(kind: Kind, offset: usize, source: &[u8]) -> Vec<u8> {
    let mut bytes = well_formed(kind);
    put(&mut bytes, offset, source);
    bytes
}

#[test]
fn what_the_table_starts_from_is_well_formed() {
    for kind in Kind::ALL {
        let record = decode(&well_formed(kind)).unwrap();
        assert_eq!(record.kind(), kind);
        assert_eq!(record.boot_ns(), 7_000_000_000);
        assert_eq!(Kind::from_number(kind.number()), Some(kind));
    }
}

/// One well-formed record of each kind lies in `fuzz/seeds` for the fuzzer to start from.
/// `PORTWATCH_BLESS=1` writes them anew.
#[test]
#[cfg(target_endian = "little")]
fn the_seeds_of_the_fuzz_target_are_well_formed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for kind in Kind::ALL {
        let path = folder.join(kind.as_str());
        if std::env::var_os("PORTWATCH_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, well_formed(kind)).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), well_formed(kind), "{}", path.display());
    }
}

#[test]
fn every_prefix_of_a_record_is_refused() {
    for kind in Kind::ALL {
        let bytes = well_formed(kind);
        for len in 0..bytes.len() {
            let expected = if len < size_of::<Header>() { NoHeader { len } } else { Truncated { kind, len } };
            assert_eq!(decode(&bytes[..len]), Err(expected));
        }
    }
}

#[test]
fn bytes_after_a_record_are_refused() {
    for kind in Kind::ALL {
        let mut bytes = well_formed(kind);
        bytes.push(0);
        assert_eq!(decode(&bytes), Err(TrailingBytes { kind, len: kind.size() + 1 }));
    }
}

#[test]
fn two_records_in_a_row_are_not_one() {
    let bytes = [well_formed(Kind::Bind), well_formed(Kind::Listen)].concat();
    assert_eq!(decode(&bytes), Err(TrailingBytes { kind: Kind::Bind, len: 176 }));
}

#[test]
fn a_header_that_lies_is_refused() {
    let table: [(Vec<u8>, DecodeError); 8] = [
        (vec![0; 88], Abi { found: 0 }),
        (vec![0xff; 88], Abi { found: 0xffff }),
        (with(Kind::Bind, 0, &2_u16.to_ne_bytes()), Abi { found: 2 }),
        (with(Kind::Bind, 2, &0_u16.to_ne_bytes()), UnknownKind { found: 0 }),
        (with(Kind::Bind, 2, &kind::END.to_ne_bytes()), UnknownKind { found: kind::END }),
        // The size of another kind, a length past the end, and the kind's neighbour.
        (with(Kind::Bind, 4, &48_u32.to_ne_bytes()), WrongSize { kind: Kind::Bind, found: 48 }),
        (with(Kind::Bind, 4, &u32::MAX.to_ne_bytes()), WrongSize { kind: Kind::Bind, found: u32::MAX }),
        (with(Kind::Bind, 2, &kind::CLOSE.to_ne_bytes()), WrongSize { kind: Kind::Close, found: 88 }),
    ];
    for (bytes, expected) in table {
        assert_eq!(decode(&bytes), Err(expected));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_field_that_lies_is_refused_with_its_offset() {
    use Kind::{Bind, Close, Exec, Exit, Fork, Killed, Listen, Process, Refused, Unlisten};
    type K = KilledRecord;
    type S = SocketRecord;
    type P = ProcessRecord;
    let zero = [0_u8; 8];
    let flags = |bits: u16| bits.to_ne_bytes();
    let at_actor = 16;
    let table: Vec<(&str, Vec<u8>, usize, Problem)> = vec![
        ("process without pid", with(Process, at_actor, &zero), at_actor, Problem::NoPid),
        ("exit without pid", with(Exit, at_actor, &zero), at_actor, Problem::NoPid),
        ("flagged actor without pid", with(Bind, at_actor, &zero), at_actor, Problem::NoPid),
        (
            "unflagged actor",
            with(Bind, offset_of!(S, flags), &flags(flag::ASKED_KNOWN)),
            at_actor,
            Problem::NotFlagged,
        ),
        (
            "thread without process",
            with(Close, at_actor, &[0, 0, 0, 0, 1, 0, 0, 0]),
            at_actor,
            Problem::HalfKnownActor,
        ),
        ("padding", with(Process, offset_of!(P, pad), &[1]), offset_of!(P, pad), Problem::NotZero),
        (
            "command of 257 bytes",
            with(Process, offset_of!(P, command_len), &257_u16.to_ne_bytes()),
            offset_of!(P, command_len),
            Problem::CommandLength,
        ),
        (
            "truncation flag of 2",
            with(Process, offset_of!(P, command_truncated), &[2]),
            offset_of!(P, command_truncated),
            Problem::Boolean,
        ),
        (
            "comm without terminator",
            with(Process, offset_of!(P, comm), &[b'a'; 16]),
            offset_of!(P, comm),
            Problem::Unterminated,
        ),
        (
            "parent comm without terminator",
            with(Process, offset_of!(P, parent_comm), &[b'a'; 16]),
            offset_of!(P, parent_comm),
            Problem::Unterminated,
        ),
        (
            "undefined flag",
            with(Bind, offset_of!(S, flags), &flags(flag::ACTOR_KNOWN | flag::ASKED_KNOWN | (flag::ALL + 1))),
            offset_of!(S, flags),
            Problem::UnknownFlags,
        ),
        (
            "option without OPTIONS_KNOWN",
            with(
                Bind,
                offset_of!(S, flags),
                &flags(flag::ACTOR_KNOWN | flag::ASKED_KNOWN | flag::REUSE_PORT),
            ),
            offset_of!(S, flags),
            Problem::NotFlagged,
        ),
        (
            "asked port without ASKED_KNOWN",
            with(Bind, offset_of!(S, flags), &flags(flag::ACTOR_KNOWN)),
            offset_of!(S, asked_port),
            Problem::NotFlagged,
        ),
        ("family 0", with(Bind, offset_of!(S, family), &[0]), offset_of!(S, family), Problem::Family),
        ("AF_UNIX", with(Refused, offset_of!(S, family), &[1]), offset_of!(S, family), Problem::Family),
        ("AF_NETLINK", with(Listen, offset_of!(S, family), &[16]), offset_of!(S, family), Problem::Family),
        (
            "IPv4 with a tail",
            with(Bind, offset_of!(S, address) + 15, &[1]),
            offset_of!(S, address) + 4,
            Problem::NotZero,
        ),
        (
            "bind without protocol",
            with(Bind, offset_of!(S, protocol), &[0]),
            offset_of!(S, protocol),
            Problem::Protocol,
        ),
        ("ICMP", with(Bind, offset_of!(S, protocol), &[1]), offset_of!(S, protocol), Problem::Protocol),
        (
            "refused SCTP",
            with(Refused, offset_of!(S, protocol), &[132]),
            offset_of!(S, protocol),
            Problem::Protocol,
        ),
        ("bind to port 0", with(Bind, offset_of!(S, port), &[0, 0]), offset_of!(S, port), Problem::NoPort),
        (
            "listen on port 0",
            with(Listen, offset_of!(S, port), &[0, 0]),
            offset_of!(S, port),
            Problem::NoPort,
        ),
        (
            "refused with a port that it did not ask for",
            with(Refused, offset_of!(S, port), &[1, 0]),
            offset_of!(S, port),
            Problem::UnexpectedPort,
        ),
        (
            "refused without errno",
            with(Refused, offset_of!(S, errno), &zero[..4]),
            offset_of!(S, errno),
            Problem::NoErrno,
        ),
        (
            "refused with a negative errno",
            with(Refused, offset_of!(S, errno), &(-98_i32).to_ne_bytes()),
            offset_of!(S, errno),
            Problem::ErrnoRange,
        ),
        (
            "refused with errno 4096",
            with(Refused, offset_of!(S, errno), &4096_u32.to_ne_bytes()),
            offset_of!(S, errno),
            Problem::ErrnoRange,
        ),
        (
            "success with errno",
            with(Bind, offset_of!(S, errno), &98_u32.to_ne_bytes()),
            offset_of!(S, errno),
            Problem::UnexpectedErrno,
        ),
        (
            "bind without cookie",
            with(Bind, offset_of!(S, cookie), &zero),
            offset_of!(S, cookie),
            Problem::NoCookie,
        ),
        ("close without cookie", with(Close, 40, &zero), 40, Problem::NoCookie),
        ("unlisten without cookie", with(Unlisten, 40, &zero), 40, Problem::NoCookie),
        (
            "exit code known: 2",
            with(Exit, offset_of!(ExitRecord, exit_code_known), &[2]),
            offset_of!(ExitRecord, exit_code_known),
            Problem::Boolean,
        ),
        (
            "exit padding",
            with(Exit, offset_of!(ExitRecord, pad) + 2, &[1]),
            offset_of!(ExitRecord, pad),
            Problem::NotZero,
        ),
        (
            "unknown exit code that is not zero",
            with(Exit, offset_of!(ExitRecord, exit_code), &[9, 0, 0, 0, 0]),
            offset_of!(ExitRecord, exit_code),
            Problem::NotFlagged,
        ),
        ("fork without parent", with(Fork, at_actor, &zero), at_actor, Problem::NoPid),
        (
            "fork without child",
            with(Fork, offset_of!(ForkRecord, child_pid), &zero[..4]),
            offset_of!(ForkRecord, child_pid),
            Problem::NoPid,
        ),
        (
            "fork padding",
            with(Fork, offset_of!(ForkRecord, pad), &[1]),
            offset_of!(ForkRecord, pad),
            Problem::NotZero,
        ),
        ("exec without pid", with(Exec, at_actor, &zero), at_actor, Problem::NoPid),
        ("killed without pid", with(Killed, at_actor, &zero), at_actor, Problem::NoPid),
        ("signal 0", with(Killed, offset_of!(K, signal), &[0]), offset_of!(K, signal), Problem::Signal),
        ("signal 65", with(Killed, offset_of!(K, signal), &[65]), offset_of!(K, signal), Problem::Signal),
        (
            "killed from nowhere",
            with(Killed, offset_of!(K, from), &[0]),
            offset_of!(K, from),
            Problem::Signal,
        ),
        ("killed again 2", with(Killed, offset_of!(K, again), &[2]), offset_of!(K, again), Problem::Boolean),
        ("killed padding", with(Killed, offset_of!(K, pad), &[1]), offset_of!(K, pad), Problem::NotZero),
        (
            "killed by a process without pid",
            with(Killed, offset_of!(K, sender), &zero),
            offset_of!(K, sender),
            Problem::NoPid,
        ),
        (
            "killed by the kernel, which is no process",
            with(Killed, offset_of!(K, from), &[record::from::KERNEL]),
            offset_of!(K, sender),
            Problem::NotFlagged,
        ),
    ];
    for (name, bytes, offset, problem) in table {
        let kind = Kind::from_number(u16::from_ne_bytes([bytes[2], bytes[3]])).unwrap();
        assert_eq!(decode(&bytes), Err(DecodeError::Field { kind, offset, problem }), "{name}");
    }
}

#[test]
fn what_follows_the_end_of_a_name_or_command_is_dropped() {
    let mut bytes = with(Kind::Process, offset_of!(ProcessRecord, comm), b"sh\0leftover\0");
    put(&mut bytes, offset_of!(ProcessRecord, command) + 15, b"remains of another process");
    let super::Record::Process(process) = decode(&bytes).unwrap() else { panic!("not a process") };
    assert_eq!(process.comm.as_bytes(), b"sh");
    assert_eq!(process.comm.padded(), b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(process.command.as_bytes(), b"node\0server.js\0");
}

#[test]
fn a_refused_bind_may_lack_cookie_protocol_and_asked_port() {
    let mut bytes = with(Kind::Refused, offset_of!(SocketRecord, cookie), &[0; 8]);
    put(&mut bytes, offset_of!(SocketRecord, protocol), &[0]);
    put(&mut bytes, offset_of!(SocketRecord, asked_port), &[0, 0]);
    put(&mut bytes, offset_of!(SocketRecord, flags), &flag::ACTOR_KNOWN.to_ne_bytes());
    let super::Record::Refused(refused) = decode(&bytes).unwrap() else { panic!("not refused") };
    assert_eq!((refused.cookie, refused.protocol, refused.asked_port), (None, None, None));
    assert!(!refused.listen);
}

#[test]
fn a_refused_listen_has_the_port_it_is_bound_to() {
    let bytes = with(Kind::Refused, offset_of!(SocketRecord, port), &3100_u16.to_ne_bytes());
    let super::Record::Refused(refused) = decode(&bytes).unwrap() else { panic!("not refused") };
    assert_eq!((refused.listen, refused.asked_port), (true, Some(3100)));
}
