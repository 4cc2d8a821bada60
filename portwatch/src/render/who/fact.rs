//! A line of a card: a label, and a fact or two behind it.

use std::io::{self, Write};

use crate::render::{Look, Text, Tone};

/// Column where a fact begins, after its label.
pub(super) const FACT: usize = 12;
/// Column where a second fact on the same line begins.
pub(super) const SIDE: usize = 50;

pub(super) fn fact(out: &mut dyn Write, label: &str, words: &str, tone: Tone, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.push(tone, words);
    labelled(out, label, line, look)
}

/// Two facts, on one line where they fit.
pub(super) fn pair(
    out: &mut dyn Write,
    label: &str,
    words: &str,
    side: Option<&str>,
    look: &Look,
) -> io::Result<()> {
    let mut line = Text::new(look);
    line.plain(words);
    let Some(side) = side else { return labelled(out, label, line, look) };
    let mut beside = Text::new(look);
    beside.plain(side);
    let begins = SIDE.max(FACT + line.width() + 2);
    if look.width.is_none_or(|columns| begins + beside.width() <= columns) {
        line.pad_to(begins - FACT);
        line.append(beside);
        return labelled(out, label, line, look);
    }
    labelled(out, label, line, look)?;
    labelled(out, "", beside, look)
}

pub(super) fn labelled(out: &mut dyn Write, label: &str, words: Text, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.plain("  ").push(Tone::Faint, label).pad_to(FACT);
    line.append(words);
    line.wrapped(out, FACT)
}
