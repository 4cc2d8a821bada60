//! Claims on files: whose keep whom out, and what is said of them.

use super::{
    Conflicts, CoordinateError, Coordination, OfSession, StartSession,
    tests_of_channels::{at, place, user},
};
use crate::coordinate::Denial;

/// Begins a session of an agent, all three of one name.
fn begin(store: &mut Coordination, name: &str, uid: u32, files: &[String]) {
    let start =
        StartSession { purpose: "work", agent: Some(name), terminal: None, root: None, files, force: true };
    store.start_session(&start, &user(uid), &[name.to_owned()], at(0)).unwrap();
}

fn claim(
    store: &mut Coordination,
    (id, uid): (&str, u32),
    files: &[String],
    force: bool,
) -> Result<Conflicts, Denial> {
    let user = user(uid);
    let order = OfSession { id, agent: None, user: &user };
    match store.claim_files(&order, (files, force), at(1)) {
        Ok(((_, conflicts), _)) => Ok(conflicts),
        Err(CoordinateError::Denied(denial)) => Err(denial),
        Err(error) => panic!("{error}"),
    }
}

fn paths(folder: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{folder}/{at:04}")).collect()
}

fn one(path: &str) -> Vec<String> {
    vec![path.to_owned()]
}

#[test]
fn who_is_in_the_way_is_named_however_many_claims_there_are() {
    let (_folder, _path, mut store) = place();
    begin(&mut store, "one", 1000, &paths("/p", 300));
    begin(&mut store, "two", 1000, &[]);
    let way = "/ is claimed by one, agent one; 300 claims are in the way, of one";
    for force in [false, true] {
        let refused = claim(&mut store, ("two", 1000), &one("/"), force).unwrap_err();
        let expected = format!("{way}, of which --force takes 200 at most; nothing was claimed");
        assert_eq!(refused.to_string(), expected);
        assert!(refused.remedy().contains("sessions --files shows all; claim less at once"));
    }
    // One claim that is in the way of many files is one.
    begin(&mut store, "three", 1000, &one("/q"));
    let refused = claim(&mut store, ("two", 1000), &paths("/q", 1000), false).unwrap_err();
    assert_eq!(refused.to_string(), "/q/0000 is claimed by three, agent three; nothing was claimed");
    assert_eq!(claim(&mut store, ("two", 1000), &paths("/q", 1000), true).unwrap().listed.len(), 1);

    for at in 0..7 {
        begin(&mut store, &format!("s{at}"), 1000, &[format!("/r/{at}")]);
    }
    let refused = claim(&mut store, ("two", 1000), &one("/r"), false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "/r is claimed by s0, agent s0; 7 claims are in the way, of s0, s1, s2, s3, s4 and 2 more; nothing was claimed"
    );
    assert!(refused.remedy().contains("--force claims it all the same"));
}

#[test]
fn a_users_claims_keep_nobody_else_out_and_are_told() {
    let (_folder, _path, mut store) = place();
    begin(&mut store, "all", 1001, &one("/"));
    begin(&mut store, "mine", 1000, &[]);
    begin(&mut store, "roots", 0, &one("/srv/root"));
    // Neither root nor another user is stopped by it, and both are told whose it is.
    for (id, uid, path) in [("mine", 1000, "/home/erich"), ("roots", 0, "/etc")] {
        let told = claim(&mut store, (id, uid), &one(path), false).unwrap();
        let [conflict] = told.listed.as_slice() else { panic!("{told:?}") };
        assert_eq!((conflict.claimed.as_str(), conflict.session.as_str()), ("/", "all"));
        assert_eq!((conflict.user.uid, told.more), (1001, 0));
    }
    // Root may do so: what it claims is in the way of everybody, and so is what is one's own user's.
    let refused = claim(&mut store, ("mine", 1000), &one("/srv/root/x"), false).unwrap_err();
    assert!(refused.to_string().contains("is claimed by roots"), "{refused}");
    begin(&mut store, "also", 1000, &[]);
    let refused = claim(&mut store, ("also", 1000), &one("/home"), false).unwrap_err();
    assert!(refused.to_string().contains("is claimed by mine"), "{refused}");
    // However many another user claims, no order fails by it, and the answer says that there are more.
    claim(&mut store, ("all", 1001), &paths("/opt", 300), false).unwrap();
    let told = claim(&mut store, ("mine", 1000), &one("/opt"), false).unwrap();
    assert_eq!((told.listed.len(), told.more), (200, 101), "300 below, and one above");
}

#[test]
fn what_is_named_twice_is_given_back_once() {
    let (_folder, _path, mut store) = place();
    begin(&mut store, "one", 1000, &one("/p/a"));
    let user = user(1000);
    let order = OfSession { id: "one", agent: None, user: &user };
    let twice = ["/p/a", "/p/a", "/p/b", "/p/b"].map(str::to_owned);
    let ((session, unknown), _) = store.release_files(&order, &twice, at(1)).unwrap();
    assert_eq!((session.files, unknown), (Vec::new(), one("/p/b")));
}
