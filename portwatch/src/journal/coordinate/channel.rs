//! Channels and their messages.
//!
//! Numbers of messages come from one counter and are given by one writer after another: whoever reads all that is greater
//! than the last number it saw misses nothing. What retention took out is remembered as the greatest number that went
//! (`channel.cut`, kept by triggers).

use rusqlite::{Row, params};

use super::{CoordinateError, Coordination, Done, Tables, Told, Turn, Voice, moment, text, turn::identity};
use crate::{
    coordinate::{Channel, Channels, Denial, Message, Owner, OwnerKind, User, may_act, may_use, spell_bytes},
    model::{EventKind, ProcessId, Timestamp},
};

/// One user has at most so many channels.
const MOST_CHANNELS: u32 = 100;
/// Of one user's messages so many are kept in one channel: nobody pushes out what another said.
const MOST_IN_CHANNEL: u32 = 10_000;
/// And so many in all.
const MOST_MESSAGES: u32 = 50_000;
/// And so many bytes.
const MOST_BYTES: u32 = 16 << 20;

/// What is published.
#[derive(Debug, Clone)]
pub struct Publish<'a> {
    /// Where.
    pub channel: &'a str,
    /// By whom.
    pub sender: &'a Owner,
    /// Its words.
    pub text: &'a str,
    /// Share the channel with every user.
    pub shared: bool,
}

/// Which messages somebody wants to read.
#[derive(Debug, Clone)]
pub struct MessagesWanted<'a> {
    /// Of these channels.
    pub channels: &'a Channels,
    /// With greater numbers than this: those come first that follow it. Otherwise the newest come.
    pub after: Option<i64>,
    /// Not published before.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub most: u32,
    /// Who reads.
    pub reader: u32,
}

/// Messages, as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// There are more.
    pub more: bool,
    /// Messages with numbers up to this may be missing: they were wanted, and are not kept any more.
    pub cut: Option<i64>,
    /// The newest number in the database, whatever the channel.
    pub newest: i64,
    /// So many channels were meant.
    pub known: u32,
    /// So many more belong to other users and are not shared.
    pub hidden: u32,
    /// Which database.
    pub database: String,
}

const CHANNEL: &str = "name, uid, user, shared, created, last,
    (SELECT ifnull(sum(messages), 0) FROM publisher p WHERE p.channel = channel.name),
    (SELECT max(id) FROM message m WHERE m.channel = channel.name)";

fn channel(row: &Row<'_>, _: i64) -> rusqlite::Result<Channel> {
    let time = |column| row.get::<_, String>(column).map(|text| moment(&text).unwrap_or_default());
    Ok(Channel {
        name: row.get(0)?,
        user: User { uid: row.get(1)?, name: row.get(2)? },
        shared: row.get(3)?,
        created: time(4)?,
        last: time(5)?,
        messages: row.get::<_, u32>(6)?.into(),
        newest: row.get(7)?,
    })
}

const MESSAGE: &str = "m.id, m.channel, m.at, m.kind, m.sender, m.uid, m.user, m.pid, m.text";

fn message(row: &Row<'_>, _: i64) -> rusqlite::Result<Message> {
    let (at, kind): (String, String) = (row.get(2)?, row.get(3)?);
    // The process of a message is a fact of its time, and nothing ends with it.
    let process = row.get::<_, Option<u32>>(7)?.map(|pid| ProcessId { pid, start_ticks: 0 });
    Ok(Message {
        id: row.get(0)?,
        channel: row.get(1)?,
        at: moment(&at).unwrap_or_default(),
        sender: Owner {
            kind: OwnerKind::from_word(&kind).unwrap_or(OwnerKind::Process),
            name: row.get(4)?,
            user: User { uid: row.get(5)?, name: row.get(6)? },
            process,
        },
        text: row.get(8)?,
    })
}

fn by_name(tables: &Tables<'_>, name: &str) -> rusqlite::Result<Option<Channel>> {
    tables.row(&format!("SELECT {CHANNEL} FROM channel WHERE name = ?1 AND removed IS NULL"), [name], channel)
}

impl Coordination {
    /// Channels that a user may use, by name, at most so many; how many those are, and how many more there are of others.
    pub fn channels(&self, reader: u32, most: u32) -> Result<(Vec<Channel>, u64, u64), CoordinateError> {
        self.read(|tables| {
            let mine = "removed IS NULL AND (shared = 1 OR uid = ?1 OR ?1 = 0)";
            let found = tables.rows(
                &format!("SELECT {CHANNEL} FROM channel WHERE {mine} ORDER BY name LIMIT ?2"),
                params![reader, most],
                channel,
            )?;
            let count = tables.count(&format!("SELECT count(*) FROM channel WHERE {mine}"), [reader])?;
            let all = tables.count("SELECT count(*) FROM channel WHERE removed IS NULL", [])?;
            Ok((found, count.into(), all.saturating_sub(count).into()))
        })
    }

    /// Publishes a message; makes the channel where there is none. It is on disk when this returns.
    pub fn publish(
        &mut self,
        publish: &Publish<'_>,
        now: Timestamp,
    ) -> Result<(Message, Told), CoordinateError> {
        let sender = publish.sender;
        let voice =
            (sender.kind == OwnerKind::Agent).then_some(Voice { agent: &sender.name, user: &sender.user });
        self.change(voice, now, |turn| {
            enter(turn, publish)?;
            let id = turn.insert(
                "INSERT INTO message (channel, at, kind, sender, uid, user, pid, text)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    publish.channel,
                    text(turn.now),
                    sender.kind.as_str(),
                    sender.name,
                    sender.user.uid,
                    sender.user.name,
                    sender.process.map(|process| process.pid),
                    publish.text,
                ],
            )?;
            keep_within_bounds(turn, publish.channel, sender.user.uid)?;
            // Not its words: the log is for more eyes than the channel.
            let words = format!("#{id} by {}, {}", sender.name, spell_bytes(publish.text.len()));
            turn.tell(EventKind::Message, publish.channel, words)?;
            let sql = format!("SELECT {MESSAGE} FROM message m WHERE m.id = ?1");
            turn.row(&sql, [id], message)?.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
        })
    }

    /// Messages of channels that a user may read.
    pub fn messages(&self, wanted: &MessagesWanted<'_>) -> Result<MessagePage, CoordinateError> {
        let page = self.read(|tables| {
            // One moment for all that follows: what is cut meanwhile is either read or told of.
            let _snapshot = tables.snapshot()?;
            if let Channels::One(name) = wanted.channels
                && let Some(found) = by_name(tables, name)?
                && !may_use(found.user.uid, found.shared, wanted.reader)
            {
                return Ok(Err(Denial::Private { name: found.name, user: found.user }));
            }
            page(tables, wanted).map(Ok)
        })?;
        Ok(page?)
    }

    /// Shares a channel with every user, or no longer.
    pub fn share_channel(
        &mut self,
        name: &str,
        shared: bool,
        user: &User,
        now: Timestamp,
    ) -> Result<(Channel, Told), CoordinateError> {
        self.change(None, now, |turn| {
            own(turn, name, user)?;
            turn.execute("UPDATE channel SET shared = ?2 WHERE name = ?1", params![name, shared])?;
            let what = if shared { "shared" } else { "made private" };
            turn.tell(EventKind::Message, name, format!("{what} by {user}"))?;
            Ok(by_name(turn, name)?.ok_or_else(|| nothing(name))?)
        })
    }

    /// Removes a channel and all that was said in it; as it was.
    pub fn remove_channel(
        &mut self,
        name: &str,
        user: &User,
        now: Timestamp,
    ) -> Result<(Channel, Told), CoordinateError> {
        self.change(None, now, |turn| {
            let found = own(turn, name, user)?;
            turn.execute("DELETE FROM message WHERE channel = ?1", [name])?;
            turn.execute("DELETE FROM publisher WHERE channel = ?1", [name])?;
            turn.execute(
                "UPDATE channel SET removed = ?2, shared = 0 WHERE name = ?1",
                params![name, text(turn.now)],
            )?;
            let words = format!("removed by {user}, with {} messages", found.messages);
            turn.tell(EventKind::Message, name, words)?;
            Ok(found)
        })
    }
}

/// Forgets messages older than `cutoff`, and channels in which nothing was said since and nothing is kept.
pub(super) fn forget(turn: &Turn<'_>, cutoff: &str) -> rusqlite::Result<usize> {
    let messages = turn.execute(
        "DELETE FROM message WHERE id < ifnull((SELECT id FROM message WHERE at >= ?1 ORDER BY id LIMIT 1),
             9223372036854775807)",
        [cutoff],
    )?;
    let channels = turn.execute(
        "DELETE FROM channel WHERE ifnull(removed, last) < ?1
           AND NOT EXISTS (SELECT 1 FROM message WHERE message.channel = channel.name)",
        [cutoff],
    )?;
    Ok(messages + channels)
}

/// The channel is there when this returns, and the sender may write into it.
fn enter(turn: &Turn<'_>, publish: &Publish<'_>) -> Done<()> {
    let (name, user) = (publish.channel, &publish.sender.user);
    if let Some(found) = by_name(turn, name)? {
        if !may_use(found.user.uid, found.shared, user.uid) {
            return Err(Denial::Private { name: found.name, user: found.user }.into());
        }
        if publish.shared && !found.shared {
            // Whoever may use what is not shared may share it.
            turn.execute("UPDATE channel SET shared = 1 WHERE name = ?1", [name])?;
        }
        return Ok(());
    }
    let count = turn.count("SELECT count(*) FROM channel WHERE uid = ?1 AND removed IS NULL", [user.uid])?;
    if count >= MOST_CHANNELS {
        return Err(Denial::Refused {
            what: format!("{user} has {count} channels already, as many as one user may"),
            remedy: "portwatch channels shows them; portwatch channels --remove NAME removes one".to_owned(),
        }
        .into());
    }
    turn.execute(
        "INSERT INTO channel (name, uid, user, shared, created, last) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
         ON CONFLICT (name) DO UPDATE SET uid = excluded.uid, user = excluded.user, shared = excluded.shared,
             created = excluded.created, last = excluded.last, removed = NULL",
        params![name, user.uid, user.name, publish.shared, text(turn.now)],
    )?;
    Ok(())
}

/// The oldest messages of a user go where there are too many.
fn keep_within_bounds(turn: &Turn<'_>, channel: &str, uid: u32) -> rusqlite::Result<()> {
    let here = "SELECT messages FROM publisher WHERE channel = ?1 AND uid = ?2";
    if let Some(more) = turn.count(here, params![channel, uid])?.checked_sub(MOST_IN_CHANNEL + 1) {
        turn.execute(
            "DELETE FROM message WHERE id IN
                 (SELECT id FROM message WHERE channel = ?1 AND uid = ?2 ORDER BY id LIMIT ?3)",
            params![channel, uid, more + 1],
        )?;
    }
    let all = "SELECT sum(messages) > ?2 OR sum(bytes) > ?3 FROM publisher WHERE uid = ?1";
    while turn.count(all, params![uid, MOST_MESSAGES, MOST_BYTES])? != 0 {
        turn.execute("DELETE FROM message WHERE id = (SELECT min(id) FROM message WHERE uid = ?1)", [uid])?;
    }
    Ok(())
}

fn page(tables: &Tables<'_>, wanted: &MessagesWanted<'_>) -> rusqlite::Result<MessagePage> {
    let which = wanted.channels.as_str();
    let meant = match wanted.channels {
        Channels::One(_) => "c.name = ?1",
        Channels::Like(_) => "c.name GLOB ?1",
    };
    let readable = format!("{meant} AND c.removed IS NULL AND (c.shared = 1 OR c.uid = ?2 OR ?2 = 0)");
    let since = wanted.since.map(text);
    // Nothing that is kept and came before `since` has a greater number, so what is cut beyond it may be missing.
    let base = match (wanted.after, &since) {
        (Some(after), _) => Some(after),
        (None, Some(since)) => Some(
            tables
                .row("SELECT id FROM message WHERE at < ?1 ORDER BY id DESC LIMIT 1", [since], |row, _| {
                    row.get(0)
                })?
                .unwrap_or(0),
        ),
        (None, None) => None,
    };
    let order = if wanted.after.is_some() { "" } else { "DESC" };
    let (mut messages, more) = tables.page(
        &format!(
            "SELECT {MESSAGE} FROM message m JOIN channel c ON c.name = m.channel
             WHERE {readable} AND m.id > ?3 AND ifnull(m.at >= ?4, 1) ORDER BY m.id {order} LIMIT ?5"
        ),
        params![which, wanted.reader, base.unwrap_or(0), since, i64::from(wanted.most) + 1],
        (wanted.most, |message: &Message| message.text.len()),
        message,
    )?;
    if wanted.after.is_none() {
        messages.reverse();
    }
    let number = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        tables
            .row(sql, values, |row, _| row.get::<_, Option<i64>>(0))
            .map(|found| found.flatten().unwrap_or(0))
    };
    // A removed channel says so to whoever knew it.
    let sql = format!(
        "SELECT max(c.cut) FROM channel c WHERE {meant} AND (c.removed IS NOT NULL OR c.shared = 1 OR c.uid = ?2 OR ?2 = 0)"
    );
    let cut = number(&sql, &[&which, &wanted.reader])?
        .max(number("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'messages_forgotten'", &[])?);
    let known = tables
        .count(&format!("SELECT count(*) FROM channel c WHERE {readable}"), params![which, wanted.reader])?;
    let sql = format!("SELECT count(*) FROM channel c WHERE {meant} AND c.removed IS NULL");
    let hidden = tables.count(&sql, [which])?.saturating_sub(known);
    Ok(MessagePage {
        messages,
        more,
        cut: base.filter(|base| cut > *base).map(|_| cut),
        newest: number("SELECT seq FROM sqlite_sequence WHERE name = 'message'", &[])?,
        known,
        hidden,
        database: identity(tables)?,
    })
}

/// A channel of this user; for root anybody's.
fn own(tables: &Tables<'_>, name: &str, user: &User) -> Done<Channel> {
    let found = by_name(tables, name)?.ok_or_else(|| nothing(name))?;
    if !may_act(found.user.uid, user.uid) {
        return Err(Denial::Foreign { what: format!("channel {name}"), user: found.user }.into());
    }
    Ok(found)
}

fn nothing(name: &str) -> Denial {
    Denial::Nothing {
        what: "channel",
        name: name.to_owned(),
        remedy: "portwatch channels shows those that there are; portwatch pub makes one",
    }
}
