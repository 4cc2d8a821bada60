//! Secrets inside a text: credentials in URLs, `name=value` in connection strings and queries, JSON, and keys
//! that are known by their shape.

use super::{
    MARK,
    names::{self, Names, Verdict},
};

/// Keys known by their beginning: that, the least number of characters after it, and whether dots and dashes
/// belong to it.
const SHAPES: &[(&str, usize, bool)] = &[
    ("AKIA", 16, false),
    ("ASIA", 16, false),
    ("AIza", 35, true),
    ("dop_v1_", 32, false),
    ("eyJ", 30, true),
    ("ghp_", 30, false),
    ("gho_", 30, false),
    ("ghu_", 30, false),
    ("ghs_", 30, false),
    ("ghr_", 30, false),
    ("github_pat_", 22, false),
    ("glpat-", 20, true),
    ("hf_", 30, false),
    ("hvs.", 24, true),
    ("npm_", 30, false),
    ("pypi-", 30, true),
    ("rk_live_", 20, false),
    ("sk_live_", 20, false),
    ("sk-", 20, true),
    ("SG.", 30, true),
    ("shpat_", 30, false),
    ("tskey-", 16, true),
    ("xoxa-", 10, true),
    ("xoxb-", 10, true),
    ("xoxp-", 10, true),
    ("xoxr-", 10, true),
    ("xoxs-", 10, true),
    ("ya29.", 20, true),
];

/// What ends a value inside a text.
const ENDS: [char; 15] = [',', ';', '&', '|', '<', '>', '(', ')', '[', ']', '{', '}', '"', '\'', '`'];

/// The text with what is known to be secret in it hidden. `cut`: its end is missing.
pub(super) fn hide(text: &str, names: &Names, cut: bool) -> String {
    let text = urls(text, cut);
    let text = named(&text, names);
    pem(shapes(&text, cut))
}

/// `scheme://user:secret@host`, `https://key@host`.
fn urls(text: &str, cut: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>'));
        let (url, next) = after.split_at_checked(end.unwrap_or(after.len())).unwrap_or((after, ""));
        let web = before.ends_with("http") || before.ends_with("https");
        let (hidden, length) = authority(url, web, cut && next.is_empty());
        out.push_str(&hidden);
        rest = after.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The authority with its secret hidden, and how much of `url` it is.
fn authority(url: &str, web: bool, cut: bool) -> (String, usize) {
    let strict = url.find(['/', '?', '#']).unwrap_or(url.len());
    let head = url.get(..strict).unwrap_or(url);
    let (user, end) = if let Some((user, _)) = head.rsplit_once('@') {
        (user, user.len())
    } else {
        // A secret with a sign that should have been escaped: `u:a/b@host`. After a host comes a number.
        let port = head.split_once(':').filter(|_| !head.starts_with('['));
        let strange = port.filter(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()));
        match (strange, url.rsplit_once('@')) {
            (Some(_), Some((user, _))) => (user, user.len()),
            (Some((name, _)), None) if cut => return (format!("{name}:{MARK}"), url.len()),
            _ if cut && strict == url.len() => return (cut_authority(head, web), head.len()),
            _ => return (head.to_owned(), head.len()),
        }
    };
    let hidden = match user.split_once(':') {
        Some((_, "")) => user.to_owned(),
        // What looks like the host may be the secret still: it could hold another `@`.
        Some((name, _)) if cut => return (format!("{name}:{MARK}"), url.len()),
        Some((name, _)) => format!("{name}:{MARK}"),
        // Alone it is a name, or a key: those are long.
        None if web && user.len() >= 16 => MARK.to_owned(),
        None => user.to_owned(),
    };
    (hidden, end)
}

/// Nobody knows what would have followed: after the sign it may be a secret.
fn cut_authority(head: &str, web: bool) -> String {
    match head.split_once(':') {
        _ if head.starts_with('[') => head.to_owned(),
        Some((_, "")) => head.to_owned(),
        Some((name, _)) => format!("{name}:{MARK}"),
        None if web && !head.is_empty() && !head.contains('.') => MARK.to_owned(),
        None => head.to_owned(),
    }
}

/// `Server=db;Password=x;`, `?token=x&y`, `{"password": "x"}`, `host=db password='a b'`.
fn named(text: &str, names: &Names) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default());
        let is_colon = rest.get(at..).is_some_and(|tail| tail.starts_with(':'));
        out.push_str(before);
        out.push(if is_colon { ':' } else { '=' });
        rest = after;
        let unquoted = before.trim_end().trim_end_matches(['"', '\'']);
        let spaced = after.starts_with([' ', '"', '\'']) || unquoted.len() < before.trim_end().len();
        if is_colon && !spaced {
            continue;
        }
        let begin = unquoted.rfind(|c| !names::belongs(c)).map_or(0, |last| {
            last + unquoted.get(last..).and_then(|tail| tail.chars().next()).map_or(1, char::len_utf8)
        });
        let name = unquoted.get(begin..).unwrap_or_default().trim_start_matches('-');
        if name.is_empty() || names.verdict(name) != Verdict::Secret {
            continue;
        }
        let value = after.trim_start_matches(' ');
        out.push_str(after.get(..after.len() - value.len()).unwrap_or_default());
        let length = if let Some(quote @ ('"' | '\'')) = value.chars().next() {
            out.push(quote);
            let within = value.get(1..).unwrap_or_default();
            let length = closing(within, quote);
            if length > 0 {
                out.push_str(MARK);
            }
            1 + length
        } else {
            let end = value.find(|c: char| c.is_whitespace() || ENDS.contains(&c)).unwrap_or(value.len());
            if end > 0 {
                out.push_str(MARK);
            }
            end
        };
        rest = value.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Where the quotation ends; a quote after a backslash does not end it.
fn closing(within: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in within.char_indices() {
        if c == quote && !escaped {
            return at;
        }
        escaped = c == '\\' && !escaped;
    }
    within.len()
}

/// Keys known by their shape.
fn shapes(text: &str, cut: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside = false;
    while let Some(c) = rest.chars().next() {
        let found = if inside { None } else { SHAPES.iter().find_map(|shape| key(rest, *shape, cut)) };
        if let Some(length) = found {
            out.push_str(MARK);
            rest = rest.get(length..).unwrap_or_default();
            inside = true;
        } else {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            inside = c.is_ascii_alphanumeric();
        }
    }
    out
}

/// The length of the key at the beginning of `text`.
fn key(text: &str, (begin, least, dotted): (&str, usize, bool), cut: bool) -> Option<usize> {
    let tail = text.strip_prefix(begin)?;
    let belongs = |c: char| c.is_ascii_alphanumeric() || c == '_' || dotted && matches!(c, '-' | '.');
    let length = tail.find(|c| !belongs(c)).unwrap_or(tail.len());
    // The cut end of a line may be the beginning of a key.
    let open = cut && tail.get(length..).is_some_and(|rest| rest.chars().all(|c| c == '\u{fffd}'));
    (length >= least || open && length > 0).then_some(begin.len() + length)
}

/// A private key as text: everything after its first line.
fn pem(text: String) -> String {
    const LINE: &str = "PRIVATE KEY-----";
    match text.split_once(LINE) {
        Some((before, after)) if !after.is_empty() && before.contains("-----BEGIN") => {
            format!("{before}{LINE}{MARK}")
        }
        _ => text,
    }
}
