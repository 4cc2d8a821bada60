//! `wait`: one line a port, and the line that changes while it waits.

use std::io::{self, Write};

use super::{Look, Text, Tone};
use crate::wire::{Wait, WaitTarget};

/// Writes the answer.
pub fn wait(out: &mut dyn Write, answer: &Wait, look: &Look) -> io::Result<()> {
    for target in &answer.targets {
        let mut line = Text::new(look);
        line.push(Tone::Strong, &name(target)).plain("  ");
        match target.seconds {
            Some(seconds) => line.plain(&target.sentence).push(Tone::Faint, &after(seconds)),
            None => line
                .push(Tone::Warn, &target.sentence)
                .push(Tone::Faint, &format!(" (not {} within {})", answer.condition, span(answer.seconds))),
        };
        line.wrapped(out, 2)?;
    }
    Ok(())
}

/// Replaces the terminal's present line by these words; by nothing, when there are none.
pub fn progress(out: &mut dyn Write, words: &str, look: &Look) -> io::Result<()> {
    let mut line = Text::new(look);
    line.push(Tone::Faint, words);
    // Carriage return, erase to the end of the line. A full last column would wrap.
    write!(out, "\r\u{1b}[K")?;
    line.cut(look.width.unwrap_or(80).saturating_sub(1)).unterminated(out)?;
    out.flush()
}

fn name(target: &WaitTarget) -> String {
    if target.asked.contains('/') {
        target.asked.clone()
    } else {
        format!("{}/{}", target.asked, target.protocol)
    }
}

fn after(seconds: f64) -> String {
    if seconds < 0.05 { String::new() } else { format!(", after {}", span(seconds)) }
}

/// `340 ms`, `1.2 s`, `75 s`
pub(super) fn span(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 10.0 && seconds.fract() >= 0.05 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}
