//! `lock`, `unlock`, `locks`

use std::{
    io::{self, Write},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    Look, Tone,
    claims::sentence,
    cut,
    table::{self, Column},
    user, when,
};
use crate::{
    coordinate::spell,
    wire::coordinate::{Freed, Lock, LockState, Locks},
};

const COLUMNS: [Column; 6] = [
    Column { title: "NAME", priority: 0, least: 12, right: false },
    Column { title: "OWNER", priority: 0, least: 14, right: false },
    Column { title: "HELD", priority: 1, least: 0, right: false },
    Column { title: "EXPIRES", priority: 0, least: 0, right: false },
    Column { title: "WAITING", priority: 2, least: 0, right: false },
    Column { title: "USER", priority: 3, least: 0, right: false },
];

/// Writes which locks are held.
pub fn locks(out: &mut dyn Write, answer: &Locks, look: &Look) -> io::Result<()> {
    if answer.locks.is_empty() {
        return sentence(out, Tone::Plain, "No lock is held.", look);
    }
    let one_user = answer.locks.windows(2).all(|pair| matches!(pair, [a, b] if a.uid == b.uid));
    let row = |lock: &Lock| {
        let user = user(lock.user.as_ref(), lock.uid);
        let waiting = if lock.waiting == 0 { String::new() } else { format!("{} waiting", lock.waiting) };
        vec![
            (Tone::Strong, lock.name.clone()),
            (Tone::Plain, format!("owner={}", lock.owner)),
            (Tone::Plain, format!("held {}", when::span_short(when::age(lock.held_since, look)))),
            expires(lock, look.now),
            (Tone::Plain, waiting),
            (Tone::Plain, if one_user { String::new() } else { format!("user={user}") }),
        ]
    };
    table::untitled(out, &COLUMNS, &answer.locks.iter().map(row).collect::<Vec<_>>(), look)?;
    cut(out, "first", answer.truncated, (answer.locks.len(), answer.total), look)
}

/// `expires in 8m`, `expires in -37m (EXPIRED)`, `until its process 4711 ends`
fn expires(lock: &Lock, now: Timestamp) -> (Tone, String) {
    let Some(expires) = lock.expires else {
        let pid = lock.pid.map_or_else(String::new, |pid| format!(" {pid}"));
        return (Tone::Plain, format!("until its process{pid} ends"));
    };
    let ms = expires.as_millisecond().saturating_sub(now.as_millisecond());
    // A second that has begun counts as long as it is left.
    let left = if ms > 0 { ms.unsigned_abs().div_ceil(1000) } else { ms.unsigned_abs() / 1000 };
    let words = spell(Duration::from_secs(left)).replace(' ', "");
    let words = if left == 0 { "0s".to_owned() } else { words };
    if lock.expired {
        let first = words.find(|c: char| c.is_alphabetic()).map_or(words.len(), |at| at + 1);
        let short = words.get(..first).unwrap_or(&words);
        let sign = if left == 0 { "" } else { "-" };
        (Tone::Warn, format!("expires in {sign}{short} (EXPIRED)"))
    } else {
        (Tone::Plain, format!("expires in {words}"))
    }
}

/// Writes that a lock was taken or extended.
pub fn lock(out: &mut dyn Write, answer: &LockState, look: &Look) -> io::Result<()> {
    let Some(held) = &answer.lock else { return Ok(()) };
    let done = if answer.state == "extended" { "Extended" } else { "Locked" };
    let (_, left) = expires(held, answer.time);
    let with = match (held.owner_kind.as_str(), held.pid) {
        ("process", Some(_)) => ", or ends with it",
        (_, Some(_)) => ", or ends with its process",
        _ => "",
    };
    let with = if held.expires.is_some() { with } else { "" };
    sentence(out, Tone::Plain, &format!("{done} {} for {}: {left}{with}", held.name, held.owner), look)?;
    if let Some(from) = &answer.from {
        let why = from.why.as_deref().unwrap_or("it was given back");
        sentence(out, Tone::Faint, &format!("It was held by {}; {why}.", from.lock.owner), look)?;
    }
    Ok(())
}

/// Writes that a lock was given back or taken away.
pub fn unlocked(out: &mut dyn Write, freed: &Freed, look: &Look) -> io::Result<()> {
    let Freed { lock, why, .. } = freed;
    let words = if why.is_some() {
        format!("Lock {} force-released (was held by {})", lock.name, lock.owner)
    } else {
        format!("Unlocked {} (was held by {})", lock.name, lock.owner)
    };
    sentence(out, Tone::Plain, &words, look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn sample_lock(name: &str, since: &str, expires: Option<&str>) -> Lock {
        let time = |text: &str| -> Timestamp { text.parse().unwrap() };
        Lock {
            name: name.to_owned(),
            owner: "agent-db".to_owned(),
            owner_kind: "agent".to_owned(),
            uid: 1000,
            user: Some("erich".to_owned()),
            pid: None,
            held_since: time(since),
            renewed: time(since),
            ttl: Some(600),
            expires: expires.map(time),
            expired: expires.is_some_and(|e| time(e) <= sample::look(80).now),
            waiting: 0,
        }
    }

    #[test]
    fn locks_are_shown_with_holder_age_and_end_and_an_expired_one_is_not_hidden() {
        // The look's now is 2026-03-02T01:26:30Z.
        let locks_of = vec![
            sample_lock("db-migrations", "2026-03-02T00:39:30Z", Some("2026-03-02T00:49:30Z")),
            sample_lock("deploy-staging", "2026-03-02T01:25:45Z", Some("2026-03-02T01:30:45Z")),
            sample_lock("just-now", "2026-03-02T01:25:30Z", Some("2026-03-02T01:26:30Z")),
        ];
        let look = sample::look(80);
        let answer = Locks {
            schema: 1,
            time: look.now,
            locks: locks_of,
            truncated: true,
            total: 7,
            database: String::new(),
        };
        let mut out = Vec::new();
        locks(&mut out, &answer, &look).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "db-migrations   owner=agent-db  held 47m  expires in -37m (EXPIRED)");
        assert_eq!(lines[2], "just-now        owner=agent-db  held 1m   expires in 0s (EXPIRED)");
        assert_eq!(lines[3], "The first 3 of 7; more with --limit");
        assert_eq!(lines[1], "deploy-staging  owner=agent-db  held 45s  expires in 4m15s");
    }
}
