//! As much of Rust's grammar as the checks need: what is code, and its tokens.

/// A token and the line it is on, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
}

/// The text with comments, strings and characters replaced by blanks. Lines stay where they are.
pub(super) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let length = skipped(rest, code.last().copied());
        if length == 0 {
            code.extend(rest.first());
            at += 1;
        } else {
            code.extend(rest.iter().take(length).map(|&b| if b == b'\n' { b'\n' } else { b' ' }));
            at += length;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Length of the comment, string or character that begins here; 0 for code.
fn skipped(rest: &[u8], before: Option<u8>) -> usize {
    if rest.starts_with(b"//") {
        return rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return block_comment(rest);
    }
    if rest.starts_with(b"\"") {
        return quoted(rest, b'"');
    }
    let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let raw = rest.strip_prefix(b"b").unwrap_or(rest);
    if !in_word && let Some(after) = raw.strip_prefix(b"r") {
        let hashes = after.iter().take_while(|&&b| b == b'#').count();
        if after.get(hashes) == Some(&b'"') {
            let mut end = vec![b'"'];
            end.resize(hashes + 1, b'#');
            let open = rest.len() - after.len() + hashes + 1;
            let body = rest.get(open..).unwrap_or_default();
            let close = body.windows(end.len()).position(|window| window == end);
            return close.map_or(rest.len(), |close| open + close + end.len());
        }
    }
    // 'x' and '\n' are characters, 'x is a lifetime.
    match rest {
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        [b'\'', first, ..] => {
            let width = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
        }
        _ => 0,
    }
}

fn quoted(rest: &[u8], mark: u8) -> usize {
    let mut at = 1;
    while let Some(&byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b if b == mark => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(two) = rest.get(at..at + 2) {
        match two {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// Words, `::` and single signs of what [`code_only`] left.
pub(super) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (text, after) = rest.split_at(length);
            tokens.push(Token { text, line: number + 1 });
            rest = after.trim_start();
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let text =
            "a /* b /* c */ d */ e // f\n\"g \\\" h\" 'i' '\\'' <'j> r#\"k \"l\" \"# br\"m\" bar\"n\" 'é' x";
        let words: Vec<_> = tokens(&code_only(text)).iter().map(|t| t.text.to_owned()).collect();
        assert_eq!(words, ["a", "e", "<", "'", "j", ">", "bar", "x"]);
        assert_eq!(code_only("\"a\nb\"\nc").lines().count(), 3);
    }

    #[test]
    fn what_is_never_closed_ends_with_the_file() {
        for text in ["/* a", "\"a", "r#\"a\"", "'\\", "\"\\", "/"] {
            assert_eq!(code_only(text).len(), text.len(), "{text}");
        }
    }
}
