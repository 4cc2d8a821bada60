use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Barrier,
    time::Duration,
};

use super::{
    Alive, CoordinateError, Coordination, Ends, Heir, OfSession, Register, StartSession, TakeLock, Taken,
    Told, Voice, gone,
};
use crate::{
    coordinate::{Denial, Owner, OwnerKind, SessionState, User},
    journal::Reader,
    model::{EventFilter, EventKind, ProcessId, Timestamp},
};

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portwatch.db");
    (folder, path)
}

fn open(path: &Path) -> Coordination {
    Coordination::open(path, "boot").unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 + second).unwrap()
}

fn process(pid: u32) -> ProcessId {
    ProcessId { pid, start_ticks: u64::from(pid) * 10 }
}

fn agent(name: &str, uid: u32) -> Owner {
    let user = User { uid, name: None };
    Owner { kind: OwnerKind::Agent, name: name.to_owned(), user, process: None }
}

fn of_process(pid: u32) -> Owner {
    Owner {
        kind: OwnerKind::Process,
        name: format!("make ({pid})"),
        user: User { uid: 1000, name: None },
        process: Some(process(pid)),
    }
}

fn want(owner: &Owner, waiter: Option<u32>, ticket: Option<i64>) -> TakeLock<'_> {
    let ttl = Some(Duration::from_mins(10));
    TakeLock { name: "db", owner, ttl, waiter: waiter.map(process), ticket }
}

fn living(_: ProcessId) -> bool {
    true
}

/// As the bureau does it, where nobody saw how a process ended.
pub(super) fn sweep(store: &mut Coordination, alive: &Alive<'_>, now: Timestamp) -> Told {
    let ends: Ends = store.lost(alive).unwrap().into_iter().map(|process| (process, gone(process))).collect();
    let mut told = store.ended(&ends, now).unwrap();
    told.extend(store.tell_of_silence(now).unwrap());
    told
}

fn ended(store: &mut Coordination, process: ProcessId, why: &str, now: Timestamp) {
    store.ended(&Ends::from([(process, why.to_owned())]), now).unwrap();
}

fn take(store: &mut Coordination, wanted: &TakeLock<'_>, second: i64) -> Result<Taken, Denial> {
    match store.take(wanted, (&living, &gone), at(second)) {
        Ok((taken, _)) => Ok(taken),
        Err(CoordinateError::Denied(denial)) => Err(denial),
        Err(error) => panic!("{error}"),
    }
}

fn ticket(taken: &Taken) -> (i64, usize) {
    match taken {
        Taken::Waiting { ticket, ahead, .. } => (*ticket, *ahead),
        Taken::Yours { .. } => panic!("it was to be had: {taken:?}"),
    }
}

fn log(path: &Path) -> Vec<(EventKind, String, String)> {
    let page = Reader::open(path).unwrap().events(&EventFilter::default()).unwrap();
    let row = |e: crate::model::LoggedEvent| {
        (e.event.kind, e.event.subject.unwrap_or_default(), e.event.message.unwrap_or_default())
    };
    // That an agent spoke has tests of its own.
    page.events.into_iter().map(row).filter(|(kind, ..)| *kind != EventKind::Heartbeat).collect()
}

#[test]
fn a_lock_has_one_holder_who_extends_it_and_gives_it_back() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let (db, web) = (agent("agent-db", 1000), agent("agent-web", 1000));
    assert!(matches!(take(&mut store, &want(&db, None, None), 0).unwrap(), Taken::Yours { fresh: true, .. }));
    let refused = take(&mut store, &want(&web, None, None), 60).unwrap_err();
    assert_eq!(refused.to_string(), "db is held by agent-db (uid 1000), expires in 9m");
    assert!(matches!(
        take(&mut store, &want(&db, None, None), 60).unwrap(),
        Taken::Yours { fresh: false, .. }
    ));
    assert_eq!(store.locks().unwrap()[0].expires, Some(at(660)));
    assert_eq!(store.locks().unwrap()[0].since, at(0), "extending does not begin anew");
    let refused = store.unlock("db", &web, false, at(61)).unwrap_err();
    assert_eq!(refused.to_string(), "db is held by agent-db, not by agent-web");
    store.unlock("db", &db, false, at(62)).unwrap();
    assert!(store.locks().unwrap().is_empty());
    assert_eq!(store.unlock("db", &db, false, at(63)).unwrap_err().to_string(), "there is no lock db");
    let told = log(&path);
    let words: Vec<_> =
        told.iter().map(|(kind, name, words)| (*kind, name.as_str(), words.as_str())).collect();
    assert_eq!(
        words,
        [
            (EventKind::Lock, "db", "owner=agent-db  for 10m"),
            (EventKind::Extend, "db", "owner=agent-db  +10m"),
            (EventKind::Unlock, "db", "owner=agent-db"),
        ]
    );
}

#[test]
fn force_is_for_the_same_user_and_for_root_and_is_written_down() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let db = agent("agent-db", 1000);
    take(&mut store, &want(&db, None, None), 0).unwrap();
    let before = log(&path).len();
    let stranger = agent("agent-db", 1001);
    for force in [false, true] {
        let refused = store.unlock("db", &stranger, force, at(1)).unwrap_err();
        assert_eq!(refused.to_string(), "db, held by agent-db, belongs to uid 1000");
    }
    assert!(store.extend("db", &stranger, Duration::from_secs(1), at(1)).is_err());
    assert_eq!((store.locks().unwrap().len(), log(&path).len()), (1, before), "nothing was changed");
    // To root, who may, an agent of the same name is told apart by its user, and what is to be typed helps.
    let CoordinateError::Denied(refused) =
        store.unlock("db", &agent("agent-db", 0), false, at(1)).unwrap_err()
    else {
        panic!("no denial")
    };
    assert_eq!(refused.to_string(), "db is held by agent-db (uid 1000), not by agent-db");
    assert_eq!(refused.remedy(), "leave it to uid 1000, or take it away: portwatch unlock db --force");
    store.unlock("db", &agent("admin", 0), true, at(2)).unwrap();
    let last = log(&path).pop().unwrap();
    assert_eq!((last.0, last.2.as_str()), (EventKind::Unlock, "owner=agent-db  forced by uid 0"));
}

#[test]
fn an_expired_lock_stays_until_somebody_takes_it() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let (db, web) = (agent("agent-db", 1000), agent("agent-web", 2000));
    take(&mut store, &want(&db, None, None), 0).unwrap();
    assert!(store.locks().unwrap()[0].has_expired(at(600)));
    let taken = take(&mut store, &want(&web, None, None), 600).unwrap();
    let Taken::Yours { fresh: true, from: Some(from), .. } = taken else { panic!("{taken:?}") };
    assert_eq!((from.lock.owner.name.as_str(), from.why.as_str()), ("agent-db", "its time had passed"));
    assert_eq!(log(&path)[1].2, "owner=agent-db  its time had passed");
}

#[test]
fn who_is_gone_from_a_line_is_not_counted_and_keeps_nobody_from_extending() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let (holder, gone, waits) = (agent("agent-db", 1000), of_process(11), of_process(12));
    take(&mut store, &want(&holder, None, None), 0).unwrap();
    ticket(&take(&mut store, &want(&gone, Some(11), None), 1).unwrap());
    ticket(&take(&mut store, &want(&waits, Some(12), None), 1).unwrap());
    assert_eq!(store.locks().unwrap()[0].waiting, 2);
    store.leave_lines(&living, at(2)).unwrap();
    assert_eq!(store.locks().unwrap()[0].waiting, 2, "both wait");
    store.leave_lines(&|process| process.pid != 11, at(2)).unwrap();
    assert_eq!(store.locks().unwrap()[0].waiting, 1);
    // Its time has passed, and somebody waits; then nobody, who was silent for too long.
    let minute = Duration::from_mins(1);
    assert!(store.extend("db", &holder, minute, at(600)).is_err());
    store.leave_lines(&living, at(600)).unwrap();
    store.extend("db", &holder, minute, at(600)).unwrap();
}

#[test]
fn who_waits_is_served_in_order_and_nobody_goes_before() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let (holder, one, two, late) = (of_process(1), of_process(11), of_process(12), of_process(13));
    take(&mut store, &want(&holder, None, None), 0).unwrap();
    let first = ticket(&take(&mut store, &want(&one, Some(11), None), 1).unwrap());
    let second = ticket(&take(&mut store, &want(&two, Some(12), None), 1).unwrap());
    assert_eq!((first.1, second.1), (0, 1));
    assert_eq!(store.locks().unwrap()[0].waiting, 2);
    store.unlock("db", &holder, false, at(2)).unwrap();
    // Who comes now finds it free and is told of the line.
    let refused = take(&mut store, &want(&late, None, None), 2).unwrap_err();
    assert_eq!(refused.to_string(), "db is free, and 2 wait for it");
    let again = take(&mut store, &want(&two, Some(12), Some(second.0)), 2).unwrap();
    assert_eq!(ticket(&again), second);
    assert!(matches!(
        take(&mut store, &want(&one, Some(11), Some(first.0)), 2).unwrap(),
        Taken::Yours { fresh: true, .. }
    ));
    assert_eq!(ticket(&take(&mut store, &want(&two, Some(12), Some(second.0)), 3).unwrap()).1, 0);
}

#[test]
fn who_asks_again_without_an_answer_is_in_line_once_and_keeps_its_place() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let (holder, one, two) = (of_process(1), of_process(11), of_process(12));
    take(&mut store, &want(&holder, None, None), 0).unwrap();
    let first = ticket(&take(&mut store, &want(&one, Some(11), None), 1).unwrap());
    let second = ticket(&take(&mut store, &want(&two, Some(12), None), 1).unwrap());
    assert_eq!(ticket(&take(&mut store, &want(&one, Some(11), None), 2).unwrap()), first);
    assert_eq!(ticket(&take(&mut store, &want(&two, Some(12), None), 2).unwrap()), second);
    assert_eq!(store.locks().unwrap()[0].waiting, 2);
    // For another owner it is another order, also where one process asks for both.
    let other = ticket(&take(&mut store, &want(&agent("a", 1000), Some(11), None), 2).unwrap());
    assert_eq!((other.0 > second.0, other.1), (true, 2));
    store.unlock("db", &holder, false, at(3)).unwrap();
    let taken = take(&mut store, &want(&one, Some(11), None), 3).unwrap();
    assert!(matches!(taken, Taken::Yours { fresh: true, .. }), "{taken:?}");
    let again = take(&mut store, &want(&one, Some(11), None), 3).unwrap();
    assert!(matches!(again, Taken::Yours { fresh: false, .. }), "{again:?}");
    assert_eq!(store.locks().unwrap()[0].waiting, 2);
}

#[test]
fn a_waiter_that_is_gone_or_silent_is_passed_over() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let (holder, one, two) = (of_process(1), of_process(11), of_process(12));
    take(&mut store, &want(&holder, None, None), 0).unwrap();
    take(&mut store, &want(&one, Some(11), None), 0).unwrap();
    let second = ticket(&take(&mut store, &want(&two, Some(12), None), 0).unwrap()).0;
    store.unlock("db", &holder, false, at(1)).unwrap();
    let waiting = want(&two, Some(12), Some(second));
    // While the first may still come, the second waits; when its process is gone, no longer.
    assert_eq!(ticket(&take(&mut store, &waiting, 1).unwrap()).1, 1);
    let (taken, _) = store.take(&waiting, (&|process| process.pid != 11, &gone), at(1)).unwrap();
    assert!(matches!(taken, Taken::Yours { fresh: true, .. }));
    store.unlock("db", &two, false, at(1)).unwrap();

    take(&mut store, &want(&one, Some(11), None), 2).unwrap();
    take(&mut store, &want(&one, Some(11), None), 2).unwrap();
    let refused = take(&mut store, &want(&two, None, None), 3).unwrap_err();
    assert!(matches!(refused, Denial::Held { .. }));
}

#[test]
fn a_lock_ends_with_its_process_and_the_log_says_how() {
    let (_folder, path) = place();
    let mut store = open(&path);
    take(&mut store, &want(&of_process(7), None, None), 0).unwrap();
    assert_eq!(store.processes().unwrap(), [process(7)]);
    ended(&mut store, ProcessId { start_ticks: 1, ..process(7) }, "", at(1));
    assert_eq!(store.locks().unwrap().len(), 1, "another process that had its pid is another");
    ended(&mut store, process(7), "its process 7 was killed by SIGKILL", at(1));
    assert!(store.locks().unwrap().is_empty());
    assert_eq!(log(&path)[1].2, "owner=make (7)  its process 7 was killed by SIGKILL");

    // Without a daemon: at the next look.
    take(&mut store, &want(&of_process(8), None, None), 2).unwrap();
    assert!(sweep(&mut store, &living, at(3)).is_empty());
    assert_eq!(sweep(&mut store, &|_| false, at(3)).len(), 1);
    assert_eq!(log(&path)[3].2, "owner=make (8)  its process 8 is gone");
}

#[test]
fn a_lock_of_an_earlier_boot_is_nobodys_whoever_has_the_pid_now() {
    let (_folder, path) = place();
    take(&mut open(&path), &want(&of_process(7), None, None), 0).unwrap();
    let mut store = Coordination::open(&path, "another boot").unwrap();
    assert!(store.processes().unwrap().is_empty());
    let same = |id: ProcessId| id == process(7);
    assert_eq!(sweep(&mut store, &same, at(1)).len(), 1);
    assert!(log(&path)[1].2.contains("the machine was started again"));
}

#[test]
fn a_lock_passes_to_the_process_that_does_the_work() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let wrapper = of_process(5);
    take(&mut store, &want(&wrapper, None, None), 0).unwrap();
    assert!(
        store.hand_over("db", &of_process(6), (process(9), "x (9)"), at(1)).is_err(),
        "not the holder's to give"
    );
    store.hand_over("db", &wrapper, (process(9), "npm (9)"), at(1)).unwrap();
    let lock = store.locks().unwrap().remove(0);
    assert_eq!((lock.owner.name.as_str(), lock.owner.process), ("npm (9)", Some(process(9))));
    // Who never heard the answer gives the order again.
    store.hand_over("db", &wrapper, (process(9), "npm (9)"), at(1)).unwrap();
    assert!(store.hand_over("db", &wrapper, (process(6), "x (6)"), at(1)).is_err(), "no longer its to give");
    ended(&mut store, process(5), "", at(1));
    assert_eq!(store.locks().unwrap().len(), 1);
}

#[test]
fn of_many_that_come_at_once_exactly_one_gets_it() {
    let (_folder, path) = place();
    drop(open(&path));
    let barrier = Barrier::new(16);
    let won: BTreeSet<u32> = std::thread::scope(|scope| {
        let all: Vec<_> = (1..=16_u32)
            .map(|pid| {
                let (path, barrier) = (&path, &barrier);
                scope.spawn(move || {
                    let mut store = open(path);
                    barrier.wait();
                    take(&mut store, &want(&of_process(pid), None, None), 0).is_ok().then_some(pid)
                })
            })
            .collect();
        all.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(won.len(), 1, "{won:?}");
    assert_eq!(log(&path).len(), 1);
}

fn erich() -> User {
    User { uid: 1000, name: Some("erich".to_owned()) }
}

fn session(
    store: &mut Coordination,
    agent: Option<&str>,
    terminal: Option<u32>,
    id: &str,
) -> Result<String, Denial> {
    let start = StartSession {
        purpose: "work",
        agent,
        terminal: terminal.map(process),
        root: None,
        files: &[],
        force: false,
    };
    match store.start_session(&start, &erich(), &[id.to_owned()], at(0)) {
        Ok(((session, _), _)) => Ok(session.id),
        Err(CoordinateError::Denied(denial)) => Err(denial),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_terminals_session_ends_with_it_and_an_agents_waits_to_be_salvaged() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let register = Register { name: "a", purpose: Some("x"), identity: None, process: Some(process(20)) };
    store.register(&register, &erich(), at(0)).unwrap();
    session(&mut store, Some("a"), Some(7), "s-agent").unwrap();
    session(&mut store, None, Some(7), "s-terminal").unwrap();
    assert!(session(&mut store, None, Some(7), "s-more").is_err(), "one for each terminal");
    let watched: BTreeSet<u32> = store.processes().unwrap().into_iter().map(|p| p.pid).collect();
    assert_eq!(watched, BTreeSet::from([7, 20]));
    ended(&mut store, process(7), "its process 7 ended with exit code 0", at(1));
    let state = |store: &Coordination, id: &str| store.session(id).unwrap().unwrap().state;
    assert_eq!(state(&store, "s-terminal"), SessionState::Abandoned);
    assert_eq!(state(&store, "s-agent"), SessionState::Active);
    ended(&mut store, process(20), "its process 20 was killed by SIGKILL", at(2));
    assert_eq!(state(&store, "s-agent"), SessionState::Active, "it waits to be salvaged");
    let dead = store.agent("a", 1000).unwrap().unwrap();
    assert!(dead.can_be_salvaged(at(3)));
    let stranger = User { uid: 1001, name: None };
    let by = |user, agent| Heir { user, agent: Some(agent), terminal: None };
    assert!(store.salvage("a", &by(&stranger, "b"), at(3)).is_err(), "another user's");
    let (salvaged, _) = store.salvage("a", &by(&erich(), "b"), at(3)).unwrap();
    assert_eq!(salvaged.sessions, ["s-agent"]);
    assert_eq!(store.session("s-agent").unwrap().unwrap().agent.as_deref(), Some("b"));
}

#[test]
fn what_ended_is_forgotten_after_its_time_and_what_is_active_never() {
    let (_folder, path) = place();
    let mut store = open(&path);
    session(&mut store, Some("a"), None, "s-old").unwrap();
    session(&mut store, Some("b"), None, "s-active").unwrap();
    for agent in ["a", "b"] {
        store.present(Voice { agent, user: &erich() }, at(0)).unwrap();
    }
    let user = erich();
    let old = OfSession { id: "s-old", agent: None, user: &user };
    store.add_note(&old, ("note", "words"), at(0)).unwrap();
    store.end_session(&old, (SessionState::Completed, None), at(10)).unwrap();
    assert_eq!(store.forget(at(5), at(5)).unwrap(), 1, "the agent that is silent for longer");
    assert!(store.session("s-old").unwrap().is_some(), "it has not been over for long");
    assert_eq!(store.forget(at(20), at(20)).unwrap(), 1);
    assert!(store.session("s-old").unwrap().is_none());
    assert_eq!(store.notes("s-old", None, 10).unwrap().1, 0);
    assert!(store.session("s-active").unwrap().is_some());
    assert!(store.agent("b", 1000).unwrap().is_some(), "it has an active session");
}

#[test]
fn the_moment_is_known_at_which_the_next_agent_has_been_silent_for_too_long() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let speak = |store: &mut Coordination, agent: &str, second: i64| {
        store.present(Voice { agent, user: &erich() }, at(second)).unwrap();
    };
    assert_eq!(store.next_silence(at(0)).unwrap(), None);
    speak(&mut store, "a", 0);
    speak(&mut store, "b", 100);
    let told = |store: &mut Coordination, moment: Timestamp| {
        let words = |(_, event): (i64, crate::model::Event)| event.subject.unwrap_or_default();
        sweep(store, &living, moment).into_iter().map(words).collect::<Vec<_>>()
    };
    // Each time nobody is told of a moment before, and somebody then.
    let mut now = at(200);
    for (agent, seconds) in [("a", 600), ("b", 700), ("a", 1200), ("b", 1300)] {
        let due = store.next_silence(now).unwrap().unwrap();
        assert!(due > at(seconds) && due < at(seconds + 1), "{agent} {due}");
        assert_eq!(told(&mut store, at(seconds)), Vec::<String>::new());
        assert_eq!(told(&mut store, due), [agent]);
        now = due;
    }
    assert_eq!(store.next_silence(now).unwrap(), None, "dead ones are told of");
    speak(&mut store, "a", 1400);
    assert!(store.next_silence(at(1400)).unwrap().is_some_and(|due| due > at(2000)));
}

#[test]
fn two_users_may_have_an_agent_of_the_same_name() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let other = User { uid: 1001, name: None };
    store.present(Voice { agent: "a", user: &erich() }, at(0)).unwrap();
    store.present(Voice { agent: "a", user: &other }, at(0)).unwrap();
    store.unregister("a", &other, at(1)).unwrap();
    assert!(store.agent("a", 1000).unwrap().unwrap().ended.is_none());
    let root = User { uid: 0, name: None };
    assert!(matches!(
        store.unregister("a", &root, at(1)),
        Err(CoordinateError::Denied(Denial::Ambiguous { .. }))
    ));
    assert!(store.unregister("b", &root, at(1)).is_err());
}

#[test]
fn an_order_that_is_refused_is_no_sign_of_life_and_makes_no_agent_known() {
    let (_folder, path) = place();
    let mut store = open(&path);
    take(&mut store, &want(&of_process(1), None, None), 0).unwrap();
    let before = log(&path);
    let web = agent("agent-web", 1000);
    assert!(take(&mut store, &want(&web, None, None), 1).is_err());
    assert!(store.unlock("db", &web, false, at(1)).is_err());
    assert!(store.extend("db", &web, Duration::from_secs(1), at(1)).is_err());
    let user = erich();
    let none = OfSession { id: "s-none", agent: Some("agent-web"), user: &user };
    assert!(store.add_note(&none, ("note", "words"), at(1)).is_err());
    assert_eq!((store.agent("agent-web", 1000).unwrap(), log(&path)), (None, before));
    // Waiting is no refusal.
    take(&mut store, &want(&web, Some(11), None), 2).unwrap();
    assert_eq!(store.agent("agent-web", 1000).unwrap().unwrap().seen, at(2));
    assert!(store.unlock("db", &web, false, at(100)).is_err());
    assert_eq!(store.agent("agent-web", 1000).unwrap().unwrap().seen, at(2));
}

#[test]
fn only_who_waits_leaves_the_line() {
    let (_folder, path) = place();
    let mut store = open(&path);
    take(&mut store, &want(&of_process(1), None, None), 0).unwrap();
    let place = ticket(&take(&mut store, &want(&of_process(11), Some(11), None), 1).unwrap()).0;
    let stranger = User { uid: 1001, name: None };
    let own = User { uid: 1000, name: None };
    for (ticket, pid, user, sentence) in [
        (place, 12, &own, "place 1 in the line for db is of process 11, not of 12"),
        (place, 11, &stranger, "place 1 in the line for db belongs to uid 1000"),
        (place + 1, 11, &own, "there is no place in a line with the number 2"),
    ] {
        let refused = store.leave_queue(ticket, (process(pid), user), at(1)).unwrap_err();
        assert_eq!(refused.to_string(), sentence);
    }
    assert_eq!(store.locks().unwrap()[0].waiting, 1);
    store.leave_queue(place, (process(11), &own), at(1)).unwrap();
    assert_eq!(store.locks().unwrap()[0].waiting, 0);
}

#[test]
fn one_user_has_so_many_places_in_lines_and_others_have_theirs() {
    let (_folder, path) = place();
    let mut store = open(&path);
    let owner = |uid: u32| Owner {
        kind: OwnerKind::Session,
        name: "s".to_owned(),
        user: User { uid, name: None },
        process: None,
    };
    let names: Vec<String> = (0..=1000).map(|at| format!("lock-{at}")).collect();
    let ttl = Some(Duration::from_mins(10));
    let ask = |store: &mut Coordination, name: &str, uid: u32, second: i64| {
        let owner = owner(uid);
        let wanted = TakeLock { name, owner: &owner, ttl, waiter: Some(process(50)), ticket: None };
        store.take(&wanted, (&living, &gone), at(second)).map(|(taken, _)| taken)
    };
    for (at, name) in names.iter().enumerate() {
        // Two users hold them: one may not have so many.
        ask(&mut store, name, if at % 2 == 0 { 1 } else { 2 }, 0).unwrap();
    }
    for name in &names[..1000] {
        assert!(matches!(ask(&mut store, name, 1000, 1).unwrap(), Taken::Waiting { .. }));
    }
    let refused = ask(&mut store, &names[1000], 1000, 1).unwrap_err();
    assert_eq!(refused.to_string(), "uid 1000 has 1000 places in lines already, as many as one user may");
    assert!(matches!(ask(&mut store, &names[1000], 1001, 1).unwrap(), Taken::Waiting { .. }));
    // Those who do not ask any more do not stand in their own way.
    assert!(matches!(ask(&mut store, &names[1000], 1000, 10).unwrap(), Taken::Waiting { .. }));
}
