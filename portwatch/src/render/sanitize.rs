//! The only door for foreign text. Process names, arguments, paths and messages are chosen by others.
//!
//! Two readers, two rules:
//! - In every text, also in a pipe, characters that could forge a row or drive a terminal are made visible:
//!   control characters (line breaks, tabs and escape among them) and the Unicode line separators. A name may
//!   not add a line to a log, and what is piped often ends in a pager or a CI page.
//! - On a terminal, characters that deceive the eye are made visible too: direction overrides, zero-width and
//!   blank-looking ones. In a pipe they stay as they are.
//!
//! `--json` carries the exact text, by JSON's own escapes (`wire::escaped`).

use std::borrow::Cow;

/// `text` made harmless for a terminal (`terminal`) or for a pipe.
pub fn clean(text: &str, terminal: bool) -> Cow<'_, str> {
    let bad = |c: char| breaks_rows(c) || (terminal && deceives(c));
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if u32::from(c) < 0x100 && breaks_rows(c) => {
                safe.push_str("\\x");
                let nibbles = [u32::from(c) >> 4, u32::from(c) & 15];
                safe.extend(nibbles.into_iter().filter_map(|n| char::from_digit(n, 16)));
            }
            c if bad(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// C0, DEL, C1, and the two separators that some readers take for line ends.
fn breaks_rows(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Invisible, reordering, or looking like a blank without being one.
fn deceives(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn control_characters_are_visible_on_a_terminal_and_in_a_pipe() {
        for terminal in [true, false] {
            assert_eq!(clean("a\nb\tc\rd", terminal), "a\\nb\\tc\\rd");
            assert_eq!(clean("\x1b[31mred\x07\x7f", terminal), "\\x1b[31mred\\x07\\x7f");
            assert_eq!(clean("\u{9b}2J", terminal), "\\x9b2J");
            assert_eq!(clean("a\u{2028}b", terminal), "a\\u{2028}b");
        }
    }

    #[test]
    fn deceiving_characters_are_visible_on_a_terminal_and_raw_in_a_pipe() {
        for c in
            ['\u{202e}', '\u{2066}', '\u{200b}', '\u{200d}', '\u{feff}', '\u{ad}', '\u{3164}', '\u{e0041}']
        {
            let text = format!("a{c}b");
            assert_eq!(clean(&text, true), format!("a\\u{{{:x}}}b", u32::from(c)));
            assert_eq!(clean(&text, false), text);
        }
    }

    #[test]
    fn ordinary_text_in_any_script_passes_untouched() {
        for text in ["node server.js", "naïve", "日本語", "привет", "עברית", "🦀", "a\\nb", "\u{fffd}"]
        {
            assert_eq!(clean(text, true), text);
        }
    }
}
