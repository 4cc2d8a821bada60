//! Cargo's files.

use toml::{Table, Value};

use super::{Finding, sources::Sources};

pub(super) fn members_inherit_lints(sources: &Sources, findings: &mut Vec<Finding>) {
    let parse = |path: &str| sources.text(path).and_then(|text| toml::from_str::<Table>(text).ok());
    let members = parse("Cargo.toml")
        .and_then(|manifest| manifest.get("workspace")?.get("members")?.as_array().cloned())
        .unwrap_or_default();
    if members.is_empty() {
        findings.push(Finding::new("Cargo.toml", 0, "has no workspace members"));
    }
    for member in members.iter().filter_map(Value::as_str) {
        let path = format!("{member}/Cargo.toml");
        let inherits = parse(&path)
            .and_then(|manifest| manifest.get("lints")?.get("workspace")?.as_bool())
            .unwrap_or(false);
        if !inherits {
            findings.push(Finding::new(&path, 0, "does not have `[lints] workspace = true`"));
        }
    }
}

/// A lock written with a mirror or a local copy configured names places that nobody else can reach.
pub(super) fn packages_come_from_the_public_registry(sources: &Sources, findings: &mut Vec<Finding>) {
    const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
    let locks = sources.all().filter(|(path, _)| path.rsplit('/').next() == Some("Cargo.lock"));
    for (path, text) in locks {
        for (number, line) in text.lines().enumerate() {
            let source = line.strip_prefix("source = ").map(|source| source.trim_matches('"'));
            if source.is_some_and(|source| source != REGISTRY) {
                findings.push(Finding::new(path, number + 1, "a package from elsewhere than crates.io"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(check: super::super::Check, files: &[(&str, &str)]) -> Vec<String> {
        let mut findings = Vec::new();
        check(&Sources::made(files), &mut findings);
        findings.into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn a_member_that_does_not_inherit_the_lints_is_found() {
        let files = [
            ("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\", \"c\", \"d\"]"),
            ("a/Cargo.toml", "[lints]\nworkspace = true"),
            ("b/Cargo.toml", "[package]\nname = 'b'"),
            ("c/Cargo.toml", "[lints]\nworkspace = false"),
        ];
        let expected = ["b/Cargo.toml", "c/Cargo.toml", "d/Cargo.toml"];
        assert_eq!(found(members_inherit_lints, &files), expected);
        assert_eq!(found(members_inherit_lints, &[]), ["Cargo.toml"]);
    }

    #[test]
    fn a_lock_that_names_a_mirror_or_a_git_repository_is_found() {
        let check = packages_come_from_the_public_registry;
        let good = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert!(found(check, &[("Cargo.lock", good)]).is_empty());
        for bad in [
            "registry+https://mirror.example/",
            "sparse+https://mirror.example/",
            "git+https://x.example/y#1",
        ] {
            let lock = format!("{good}source = \"{bad}\"\n");
            assert_eq!(found(check, &[("fuzz/Cargo.lock", &lock)]), ["fuzz/Cargo.lock"]);
        }
    }
}
