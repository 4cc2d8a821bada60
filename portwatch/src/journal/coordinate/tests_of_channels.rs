use std::{path::PathBuf, sync::Barrier};

use super::{CoordinateError, Coordination, MessagePage, MessagesWanted, Publish};
use crate::{
    coordinate::{Channels, Owner, OwnerKind, User},
    model::Timestamp,
};

pub(super) fn place() -> (tempfile::TempDir, PathBuf, Coordination) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portwatch.db");
    let store = Coordination::open(&path, "boot").unwrap();
    (folder, path, store)
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 + second).unwrap()
}

pub(super) fn user(uid: u32) -> User {
    User { uid, name: None }
}

fn say(store: &mut Coordination, channel: &str, uid: u32, text: &str) -> Result<i64, CoordinateError> {
    said(store, (channel, false), uid, text, 0)
}

fn said(
    store: &mut Coordination,
    (channel, shared): (&str, bool),
    uid: u32,
    text: &str,
    second: i64,
) -> Result<i64, CoordinateError> {
    let sender = Owner { kind: OwnerKind::Agent, name: "a".to_owned(), user: user(uid), process: None };
    let publish = Publish { channel, sender: &sender, text, shared };
    store.publish(&publish, at(second)).map(|(message, _)| message.id)
}

fn read(store: &Coordination, channels: &str, after: Option<i64>, reader: u32) -> MessagePage {
    let channels = Channels::parse(channels).unwrap();
    let wanted = MessagesWanted { channels: &channels, after, since: None, most: 1000, reader };
    store.messages(&wanted).unwrap()
}

fn texts(page: &MessagePage) -> Vec<&str> {
    page.messages.iter().map(|message| message.text.as_str()).collect()
}

fn direct(path: &PathBuf, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn messages_have_numbers_that_grow_over_all_channels_and_are_never_used_again() {
    let (_folder, path, mut store) = place();
    let numbers: Vec<i64> = ["x", "y", "x"].iter().map(|c| say(&mut store, c, 1000, c).unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(texts(&read(&store, "x", None, 1000)), ["x", "x"]);
    assert_eq!(texts(&read(&store, "*", Some(1), 1000)), ["y", "x"]);
    direct(&path, "DELETE FROM message");
    assert_eq!(say(&mut store, "x", 1000, "later").unwrap(), 4);
}

#[test]
fn what_is_not_kept_any_more_is_told_to_those_who_had_not_read_it_and_to_nobody_else() {
    let (_folder, path, mut store) = place();
    for channel in ["x", "y", "x", "y"] {
        say(&mut store, channel, 1000, channel).unwrap();
    }
    direct(&path, "DELETE FROM message WHERE id <= 2");
    assert_eq!(read(&store, "x", Some(0), 1000).cut, Some(1));
    assert_eq!(read(&store, "x", Some(1), 1000).cut, None, "it had read what went");
    assert_eq!(read(&store, "*", Some(0), 1000).cut, Some(2));
    assert_eq!(read(&store, "x", None, 1000).cut, None, "the newest were asked for, and are there");
    // Also where the channel is gone, and made anew.
    store.remove_channel("x", &user(1000), at(1)).unwrap();
    assert_eq!(read(&store, "x", Some(2), 1000).cut, Some(3));
    say(&mut store, "x", 1001, "new").unwrap();
    assert_eq!(read(&store, "x", Some(2), 1001).cut, Some(3));
    // And long after, when nothing is known of the channel.
    store.remove_channel("x", &user(0), at(2)).unwrap();
    store.forget(at(10), at(10)).unwrap();
    direct(&path, "SELECT 1");
    assert_eq!(read(&store, "x", Some(2), 1001).cut, Some(5));
    assert_eq!(read(&store, "x", Some(5), 1001).cut, None);
}

#[test]
fn since_tells_of_what_may_have_been_published_then_and_is_gone() {
    let (_folder, path, mut store) = place();
    for second in [0, 10, 20, 30] {
        said(&mut store, ("x", false), 1000, &second.to_string(), second).unwrap();
    }
    let since = |store: &Coordination, second| {
        let channels = Channels::parse("x").unwrap();
        let wanted = MessagesWanted {
            channels: &channels,
            after: None,
            since: Some(at(second)),
            most: 10,
            reader: 1000,
        };
        store.messages(&wanted).unwrap()
    };
    assert_eq!((texts(&since(&store, 15)), since(&store, 15).cut), (vec!["20", "30"], None));
    direct(&path, "DELETE FROM message WHERE id <= 2");
    assert_eq!((texts(&since(&store, 25)), since(&store, 25).cut), (vec!["30"], None));
    assert_eq!((texts(&since(&store, 15)), since(&store, 15).cut), (vec!["20", "30"], Some(2)));
}

#[test]
fn a_channel_is_its_users_unless_it_is_shared() {
    let (_folder, _, mut store) = place();
    say(&mut store, "mine", 1000, "secret").unwrap();
    let refused = say(&mut store, "mine", 1001, "graffiti").unwrap_err().to_string();
    assert_eq!(refused, "channel mine is private to uid 1000");
    let channels = Channels::parse("mine").unwrap();
    let wanted = |reader| MessagesWanted { channels: &channels, after: None, since: None, most: 9, reader };
    assert!(store.messages(&wanted(1001)).is_err());
    assert_eq!(texts(&store.messages(&wanted(0)).unwrap()), ["secret"], "root sees all");
    let page = read(&store, "*", None, 1001);
    assert_eq!((texts(&page), page.known, page.hidden), (vec![], 0, 1));
    for (name, shared) in [("mine", true), ("mine", false)] {
        assert!(store.share_channel(name, shared, &user(1001), at(1)).is_err());
    }
    assert!(store.remove_channel("mine", &user(1001), at(1)).is_err());
    store.share_channel("mine", true, &user(1000), at(1)).unwrap();
    say(&mut store, "mine", 1001, "hello").unwrap();
    assert_eq!(texts(&read(&store, "m*", None, 1001)), ["secret", "hello"]);
    assert!(store.remove_channel("mine", &user(1001), at(1)).is_err(), "shared is not given away");
    store.share_channel("mine", false, &user(1000), at(1)).unwrap();
    assert!(store.messages(&wanted(1001)).is_err());
}

#[test]
fn nobody_pushes_out_what_another_said() {
    let (_folder, path, mut store) = place();
    said(&mut store, ("x", true), 1001, "of another", 0).unwrap();
    // As if 10,000 had been published: with their bytes that is quick.
    direct(
        &path,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO message (channel, at, kind, sender, uid, text)
         SELECT 'x', '2026-03-02T00:00:00Z', 'agent', 'a', 1000, 'flood' FROM n",
    );
    let newest = say(&mut store, "x", 1000, "one more").unwrap();
    let (channels, _, _) = store.channels(1000, 10).unwrap();
    assert_eq!((channels[0].messages, channels[0].newest), (10_001, Some(newest)));
    assert_eq!(texts(&read(&store, "x", Some(0), 1001))[0], "of another");
    assert_eq!(read(&store, "x", Some(1), 1001).cut, Some(2), "the oldest of the flood went");
    // Bytes count too.
    let large = "x".repeat(16 * 1024);
    for _ in 0..1025 {
        say(&mut store, "y", 1002, &large).unwrap();
    }
    let connection = rusqlite::Connection::open(&path).unwrap();
    let kept: (i64, i64) = connection
        .query_row("SELECT count(*), sum(length(text)) FROM message WHERE uid = 1002", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(kept, (1024, 16 << 20));
    let counted: (i64, i64) = connection
        .query_row("SELECT messages, bytes FROM publisher WHERE uid = 1002", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(counted, kept, "what is counted is what is there");
}

#[test]
fn one_user_has_so_many_channels() {
    let (_folder, _, mut store) = place();
    for at in 0..100 {
        say(&mut store, &format!("c{at}"), 1000, "x").unwrap();
    }
    let refused = say(&mut store, "more", 1000, "x").unwrap_err().to_string();
    assert!(refused.contains("uid 1000 has 100 channels already"), "{refused}");
    say(&mut store, "c7", 1000, "into one that is there").unwrap();
    say(&mut store, "more", 1001, "another user's").unwrap();
    store.remove_channel("c0", &user(1000), at(1)).unwrap();
    say(&mut store, "room-again", 1000, "x").unwrap();
}

#[test]
fn of_many_who_publish_at_once_every_message_has_its_own_place_and_a_reader_misses_none() {
    let (_folder, path, store) = place();
    let (writers, each) = (8_i64, 25);
    let barrier = Barrier::new(9);
    let mut heard = Vec::new();
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (path, barrier) = (&path, &barrier);
            scope.spawn(move || {
                let mut store = Coordination::open(path, "boot").unwrap();
                barrier.wait();
                for at in 0..each {
                    say(&mut store, "busy", 1000, &format!("{writer} {at}")).unwrap();
                }
            });
        }
        barrier.wait();
        let mut after = 0;
        while heard.len() < usize::try_from(writers * each).unwrap() {
            let page = read(&store, "busy", Some(after), 1000);
            assert_eq!(page.cut, None);
            after = page.newest.max(after);
            heard.extend(page.messages);
        }
    });
    let numbers: Vec<i64> = heard.iter().map(|message| message.id).collect();
    assert_eq!(numbers, (1..=writers * each).collect::<Vec<_>>());
}
