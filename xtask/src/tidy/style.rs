//! Files that fit, exceptions with reasons, words that have no place here.

use super::{
    Finding,
    rust::{Token, code_only, tokens},
    sources::Sources,
};

/// Lines after which a file is a table or two files.
const LONGEST: usize = 800;

/// Longer files that are tables, with the reason.
const TABLES: [(&str, &str); 0] = [];

pub(super) fn files_fit(sources: &Sources, findings: &mut Vec<Finding>) {
    files_fit_but(&TABLES, sources, findings);
}

fn files_fit_but(tables: &[(&str, &str)], sources: &Sources, findings: &mut Vec<Finding>) {
    for (path, text) in sources.rust() {
        let lines = text.lines().count();
        if lines > LONGEST && !tables.iter().any(|(table, _)| *table == path) {
            let what = format!(
                "{lines} lines; over {LONGEST} a file is split, or listed as a table with its reason"
            );
            findings.push(Finding::new(path, 0, what));
        }
    }
    for (path, _) in tables {
        if sources.text(path).is_none_or(|text| text.lines().count() <= LONGEST) {
            findings.push(Finding::new(path, 0, "is listed as a long table and is none"));
        }
    }
}

/// Clippy asks for it too, but does not see the kernel side, nor what is compiled for other platforms.
pub(super) fn exceptions_have_reasons(sources: &Sources, findings: &mut Vec<Finding>) {
    for (path, text) in sources.rust() {
        let code = code_only(text);
        let tokens = tokens(&code);
        for (at, token) in tokens.iter().enumerate() {
            if !matches!(token.text, "expect" | "allow") || !is_attribute(&tokens, at) {
                continue;
            }
            if token.text == "allow" {
                let what = "an exception is `#[expect(…)]`: it says when it is no longer needed";
                findings.push(Finding::new(path, token.line, what));
            }
            let inside = tokens.iter().skip(at).take_while(|token| token.text != "]");
            if !inside.into_iter().any(|token| token.text == "reason") {
                findings.push(Finding::new(path, token.line, "an exception without `reason = \"…\"`"));
            }
        }
    }
}

/// `#[expect(`, `#![expect(` or `#[cfg_attr(…, expect(`.
fn is_attribute(tokens: &[Token], at: usize) -> bool {
    let text = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map(|token| token.text);
    if text(at.checked_add(1)) != Some("(") {
        return false;
    }
    match text(at.checked_sub(1)) {
        Some("[") => matches!(text(at.checked_sub(2)), Some("#" | "!")),
        Some(",") => {
            tokens.iter().take(at).rev().take(32).take_while(|t| t.text != "]").any(|t| t.text == "cfg_attr")
        }
        _ => false,
    }
}

/// Paths of somebody's machine. Written in halves, so that this file passes itself.
const PRIVATE: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/root/", ".cargo"),
    concat!("/root/", ".rustup"),
    concat!("/home/", "runner"),
];

pub(super) fn words(sources: &Sources, findings: &mut Vec<Finding>) {
    for (path, text) in sources.all() {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = PRIVATE.iter().find(|word| line.contains(*word)) {
                findings.push(Finding::new(path, number + 1, format!("names a path of one machine: {word}")));
            }
        }
    }
}

/// What tools lay beside a file: a merge, a patch, a snapshot test, an editor.
pub(super) fn nothing_is_left_over(sources: &Sources, findings: &mut Vec<Finding>) {
    const ENDINGS: [&str; 5] = [".orig", ".rej", ".snap.new", ".pending-snap", "~"];
    for (path, _) in sources.all() {
        if ENDINGS.iter().any(|ending| path.ends_with(ending)) {
            findings.push(Finding::new(path, 0, "was left over by a tool; remove it"));
        }
    }
}

pub(super) fn unfinished_work(sources: &Sources, findings: &mut Vec<Finding>) {
    const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for (path, text) in sources.rust() {
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| MARKS.contains(&word)) {
                findings.push(Finding::new(path, number + 1, "marks unfinished work"));
            }
        }
    }
}

/// A test waits for a condition. The one place where that takes a nap is a function that says so by its name:
/// `wait…`, `until…`, `eventually…`.
pub(super) fn tests_do_not_sleep(sources: &Sources, findings: &mut Vec<Finding>) {
    for (path, text) in sources.rust() {
        let whole = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        let code = code_only(text);
        let tokens = tokens(&code);
        let (mut testing, mut function) = (whole, "");
        for (at, token) in tokens.iter().enumerate() {
            let next = tokens.get(at + 1).map(|token| token.text).unwrap_or_default();
            match token.text {
                "cfg" if next == "(" && tokens.get(at + 2).is_some_and(|token| token.text == "test") => {
                    testing = true;
                }
                "fn" => function = next,
                "sleep" if testing && next == "(" => {
                    let waits = ["wait", "until", "eventually"].iter().any(|word| function.contains(word));
                    if !waits {
                        let what = format!("`{function}` sleeps; wait for a condition with a deadline");
                        findings.push(Finding::new(path, token.line, what));
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(check: super::super::Check, path: &str, text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        check(&Sources::made(&[(path, text)]), &mut findings);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_file_over_its_limit_is_found_unless_it_is_a_table() {
        let long = "x\n".repeat(LONGEST + 1);
        let sources = Sources::made(&[("a.rs", &long), ("b.md", &long)]);
        let found = |tables: &[(&str, &str)]| {
            let mut findings = Vec::new();
            files_fit_but(tables, &sources, &mut findings);
            findings.into_iter().map(|finding| finding.path).collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), ["a.rs"]);
        assert!(found(&[("a.rs", "a table")]).is_empty());
        assert_eq!(found(&[("a.rs", "a table"), ("gone.rs", "")]), ["gone.rs"]);
        assert!(lines(files_fit, "a.rs", &"x\n".repeat(LONGEST)).is_empty());
    }

    #[test]
    fn an_exception_without_a_reason_is_found() {
        let check = exceptions_have_reasons;
        let text = "#[expect(dead_code)]\n#![expect(\n  dead_code\n)]\n#[cfg_attr(test, expect(dead_code))]\n\
                    #[expect(dead_code, reason = \"r\")]\nlet x = y.expect(\"z\"); // #[expect(dead_code)]\n";
        assert_eq!(lines(check, "a.rs", text), [1, 2, 5]);
        assert_eq!(lines(check, "a.rs", "#[allow(dead_code, reason = \"r\")]"), [1]);
    }

    #[test]
    fn a_path_of_one_machine_is_found_in_any_file() {
        for word in PRIVATE {
            assert_eq!(lines(words, "docs/a.md", &format!("see\n{word}x\n")), [2], "{word}");
        }
        assert!(lines(words, "docs/a.md", "network/x").is_empty());
    }

    #[test]
    fn unfinished_work_is_found() {
        assert_eq!(lines(unfinished_work, "a.rs", concat!("a\n// TO", "DO: b\n")), [2]);
        assert!(lines(unfinished_work, "a.rs", concat!("let XX", "XX = ptr;")).is_empty());
    }

    #[test]
    fn a_test_that_sleeps_is_found() {
        let check = tests_do_not_sleep;
        let text = "fn a() { thread::sleep(D); }\n#[cfg(test)]\nmod tests {\nfn b() { sleep(D) }\n}\n";
        assert_eq!(lines(check, "portwatch/src/x.rs", text), [4]);
        assert_eq!(lines(check, "tests/src/x.rs", "fn a() { thread::sleep(D); }"), [1]);
        assert!(
            lines(check, "tests/src/x.rs", "fn wait_for() { sleep(D); Command::new(\"sleep\") }").is_empty()
        );
    }
}
