//! Arguments of a Windows command line, which is one text. Pure, and total.

/// Splits it as Microsoft's C runtime does: blanks separate, double quotes hold together, and backslashes stand for
/// themselves except before a quote, where two make one and an odd one makes the quote a character.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut backslashes = 0;
    for c in line.chars() {
        if c == '\\' {
            backslashes += 1;
            word.get_or_insert_default();
            continue;
        }
        let before = std::mem::take(&mut backslashes);
        if before > 0 {
            let kept = if c == '"' { before / 2 } else { before };
            word.get_or_insert_default().extend(std::iter::repeat_n('\\', kept));
        }
        match c {
            '"' if before % 2 == 1 => word.get_or_insert_default().push('"'),
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' | '\t' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if backslashes > 0 {
        word.get_or_insert_default().extend(std::iter::repeat_n('\\', backslashes));
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_read_as_the_c_runtime_reads_them() {
        // The examples of Microsoft's page "Parsing C command-line arguments".
        for (line, expected) in [
            (r#""a b c" d e"#, &["a b c", "d", "e"][..]),
            (r#""ab\"c" "\\" d"#, &["ab\"c", "\\", "d"]),
            (r#"a\\\b d"e f"g h"#, &[r"a\\\b", "de fg", "h"]),
            (r#"a\\\"b c d"#, &[r#"a\"b"#, "c", "d"]),
            (r#"a\\\\"b c" d e"#, &[r"a\\b c", "d", "e"]),
            (r"C:\Program\x.exe  7 ", &[r"C:\Program\x.exe", "7"]),
            (r#""C:\Program Files\node.exe" --port=80 """#, &[r"C:\Program Files\node.exe", "--port=80", ""]),
            ("", &[]),
            (r"a\", &[r"a\"]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }
}
