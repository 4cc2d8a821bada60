//! Imports go down the ranks.

use super::{
    Finding,
    ranks::rank,
    rust::{Token, code_only, tokens},
    sources::Sources,
};

const PACKAGE: &str = "portwatch/src/";

/// Module path of a file of the library; `None` for others and for the two crate roots.
fn module_path(path: &str) -> Option<Vec<&str>> {
    let mut parts: Vec<&str> = path.strip_prefix(PACKAGE)?.strip_suffix(".rs")?.split('/').collect();
    if matches!(parts.as_slice(), ["lib" | "main"]) {
        return None;
    }
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    Some(parts)
}

pub(super) fn every_module_has_a_rank(sources: &Sources, findings: &mut Vec<Finding>) {
    let mut told = Vec::new();
    for (path, _) in sources.rust() {
        let Some(module) = module_path(path).and_then(|parts| parts.first().copied()) else { continue };
        if rank(module).is_none() && !told.contains(&module) {
            told.push(module);
            let what = format!("module `{module}` has no rank (xtask/src/tidy/ranks.rs, ARCHITECTURE.md)");
            findings.push(Finding::new(path, 0, what));
        }
    }
}

pub(super) fn ranks_are_kept(sources: &Sources, findings: &mut Vec<Finding>) {
    for (path, text) in sources.rust() {
        let Some(module) = module_path(path) else { continue };
        let Some((own, own_rank)) = module.first().and_then(|own| Some((*own, rank(own)?))) else { continue };
        for (target, line) in used(text, &module) {
            let what = match rank(&target) {
                _ if target == own => continue,
                Some(rank) if rank < own_rank => continue,
                Some(rank) => {
                    format!(
                        "`{own}` (rank {own_rank}) uses `{target}` (rank {rank}); only lower ranks may be used"
                    )
                }
                None => format!("`{own}` uses `crate::{target}`, which is no ranked module"),
            };
            findings.push(Finding::new(path, line, what));
        }
    }
}

/// Top-level modules that a file names, with the line: by `crate::…`, by as many `super` as lead out of its own
/// module, in `use` trees and in the middle of code. `*` stands for all of them.
fn used(text: &str, module: &[&str]) -> Vec<(String, usize)> {
    let code = code_only(text);
    let tokens = tokens(&code);
    let mut walk = Walk { tokens: &tokens, used: Vec::new() };
    // Inline modules are one level deeper; the depth of braces at which each ends.
    let mut here: Vec<&str> = module.to_vec();
    let (mut braces, mut inline) = (0_usize, Vec::new());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let before = at.checked_sub(1).and_then(|before| walk.text(before));
        match token.text {
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                if inline.last() == Some(&braces) {
                    inline.pop();
                    here.pop();
                }
            }
            "mod" if walk.text(at + 2) == Some("{") => {
                here.push(walk.text(at + 1).unwrap_or_default());
                inline.push(braces);
            }
            // `pub(crate)`, `pub(in crate::x)` open no way.
            "crate" | "super" | "self"
                if before != Some("::") && !matches!(before, Some("(") if visibility(&walk, at)) =>
            {
                at = walk.tree(at, Some(&here));
                continue;
            }
            "in" if matches!(walk.text(at + 1), Some("crate" | "super" | "self")) && before == Some("(") => {
                at += 2;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    walk.used
}

fn visibility(walk: &Walk, at: usize) -> bool {
    walk.text(at + 1) == Some(")") && at.checked_sub(2).and_then(|at| walk.text(at)) == Some("pub")
}

struct Walk<'a> {
    tokens: &'a [Token<'a>],
    used: Vec<(String, usize)>,
}

impl<'a> Walk<'a> {
    fn text(&self, at: usize) -> Option<&'a str> {
        self.tokens.get(at).map(|token| token.text)
    }

    /// Follows a path or `use` tree from `at`, seen from the module `from` (`None` once it has led into a
    /// module that was noted). Gives the place behind it.
    fn tree(&mut self, mut at: usize, from: Option<&[&'a str]>) -> usize {
        let mut place: Option<Vec<&str>> = from.map(<[&str]>::to_vec);
        loop {
            let Some(&Token { text, line }) = self.tokens.get(at) else { return at };
            match (text, &mut place) {
                ("{", _) => return self.branches(at + 1, place.as_deref()),
                ("crate", _) => place = Some(Vec::new()),
                ("super", Some(place)) => {
                    place.pop();
                }
                ("self", Some(place)) if !place.is_empty() => {}
                (_, Some(place)) if place.is_empty() => self.note(text, line),
                _ => {}
            }
            if place.as_ref().is_some_and(Vec::is_empty) && !matches!(text, "crate" | "super") {
                place = None;
            } else if !matches!(text, "crate" | "super" | "self") {
                // Into a module of our own.
                place = place.map(|mut place| {
                    place.push(text);
                    place
                });
            }
            if self.text(at + 1) != Some("::") {
                if place.as_ref().is_some_and(Vec::is_empty) {
                    self.note("*", line);
                }
                return at + 1;
            }
            at += 2;
        }
    }

    fn branches(&mut self, mut at: usize, place: Option<&[&'a str]>) -> usize {
        while let Some(text) = self.text(at) {
            match text {
                "}" => return at + 1,
                "," => at += 1,
                "as" => at += 2,
                _ => at = self.tree(at, place).max(at + 1),
            }
        }
        at
    }

    fn note(&mut self, target: &str, line: usize) {
        self.used.push((target.to_owned(), line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        ranks_are_kept(&Sources::made(&[(path, text)]), &mut findings);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn an_import_upwards_or_sideways_is_rejected_however_it_is_written() {
        let state = "portwatch/src/state/table.rs";
        for text in [
            "use crate::cli::Exit;",
            "use crate::{model::Port, query::{A, B}};",
            "use crate::{\n  model::Port, query as q};",
            "fn f() -> crate::journal::Row { todo() }",
            "use super::super::query::Who;",
            "use super::super::{model::Port, query};",
            "use super::{row::Row, super::query};",
            "use self::super::super::query;",
            "mod tests { use super::super::super::query; }",
            "mod tests { mod deep { } use super::super::super::query; }",
            "use crate as whole;",
            "use crate::*;",
            "use super::super::*;",
            "use crate::{self as whole};",
            "fn f() { let x = $crate::api::x(); }",
            "pub(crate) use crate::wire::Event;",
            "let a = (crate::api::x)();",
        ] {
            assert!(!broken(state, text).is_empty(), "{text}");
        }
        assert!(!broken("portwatch/src/render/text.rs", "use crate::api::Client;").is_empty(), "sideways");
        assert_eq!(broken(state, "use crate::{\n  model::Port,\n  query,\n};"), [3]);
    }

    #[test]
    fn an_import_downwards_or_of_ones_own_is_accepted() {
        let state = "portwatch/src/state/table.rs";
        for text in [
            "use crate::{model::{Port, net::query}, source};",
            "use super::{row::Row, query, api::{cli}};",
            "mod tests { use super::super::super::model::Port; use super::*; use super::super::row; }",
            "// use crate::cli;\nlet a = \"crate::cli\";",
            "pub(crate) fn api() {} pub(in crate::state) fn x() {} pub(super) fn y(self) {}",
            "use crate::state::row; use std::path; use portwatch_common::cli;",
            "fn f(&self) { self.query.cli() } fn g(self: Box<Self>) {}",
            "let a = crate::model::Port { query: 1 }; if x { query::y() }",
        ] {
            assert_eq!(broken(state, text), [0_usize; 0], "{text}");
        }
        assert!(broken("portwatch/src/lib.rs", "pub use crate::cli;").is_empty());
    }

    #[test]
    fn a_module_without_a_rank_is_found_once() {
        let sources = Sources::made(&[
            ("portwatch/src/helpers/mod.rs", ""),
            ("portwatch/src/helpers/a.rs", ""),
            ("portwatch/src/model/mod.rs", ""),
        ]);
        let mut findings = Vec::new();
        every_module_has_a_rank(&sources, &mut findings);
        assert_eq!(findings.len(), 1);
    }
}
