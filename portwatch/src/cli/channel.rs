//! `portwatch pub`, `sub`, `channels`

use std::{
    cell::Cell,
    io::{self, IsTerminal as _, Read as _},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{args, back, exit::Exit, failure::Failure, session::Session, time};
use crate::{
    access::AccessError,
    coordinate::LONGEST_MESSAGE,
    render,
    wire::coordinate::{
        ChannelRequest, ChannelsQuery, FollowQuery, Followed, Messages, MessagesQuery, PublishRequest,
    },
};

/// Messages of before that are shown when no number is given.
const HISTORY: u32 = 20;
/// Messages of one answer.
const PAGE: u32 = 1000;
/// How one follows without a daemon.
const POLLING: &str = "messages are looked for in the database, 20 times a second";
/// A stream that brings nothing and breaks off at once does so this often before it is given up.
const BARREN: u32 = 10;
/// At once is sooner than this.
const SOON: Duration = Duration::from_secs(1);

pub(super) fn publish(args: &args::Pub, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let text = match args.words.as_slice() {
        [] => input()?,
        [one] if one == "-" => input()?,
        words => words.join(" "),
    };
    let answer = session.order(&PublishRequest {
        channel: args.channel.clone(),
        text,
        agent: args.whose.agent.clone(),
        session: args.whose.session.clone(),
        shared: args.shared,
    })?;
    if args.quiet && !session.settings.json.value {
        writeln!(session.out, "{}", answer.message.id)?;
    } else {
        session.answer(&answer, render::published)?;
    }
    Ok(Exit::Yes)
}

/// All of standard input, without the line break at its end; no more of it than a message may have.
fn input() -> Result<String, Failure> {
    let stdin = io::stdin().lock();
    if stdin.is_terminal() {
        return Err(AccessError::Usage(
            "a message needs words; write them behind the channel, or pipe them in".to_owned(),
        )
        .into());
    }
    let unread = |what: String| AccessError::NotSeen { what, remedy: "nothing was published".to_owned() };
    let mut bytes = Vec::new();
    let most = u64::try_from(LONGEST_MESSAGE).unwrap_or(u64::MAX).saturating_add(2);
    stdin
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| unread(format!("standard input could not be read: {error}")))?;
    let mut text = String::from_utf8(bytes).map_err(|_| {
        AccessError::Usage(
            "standard input is no UTF-8, which a message has to be; nothing was published".to_owned(),
        )
    })?;
    if text.ends_with('\n') {
        text.truncate(text.len() - if text.ends_with("\r\n") { 2 } else { 1 });
    }
    Ok(text)
}

pub(super) fn list(args: &args::Channels, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let orders = [("share", &args.share), ("unshare", &args.unshare), ("remove", &args.remove)];
    for (action, name) in orders {
        if let Some(name) = name {
            let request = ChannelRequest { name: name.clone(), action: action.to_owned() };
            let answer = session.order(&request)?;
            session.answer(&answer, render::channel)?;
            return Ok(Exit::Yes);
        }
    }
    let answer = session.order(&ChannelsQuery { limit: args.limit })?;
    session.answer(&answer, render::channels)?;
    Ok(if answer.channels.is_empty() { Exit::No } else { Exit::Yes })
}

pub(super) fn sub(args: &args::Sub, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let now = session.now();
    let since = args.since.as_deref().map(|text| time::parse(text, &now)).transpose()?;
    // With a beginning, all that there is from there on; otherwise the newest few.
    let usual = match (args.follow, since.is_some() || args.after.is_some()) {
        (_, true) => PAGE * 10,
        (true, false) => 0,
        (false, false) => args.limit.map_or(HISTORY, |_| PAGE * 10),
    };
    let most = args.limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let wanted = MessagesQuery {
        channel: args.channel.clone(),
        after: args.after,
        since,
        limit: Some(args.history.unwrap_or(usual).min(most)),
        wait_ms: 0,
    };
    let mut answer = session.order(&wanted)?;
    if args.follow {
        return follow(args, answer, session);
    }
    // One answer is bounded in bytes: what was asked for comes in as many as it takes.
    while let Some(next) = rest(&wanted, &answer) {
        let more = session.order(&next)?;
        answer.truncated = more.truncated;
        answer.messages.extend(more.messages);
    }
    session.answer(&answer, |out, answer, look| render::messages(out, answer, args.after, look))?;
    Ok(if answer.messages.is_empty() { Exit::No } else { Exit::Yes })
}

/// What to ask for what is still missing, where there is more and it was asked for: that is told from a number on only.
fn rest(wanted: &MessagesQuery, answer: &Messages) -> Option<MessagesQuery> {
    let (last, count) = (answer.messages.last()?, u32::try_from(answer.messages.len()).ok()?);
    let left = wanted.limit?.checked_sub(count).filter(|left| *left > 0)?;
    let more = answer.truncated && wanted.after.is_some();
    more.then(|| MessagesQuery { after: Some(last.id), limit: Some(left), ..wanted.clone() })
}

/// Writes what was there, and then what comes, each flushed, until the reader has enough or `--limit` are written.
fn follow(args: &args::Sub, before: Messages, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let json = session.settings.json.value;
    let mut look = session.look();
    let mut left = args.limit.unwrap_or(u64::MAX);
    // What comes first goes on where the answer ended: behind its last message where there are more, else behind all.
    let after = Cell::new(match before.messages.last() {
        Some(last) if before.truncated && args.after.is_some() => last.id,
        _ => before.newest,
    });
    if !session.access()?.is_daemon() {
        session.warn(&format!("no daemon answers: {POLLING}"));
    }
    let count = u32::try_from(before.messages.len()).unwrap_or(u32::MAX);
    if before.truncated && (args.since.is_some() || args.history.is_some_and(|wanted| count < wanted)) {
        session.warn(&format!("only the newest {count} of those that were asked for are shown"));
    }
    if before.channels == 0 && before.hidden == 0 {
        session.warn(&format!("nothing was published in {} yet; waiting for the first", args.channel));
    }
    let mut known: Vec<Followed> = before.gap.into_iter().map(Followed::Gap).collect();
    known.extend(before.messages.into_iter().map(Followed::Message));
    let mut written: io::Result<()> = Ok(());
    let mut backlog = Some(known);
    let mut barren = 0;
    loop {
        let (begun, from) = (Instant::now(), after.get());
        let ended = {
            let (access, out) = session.parts()?;
            let mut enough = false;
            let mut each = |followed: Followed| {
                look.now = Timestamp::now();
                look.width = look.width.map(|known| super::session::columns().unwrap_or(known));
                written = if json {
                    render::json_line(out, &followed)
                } else {
                    render::followed(out, &followed, &look)
                }
                .and_then(|()| out.flush());
                match &followed {
                    Followed::Message(message) => {
                        after.set(after.get().max(message.id));
                        left -= 1;
                    }
                    Followed::Gap(_) => {}
                }
                enough = written.is_err() || left == 0;
                !enough
            };
            let more = backlog.take().is_none_or(|known| known.into_iter().all(&mut each));
            let query = FollowQuery { channel: args.channel.clone(), after: Some(after.get()) };
            let ended = if more { access.follow_messages(&query, &mut each) } else { Ok(()) };
            if enough { None } else { Some(ended) }
        };
        written?;
        let Some(ended) = ended else { return Ok(Exit::Yes) };
        written = Ok(());
        // The question was answered once, so it was no wrong one: whatever broke the stream off, it goes on if it can. What
        // stays in the way is asked about again, and said then.
        barren = if after.get() == from && begun.elapsed() < SOON { barren + 1 } else { 0 };
        if barren > 0 {
            thread::sleep(back::PAUSE);
        }
        if barren >= BARREN
            && let Err(error) = ended
        {
            return Err(error.into());
        }
        again(args, after.get(), ended.err(), &before.database, session)?;
    }
}

/// The stream broke off: as a rule the daemon ended. Another one that keeps the same database, or the database itself, goes on
/// where it stopped.
fn again(
    args: &args::Sub,
    after: i64,
    why: Option<AccessError>,
    database: &str,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    // What an end in order does not explain is worth a word.
    let broken = why.filter(|why| !matches!(why, AccessError::NoDaemon { .. }));
    let ended = match &broken {
        Some(why) => format!("the stream broke off after #{after} ({why})"),
        None => format!("the daemon ended after #{after}"),
    };
    let query = MessagesQuery {
        channel: args.channel.clone(),
        after: Some(after),
        limit: Some(0),
        ..MessagesQuery::default()
    };
    let gone = back::Gone {
        what: &ended,
        remedy: &format!(
            "nothing is lost: portwatch sub {} --after {after} --follow goes on where this ended",
            args.channel
        ),
        until: Instant::now() + back::BACK,
    };
    let heir = back::wait(&gone, session, &mut |session, _| Ok(session.order(&query)?.database == database))?;
    if !heir.is_daemon {
        session.warn(&format!("{ended}; {POLLING}"));
    } else if broken.is_some() && !heir.was_told {
        session.warn(&format!("{ended}; a daemon that is there goes on with it"));
    }
    Ok(())
}
