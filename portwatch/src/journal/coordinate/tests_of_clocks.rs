//! The wall clock is set while locks are held, agents speak and claims stand.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;

use super::{Coordination, OfSession, Publish, Register, StartSession, TakeLock, Taken, gone};
use crate::{
    coordinate::{Denial, Owner, OwnerKind, User, Vitality},
    journal::{
        Claims, CoordinateError, Request,
        clock::{Clock, Lag, space},
    },
    model::{ProcessId, Timestamp},
    registry::{Name, PortSet, Terms},
};

/// Booted at this moment, by a clock that is right, s.
const BOOT: i64 = 1_772_000_000;
const S: i64 = 1_000_000_000;
const HOUR: i64 = 3600;

/// What the clocks of a machine say.
#[derive(Clone)]
struct Machine(Arc<(AtomicU64, AtomicI64)>);

impl Machine {
    fn new() -> Self {
        Self(Arc::new((AtomicU64::new(0), AtomicI64::new(BOOT * S))))
    }

    fn passes(&self, seconds: u64) {
        self.0.0.fetch_add(seconds * S.unsigned_abs(), Ordering::Relaxed);
    }

    fn is_set(&self, by: i64) {
        self.0.1.fetch_add(by * S, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, i64) {
        (self.0.0.load(Ordering::Relaxed), self.0.1.load(Ordering::Relaxed))
    }

    fn clock(&self) -> Clock {
        let machine = self.clone();
        Clock::with(move || Some(machine.read()))
    }

    fn now(&self) -> Timestamp {
        let (boot, ahead) = self.read();
        Timestamp::from_nanosecond(i128::from(boot) + i128::from(ahead)).unwrap()
    }

    fn ago(&self, seconds: i64) -> Timestamp {
        self.now() - SignedDuration::from_secs(seconds)
    }

    fn office(&self, path: &Path, boot: &str) -> Coordination {
        let store = Claims::open(path, boot).unwrap().with_clock(self.clock());
        Coordination { store }
    }
}

fn owner(name: &str) -> Owner {
    let user = User { uid: 1000, name: None };
    Owner { kind: OwnerKind::Agent, name: name.to_owned(), user, process: None }
}

fn living(_: ProcessId) -> bool {
    true
}

fn take(store: &mut Coordination, by: &str, minutes: u64, now: Timestamp) -> Result<Taken, Denial> {
    let (ttl, owner) = (Some(Duration::from_mins(minutes)), owner(by));
    let wanted = TakeLock { name: "db", owner: &owner, ttl, waiter: None, ticket: None };
    match store.take(&wanted, (&living, &gone), now) {
        Ok((taken, _)) => Ok(taken),
        Err(CoordinateError::Denied(denial)) => Err(denial),
        Err(error) => panic!("{error}"),
    }
}

fn left(refused: &Denial) -> &str {
    match refused {
        Denial::Held { left, .. } => left,
        other => panic!("{other}"),
    }
}

#[test]
fn a_lock_is_held_for_as_long_as_was_said_and_an_agent_lives_whichever_way_the_clock_is_set() {
    for by in [HOUR, -HOUR, 400 * 24 * HOUR, -400 * 24 * HOUR] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portwatch.db");
        let machine = Machine::new();
        let mut store = machine.office(&path, "boot");
        let erich = owner("a").user;
        machine.passes(100);
        take(&mut store, "a", 10, machine.now()).unwrap();
        store.register(&Register { name: "b", ..Register::default() }, &erich, machine.now()).unwrap();
        let start = StartSession {
            purpose: "work",
            agent: Some("b"),
            terminal: None,
            root: None,
            files: &[],
            force: false,
        };
        let ids = ["session-1".to_owned()];
        store.start_session(&start, &erich, &ids, machine.now()).unwrap();
        let order = OfSession { id: "session-1", agent: Some("b"), user: &erich };
        store.add_note(&order, ("note", "said"), machine.now()).unwrap();
        let sender = owner("b");
        let publish = Publish { channel: "builds", sender: &sender, text: "green", shared: false };
        store.publish(&publish, machine.now()).unwrap();
        machine.passes(60);
        let early = machine.now();
        machine.is_set(by);

        // The first look is one that changes nothing, in a connection that saw neither.
        let mut other = machine.office(&path, "boot");
        let refused = take(&mut other, "c", 5, machine.now()).unwrap_err();
        assert_eq!(left(&refused), "expires in 9m", "set by {by} s");
        let refused = take(&mut store, "c", 5, machine.now()).unwrap_err();
        assert_eq!(left(&refused), "expires in 9m", "moved once, not by each: {by}");
        let lock = store.locks().unwrap().remove(0);
        assert_eq!(
            (lock.since, lock.renewed, lock.expires),
            (machine.ago(60), machine.ago(60), Some(machine.ago(-540)))
        );
        let agent = store.agent("b", 1000).unwrap().unwrap();
        assert_eq!((agent.vitality(machine.now()), agent.seen), (Vitality::Active, machine.ago(60)));
        assert!(super::tests::sweep(&mut store, &living, machine.now()).is_empty(), "nobody fell silent");
        let (notes, _) = store.notes("session-1", None, 10).unwrap();
        assert_eq!(notes[0].at, machine.ago(60));
        // What is kept for a month is.
        assert_eq!(store.forget(machine.ago(30 * 24 * HOUR), machine.now()).unwrap(), 0);
        // The end comes when it was to come.
        machine.passes(539);
        assert!(take(&mut other, "c", 5, machine.now()).is_err());
        machine.passes(1);
        assert!(matches!(take(&mut other, "c", 5, machine.now()), Ok(Taken::Yours { fresh: true, .. })));

        // Who asked before the clock was set, and waited for the database, has what was meant.
        let mut late = machine.office(&path, "boot");
        machine.passes(3600);
        let before = machine.now();
        machine.is_set(-by);
        take(&mut late, "d", 10, before).unwrap();
        let lock = late.locks().unwrap().remove(0);
        assert_eq!((lock.since, lock.expires), (machine.now(), Some(machine.ago(-600))), "{early}");
    }
}

#[test]
fn what_an_earlier_boot_wrote_stays_and_so_does_what_another_boot_clock_cannot_judge() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portwatch.db");
    let machine = Machine::new();
    let mut before = machine.office(&path, "first");
    machine.passes(100);
    take(&mut before, "a", 60, machine.now()).unwrap();
    let expires = before.locks().unwrap()[0].expires;
    drop(before);
    // The machine is started again, ten minutes later, and its clock is off until somebody sets it right.
    let machine = Machine::new();
    machine.is_set(600 + 2 * HOUR);
    let mut store = machine.office(&path, "second");
    machine.passes(10);
    store.present(super::Voice { agent: "b", user: &owner("b").user }, machine.now()).unwrap();
    machine.is_set(-2 * HOUR);
    machine.passes(10);
    assert_eq!(store.agent("b", 1000).unwrap().unwrap().seen, machine.ago(10));
    assert_eq!(store.locks().unwrap()[0].expires, expires);
    // By less than a second nothing is moved.
    let seen = store.agent("b", 1000).unwrap().unwrap().seen;
    machine.0.1.fetch_add(S - 1, Ordering::Relaxed);
    assert_eq!(store.agent("b", 1000).unwrap().unwrap().seen, seen);
    machine.0.1.fetch_add(1, Ordering::Relaxed);
    assert_eq!(store.agent("b", 1000).unwrap().unwrap().seen, seen + SignedDuration::from_secs(1));

    // In another namespace the boot clock says something else, and the wall clock the same.
    let other = Machine::new();
    other.is_set(machine.read().1 / S - BOOT - 5 * HOUR);
    let clock = other.clock().in_space("time:[1]");
    let mut elsewhere = Coordination { store: Claims::open(&path, "second").unwrap().with_clock(clock) };
    let seen = store.agent("b", 1000).unwrap().unwrap().seen;
    elsewhere.present(super::Voice { agent: "c", user: &owner("c").user }, machine.now()).unwrap();
    assert_eq!(elsewhere.agent("b", 1000).unwrap().unwrap().seen, seen);
    assert_eq!(store.agent("b", 1000).unwrap().unwrap().seen, seen);
}

#[test]
fn a_claims_time_goes_on_and_whoever_keeps_claims_in_mind_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portwatch.db");
    let machine = Machine::new();
    let open = || Claims::open(&path, "boot").unwrap().with_clock(machine.clock());
    let mut claims = open();
    machine.passes(100);
    let name: Name = "shop:api".parse().unwrap();
    let terms = Terms {
        range: "3100-3199".parse().unwrap(),
        exclude: PortSet::default(),
        reserved: PortSet::default(),
        ephemeral: None,
        unprivileged_from: 1024,
    };
    let expires = Some(machine.ago(-1800));
    let request = Request { expires, ..Request::plain(&name, 7, &terms) };
    claims.claim(&request, machine.now(), &mut |_, _| None).unwrap();
    claims.set_health(&name, 7, ("healthy", "well"), machine.now()).unwrap();
    let version = claims.version().unwrap();
    for by in [HOUR, -3 * HOUR] {
        machine.passes(60);
        machine.is_set(by);
        let other = open();
        assert_eq!(other.all().unwrap()[0].created, claims.all().unwrap()[0].created);
    }
    let claim = claims.all().unwrap().remove(0);
    assert_eq!((claim.created, claim.expires), (machine.ago(120), Some(machine.ago(-1680))));
    assert_eq!(claims.health().unwrap()[&claim.id].checked, machine.ago(120));
    let after = claims.version().unwrap();
    assert_ne!(after, version);
    // Who may not write reads what is meant.
    machine.is_set(HOUR);
    let lag = |space: &str, boot: &str| {
        let (connection, _) = claims.parts();
        Lag::between(connection, machine.read().1, &|| (boot.to_owned(), space.to_owned())).unwrap()
    };
    let found = lag(&space(), "boot").unwrap();
    assert_eq!(found.moved(claim.expires.unwrap(), claim.renewed), machine.ago(-1680));
    let earlier = Timestamp::from_second(BOOT - 3 * HOUR).unwrap();
    assert_eq!(found.moved(earlier, earlier), earlier);
    assert_eq!((lag("time:[1]", "boot"), lag(&space(), "another")), (None, None));
    // Its own moving is told too.
    assert_ne!(claims.version().unwrap(), after);
    assert_eq!(lag(&space(), "boot"), None);
}
