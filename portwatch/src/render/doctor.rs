//! `doctor`: what works here, what does not, and what would mend it.

use std::io::{self, Write};

use super::{Look, Text, Tone};
use crate::wire::Doctor;

/// Writes the answer.
pub fn doctor(out: &mut dyn Write, answer: &Doctor, look: &Look) -> io::Result<()> {
    let widest = answer.checks.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).min(24);
    let wide = look.width.is_none_or(|columns| columns >= 60);
    let begins = if wide { 12 + widest + 2 } else { 4 };
    for check in &answer.checks {
        let tone = match check.result.as_str() {
            "ok" => Tone::Plain,
            "degraded" => Tone::Warn,
            _ => Tone::Bad,
        };
        let mut line = Text::new(look);
        line.push(tone, &check.result).pad_to(12).plain(&check.name).pad_to(begins).plain(&check.found);
        line.wrapped(out, begins)?;
        if let Some(remedy) = &check.remedy {
            let mut line = Text::new(look);
            line.plain(&" ".repeat(begins)).plain(remedy);
            line.wrapped(out, begins)?;
        }
    }
    Ok(())
}
