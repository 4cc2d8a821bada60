//! What one user orders fits the memory and the time of a daemon that others need too.

use std::time::Duration;

use super::{
    CoordinateError, Coordination, MessagesWanted, OfSession, Publish, Register, StartSession, TakeLock,
    Taken, gone,
    tests_of_channels::{at, place, user},
};
use crate::{
    coordinate::{Channels, Denial, Owner, OwnerKind},
    model::ProcessId,
};

fn begin(store: &mut Coordination, agent: &str) {
    let start = StartSession {
        purpose: "work",
        agent: Some(agent),
        terminal: None,
        root: None,
        files: &[],
        force: false,
    };
    store.start_session(&start, &user(1000), &[agent.to_owned()], at(0)).unwrap();
}

fn claim(store: &mut Coordination, id: &str, files: &[String], force: bool) -> Result<usize, Denial> {
    let user = user(1000);
    let order = OfSession { id, agent: None, user: &user };
    match store.claim_files(&order, (files, force), at(1)) {
        Ok(((session, _), _)) => Ok(session.files.len()),
        Err(CoordinateError::Denied(denial)) => Err(denial),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_page_of_messages_or_notes_has_a_bound_in_bytes_and_says_that_there_is_more() {
    let (_folder, _path, mut store) = place();
    let sender = Owner { kind: OwnerKind::Agent, name: "a".to_owned(), user: user(1000), process: None };
    let text = "x".repeat(16 * 1024);
    for _ in 0..40 {
        let publish = Publish { channel: "c", sender: &sender, text: &text, shared: false };
        store.publish(&publish, at(0)).unwrap();
    }
    let channels = Channels::parse("c").unwrap();
    let page = |after| {
        let wanted = MessagesWanted { channels: &channels, after, since: None, most: 1000, reader: 1000 };
        store.messages(&wanted).unwrap()
    };
    let newest = page(None);
    assert_eq!((newest.messages.len(), newest.more), (16, true), "256 kB");
    assert_eq!(newest.messages.last().map(|message| message.id), Some(40));
    // Page by page, whoever goes on behind the last misses none.
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = page(Some(after));
        seen.extend(page.messages.iter().map(|message| message.id));
        after = *seen.last().unwrap();
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, (1..=40).collect::<Vec<i64>>());

    begin(&mut store, "s");
    let user = user(1000);
    let order = OfSession { id: "s", agent: None, user: &user };
    for _ in 0..100 {
        store.add_note(&order, ("note", &"y".repeat(4096)), at(1)).unwrap();
    }
    let (notes, total) = store.notes("s", None, 1000).unwrap();
    assert_eq!((notes.len(), total), (64, 100));
}

#[test]
fn one_user_claims_so_many_bytes_of_paths() {
    let (_folder, _path, mut store) = place();
    begin(&mut store, "one");
    let files = |from: usize| -> Vec<String> {
        (from..from + 500).map(|at| format!("/{at:04}/{}", "x".repeat(1018))).collect()
    };
    for from in [0, 500, 1000, 1500] {
        assert_eq!(claim(&mut store, "one", &files(from), false), Ok(from + 500));
    }
    assert_eq!(claim(&mut store, "one", &[format!("/{}", "y".repeat(49_151))], false), Ok(2001));
    let refused = claim(&mut store, "one", &["/z".to_owned()], false).unwrap_err();
    assert!(refused.to_string().contains("20000 files at most, with 2 MB of paths"), "{refused}");
}

#[test]
fn processes_are_looked_after_by_turns_of_their_users() {
    let (_folder, _path, mut store) = place();
    for (uid, pid) in (1..=600).map(|pid| (1000, pid)).chain([(1001, 700), (0, 701), (1001, 702)]) {
        let process = Some(ProcessId { pid, start_ticks: 5 });
        let owner =
            Owner { kind: OwnerKind::Process, name: format!("make ({pid})"), user: user(uid), process };
        let name = format!("l{pid}");
        let wanted = TakeLock { name: &name, owner: &owner, ttl: None, waiter: None, ticket: None };
        store.take(&wanted, (&|_| true, &gone), at(0)).unwrap();
    }
    let found: Vec<u32> = store.processes().unwrap().into_iter().map(|process| process.pid).collect();
    assert_eq!(found.len(), 603);
    assert_eq!(found.get(..6), Some(&[701, 1, 700, 2, 702, 3][..]), "who has many comes after who has few");
}

fn register(store: &mut Coordination, name: &str, purpose: Option<&str>, second: i64) -> Result<(), Denial> {
    let register = Register { name, purpose, ..Register::default() };
    match store.register(&register, &user(1000), at(second)) {
        Ok(_) => Ok(()),
        Err(CoordinateError::Denied(denial)) => Err(denial),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn who_leaves_nothing_to_salvage_makes_room_for_new_agents_and_nobody_else_does() {
    let (_folder, _path, mut store) = place();
    begin(&mut store, "works");
    register(&mut store, "says", Some("what it does"), 0).unwrap();
    for count in 0..998 {
        register(&mut store, &format!("a{count}"), None, count / 100).unwrap();
    }
    let known = |store: &Coordination, name: &str| store.agent(name, 1000).unwrap().is_some();
    let refused = register(&mut store, "new", None, 20).unwrap_err();
    assert_eq!(refused.to_string(), "uid 1000 has 1000 agents already, as many as one user may");
    assert!(refused.remedy().contains("portwatch agent unregister NAME"), "{}", refused.remedy());

    // What the sentence says helps, and the one that ended first goes first.
    store.unregister("a5", &user(1000), at(21)).unwrap();
    store.unregister("a3", &user(1000), at(22)).unwrap();
    register(&mut store, "new1", None, 23).unwrap();
    assert!(!known(&store, "a5") && known(&store, "a3"));
    register(&mut store, "new2", None, 24).unwrap();
    assert!(!known(&store, "a3"));
    register(&mut store, "new3", None, 25).unwrap_err();

    // All are dead: those go that have no purpose, session or lock, the longest silent first.
    let owner = Owner { kind: OwnerKind::Agent, name: "a0".to_owned(), user: user(1000), process: None };
    let ttl = Some(Duration::from_hours(24));
    let wanted = TakeLock { name: "l", owner: &owner, ttl, waiter: None, ticket: None };
    store.take(&wanted, (&|_| true, &gone), at(0)).unwrap();
    for count in 0..50 {
        register(&mut store, &format!("late{count}"), None, 3000).unwrap();
    }
    for kept in ["works", "says", "a0", "a60", "new1"] {
        assert!(known(&store, kept), "{kept}");
    }
    assert!(!known(&store, "a1") && !known(&store, "a50"));
    assert_eq!(store.agents().unwrap().len(), 1000);
}

#[test]
fn locks_whose_time_has_passed_make_room_for_new_ones() {
    let (_folder, _path, mut store) = place();
    let owner = Owner { kind: OwnerKind::Agent, name: "a".to_owned(), user: user(1000), process: None };
    let mut take = |name: &str, ms: u64, second: i64| {
        let ttl = Some(Duration::from_millis(ms));
        let wanted = TakeLock { name, owner: &owner, ttl, waiter: None, ticket: None };
        match store.take(&wanted, (&|_| true, &gone), at(second)) {
            Ok((Taken::Yours { .. }, told)) => Ok(told),
            Ok(other) => panic!("{other:?}"),
            Err(CoordinateError::Denied(denial)) => Err(denial),
            Err(error) => panic!("{error}"),
        }
    };
    take("z1", 2, 0).unwrap();
    take("z0", 1, 0).unwrap();
    for count in 0..998 {
        take(&format!("l{count}"), 1_000_000, 0).unwrap();
    }
    for (new, gone) in [("n0", "z0"), ("n1", "z1")] {
        let told = take(new, 1_000_000, 1).unwrap();
        let words: Vec<_> =
            told.iter().map(|(_, e)| (e.subject.clone().unwrap(), e.message.clone().unwrap())).collect();
        assert_eq!(words[0], (gone.to_owned(), "owner=a  its time had passed".to_owned()), "{words:?}");
    }
    let refused = take("n2", 1_000_000, 1).unwrap_err();
    assert!(refused.remedy().contains("portwatch unlock NAME"), "{}", refused.remedy());
    assert_eq!(store.locks().unwrap().len(), 1000);
}
