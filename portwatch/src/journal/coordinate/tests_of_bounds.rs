//! What one user orders fits the memory and the time of a daemon that others need too.

use super::{
    CoordinateError, Coordination, MessagesWanted, OfSession, Publish, StartSession, TakeLock,
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
fn claims_in_the_way_are_looked_for_up_to_a_bound_whatever_is_named_how_often() {
    let (_folder, _path, mut store) = place();
    begin(&mut store, "one");
    begin(&mut store, "two");
    let files: Vec<String> = (0..300).map(|at| format!("/p/{at}")).collect();
    assert_eq!(claim(&mut store, "one", &files, false), Ok(300));
    let root = vec!["/".to_owned(); 2000];
    for force in [false, true] {
        let refused = claim(&mut store, "two", &root, force).unwrap_err();
        assert_eq!(refused.to_string(), "more than 200 claims are in the way; nothing was claimed");
    }
    // What is named twice is claimed once.
    assert_eq!(claim(&mut store, "two", &vec!["/p/1".to_owned(); 2000], true), Ok(1));
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
        store.take(&wanted, &|_| true, at(0)).unwrap();
    }
    let found: Vec<u32> = store.processes().unwrap().into_iter().map(|process| process.pid).collect();
    assert_eq!(found.len(), 603);
    assert_eq!(found.get(..6), Some(&[701, 1, 700, 2, 702, 3][..]), "who has many comes after who has few");
}
