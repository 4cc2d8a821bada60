//! Channels: what people and programs say to each other, in order.

use super::{Denial, LONGEST_LABEL, Owner, User, label};
use crate::model::Timestamp;

/// Longest message, bytes.
pub const LONGEST_MESSAGE: usize = 16 * 1024;

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name: one channel's on the machine.
    pub name: String,
    /// Whose it is.
    pub user: User,
    /// Every user may read and write it.
    pub shared: bool,
    /// Since when it is there.
    pub created: Timestamp,
    /// When something was said last.
    pub last: Timestamp,
    /// How many messages are kept.
    pub messages: u64,
    /// The number of its newest message.
    pub newest: Option<i64>,
}

/// Whether a user may read and write a channel: its own user and root may, and everybody where it is shared.
pub const fn may_use(owner: u32, shared: bool, user: u32) -> bool {
    shared || user == owner || user == 0
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number in the database: it grows, and no two messages ever have the same.
    pub id: i64,
    /// The channel.
    pub channel: String,
    /// When it was published.
    pub at: Timestamp,
    /// Who did: agent, session or process, and the user.
    pub sender: Owner,
    /// Its words, as they were given: hostile text.
    pub text: String,
}

/// The words of a message: something, not too long, no NUL. Everything else is for whoever shows it to make harmless.
pub fn message(words: &str) -> Result<&str, Denial> {
    let what = "a message";
    if words.is_empty() {
        return Err(Denial::Empty { what });
    }
    if words.len() > LONGEST_MESSAGE {
        return Err(Denial::Long { what, longest: LONGEST_MESSAGE });
    }
    if words.contains('\0') {
        return Err(Denial::Control { what });
    }
    Ok(words)
}

/// Which channels are meant: one by its name, or several by a pattern in which `*` stands for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channels {
    /// This one.
    One(String),
    /// Those that match.
    Like(String),
}

impl Channels {
    /// Reads a name or pattern.
    pub fn parse(text: &str) -> Result<Self, Denial> {
        if !text.contains('*') {
            return label(text, "a channel").map(Self::One);
        }
        let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || "._:/@+-*".contains(c));
        if fits && text.len() <= LONGEST_LABEL {
            return Ok(Self::Like(text.to_owned()));
        }
        Err(Denial::Name { name: text.to_owned(), what: "a channel, or a pattern of such names" })
    }

    /// The name or pattern. None of its characters but `*` is special to GLOB of SQLite.
    pub fn as_str(&self) -> &str {
        match self {
            Self::One(text) | Self::Like(text) => text,
        }
    }

    /// Whether it means the channel of this name.
    pub fn means(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Like(pattern) => like(pattern, name),
        }
    }
}

/// `*` stands for anything, also for nothing. Each part is looked for from left to right: none can be missed by taking
/// the first place where it fits.
fn like(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.split_once(part) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("*", "builds", true),
            ("builds", "builds", true),
            ("builds", "builds2", false),
            ("myapp:*", "myapp:api", true),
            ("myapp:*", "myapp:", true),
            ("*:api", "myapp:api", true),
            ("*:api", "myapp:api2", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("**", "x", true),
        ] {
            assert_eq!(Channels::parse(pattern).unwrap().means(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn names_and_patterns_are_bounded_and_plain() {
        for bad in ["", " ", "a b", "a?", "[a]*", "\u{1b}*", "-x", &"x".repeat(129), &"*".repeat(129)] {
            assert!(Channels::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_message_is_anything_but_nothing_and_too_much() {
        assert_eq!(message("\u{1b}[2J\n\u{202e}").unwrap(), "\u{1b}[2J\n\u{202e}");
        for bad in ["", "a\0b", &"x".repeat(LONGEST_MESSAGE + 1)] {
            assert!(message(bad).is_err());
        }
        assert!(message(&"x".repeat(LONGEST_MESSAGE)).is_ok());
    }

    #[test]
    fn a_channel_is_its_users_and_roots_unless_it_is_shared() {
        assert!(may_use(1000, false, 1000) && may_use(1000, false, 0));
        assert!(!may_use(1000, false, 1001) && may_use(1000, true, 1001));
    }
}
