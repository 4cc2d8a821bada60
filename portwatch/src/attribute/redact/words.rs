//! Text taken apart into words, as a shell would.

/// Words and the blanks between them, in order; joined they are the text. Blanks in quotes belong to a word. A
/// quote that is never closed was none, unless the text was cut.
pub(super) fn split(text: &str, cut: bool) -> Vec<&str> {
    let (pieces, open) = pieces(text, true);
    if open && !cut { at_blanks(text) } else { pieces }
}

/// The same at all blanks, also those in quotes.
pub(super) fn at_blanks(text: &str) -> Vec<&str> {
    pieces(text, false).0
}

fn pieces(text: &str, quotes: bool) -> (Vec<&str>, bool) {
    let mut pieces = Vec::new();
    let (mut from, mut blank, mut quote, mut before) = (0, None, None, ' ');
    for (at, c) in text.char_indices() {
        let last = std::mem::replace(&mut before, c);
        if quote.is_some() {
            quote = quote.filter(|&open| open != c);
            continue;
        }
        let is_blank = c.is_whitespace();
        if blank.is_some_and(|blank| blank != is_blank) {
            pieces.extend(text.get(from..at));
            from = at;
        }
        blank = Some(is_blank);
        // After a letter it is an apostrophe.
        if quotes && matches!(c, '"' | '\'') && !last.is_alphanumeric() {
            quote = Some(c);
        }
    }
    pieces.extend(text.get(from..).filter(|rest| !rest.is_empty()));
    (pieces, quote.is_some())
}

/// The quote before a word, what is in it, and the quote after it; that is missing where the text was cut.
pub(super) fn quoted(word: &str, cut: bool) -> Option<(char, &str, &str)> {
    let quote = word.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let tail = word.strip_prefix(quote)?;
    match tail.find(quote) {
        Some(end) if end + 1 == tail.len() => Some((quote, tail.get(..end)?, tail.get(end..)?)),
        None if cut => Some((quote, tail, "")),
        _ => None,
    }
}
