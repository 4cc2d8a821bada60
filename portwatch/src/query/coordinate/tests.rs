#![cfg(target_os = "linux")]

use std::{
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Asker, Bind, Bureau, LockOrder, Whose};
use crate::{
    journal::{Taken, Told},
    model::EventKind,
};

/// A bureau that knows how processes end, and why locks became free.
fn bureau(folder: &tempfile::TempDir) -> (Bureau, Arc<Mutex<Vec<String>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&log);
    let announce = move |told: Told| {
        let freed = told.into_iter().filter(|(_, event)| event.kind == EventKind::Unlock);
        written.lock().unwrap().extend(freed.filter_map(|(_, event)| event.message));
    };
    let bureau = Bureau::open(&folder.path().join("portwatch.db"), "boot", announce, || {}).unwrap();
    let ending = |process: crate::model::ProcessId, _| Some(format!("{} was killed", process.pid));
    (bureau.with_ending(ending), log)
}

fn held(bureau: &Bureau, asker: &Asker) -> Child {
    let holder = Command::new("sleep").arg("600").spawn().unwrap();
    let whose = Whose { bind: Bind::Pid(holder.id()), ..Whose::default() };
    let order = LockOrder { name: "db".to_owned(), whose, ttl: None, wait: false, ticket: None };
    assert!(matches!(bureau.lock(&order, asker).unwrap().0, Taken::Yours { fresh: true, .. }));
    holder
}

#[test]
fn whoever_finds_a_holder_dead_first_the_log_says_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (bureau, log) = bureau(&folder);
    let asker = Asker::of(nix::unistd::getuid().as_raw(), Some(std::process::id()));
    let whose = Whose { agent: Some("next".to_owned()), ..Whose::default() };
    let ttl = Some(Duration::from_mins(1));
    let next = |wait, ticket| LockOrder { name: "db".to_owned(), whose: whose.clone(), ttl, wait, ticket };
    let kill = |mut holder: Child| {
        holder.kill().unwrap();
        holder.wait().unwrap();
        format!("{} was killed", holder.id())
    };
    let said = |why: &str| {
        let log = std::mem::take(&mut *log.lock().unwrap());
        assert!(matches!(log.as_slice(), [one] if one.ends_with(why)), "{why}: {log:?}");
    };

    // Who asks once.
    let why = kill(held(&bureau, &asker));
    let (taken, _) = bureau.lock(&next(false, None), &asker).unwrap();
    let Taken::Yours { from: Some(from), .. } = taken else { panic!("{taken:?}") };
    assert_eq!(from.why, why);
    said(&why);
    bureau.unlock("db", &whose, false, &asker).unwrap();
    log.lock().unwrap().clear();

    // Who waits, at its next look.
    let holder = held(&bureau, &asker);
    let Taken::Waiting { ticket, .. } = bureau.lock(&next(true, None), &asker).unwrap().0 else { panic!() };
    let why = kill(holder);
    let (taken, _) = bureau.lock(&next(true, Some(ticket)), &asker).unwrap();
    assert!(matches!(taken, Taken::Yours { .. }), "{taken:?}");
    said(&why);
    bureau.unlock("db", &whose, false, &asker).unwrap();
    log.lock().unwrap().clear();

    // Who asks for something else.
    let why = kill(held(&bureau, &asker));
    assert!(bureau.locks().unwrap().is_empty());
    said(&why);
}
