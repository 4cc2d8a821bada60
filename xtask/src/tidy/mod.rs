//! Rules that a machine can check. Each has a test that shows it failing.

mod documents;
mod imports;
mod manifests;
mod ranks;
mod rust;
mod sources;
mod style;

use std::path::Path;

use anyhow::{Result, bail};

use self::sources::Sources;

/// A broken rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

type Check = fn(&Sources, &mut Vec<Finding>);

/// Every check.
const CHECKS: [Check; 12] = [
    imports::ranks_are_kept,
    imports::every_module_has_a_rank,
    documents::architecture_matches,
    documents::exit_codes_are_documented,
    manifests::members_inherit_lints,
    manifests::packages_come_from_the_public_registry,
    style::files_fit,
    style::exceptions_have_reasons,
    style::words,
    style::nothing_is_left_over,
    style::tests_do_not_sleep,
    style::unfinished_work,
];

fn findings(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in CHECKS {
        check(sources, &mut findings);
    }
    findings.sort();
    findings
}

/// Checks the workspace.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut findings = findings(&Sources::read(root)?);
    // Its failures are shown beside it.
    if let Err(error) = crate::ebpf::check(root) {
        findings.push(Finding::new("portwatch/prebuilt", 0, format!("{error:#}")));
    }
    for finding in &findings {
        crate::say(&format!("{}:{}: {}", finding.path, finding.line, finding.what));
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} rules broken"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        super::run(&crate::root().unwrap()).unwrap();
    }

    #[test]
    fn a_broken_rule_fails_the_task_whichever_check_finds_it() {
        let broken = [
            ("portwatch/src/state/mod.rs", "use crate::cli::Exit;"),
            ("portwatch/src/helpers/mod.rs", ""),
            ("ARCHITECTURE.md", "| 0 | `nobody/` | x | y |\n"),
            ("docs/exit-codes.md", "| 99 | x |\n"),
            ("portwatch/src/cli/exit.rs", "enum Exit { A = 0 }"),
            ("a/Cargo.toml", "[package]\nname = 'a'"),
            ("Cargo.lock", "source = \"git+https://x.example/y#1\"\n"),
            ("a/src/long.rs", &"\n".repeat(801)),
            ("a/src/expect.rs", "#[expect(dead_code)]\nfn x() {}"),
            ("notes.md", concat!("/wo", "rk/x")),
            ("a/src/x.snap.orig", "---"),
            ("tests/src/x.rs", "fn x() { sleep(D) }"),
            ("a/src/mark.rs", concat!("// TO", "DO")),
        ];
        let mut files = vec![("Cargo.toml", "[workspace]\nmembers = [\"a\"]")];
        files.extend(broken);
        let findings = super::findings(&super::Sources::made(&files));
        for (path, _) in broken {
            assert!(findings.iter().any(|finding| finding.path == path), "{path}: {findings:?}");
        }
        assert!(super::run(tempfile::tempdir().unwrap().path()).is_err());
    }
}
