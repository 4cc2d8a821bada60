use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::{NonZeroU16, NonZeroU32, NonZeroU64},
    path::{Path, PathBuf},
    time::Duration,
};

use portwatch_common::{
    decode::{Actor, Close, Exit, Record, Socket},
    encode::encode,
};

use super::{Recorder, ReplaySource};
use crate::{
    model::{
        AskedPort, Beyond, CommandLine, Coverage, Endpoint, Evidence, Fact, GapReason, Holder, LossCounts,
        Netns, Observation, Owner, Phase, Port, ProcessId, ProcessSeen, Protocol, Seen, Snapshot,
        SnapshotSocket, SocketKey, SocketOptions, SocketSeen, Timestamp,
    },
    source::{
        Counters, Progress, Source, SourceError,
        convert::{BootClock, observation},
    },
};

const CLOCK: BootClock = BootClock::from_offset_ns(1_700_000_000_000_000_000);
const LATER: BootClock = BootClock::from_offset_ns(1_700_000_000_000_000_123);

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.rec");
    (folder, path)
}

fn coverage() -> Vec<Coverage> {
    vec![
        Coverage { fact: Fact::Bind, hook: Some("cgroup/post_bind4".to_owned()) },
        Coverage { fact: Fact::UdpAutoBind, hook: None },
    ]
}

fn records() -> [Record; 3] {
    let pid = NonZeroU32::new(4242).unwrap();
    let actor = Actor { pid, tid: 4242, uid: 0, gid: 0, start_ns: NonZeroU64::new(5_000_000_000) };
    let cookie = NonZeroU64::new(77).unwrap();
    let listen = Socket {
        boot_ns: 6_000_000_000,
        actor: Some(actor),
        cookie,
        cgroup_id: None,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        netns: NonZeroU32::new(4_026_531_840),
        port: NonZeroU16::new(3100).unwrap(),
        asked_port: None,
        protocol: portwatch_common::decode::Protocol::Tcp,
        options: None,
    };
    [
        Record::Listen(listen),
        Record::Close(Close { boot_ns: 7_000_000_000, actor: Some(actor), cookie }),
        Record::Exit(Exit { boot_ns: 8_000_000_000, actor, exit_code: Some(9) }),
    ]
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn gap() -> Observation {
    let lost = LossCounts { bind: 3, close: 2, undecodable: 1, ..LossCounts::default() };
    let seen = Seen::Gap { lost, since: at(1), reason: GapReason::BufferFull };
    Observation::new(at(2), Evidence::Kernel, seen)
}

fn snapshot() -> Observation {
    let id = ProcessId { pid: 812, start_ticks: 99 };
    let socket = |key, address, asked, owner| SnapshotSocket {
        socket: SocketSeen {
            key,
            inode: Some(4),
            endpoint: Endpoint {
                netns: Some(Netns(4_026_531_840)),
                protocol: Protocol::Tcp,
                address,
                port: Port::new(5432).unwrap(),
            },
            phase: Phase::Listening,
            asked,
            options: SocketOptions { reuse_addr: Some(true), reuse_port: None, v6_only: Some(false) },
            uid: Some(70),
            cgroup_id: Some(11),
            attached: crate::model::Attached::Unknown,
        },
        holders: vec![Holder { process: id, evidence: Evidence::Scan }],
        owner,
    };
    let snapshot = Snapshot {
        begun: at(3),
        ended: at(4),
        namespaces: vec![Netns(4_026_531_840)],
        beyond: Beyond::NotLooked,
        protocols: vec![Protocol::Tcp, Protocol::Udp],
        ports: vec![Port::new(5432).unwrap()],
        bound_included: true,
        bound_left_out: false,
        connected: HashSet::new(),
        sockets: vec![
            socket(
                SocketKey::Cookie(u64::MAX),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
                AskedPort::Explicit(Port::new(5432).unwrap()),
                Owner::Known,
            ),
            socket(
                SocketKey::Inode { netns: Some(Netns(1)), inode: 4 },
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                AskedPort::KernelChosen,
                Owner::NotPermitted,
            ),
        ],
        processes: vec![ProcessSeen {
            id,
            parent_pid: 1,
            parent_comm: Some("systemd".to_owned()),
            uid: Some(70),
            gid: None,
            comm: "postgres".to_owned(),
            command: Some(CommandLine {
                args: vec!["postgres".to_owned(), "-D\u{1b}".to_owned()],
                truncated: true,
            }),
            cgroup_id: Some(11),
            evidence: Evidence::Scan,
        }],
    };
    Observation::new(at(4), Evidence::Scan, Seen::Snapshot(Box::new(snapshot)))
}

/// Writes a recording that has everything, and gives what it should say.
fn record_all(path: &Path) -> Vec<Observation> {
    let mut recorder = Recorder::create(path, CLOCK, &coverage()).unwrap();
    let [listen, close, exit] = records();
    recorder.observation(&snapshot());
    recorder.record(&encode(&listen));
    recorder.record(b"no record");
    recorder.clock(LATER);
    recorder.observation(&gap());
    recorder.record(&encode(&close));
    recorder.record(&encode(&exit));
    recorder.flush();
    assert_eq!(recorder.degradation(), None);
    vec![
        snapshot(),
        observation(&listen, CLOCK).unwrap(),
        gap(),
        observation(&close, LATER).unwrap(),
        observation(&exit, LATER).unwrap(),
    ]
}

/// Everything a recording says, and how it ended.
fn play(path: &Path) -> (Vec<Observation>, Result<(), SourceError>) {
    let mut out = Vec::new();
    let mut source = match ReplaySource::open(path) {
        Ok(source) => source,
        Err(error) => return (out, Err(error)),
    };
    loop {
        match source.poll(Duration::ZERO, &mut out) {
            Ok(Progress::Open) => {}
            Ok(Progress::Ended) => return (out, Ok(())),
            Err(error) => {
                let end = source.poll(Duration::ZERO, &mut out);
                assert!(matches!(end, Ok(Progress::Ended)), "a failure is told once: {end:?}");
                return (out, Err(error));
            }
        }
    }
}

#[test]
fn a_recording_says_what_was_seen() {
    let (_folder, path) = folder();
    let expected = record_all(&path);
    let (seen, end) = play(&path);
    end.unwrap();
    assert_eq!(seen, expected);

    let mut source = ReplaySource::open(&path).unwrap();
    assert_eq!(source.coverage(), coverage());
    source.poll(Duration::ZERO, &mut Vec::new()).unwrap();
    assert_eq!(source.counters(), Counters { received: 4, lost: 5, undecodable: 1 });
}

#[test]
fn a_recording_cut_anywhere_says_what_is_before_the_cut_and_where_it_is() {
    let (_folder, path) = folder();
    let expected = record_all(&path);
    let whole = fs::read(&path).unwrap();
    let (mut clean, mut damaged) = (0, 0);
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let (seen, end) = play(&path);
        assert_eq!(seen, expected[..seen.len()], "cut at {len}");
        match end {
            // Between two frames there is no telling that more was to come.
            Ok(()) => clean += 1,
            Err(SourceError::Recording { offset, .. }) => {
                assert!(offset <= len as u64, "offset {offset}, cut at {len}");
                damaged += 1;
            }
            Err(other) => panic!("cut at {len}: {other}"),
        }
    }
    // After coverage and each of 6 of the 7 further frames; one frame is the end itself.
    assert_eq!((clean, damaged), (7, whole.len() - 7));
}

#[test]
fn a_recording_with_any_byte_changed_never_stops_the_process() {
    let (_folder, path) = folder();
    record_all(&path);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xa5;
        fs::write(&path, &bytes).unwrap();
        if let (_, Err(error)) = play(&path) {
            assert!(matches!(error, SourceError::Recording { .. }), "{error}");
        }
    }
}

#[test]
fn a_foreign_file_is_refused_with_the_place_that_shows_it() {
    let (_folder, path) = folder();
    record_all(&path);
    let whole = fs::read(&path).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let mut unknown_tag = whole.clone();
    unknown_tag.extend([0, 0, 0, 0, 99]);
    let table = [
        (Vec::new(), 0, "is not a portwatch recording"),
        (b"SQLite format 3\0 and so on and on".to_vec(), 0, "is not a portwatch recording"),
        (whole[..20].to_vec(), 20, "ends inside its header"),
        (whole[..24].to_vec(), 24, "ends after its header"),
        (changed(8, 2), 8, "has format version 2, this portwatch reads 1"),
        (changed(10, 7), 10, "holds records of ABI version 7, this portwatch reads 1"),
        (changed(12, 0), 12, "comes from a machine of the other byte order"),
        (changed(13, 1), 13, "has a header this portwatch does not know"),
        (changed(28, super::TAG_RECORD), 24, "does not say what it covers"),
        (unknown_tag, whole.len() as u64, "has a frame of unknown tag 99"),
    ];
    for (bytes, expected_offset, expected_problem) in table {
        fs::write(&path, bytes).unwrap();
        let Err(SourceError::Recording { problem, offset, .. }) = play(&path).1 else {
            panic!("accepted: {expected_problem}")
        };
        assert_eq!((problem.as_str(), offset), (expected_problem, expected_offset));
    }
}

#[test]
fn a_length_of_4_gib_takes_no_memory() {
    let (_folder, path) = folder();
    drop(Recorder::create(&path, CLOCK, &[]).unwrap());
    let mut bytes = fs::read(&path).unwrap();
    let offset = bytes.len() as u64;
    bytes.extend([0xff, 0xff, 0xff, 0xff, super::TAG_RECORD, 1, 2, 3]);
    fs::write(&path, bytes).unwrap();
    let (_, end) = play(&path);
    let expected =
        format!("recording {}: ends after 3 of a frame's 4294967295 bytes at byte {offset}", path.display());
    assert_eq!(end.unwrap_err().to_string(), expected);
}

#[test]
fn a_clock_that_was_set_is_told_with_the_first_that_is_dated_by_it() {
    let (_folder, path) = folder();
    let back = BootClock::from_offset_ns(CLOCK.offset_ns() - 3_600_000_000_000);
    let mut recorder = Recorder::create(&path, CLOCK, &coverage()).unwrap();
    let [listen, close, _] = records();
    recorder.record(&encode(&listen));
    recorder.clock(back);
    recorder.record(b"no record");
    recorder.record(&encode(&close));
    drop(recorder);
    let (seen, end) = play(&path);
    end.unwrap();
    let close = observation(&close, back).unwrap();
    let by = jiff::SignedDuration::from_hours(-1);
    let set = Observation::new(close.at, Evidence::Kernel, Seen::ClockSet { by });
    assert_eq!(seen, [observation(&listen, CLOCK).unwrap(), set, close]);
}

#[test]
fn a_gap_stands_before_the_records_among_which_it_was() {
    let (_folder, path) = folder();
    let mut recorder = Recorder::create(&path, BootClock::from_offset_ns(0), &coverage()).unwrap();
    let [first, second, _] = records();
    recorder.record(&encode(&first));
    recorder.begin_batch();
    recorder.record(&encode(&second));
    recorder.end_batch(Some(&gap()));
    drop(recorder);
    let (played, _) = play(&path);
    let gaps: Vec<_> = played.iter().map(|o| matches!(o.seen, Seen::Gap { .. })).collect();
    assert_eq!(gaps, [false, true, false]);
}

#[test]
fn a_long_recording_comes_in_parts() {
    let (_folder, path) = folder();
    let mut recorder = Recorder::create(&path, CLOCK, &[]).unwrap();
    let [_, close, _] = records();
    for _ in 0..3000 {
        recorder.record(&encode(&close));
    }
    drop(recorder);
    let mut source = ReplaySource::open(&path).unwrap();
    let mut out = Vec::new();
    assert_eq!(source.poll(Duration::ZERO, &mut out).unwrap(), Progress::Open);
    assert_eq!(out.len(), 1024);
    assert_eq!(play(&path).0.len(), 3000);
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let (_folder, path) = folder();
    fs::write(&path, "dear").unwrap();
    let error = Recorder::create(&path, CLOCK, &[]).unwrap_err();
    assert!(error.to_string().contains("cannot be created"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"dear");
}

#[test]
#[cfg(unix)]
fn only_the_owner_may_read_a_recording() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = folder();
    drop(Recorder::create(&path, CLOCK, &[]).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
