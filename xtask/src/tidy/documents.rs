//! Documents say what the code says.

use super::{Finding, ranks::RANKS, rust, sources::Sources};

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const EXIT: &str = "portwatch/src/cli/exit.rs";
const EXIT_CODES: &str = "docs/exit-codes.md";

/// The cells of the table rows of a document, with their line.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let cells = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        Some((number + 1, cells.split('|').map(str::trim).collect()))
    })
}

/// Modules and ranks of the document's table: `| 1 | `source/` | … |`.
fn ranks_in(text: &str) -> Vec<(usize, String, u8)> {
    rows(text)
        .filter_map(|(line, cells)| {
            let rank = cells.first()?.parse().ok()?;
            let modules = cells.get(1)?.split(',');
            Some(
                modules
                    .map(move |m| (line, m.trim().trim_matches('`').trim_end_matches('/').to_owned(), rank)),
            )
        })
        .flatten()
        .collect()
}

pub(super) fn architecture_matches(sources: &Sources, findings: &mut Vec<Finding>) {
    let Some(text) = sources.text(ARCHITECTURE) else {
        findings.push(Finding::new(ARCHITECTURE, 0, "is missing"));
        return;
    };
    let shown = ranks_in(text);
    for (module, rank) in RANKS {
        if !shown.iter().any(|(_, name, shown)| name == module && *shown == rank) {
            let what = format!("does not show module `{module}` with rank {rank}");
            findings.push(Finding::new(ARCHITECTURE, 0, what));
        }
    }
    for (line, module, rank) in &shown {
        if !RANKS.contains(&(module.as_str(), *rank)) {
            let what = format!("shows `{module}` with rank {rank}; xtask/src/tidy/ranks.rs does not");
            findings.push(Finding::new(ARCHITECTURE, *line, what));
        }
    }
}

/// Variants with a number, of the enum `Exit`: `Name = 3,`.
fn codes_in_code(text: &str) -> Vec<(usize, u8)> {
    let code = rust::code_only(text);
    let tokens = rust::tokens(&code);
    let start =
        tokens.windows(2).position(|two| matches!(two, [a, b] if a.text == "enum" && b.text == "Exit"));
    let body = start.and_then(|start| tokens.get(start..)).unwrap_or_default();
    let end = body.iter().position(|token| token.text == "}").unwrap_or(body.len());
    body.get(..end)
        .unwrap_or_default()
        .windows(2)
        .filter_map(|two| match two {
            [equals, number] if equals.text == "=" => Some((number.line, number.text.parse().ok()?)),
            _ => None,
        })
        .collect()
}

pub(super) fn exit_codes_are_documented(sources: &Sources, findings: &mut Vec<Finding>) {
    let (code, document) = match (sources.text(EXIT), sources.text(EXIT_CODES)) {
        (Some(code), Some(document)) => (code, document),
        (None, None) => return,
        (None, Some(_)) => return findings.push(Finding::new(EXIT, 0, "is missing")),
        (Some(_), None) => return findings.push(Finding::new(EXIT_CODES, 0, "is missing")),
    };
    let coded = codes_in_code(code);
    let documented: Vec<(usize, u8)> = rows(document)
        .filter_map(|(line, cells)| Some((line, cells.first()?.trim_matches('`').parse().ok()?)))
        .collect();
    if coded.is_empty() {
        findings.push(Finding::new(EXIT, 0, "has no enum `Exit` with numbers"));
    }
    for (line, number) in &coded {
        if !documented.iter().any(|(_, known)| known == number) {
            findings.push(Finding::new(EXIT, *line, format!("exit code {number} is not in {EXIT_CODES}")));
        }
    }
    for (line, number) in &documented {
        if !coded.iter().any(|(_, known)| known == number) {
            findings.push(Finding::new(EXIT_CODES, *line, format!("exit code {number} is not in {EXIT}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(check: super::super::Check, files: &[(&str, &str)]) -> Vec<String> {
        let mut findings = Vec::new();
        check(&Sources::made(files), &mut findings);
        findings.into_iter().map(|finding| finding.what).collect()
    }

    fn table(change: impl Fn(&str, u8) -> Option<u8>) -> String {
        let rows =
            RANKS.iter().filter_map(|&(m, r)| Some(format!("| {} | `{m}/` | x | y |\n", change(m, r)?)));
        format!("| rank | module | for | never |\n|---|---|---|---|\n{}", rows.collect::<String>())
    }

    #[test]
    fn the_map_and_the_table_of_ranks_agree_or_it_is_said() {
        let check = architecture_matches;
        assert!(found(check, &[(ARCHITECTURE, &table(|_, r| Some(r)))]).is_empty());
        assert_eq!(found(check, &[]).len(), 1, "no map at all");
        let without = table(|m, r| (m != "state").then_some(r));
        assert_eq!(found(check, &[(ARCHITECTURE, &without)]).len(), 1);
        let moved = table(|m, r| Some(if m == "state" { 4 } else { r }));
        assert_eq!(found(check, &[(ARCHITECTURE, &moved)]).len(), 2);
        let more = format!("{}| 3 | `helpers/`, `state/` | x | y |\n", table(|_, r| Some(r)));
        assert_eq!(found(check, &[(ARCHITECTURE, &more)]).len(), 1);
    }

    #[test]
    fn an_exit_code_missing_on_either_side_is_found() {
        let check = exit_codes_are_documented;
        let code = "/// = 9,\npub enum Exit { Yes = 0, No = 1, }\nconst X: u8 = 7;";
        let document = |rows: &str| format!("| code | meaning |\n|---|---|\n{rows}");
        let both = document("| 0 | yes |\n| `1` | no |\n");
        assert!(found(check, &[(EXIT, code), (EXIT_CODES, &both)]).is_empty());
        assert_eq!(found(check, &[(EXIT, code), (EXIT_CODES, &document("| 0 | yes |\n"))]).len(), 1);
        let more = document("| 0 | yes |\n| 1 | no |\n| 5 | none |\n");
        assert_eq!(found(check, &[(EXIT, code), (EXIT_CODES, &more)]).len(), 1);
        assert_eq!(found(check, &[(EXIT, code)]).len(), 1);
        assert_eq!(found(check, &[(EXIT_CODES, &both)]).len(), 1);
        assert!(!found(check, &[(EXIT, "enum Other { A = 0, B = 1 }"), (EXIT_CODES, &both)]).is_empty());
    }
}
