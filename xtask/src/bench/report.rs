//! Budgets, what was measured, and the table of them: for the terminal and for docs/benchmarks.md.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Within the budget.
    Held,
    /// Outside.
    Missed,
    /// No budget: for information.
    Information,
    /// It could not be measured here, and why.
    NotMeasured(String),
}

impl Verdict {
    pub(super) fn of(held: bool) -> Self {
        if held { Self::Held } else { Self::Missed }
    }

    fn word(&self) -> &str {
        match self {
            Self::Held => "held",
            Self::Missed => "MISSED",
            Self::Information => "-",
            Self::NotMeasured(_) => "not measured",
        }
    }
}

/// One row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What is measured.
    pub(super) what: String,
    /// The budget; empty where there is none.
    pub(super) budget: String,
    /// What came out, in few words.
    pub(super) measured: String,
    pub(super) verdict: Verdict,
}

impl Row {
    pub(super) fn new(what: &str, budget: &str, measured: String, verdict: Verdict) -> Self {
        Self { what: what.to_owned(), budget: budget.to_owned(), measured, verdict }
    }

    pub(super) fn not_measured(what: &str, budget: &str, why: &str) -> Self {
        Self::new(what, budget, why.to_owned(), Verdict::NotMeasured(why.to_owned()))
    }
}

/// One measurement: its rows and the figures behind them.
#[derive(Debug, Clone, Default)]
pub(super) struct Section {
    pub(super) title: String,
    /// How it was measured.
    pub(super) method: String,
    pub(super) rows: Vec<Row>,
    /// Figures behind the rows: first the headings.
    pub(super) figures: Vec<Vec<String>>,
    /// Remarks on this run.
    pub(super) remarks: Vec<String>,
}

/// How many rows missed.
pub(super) fn missed(sections: &[Section]) -> usize {
    rows(sections).filter(|row| row.verdict == Verdict::Missed).count()
}

fn rows(sections: &[Section]) -> impl Iterator<Item = &Row> {
    sections.iter().flat_map(|section| &section.rows)
}

fn summary(sections: &[Section]) -> Vec<Vec<String>> {
    let mut table = vec![["what", "budget", "measured", "verdict"].map(str::to_owned).to_vec()];
    table.extend(rows(sections).map(|row| {
        vec![row.what.clone(), row.budget.clone(), row.measured.clone(), row.verdict.word().to_owned()]
    }));
    table
}

/// For the terminal.
pub(super) fn text(sections: &[Section]) -> String {
    let mut out = columns(&summary(sections));
    for section in sections {
        if !section.figures.is_empty() || !section.remarks.is_empty() {
            line(&mut out, &format!("\n{}", section.title));
            out.push_str(&columns(&section.figures));
            for remark in &section.remarks {
                line(&mut out, &format!("  {remark}"));
            }
        }
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn columns(table: &[Vec<String>]) -> String {
    let mut widths = Vec::new();
    for row in table {
        for (column, cell) in row.iter().enumerate() {
            let length = cell.chars().count();
            match widths.get_mut(column) {
                None => widths.push(length),
                Some(width) => *width = length.max(*width),
            }
        }
    }
    let mut out = String::new();
    for row in table {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        line(&mut out, &format!("  {}", cells.join("  ").trim_end()));
    }
    out
}

fn markdown_table(table: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (number, row) in table.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        line(&mut out, &format!("| {} |", cells.join(" | ")));
        if number == 0 {
            line(&mut out, &format!("|{}", "---|".repeat(row.len())));
        }
    }
    out
}

/// For the document.
pub(super) fn markdown(sections: &[Section], machine: &[(String, String)], command: &str) -> String {
    let mut out = format!("Measured by `{command}`.\n\n");
    for (what, value) in machine {
        line(&mut out, &format!("- {what}: {value}"));
    }
    out.push('\n');
    out.push_str(&markdown_table(&summary(sections)));
    for section in sections {
        line(&mut out, &format!("\n### {}\n\n{}", section.title, section.method));
        if !section.figures.is_empty() {
            out.push('\n');
            out.push_str(&markdown_table(&section.figures));
        }
        if !section.remarks.is_empty() {
            out.push('\n');
        }
        for remark in &section.remarks {
            line(&mut out, &format!("- {remark}"));
        }
    }
    out
}

/// What `bench` writes lies between these lines; what people write around them stays.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// The document with its measured part replaced.
fn splice(document: &str, measured: &str) -> Result<String> {
    let Some((before, rest)) = document.split_once(BEGIN) else { bail!("there is no line {BEGIN}") };
    let Some((_, after)) = rest.split_once(END) else { bail!("there is no line {END} after {BEGIN}") };
    Ok(format!("{before}{BEGIN}\n{measured}{END}{after}"))
}

/// Replaces the measured part of the document at `path`.
pub(super) fn write(path: &Path, measured: &str) -> Result<()> {
    let document = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let document = splice(&document, measured).with_context(|| path.display().to_string())?;
    fs::write(path, document).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections() -> Vec<Section> {
        vec![Section {
            title: "Who".to_owned(),
            method: "In turn.".to_owned(),
            rows: vec![
                Row::new("who, idle", "< ss", "0.5 × ss".to_owned(), Verdict::of(true)),
                Row::new("who | busy", "≥ 50×", "12×".to_owned(), Verdict::of(false)),
                Row::not_measured("log", "≤ 50 ms", "no daemon"),
            ],
            figures: vec![vec!["tool".to_owned()], vec!["ss".to_owned()]],
            remarks: vec!["a remark".to_owned()],
        }]
    }

    #[test]
    fn what_people_wrote_around_the_measured_part_stays() {
        let document = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nCauses.\n");
        let spliced = splice(&document, "new\n").unwrap();
        assert_eq!(spliced, format!("# Title\n\n{BEGIN}\nnew\n{END}\n\nCauses.\n"));
        assert_eq!(splice(&spliced, "new\n").unwrap(), spliced);
    }

    #[test]
    fn a_document_without_its_marks_is_not_overwritten() {
        assert!(splice("# Title\n", "new").is_err());
        assert!(splice(&format!("{END}\n{BEGIN}\n"), "new").is_err());
    }

    #[test]
    fn a_budget_that_was_not_measured_is_not_held() {
        let text = text(&sections());
        assert!(text.contains("not measured"), "{text}");
        assert_eq!(missed(&sections()), 1);
    }

    #[test]
    fn tables_line_up_and_keep_their_columns() {
        let text = text(&sections());
        let lines: Vec<&str> = text.lines().collect();
        let place = |line: &str, word: &str| line.split(word).next().map(|before| before.chars().count());
        assert_eq!(place(lines[0], "verdict"), place(lines[2], "MISSED"));
        let markdown = markdown(&sections(), &[("cores".to_owned(), "2".to_owned())], "cargo xtask bench");
        assert!(markdown.contains("| who \\| busy | ≥ 50× | 12× | MISSED |"), "{markdown}");
        assert!(markdown.contains("|---|---|---|---|\n"), "{markdown}");
        assert!(markdown.contains("- cores: 2\n"), "{markdown}");
    }
}
