//! `log --summary`: the flight record in numbers.

use std::io::{self, Write};

use super::{Look, Text, Tone, log::thousands, note, when};
use crate::wire::{LogSummary, PortCount};

/// Writes the answer.
pub fn summary(out: &mut dyn Write, answer: &LogSummary, look: &Look) -> io::Result<()> {
    let mut head = Text::new(look);
    let since = answer.since.map_or_else(|| "the beginning".to_owned(), |since| when::clock(since, look));
    head.push(Tone::Strong, &format!("From {since} to {}", when::clock(answer.until, look)));
    head.push(Tone::Faint, &format!("  times are {}", when::zone(look)));
    head.wrapped(out, 2)?;
    let mut counts = Vec::new();
    for count in &answer.counts {
        counts.push(row(&thousands(count.count), &count.kind));
    }
    section(out, "Events", &counts, look)?;
    let mut active = Vec::new();
    for program in &answer.most_active {
        let project = program.project.as_ref().map_or_else(String::new, |p| format!("  in {p}"));
        active.push(row(&thousands(program.count), &format!("{}{project}", program.comm)));
    }
    section(out, "Most active", &active, look)?;
    let lasted = |seconds: u64| when::span(i64::try_from(seconds).unwrap_or(i64::MAX));
    section(out, "Longest held", &ports(&answer.longest_held, lasted), look)?;
    section(out, "Most refused", &ports(&answer.refused, thousands), look)?;
    let mut rest = vec![row(&thousands(answer.random_listens), "listens on a port the kernel chose")];
    if let Some(rogue) = answer.rogue {
        rest.push(row(&thousands(rogue), "listeners that nothing explains"));
    }
    if answer.lost > 0 {
        rest.push(row(
            &thousands(answer.lost),
            "records lost in gaps: these counts are too small by as many",
        ));
    }
    section(out, "Besides", &rest, look)?;
    note(out, &answer.source, look)
}

fn ports(counts: &[PortCount], number: impl Fn(u64) -> String) -> Vec<(String, String)> {
    let words = |c: &PortCount| {
        let comm = c.comm.as_ref().map_or_else(String::new, |comm| format!("  {comm}"));
        format!("{}/{}{comm}", c.port, c.protocol)
    };
    counts.iter().map(|c| row(&number(c.count), &words(c))).collect()
}

fn row(number: &str, words: &str) -> (String, String) {
    (number.to_owned(), words.to_owned())
}

fn section(out: &mut dyn Write, title: &str, rows: &[(String, String)], look: &Look) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut head = Text::new(look);
    head.push(Tone::Faint, title);
    head.line(out)?;
    for (number, words) in rows {
        let mut line = Text::new(look);
        line.plain(&format!("{number:>10}  ")).plain(words);
        line.line(out)?;
    }
    Ok(())
}
