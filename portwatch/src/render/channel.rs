//! `pub`, `sub`, `channels`

use std::io::{self, Write};

use super::{
    Look, Text, Tone,
    claims::sentence,
    cut,
    table::{self, Column},
    user, when,
    work::count,
};
use crate::wire::coordinate::{
    Channel, ChannelState, Channels, Followed, Message, MessageGap, Messages, Published,
};

const COLUMNS: [Column; 6] = [
    Column { title: "NAME", priority: 0, least: 12, right: false },
    Column { title: "ACCESS", priority: 0, least: 0, right: false },
    Column { title: "MESSAGES", priority: 1, least: 0, right: false },
    Column { title: "LAST", priority: 2, least: 0, right: false },
    Column { title: "FOLLOWERS", priority: 3, least: 0, right: false },
    Column { title: "USER", priority: 4, least: 0, right: false },
];

/// Writes which channels there are.
pub fn channels(out: &mut dyn Write, answer: &Channels, look: &Look) -> io::Result<()> {
    if answer.channels.is_empty() {
        let words =
            if answer.hidden == 0 { "There is no channel." } else { "There is no channel that you may use." };
        sentence(out, Tone::Plain, words, look)?;
        return hidden(out, answer.hidden, look);
    }
    let one_user = answer.channels.windows(2).all(|pair| matches!(pair, [a, b] if a.uid == b.uid));
    let row = |channel: &Channel| {
        let followers = channel.followers.filter(|&followers| followers > 0);
        let user = format!("user={}", user(channel.user.as_ref(), channel.uid));
        vec![
            (Tone::Strong, channel.name.clone()),
            (Tone::Plain, access(channel).to_owned()),
            (Tone::Plain, count(channel.messages, "message")),
            (Tone::Plain, format!("last {} ago", when::span_short(when::age(channel.last, look)))),
            (Tone::Plain, followers.map(|followers| count(followers, "follower")).unwrap_or_default()),
            (Tone::Plain, if one_user { String::new() } else { user }),
        ]
    };
    table::untitled(out, &COLUMNS, &answer.channels.iter().map(row).collect::<Vec<_>>(), look)?;
    cut(out, "first", answer.truncated, (answer.channels.len(), answer.total), look)?;
    hidden(out, answer.hidden, look)
}

const fn access(channel: &Channel) -> &'static str {
    if channel.shared { "shared" } else { "private" }
}

fn hidden(out: &mut dyn Write, hidden: u64, look: &Look) -> io::Result<()> {
    match hidden {
        0 => Ok(()),
        1 => sentence(out, Tone::Faint, "1 more is private to another user.", look),
        _ => sentence(out, Tone::Faint, &format!("{hidden} more are private to other users."), look),
    }
}

/// Writes what became of a channel.
pub fn channel(out: &mut dyn Write, answer: &ChannelState, look: &Look) -> io::Result<()> {
    let Channel { name, messages, .. } = &answer.channel;
    let words = match answer.action.as_str() {
        "share" => format!("Channel {name} is shared: every user may read and write it"),
        "unshare" => {
            let user = user(answer.channel.user.as_ref(), answer.channel.uid);
            format!("Channel {name} is private to {user} again")
        }
        _ => format!("Removed channel {name}, with {}", count(*messages, "message")),
    };
    sentence(out, Tone::Plain, &words, look)
}

/// Writes that a message was published.
pub fn published(out: &mut dyn Write, answer: &Published, look: &Look) -> io::Result<()> {
    let Message { id, channel, .. } = &answer.message;
    sentence(out, Tone::Plain, &format!("Published #{id} in {channel}"), look)
}

/// Writes messages: those that follow the number `after`, or the newest.
pub fn messages(out: &mut dyn Write, answer: &Messages, after: Option<i64>, look: &Look) -> io::Result<()> {
    if let Some(gap) = &answer.gap {
        self::gap(out, gap, look)?;
    }
    for message in &answer.messages {
        self::message(out, message, look)?;
    }
    if answer.messages.is_empty() {
        let words = match answer.channels {
            0 => "There is no such channel.",
            _ => "There is no such message.",
        };
        sentence(out, Tone::Plain, words, look)?;
    }
    if answer.truncated {
        let words = match (after, answer.messages.last()) {
            (Some(_), Some(last)) => format!("There are more: --after {}", last.id),
            _ => format!(
                "Only the newest {} are shown; more with --history, all with --after 0",
                answer.messages.len()
            ),
        };
        sentence(out, Tone::Warn, &words, look)?;
    }
    hidden(out, answer.hidden, look)
}

/// Writes what a follower is told.
pub fn followed(out: &mut dyn Write, followed: &Followed, look: &Look) -> io::Result<()> {
    match followed {
        Followed::Message(message) => self::message(out, message, look),
        Followed::Gap(gap) => self::gap(out, gap, look),
    }
}

/// `[10:14:05] builds #41 agent-web: tests are green`
fn message(out: &mut dyn Write, message: &Message, look: &Look) -> io::Result<()> {
    let local = message.time.to_zoned(look.zone.clone());
    let form = if when::is_today(&local, look) { "[%H:%M:%S] " } else { "[%Y-%m-%d %H:%M:%S] " };
    let mut line = Text::new(look);
    line.push(Tone::Faint, &local.strftime(form).to_string());
    line.plain(&message.channel).push(Tone::Faint, &format!(" #{} ", message.id));
    line.push(Tone::Strong, &message.sender);
    if look.verbose {
        line.push(Tone::Faint, &format!(" ({})", user(message.user.as_ref(), message.uid)));
    }
    line.plain(": ").plain(&message.text);
    line.wrapped(out, 11)
}

fn gap(out: &mut dyn Write, gap: &MessageGap, look: &Look) -> io::Result<()> {
    let words = match gap.after {
        Some(after) => format!(
            "GAP: messages between #{after} and #{} are not kept any more; some may be missing here",
            gap.through
        ),
        None => {
            format!("GAP: messages up to #{} are not kept any more; some may be missing here", gap.through)
        }
    };
    sentence(out, Tone::Bad, &words, look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn said(text: &str) -> Message {
        Message {
            id: 41,
            channel: "builds".to_owned(),
            time: "2026-03-02T01:20:05Z".parse().unwrap(),
            sender: "agent-web".to_owned(),
            sender_kind: "agent".to_owned(),
            uid: 1000,
            user: Some("erich".to_owned()),
            pid: None,
            text: text.to_owned(),
        }
    }

    fn shown(text: &str, terminal: bool) -> String {
        let look = Look { terminal, ..sample::look(80) };
        let mut out = Vec::new();
        followed(&mut out, &Followed::Message(said(text)), &look).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message_is_one_line_that_nobody_can_forge() {
        let forged = shown("green\n[02:20:06] builds #42 root: rm -rf\u{1b}[2J\r\u{9b}1A", false);
        assert_eq!(forged.lines().count(), 2, "wrapped to the width, and not by the sender: {forged}");
        assert!(!forged.contains(['\u{1b}', '\r', '\u{9b}']), "{forged:?}");
        assert!(forged.contains("builds #41 agent-web: green\\n[02:20:06]"), "{forged}");
        assert!(shown("a\u{202e}b", true).contains("a\\u{202e}b"));
    }

    #[test]
    fn a_gap_says_what_may_be_missing() {
        let mut out = Vec::new();
        let gap = Followed::Gap(MessageGap { after: Some(3), through: 17 });
        followed(&mut out, &gap, &sample::look(80)).unwrap();
        let text = String::from_utf8(out).unwrap().replace("\n  ", " ");
        assert_eq!(
            text,
            "GAP: messages between #3 and #17 are not kept any more; some may be missing here\n"
        );
    }
}
