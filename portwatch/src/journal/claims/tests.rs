use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Barrier,
};

use rusqlite::StatementStatus;

use super::{ClaimError, Claimed, Claims, Request, read};
use crate::{
    journal::{Journal, Options, Reader},
    model::{EventFilter, EventKind, Port, Protocol, Timestamp},
    registry::{Kind, Name, Obstacle, PortSet, Terms},
};

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portwatch.db");
    (folder, path)
}

fn open(path: &Path) -> Claims {
    Claims::open(path, "boot").unwrap()
}

fn terms(range: &str) -> Terms {
    Terms {
        range: range.parse().unwrap(),
        exclude: PortSet::default(),
        reserved: PortSet::default(),
        ephemeral: None,
        unprivileged_from: 1024,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 + second).unwrap()
}

/// A claim for other tests' eyes.
pub(in crate::journal) fn worker(path: &Path, at: Timestamp) -> Name {
    let wish = Wish::new("myapp:worker", "3100-3199");
    open(path).claim(&wish.of(7), at, &mut free).unwrap().claim.name
}

struct Wish {
    name: Name,
    terms: Terms,
}

impl Wish {
    fn new(name: &str, range: &str) -> Self {
        Self { name: name.parse().unwrap(), terms: terms(range) }
    }

    fn of(&self, owner: u32) -> Request<'_> {
        Request::plain(&self.name, owner, &self.terms)
    }
}

fn free(_: Port, _: &[Protocol]) -> Option<Obstacle> {
    None
}

fn port(claims: &mut Claims, request: &Request<'_>) -> u16 {
    claims.claim(request, at(0), &mut free).unwrap().claim.port().unwrap().get()
}

#[test]
fn a_claim_is_idempotent_and_survives_being_opened_again() {
    let (_folder, path) = place();
    let wish = Wish::new("myapp:api", "3100-3199");
    let first = open(&path).claim(&wish.of(7), at(0), &mut free).unwrap();
    assert!(first.fresh && first.event.is_some());
    let again = open(&path).claim(&wish.of(7), at(5), &mut free).unwrap();
    assert!(!again.fresh && again.event.is_none());
    assert_eq!((again.claim.id, &again.claim.ports), (first.claim.id, &first.claim.ports));
    assert_eq!((again.claim.created, again.claim.renewed), (at(0), at(5)));
    assert_eq!(open(&path).all().unwrap(), [again.claim]);
}

#[test]
fn the_number_of_a_claim_that_was_given_back_is_no_other_claims() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    let claim = |claims: &mut Claims, name: &str, second: i64| {
        let wish = Wish::new(name, "3100-3199");
        claims.claim(&wish.of(7), at(second), &mut free).unwrap().claim.id
    };
    let first = claim(&mut claims, "myapp:api", 0);
    claims.release(7, "by uid 7", at(0), &mut |_| true).unwrap();
    let second = claim(&mut claims, "myapp:web", 1);
    assert!(second > first);
    // Several at one moment, and one by a clock that was set back.
    let third = claim(&mut claims, "myapp:db", 1);
    assert!(claim(&mut claims, "myapp:cache", 0) > third && third > second);
}

#[test]
fn a_claim_and_its_release_are_in_the_log() {
    let (_folder, path) = place();
    let wish = Wish::new("myapp:api", "3100-3199");
    let mut claims = open(&path);
    port(&mut claims, &wish.of(7));
    let (released, foreign) = claims.release(7, "by uid 7", at(9), &mut |_| true).unwrap();
    assert_eq!((released.len(), foreign.len()), (1, 0));
    let filter = EventFilter { pattern: Some("myapp:*".into()), ..EventFilter::default() };
    let events = Reader::open(&path).unwrap().events(&filter).unwrap().events;
    let told: Vec<_> =
        events.iter().map(|e| (e.event.kind, e.event.claim.as_deref(), e.event.message.as_deref())).collect();
    assert_eq!(
        told,
        [
            (EventKind::Claim, Some("myapp:api"), Some("by uid 7")),
            (EventKind::Release, Some("myapp:api"), Some("by uid 7"))
        ]
    );
}

#[test]
fn orders_are_committed_together_and_a_refused_one_takes_nothing_from_its_neighbours() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    port(&mut claims, &Wish::new("b:b", "3100-3199").of(8));
    let wishes = [
        ("a:a", "3210-3210"),
        ("b:b", "3100-3199"),
        ("c:c", "3200-3200"),
        ("d:d", "3200-3200"),
        ("e:e", "3200-3200"),
        ("a:a", "3210-3210"),
    ]
    .map(|(name, range)| Wish::new(name, range));
    let mut requests: Vec<_> = wishes.iter().map(|wish| wish.of(7)).collect();
    // Refused when the first of its ports is written already.
    requests[2].ports = 2;
    let mut asked = Vec::new();
    let mut probe = |number, port: Port, _: &[Protocol]| {
        asked.push((number, port.get()));
        None
    };
    let done = claims.claim_all(&requests, at(1), &mut probe).unwrap();
    let say = |one: &Result<Claimed, ClaimError>| match one {
        Ok(claimed) => {
            format!("{} at {}, fresh {}", claimed.claim.name, claimed.claim.ports[0].port, claimed.fresh)
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(
        done.iter().map(say).collect::<Vec<_>>(),
        [
            "a:a at 3210, fresh true",
            "b:b belongs to uid 8",
            "no port of 3200 is free: 1 claimed",
            "d:d at 3200, fresh true",
            "no port of 3200 is free: 1 claimed",
            "a:a at 3210, fresh false",
        ]
    );
    assert_eq!(asked, [(0, 3210), (2, 3200), (3, 3200)], "the machine is asked for whom it is");
    let kept: Vec<String> = open(&path).all().unwrap().iter().map(|claim| claim.name.to_string()).collect();
    assert_eq!(kept, ["a:a", "b:b", "d:d"], "what was refused left nothing behind");
    let events = Reader::open(&path).unwrap().events(&EventFilter::default()).unwrap().events;
    let told: Vec<_> = events.iter().filter_map(|e| e.event.claim.as_deref()).collect();
    assert_eq!(told, ["b:b", "a:a", "d:d"]);
}

#[test]
fn one_user_can_take_only_so_many_ports_and_root_as_many_as_there_are() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    let limited = |wish, owner, ports| Request { limit: Some(3), ports, ..Wish::of(wish, owner) };
    let (a, b, c) =
        (Wish::new("a:a", "3100-3199"), Wish::new("b:b", "3100-3199"), Wish::new("c:c", "3100-3199"));
    let both = [Protocol::Tcp, Protocol::Udp];
    port(&mut claims, &Request { protocols: &both, ..limited(&a, 7, 2) });
    let refused = claims.claim(&limited(&b, 7, 2), at(1), &mut free).unwrap_err().to_string();
    assert_eq!(refused, "you have 2 ports claimed and want 2 more; one user may have 3");
    port(&mut claims, &limited(&b, 7, 1));
    port(&mut claims, &limited(&b, 7, 1));
    let refused = claims.claim(&limited(&a, 7, 3), at(1), &mut free).unwrap_err();
    assert!(matches!(refused, ClaimError::TooMany { has: 3, more: 1, limit: 3 }));
    assert!(claims.claim(&limited(&c, 7, 1), at(1), &mut free).is_err());
    port(&mut claims, &limited(&c, 8, 1));
    port(&mut claims, &limited(&Wish::new("d:d", "3100-3199"), 0, 4));
    assert_eq!(claims.all().unwrap().len(), 4);
}

#[test]
fn no_statement_is_compiled_a_second_time() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    for number in 0..10 {
        port(&mut claims, &Wish::new(&format!("a:n{number}"), "3100-3199").of(7));
    }
    for sql in read::STATEMENTS {
        let statement = claims.connection.prepare_cached(sql).unwrap();
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
    }
}

#[test]
fn another_user_can_neither_renew_nor_release_and_root_can() {
    let (_folder, path) = place();
    let wish = Wish::new("myapp:api", "3100-3199");
    let mut claims = open(&path);
    port(&mut claims, &wish.of(7));
    let before = claims.all().unwrap();
    let stolen = claims.claim(&wish.of(8), at(1), &mut free).unwrap_err();
    assert_eq!(stolen.to_string(), "myapp:api belongs to uid 7");
    let released = claims.release(8, "by uid 8", at(1), &mut |_| true).unwrap_err();
    assert!(matches!(released, ClaimError::NotOwner { owner: 7, .. }));
    assert_eq!(claims.all().unwrap(), before, "nothing changed");
    assert_eq!(claims.release(0, "by root", at(1), &mut |_| true).unwrap().0.len(), 1);
}

#[test]
fn a_release_of_everything_leaves_the_claims_of_others() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    port(&mut claims, &Wish::new("a:a", "3100-3199").of(7));
    port(&mut claims, &Wish::new("b:b", "3100-3199").of(8));
    let (released, foreign) = claims.release(8, "by uid 8", at(1), &mut |_| true).unwrap();
    assert_eq!(released.len(), 1);
    assert_eq!(foreign[0].name.to_string(), "a:a");
}

#[test]
fn a_claim_follows_its_program_to_another_port_and_gives_up_the_first() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    let (first, second) = (Wish::new("a:a", "3100-3199"), Wish::new("b:b", "3100-3199"));
    let at_port = |wish| Request { fixed: Port::new(3150), ..Wish::of(wish, 7) };
    assert_eq!(port(&mut claims, &at_port(&first)), 3150);
    let moved = Request { fixed: Port::new(3160), moves: true, ..first.of(7) };
    let done = claims.claim(&moved, at(1), &mut free).unwrap();
    let told = done.event.and_then(|(_, event)| event.message).unwrap();
    assert_eq!(
        (done.claim.port(), done.fresh, told.as_str()),
        (Port::new(3160), false, "by uid 7, moved from 3150")
    );
    assert_eq!(port(&mut claims, &at_port(&second)), 3150);
    // Back is where somebody else is by now: the claim stays as it was.
    let back = Request { fixed: Port::new(3150), moves: true, ..first.of(7) };
    let error = claims.claim(&back, at(2), &mut free).unwrap_err().to_string();
    assert_eq!(error, "port 3150 is claimed by b:b of uid 7");
    assert_eq!(port(&mut claims, &first.of(7)), 3160);
}

#[test]
fn an_asked_for_port_is_refused_when_another_claim_or_the_machine_has_it() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    let (first, second) = (Wish::new("a:a", "3100-3199"), Wish::new("b:b", "3100-3199"));
    let fixed = Port::new(3150);
    let mine = Request { fixed, ..first.of(7) };
    assert_eq!(port(&mut claims, &mine), 3150);
    let say = |claims: &mut Claims, request: &Request<'_>| {
        let busy = |port: Port, _: &[Protocol]| (port.get() == 3151).then_some(Obstacle::InUse);
        claims.claim(request, at(1), &mut { busy }).unwrap_err().to_string()
    };
    let messages = [
        say(&mut claims, &Request { fixed, ..second.of(7) }),
        say(&mut claims, &Request { fixed: Port::new(3151), ..second.of(7) }),
        say(&mut claims, &Request { fixed: Port::new(80), ..second.of(7) }),
        say(&mut claims, &Request { fixed: Port::new(3160), ..first.of(7) }),
    ];
    assert_eq!(
        messages,
        [
            "port 3150 is claimed by a:a of uid 7",
            "port 3151 is in use",
            "port 80 is privileged",
            "a:a has port 3150, not 3160"
        ]
    );
    assert_eq!(claims.all().unwrap().len(), 1, "what was refused left nothing behind");
}

#[test]
fn an_explicit_claim_takes_over_an_automatic_one_and_never_the_other_way_round() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    let fixed = Port::new(3150);
    let (auto, explicit) = (Wish::new("a:dev", "3100-3199"), Wish::new("a:api", "3100-3199"));
    let automatic = |wish| Request { kind: Kind::Auto, fixed, ..Wish::of(wish, 7) };
    port(&mut claims, &automatic(&auto));
    assert_eq!(port(&mut claims, &Request { fixed, ..explicit.of(7) }), 3150);
    assert_eq!(claims.all().unwrap()[0].name.to_string(), "a:api");
    assert!(matches!(claims.claim(&automatic(&auto), at(2), &mut free), Err(ClaimError::Claimed { .. })));
    let same = claims.claim(&automatic(&explicit), at(2), &mut free).unwrap();
    assert_eq!(same.claim.kind, Kind::Explicit);
}

#[test]
fn several_ports_and_a_pair_are_one_claim() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    let wish = Wish::new("a:a", "3100-3199");
    let both = [Protocol::Tcp, Protocol::Udp];
    let claim = claims.claim(&Request { ports: 2, ..wish.of(7) }, at(0), &mut free).unwrap().claim;
    assert_eq!(claim.slots().len(), 2);
    let more = Request { ports: 3, protocols: &both, ..wish.of(7) };
    let more = claims.claim(&more, at(0), &mut free).unwrap().claim;
    assert_eq!((more.slots().len(), more.ports.len()), (3, 6));
    assert_eq!(more.slots()[..2], claim.slots()[..], "what it had it keeps");
}

#[test]
fn a_claim_whose_time_has_passed_is_anybodys() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    let wish = Wish::new("a:a", "3100-3199");
    let short = Request { expires: Some(at(10)), ..wish.of(7) };
    port(&mut claims, &short);
    assert!(claims.claim(&wish.of(8), at(9), &mut free).is_err());
    assert_eq!(claims.claim(&wish.of(8), at(10), &mut free).unwrap().claim.owner, 8);
}

#[test]
fn an_exhausted_range_leaves_nothing_behind() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    port(&mut claims, &Wish::new("a:a", "3100-3100").of(7));
    let error = claims.claim(&Wish::new("b:b", "3100-3100").of(7), at(0), &mut free).unwrap_err();
    assert_eq!(error.to_string(), "no port of 3100 is free: 1 claimed");
    assert_eq!(claims.all().unwrap().len(), 1);
}

#[test]
fn callers_that_come_all_at_once_to_a_place_where_nothing_is_get_one_port_each() {
    let (_folder, path) = place();
    let barrier = Barrier::new(8);
    let ports: BTreeSet<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let (path, barrier) = (&path, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let mut claims = open(path);
                    (0..20)
                        .map(|m| port(&mut claims, &Wish::new(&format!("t{n}:s{m}"), "3000-3159").of(7)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(ports.len(), 160);
}

#[test]
#[cfg_attr(windows, ignore = "its other process is of Python")]
fn a_process_that_opens_and_closes_the_database_does_not_take_the_log_from_the_one_that_writes() {
    let (_folder, path) = place();
    let opened = Journal::open(&path, Options::default()).unwrap();
    // In this process: neither may end the locks that the writer has.
    drop(Reader::open(&path).unwrap());
    drop(open(&path));
    // In another: the last to close a database removes its log, if nobody else has locks on it.
    let status = std::process::Command::new("python3")
        .args(["-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT count(*) FROM event').fetchone(); c.close()"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success());
    let log = path.with_file_name("portwatch.db-wal");
    assert!(log.exists(), "the log was taken away under the writer");
    drop(opened);
}

#[test]
fn health_changes_are_events_and_repetitions_are_not() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    let wish = Wish::new("a:a", "3100-3199");
    port(&mut claims, &wish.of(7));
    let mut say =
        |result: &str, second| claims.set_health(&wish.name, 7, (result, result), at(second)).unwrap();
    assert!(say("healthy", 1).is_some());
    assert!(say("healthy", 2).is_none());
    assert!(say("refused", 3).is_some());
    let record = claims.health().unwrap().into_values().next().unwrap();
    assert_eq!((record.since, record.checked, record.healthy), (at(3), at(3), Some(at(2))));
    assert!(matches!(
        claims.set_health(&wish.name, 8, ("healthy", ""), at(4)),
        Err(ClaimError::NotOwner { .. })
    ));
}

#[test]
fn a_rule_is_its_owners_and_roots() {
    let (_folder, path) = place();
    let mut claims = open(&path);
    assert!(claims.allow("jest", 7, Some("u"), at(0)).unwrap());
    assert!(!claims.allow("jest", 7, Some("u"), at(0)).unwrap());
    assert!(!claims.disallow("jest", 8).unwrap());
    assert_eq!(claims.allowed().unwrap().len(), 1);
    assert!(claims.disallow("jest", 0).unwrap());
    assert!(claims.allowed().unwrap().is_empty());
}

/// Pages in the write-ahead log, and how many of them are folded into the database.
fn pages_of_log(claims: &Claims) -> (i64, i64) {
    let pages = |row: &rusqlite::Row<'_>| Ok((row.get(1)?, row.get(2)?));
    claims.parts().0.query_row("PRAGMA wal_checkpoint(NOOP)", [], pages).unwrap()
}

#[test]
fn who_writes_leaves_the_log_to_the_journals_writer_and_that_folds_it() {
    let (_folder, path) = place();
    let write = |claims: &mut Claims, key: &str| {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, hex(zeroblob(5000000)))";
        let done: Result<(), ClaimError> = claims.transaction(|connection, _| {
            connection.execute(sql, [key])?;
            Ok(())
        });
        done.unwrap();
    };
    let mut alone = open(&path);
    write(&mut alone, "alone");
    let (log, folded) = pages_of_log(&alone);
    assert_eq!(log, folded, "where no daemon is, who writes folds");

    let mut claims = open(&path).folded_elsewhere().unwrap();
    write(&mut claims, "left");
    let (log, folded) = pages_of_log(&claims);
    assert!(log > 2048 && folded == 0, "{log} {folded}");
    let writer = Journal::open(&path, Options::default()).unwrap().writer;
    // It wakes by itself once a minute.
    for key in ["a", "b", "c"] {
        write(&mut claims, key);
        writer.stir();
        let begun = std::time::Instant::now();
        loop {
            let (log, folded) = pages_of_log(&claims);
            if log - folded < 2048 {
                break;
            }
            assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{key}: {log} {folded}");
            std::thread::yield_now();
        }
    }
}
