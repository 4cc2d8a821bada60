//! What each kernel program costs an event, by the kernel's own statistics. For information.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use aya::programs::loaded_programs;

use super::{
    Bench,
    daemon::Daemon,
    report::{Row, Section, Verdict},
    stats::{digits, real, thousands, time},
    work::Turned,
};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
const WHAT: &str = "run time of each kernel program";

/// What one program did in each loop.
struct Program {
    id: u32,
    name: String,
    /// Runs, nanoseconds.
    spent: Vec<(u64, u64)>,
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let mut section = Section {
        title: "Kernel programs".to_owned(),
        method: "`kernel.bpf_stats_enabled` during the two loops, then restored. The statistics themselves cost about \
                 as much as a small program."
            .to_owned(),
        ..Section::default()
    };
    let statistics = match Statistics::on(Path::new(SWITCH)) {
        Ok(statistics) => statistics,
        Err(error) => {
            section.rows.push(Row::not_measured(WHAT, "", &format!("{error:#}")));
            return Ok(section);
        }
    };
    let daemon = bench.place()?.start(&[])?;
    let ours = programs_of(&daemon)?;
    let loops = [("bind-loop", bench.scale.bind_turns), ("connect-loop", bench.scale.connect_turns)];
    let mut table: Vec<Program> = Vec::new();
    let mut turns = Vec::new();
    for (worker, each) in loops {
        let before = counts(&ours)?;
        let chunks = bench.scale.chunks.to_string();
        let mut worker = bench.worker(&[worker, "--chunks", &chunks, "--turns", &each.to_string()])?;
        let turned: Turned = worker.hear()?;
        worker.end()?;
        let after = counts(&ours)?;
        turns.push(u64::try_from((turned.wall.len() + 1) * turned.turns)?);
        for (id, name, runs, nanoseconds) in after {
            let (old_runs, old_time) = before
                .iter()
                .find(|(old, ..)| *old == id)
                .map_or((0, 0), |(_, _, runs, nanoseconds)| (*runs, *nanoseconds));
            let spent = (runs.saturating_sub(old_runs), nanoseconds.saturating_sub(old_time));
            match table.iter_mut().find(|known| known.id == id) {
                Some(known) => known.spent.push(spent),
                None => table.push(Program { id, name, spent: vec![spent] }),
            }
        }
    }
    daemon.stop()?;
    statistics.off()?;

    section.figures.push(
        ["program", "bind loop: runs a turn", "a run", "connect loop: runs a turn", "a run"]
            .map(str::to_owned)
            .to_vec(),
    );
    let mut whole = vec![0; turns.len()];
    for Program { name, spent: columns, .. } in table {
        let mut row = vec![format!("`{name}`")];
        for ((runs, spent), (turns, whole)) in columns.into_iter().zip(turns.iter().zip(&mut whole)) {
            *whole += spent;
            row.push(digits(real(runs) / real((*turns).max(1))));
            row.push(if runs == 0 { "-".to_owned() } else { time(real(spent) / real(runs) / 1e9) });
        }
        section.figures.push(row);
    }
    let a_turn: Vec<String> = whole
        .iter()
        .zip(&turns)
        .map(|(spent, turns)| time(real(*spent) / real((*turns).max(1)) / 1e9))
        .collect();
    section.rows.push(Row::new(
        "kernel programs, all, a turn: bind loop, connect loop",
        "",
        a_turn.join(", "),
        Verdict::Information,
    ));
    section
        .remarks
        .push(format!("Turns: {}.", turns.iter().map(|&t| thousands(t)).collect::<Vec<_>>().join(", ")));
    Ok(section)
}

/// The switch, put back however this ends.
struct Statistics {
    before: String,
}

impl Statistics {
    fn on(switch: &Path) -> Result<Self> {
        let before = fs::read_to_string(switch).with_context(|| format!("reading {}", switch.display()))?;
        fs::write(switch, "1").with_context(|| format!("writing {}", switch.display()))?;
        Ok(Self { before })
    }

    fn off(self) -> Result<()> {
        fs::write(SWITCH, self.before.trim()).with_context(|| format!("restoring {SWITCH}"))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // `off` reports the error; this is the way out of a failed measurement.
        drop(fs::write(SWITCH, self.before.trim()));
    }
}

/// Ids of the programs that the daemon has loaded.
fn programs_of(daemon: &Daemon) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    let directory = format!("/proc/{}/fdinfo", daemon.pid());
    for entry in fs::read_dir(&directory).with_context(|| format!("reading {directory}"))? {
        // A descriptor may be closed between the two.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        ids.extend(text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()));
    }
    ensure!(!ids.is_empty(), "the daemon has no kernel programs");
    Ok(ids)
}

/// Id, name, runs, nanoseconds.
fn counts(ours: &BTreeSet<u32>) -> Result<Vec<(u32, String, u64, u64)>> {
    let mut found = Vec::new();
    for program in loaded_programs() {
        // One may be unloaded between the two; ours are not.
        let Ok(program) = program else { continue };
        if ours.contains(&program.id()) {
            let name = program.name_as_str().unwrap_or("?").to_owned();
            let spent = u64::try_from(program.run_time().as_nanos())?;
            found.push((program.id(), name, program.run_count(), spent));
        }
    }
    ensure!(found.len() == ours.len(), "{} of {} programs are listed", found.len(), ours.len());
    Ok(found)
}
