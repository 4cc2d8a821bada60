//! Names and texts that people give: bounded, harmless.

use super::Denial;

/// Longest name of a lock, an agent, a session or a channel, bytes.
pub const LONGEST_LABEL: usize = 128;

/// A name of `what` (`a lock`): letters, digits and `._:/@+-`, beginning with a letter or digit.
pub fn label(name: &str, what: &'static str) -> Result<String, Denial> {
    let begins = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || "._:/@+-".contains(c));
    if begins && fits && name.len() <= LONGEST_LABEL {
        Ok(name.to_owned())
    } else {
        Err(Denial::Name { name: name.to_owned(), what })
    }
}

/// A text of people, such as a purpose: not empty, not longer than `longest` bytes, without control characters but line
/// breaks and tabs.
pub fn text(words: &str, what: &'static str, longest: usize) -> Result<String, Denial> {
    let words = words.trim();
    if words.is_empty() {
        return Err(Denial::Empty { what });
    }
    if words.len() > longest {
        return Err(Denial::Long { what, longest });
    }
    if words.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err(Denial::Control { what });
    }
    Ok(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{label, text};

    #[test]
    fn names_are_words_without_blanks_and_begin_with_a_letter_or_digit() {
        for good in ["db-migrations", "a", "7", "deploy:staging", "src/db@v2+x"] {
            assert_eq!(label(good, "a lock").unwrap(), good);
        }
        let long = "x".repeat(129);
        for bad in ["", "-x", " a", "a b", "a\n", "ä", "--force", &long] {
            let sentence = label(bad, "a lock").unwrap_err().to_string();
            assert!(sentence.contains("is not the name of a lock"), "{sentence}");
        }
    }

    #[test]
    fn texts_are_trimmed_bounded_and_hold_no_escape_sequences() {
        assert_eq!(text(" two\nlines ", "a note", 20).unwrap(), "two\nlines");
        for bad in ["", "  ", "\u{1b}[2J", "123456789012345678901"] {
            assert!(text(bad, "a note", 20).is_err(), "{bad:?}");
        }
    }
}
