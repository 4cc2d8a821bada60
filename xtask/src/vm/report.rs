//! The matrix as a table, as JSON, and in docs/kernels.md.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    boot::{Boot, PlanResult},
    cost, put,
};

/// What `vm --write` writes lies between these lines; what people write around them stays.
const BEGIN: &str = "<!-- matrix: begin -->";
const END: &str = "<!-- matrix: end -->";

/// A cell: how many scenarios held, and how many are about what the kernel has not.
fn cell(plan: &PlanResult) -> String {
    let mut text = format!("{} of {}", plan.held, plan.expected);
    if !plan.not_here.is_empty() {
        put(&mut text, format_args!(" ({} not there)", plan.not_here.len()));
    }
    if !plan.good() {
        text += " FAILED";
    }
    text
}

/// Plans in the order in which boots name them; not every kernel runs every one.
fn columns(boots: &[Boot]) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    for plan in boots.iter().flat_map(|boot| &boot.plans) {
        if !words.contains(&plan.plan.as_str()) {
            words.push(&plan.plan);
        }
    }
    words
}

fn table(boots: &[Boot]) -> Vec<Vec<String>> {
    let columns = columns(boots);
    let mut head = vec!["kernel".to_owned()];
    head.extend(columns.iter().map(|word| (*word).to_owned()));
    head.push("seconds".to_owned());
    let mut rows = vec![head];
    for boot in boots {
        let mut row = vec![boot.release.clone().unwrap_or_else(|| format!("{} (TROUBLE)", boot.package))];
        for word in &columns {
            let plan = boot.plans.iter().find(|plan| plan.plan == *word);
            row.push(plan.map_or_else(|| "-".to_owned(), cell));
        }
        row.push(boot.seconds.to_string());
        rows.push(row);
    }
    rows
}

/// For the terminal.
pub(super) fn text(boots: &[Boot]) -> String {
    let table = table(boots);
    let mut out = String::new();
    for row in &table {
        for (column, text) in row.iter().enumerate() {
            let width = table.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
            put(&mut out, format_args!("  {text:width$}"));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    for boot in boots {
        for remark in remarks(boot) {
            put(&mut out, format_args!("\n  {}: {remark}\n", boot.series));
        }
        for (plan, name, complaint) in failures(boot) {
            put(&mut out, format_args!("\n  {} {plan} {name}\n", boot.series));
            for line in complaint.lines() {
                put(&mut out, format_args!("    {line}\n"));
            }
        }
    }
    out
}

fn failures(boot: &Boot) -> impl Iterator<Item = (&str, &str, &str)> {
    boot.plans.iter().flat_map(|plan| {
        let failed = plan.failed.iter();
        failed.map(|(name, complaint)| (plan.plan.as_str(), name.as_str(), complaint.as_str()))
    })
}

fn remarks(boot: &Boot) -> Vec<String> {
    let mut remarks: Vec<String> = boot.trouble.iter().map(|why| format!("TROUBLE: {why}")).collect();
    let first = boot.repeated.iter();
    remarks.extend(first.map(|why| format!("started a second time; the first ended badly: {why}")));
    remarks
}

/// Scenarios that a kernel has not what it takes for, each once.
fn not_here(boots: &[Boot]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for boot in boots {
        for (name, why) in boot.plans.iter().flat_map(|plan| &plan.not_here) {
            let line = format!("{}: `{name}`: {why}", boot.series);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

fn markdown(boots: &[Boot]) -> String {
    let mut out = String::new();
    for (number, row) in table(boots).iter().enumerate() {
        // The time is that of one busy machine; it would change with every run.
        let cells: Vec<&str> = row.iter().map(String::as_str).take(row.len() - 1).collect();
        put(&mut out, format_args!("| {} |\n", cells.join(" | ")));
        if number == 0 {
            put(&mut out, format_args!("|{}\n", "---|".repeat(cells.len())));
        }
    }
    let lines = not_here(boots);
    if !lines.is_empty() {
        out += "\nNot there:\n\n";
        for line in lines {
            put(&mut out, format_args!("- {line}\n"));
        }
    }
    out
}

fn document(boots: &[Boot]) -> Value {
    let entries = |list: &[(String, String)]| -> Vec<Value> {
        list.iter().map(|(name, text)| json!({ "scenario": name, "text": text })).collect()
    };
    let boots = boots.iter().map(|boot| {
        let plans = boot.plans.iter().map(|plan| {
            json!({
                "plan": plan.plan,
                "good": plan.good(),
                "scenarios": plan.expected,
                "held": plan.held,
                "not_here": entries(&plan.not_here),
                "failed": entries(&plan.failed),
            })
        });
        json!({
            "series": boot.series,
            "package": boot.package,
            "release": boot.release,
            "good": boot.good(),
            "seconds": boot.seconds,
            "trouble": boot.trouble,
            "repeated": boot.repeated,
            "plans": plans.collect::<Vec<_>>(),
        })
    });
    json!({ "boots": boots.collect::<Vec<_>>() })
}

/// Prints what was measured: the table first, as the document has it.
pub(super) fn print_costs(boots: &[Boot]) -> Result<()> {
    let mut out = String::new();
    for boot in boots.iter().filter(|boot| !boot.costs.is_empty()) {
        let release = boot.release.as_deref().unwrap_or("?");
        let (table, programs) = (cost::table(&boot.costs)?, cost::programs(&boot.costs)?);
        put(&mut out, format_args!("{release}, instructions:\n\n{table}\n{programs}\n"));
    }
    io::stdout().write_all(out.as_bytes()).context("writing the table")
}

/// Prints the table or the document.
pub(super) fn print(boots: &[Boot], json: bool) -> Result<()> {
    let text = if json { format!("{:#}\n", document(boots)) } else { text(boots) };
    io::stdout().write_all(text.as_bytes()).context("writing the table")
}

/// Puts the table into the document at `path`.
pub(super) fn write(path: &Path, boots: &[Boot]) -> Result<()> {
    let document = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let document = splice(&document, &markdown(boots)).with_context(|| path.display().to_string())?;
    fs::write(path, document).with_context(|| format!("writing {}", path.display()))
}

fn splice(document: &str, table: &str) -> Result<String> {
    let Some((before, rest)) = document.split_once(BEGIN) else { bail!("there is no line {BEGIN}") };
    let Some((_, after)) = rest.split_once(END) else { bail!("there is no line {END} after {BEGIN}") };
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boots() -> Vec<Boot> {
        let plan =
            |held| PlanResult { plan: "stable".to_owned(), expected: 2, held, ..PlanResult::default() };
        let boot = |series: &str, plan| Boot {
            series: series.to_owned(),
            package: "p".to_owned(),
            release: Some(format!("{series}.1-cloud")),
            plans: vec![plan],
            seconds: 30,
            trouble: None,
            repeated: None,
            costs: Vec::new(),
        };
        let mut partly = plan(1);
        partly.not_here.push(("mptcp".to_owned(), "no MPTCP".to_owned()));
        vec![boot("5.10", partly), boot("7", plan(1))]
    }

    #[test]
    fn what_is_missing_is_a_failure_in_the_table_and_what_a_kernel_has_not_is_named() {
        let text = text(&boots());
        assert!(text.contains("5.10.1-cloud  1 of 2 (1 not there)  30"), "{text}");
        assert!(text.contains("1 of 2 FAILED"), "{text}");
        let markdown = markdown(&boots());
        assert!(markdown.starts_with("| kernel | stable |\n|---|---|\n"), "{markdown}");
        assert!(markdown.contains("- 5.10: `mptcp`: no MPTCP\n"), "{markdown}");
    }

    #[test]
    fn what_people_wrote_around_the_table_stays() {
        let document = format!("# Title\n{BEGIN}\nold\n{END}\ntext\n");
        assert_eq!(splice(&document, "new\n").unwrap(), format!("# Title\n{BEGIN}\nnew\n{END}\ntext\n"));
        assert!(splice("no marks", "new").is_err());
    }
}
