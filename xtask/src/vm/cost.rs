//! What `vm --cost` found: a table for docs/benchmarks.md, and every program for the terminal.

use anyhow::{Context, Result};

use super::put;

/// A line of the guest's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cost<'a> {
    hooks: &'a str,
    event: &'a str,
    /// `all` for the whole turn.
    program: &'a str,
    runs: u64,
    instructions: u64,
}

fn parse(line: &str) -> Option<Result<Cost<'_>>> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["cost", hooks, event, program, runs, instructions] = words.as_slice() else { return None };
    let number = |word: &str| word.parse().with_context(|| format!("the guest measured '{line}'"));
    let cost = number(runs)
        .and_then(|runs| Ok(Cost { hooks, event, program, runs, instructions: number(instructions)? }));
    Some(cost)
}

/// Words in the order in which they first come.
fn in_order<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for word in words {
        if !found.contains(&word) {
            found.push(word);
        }
    }
    found
}

/// For each event: the turn without programs, and what each family adds to it. In brackets what of that its programs ran.
pub(super) fn table(lines: &[String]) -> Result<String> {
    let costs = lines.iter().filter_map(|line| parse(line)).collect::<Result<Vec<_>>>()?;
    // What all is compared with comes last, and stands first.
    let bare = costs.iter().map(|cost| cost.hooks).filter(|hooks| *hooks == "none");
    let families = in_order(bare.chain(costs.iter().map(|cost| cost.hooks)));
    let mut out = String::new();
    put(&mut out, format_args!("| a turn of | {} |\n", families.join(" | ")));
    put(&mut out, format_args!("|---|{}\n", "---:|".repeat(families.len())));
    for event in in_order(costs.iter().map(|cost| cost.event)) {
        let of = |hooks: &str| {
            costs.iter().filter(move |c| c.event == event && *c.hooks == *hooks).collect::<Vec<_>>()
        };
        let whole = |hooks: &str| of(hooks).iter().find(|c| c.program == "all").map(|c| c.instructions);
        let bare = families.first().and_then(|first| whole(first));
        put(&mut out, format_args!("| {event} |"));
        for (number, hooks) in families.iter().enumerate() {
            let programs: u64 = of(hooks).iter().filter(|c| c.program != "all").map(|c| c.instructions).sum();
            match (whole(hooks), bare) {
                (Some(all), _) if number == 0 => put(&mut out, format_args!(" {all} |")),
                (Some(all), Some(bare)) => {
                    let more = i128::from(all) - i128::from(bare);
                    put(&mut out, format_args!(" {more:+} ({programs}) |"));
                }
                _ => out.push_str(" - |"),
            }
        }
        out.push('\n');
    }
    Ok(out)
}

/// Every program: runs a turn, and instructions a run. What was not measured is said as the guest said it.
pub(super) fn programs(lines: &[String]) -> Result<String> {
    let mut out = String::new();
    for line in lines {
        match parse(line).transpose()? {
            Some(cost) if cost.program != "all" => {
                // Hundredths of a run a turn.
                let (whole, part) = (cost.runs / 100, cost.runs % 100);
                let a_run = (cost.instructions * 100).checked_div(cost.runs).unwrap_or_default();
                put(
                    &mut out,
                    format_args!(
                        "  {:<8} {:<14} {:<16} {whole}.{part:02} runs a turn of {a_run}\n",
                        cost.hooks, cost.event, cost.program
                    ),
                );
            }
            Some(_) => {}
            None => put(&mut out, format_args!("  NOT MEASURED: {line}\n")),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_compared_with_no_programs_and_what_was_refused_is_named() {
        let lines = [
            "cost fentry listen all 100 19500",
            "cost fentry listen exit_bind4 100 800",
            "cost fentry listen entry_release 200 1000",
            "cost kprobe no kprobes here",
            "cost none listen all 100 17000",
        ]
        .map(str::to_owned);
        let table = table(&lines).unwrap();
        assert!(table.contains("| a turn of | none | fentry |"), "{table}");
        assert!(table.contains("| listen | 17000 | +2500 (1800) |"), "{table}");
        let programs = programs(&lines).unwrap();
        assert!(programs.contains("2.00 runs a turn of 500"), "{programs}");
        assert!(programs.contains("NOT MEASURED: cost kprobe no kprobes here"), "{programs}");
        assert!(super::table(&["cost none listen all 100 many".to_owned()]).is_err());
    }
}
