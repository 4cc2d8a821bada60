//! Names of options, variables and headers that hold secrets.

/// What the value of a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A secret.
    Secret,
    /// `user:secret`.
    Pair,
    /// No secret by its name.
    Open,
}

/// A name one of whose words is one of these holds a secret.
const WORDS: [&str; 12] = [
    "bearer",
    "credential",
    "credentials",
    "jwt",
    "pass",
    "passcode",
    "passwords",
    "pwd",
    "pw",
    "psk",
    "secrets",
    "userpwd",
];

/// So does one with a word that ends so: `PGPASSWORD`, `authtoken`.
const ENDS: [&str; 14] = [
    "accesskey",
    "apikey",
    "authkey",
    "masterauth",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "requirepass",
    "rpcpass",
    "secret",
    "secretkey",
    "sharedkey",
    "token",
];

/// A key is one of these kinds; other keys are file names.
const KEYS: [&str; 15] = [
    "access",
    "account",
    "api",
    "auth",
    "encryption",
    "host",
    "license",
    "master",
    "private",
    "secret",
    "service",
    "session",
    "shared",
    "signing",
    "storage",
];

/// A name that ends so says something about a secret.
const ABOUT: [&str; 41] = [
    "age",
    "algorithm",
    "algorithms",
    "alias",
    "audience",
    "checking",
    "count",
    "dir",
    "directory",
    "enabled",
    "endpoint",
    "env",
    "expiration",
    "expiry",
    "file",
    "files",
    "format",
    "header",
    "issuer",
    "length",
    "lifetime",
    "limit",
    "method",
    "mode",
    "name",
    "names",
    "path",
    "policy",
    "prompt",
    "prompts",
    "provider",
    "required",
    "size",
    "stdin",
    "through",
    "timeout",
    "ttl",
    "type",
    "uri",
    "url",
    "version",
];

/// So does one that begins so.
const NEGATIONS: [&str; 9] = ["allow", "ask", "disable", "max", "min", "no", "num", "skip", "without"];

/// Headers whose value is a secret whatever their name says.
const HEADERS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

/// The names in force.
#[derive(Debug)]
pub(super) struct Names {
    extra: Vec<String>,
}

impl Names {
    pub(super) fn new(extra: &[String]) -> Self {
        Self { extra: extra.iter().map(|name| parts(name).join("-")).collect() }
    }

    /// What the value of `name` is; leading dashes are off already.
    pub(super) fn verdict(&self, name: &str) -> Verdict {
        let all = parts(name);
        if !self.extra.is_empty() && self.extra.contains(&all.join("-")) {
            return Verdict::Secret;
        }
        let parts: Vec<&str> = all.iter().map(String::as_str).collect();
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Verdict::Open };
        // An id names a secret. AppRole's secret-id and Vault's root-token-id are secrets.
        let names_one = *last == "id"
            && !parts.contains(&"root")
            && parts.iter().nth_back(1).is_none_or(|before| !before.ends_with("secret"));
        let about = names_one || ABOUT.contains(last);
        if about || NEGATIONS.contains(first) && parts.len() > 1 {
            return Verdict::Open;
        }
        let secret = |part: &&str| WORDS.contains(part) || ENDS.iter().any(|end| part.ends_with(end));
        let key = |two: &[&str]| matches!(two, [kind, "key"] if KEYS.contains(kind));
        if parts.iter().any(secret) || parts.windows(2).any(key) {
            return Verdict::Secret;
        }
        // Java's -Dpass=x
        if first.strip_prefix('d').is_some_and(|rest| WORDS.contains(&rest)) {
            return Verdict::Secret;
        }
        if *last == "auth" { Verdict::Pair } else { Verdict::Open }
    }
}

/// Whether a character can be part of a name.
pub(super) fn belongs(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Whether a word is by itself what options that take a secret are called: `-password`, `-token`.
pub(super) fn is_common(word: &str) -> bool {
    WORDS.contains(&word) || ENDS.contains(&word)
}

/// Whether a header's value is a secret by the header's name alone.
pub(super) fn is_header(name: &str) -> bool {
    HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header))
}

/// Whether an argument is an option rather than the value of the one before. A secret may begin with a dash.
pub(super) fn is_option(arg: &str) -> bool {
    match arg.strip_prefix('-') {
        Some(rest) => {
            rest.strip_prefix('-').is_some_and(|long| long.starts_with(|c: char| c.is_ascii_alphabetic()))
                || rest.len() == 1
        }
        None => false,
    }
}

/// `dbPassword`, `db_password`, `db.password`, `--DB-PASSWORD`: db, password.
fn parts(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || lower && c.is_ascii_uppercase() {
            parts.extend(Some(std::mem::take(&mut part)).filter(|part| !part.is_empty()));
        }
        if c.is_ascii_alphanumeric() {
            part.push(c.to_ascii_lowercase());
        }
        lower = c.is_ascii_lowercase();
    }
    parts.extend(Some(part).filter(|part| !part.is_empty()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_the_document() {
        let document = include_str!("../../../../docs/redaction.md");
        for name in WORDS.iter().chain(&ENDS).chain(&KEYS) {
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }
}
