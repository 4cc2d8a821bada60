//! `version`: this build, and whether the daemon runs the same.

use std::io::{self, Write};

use super::{Look, Text, Tone};
use crate::wire::{Version, VersionReport};

/// Writes the answer.
pub fn version(out: &mut dyn Write, report: &VersionReport, look: &Look) -> io::Result<()> {
    let describe = |v: &Version| format!("{} (build {}, kernel object {})", v.version, v.build, v.object);
    let mut line = Text::new(look);
    line.push(Tone::Strong, "portwatch").plain(&format!(" {}", describe(&report.program)));
    line.wrapped(out, 2)?;
    let mut line = Text::new(look);
    match (&report.daemon, report.same) {
        (Some(_), Some(true)) => line.plain("daemon    the same build"),
        (Some(daemon), _) => line
            .push(Tone::Warn, "daemon    another build: ")
            .plain(&describe(daemon))
            .plain("; 'portwatch restart' makes them equal"),
        (None, _) => line.push(Tone::Faint, "daemon    none answers"),
    };
    line.wrapped(out, 10)
}
