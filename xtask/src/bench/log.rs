//! The log over millions of rows.

use std::{fs, process::Command, time::Instant};

use anyhow::{Context, Result, ensure};

use super::{
    Bench, interrupt,
    report::{Row, Section, Verdict},
    stats::{Costs, megabytes, rate, thousands, time},
};

const BUDGET: f64 = 0.050;

/// Questions; the first two are the budget's.
const QUESTIONS: [(&[&str], bool); 4] = [
    (&["log", "--since", "1h"], true),
    (&["log", "--since", "1h", "--port", "3100"], true),
    (&["log", "--port", "3100", "--limit", "20"], false),
    (&["log", "--since", "1h", "--type", "refused"], false),
];

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let place = bench.place()?;
    let state = place.directory.join("state");
    fs::create_dir(&state).context("the state directory")?;
    let database = state.join("portwatch.db");
    let begin = Instant::now();
    let status = Command::new(&bench.journal_load)
        .arg("fill")
        .arg(&database)
        .arg(bench.scale.rows.to_string())
        .status()
        .context("starting journal_load")?;
    ensure!(status.success(), "journal_load failed: {status}");
    let filling = begin.elapsed().as_secs_f64();
    let size = fs::metadata(&database).context("the database")?.len();

    // Retention would take most of it away, rightly.
    let daemon = place.start(&["--retention-mb", "1000000", "--retention-days", "36500"])?;
    let mut tools = Vec::new();
    for (words, judged) in QUESTIONS {
        for direct in [false, true] {
            let words: Vec<&str> = words.iter().copied().chain(direct.then_some("--no-daemon")).collect();
            let tool = place.cli(&format!("portwatch {}", words.join(" ")), &words);
            let output = tool.output()?;
            ensure!(
                output.status.success() && !output.stdout.is_empty(),
                "{} found nothing ({}): {}",
                tool.name,
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
            let lines = output.stdout.split(|&byte| byte == b'\n').count() - 1;
            tools.push((tool, judged, lines, Costs::default()));
        }
    }
    for _ in 0..bench.scale.log_rounds {
        for (tool, _, _, costs) in &mut tools {
            interrupt::check()?;
            costs.push(tool.cost()?);
        }
    }
    daemon.stop()?;
    // It is large: not kept until the end of the run.
    fs::remove_dir_all(&state).context("removing the database")?;

    let rows = thousands(bench.scale.rows);
    let mut section = Section {
        title: format!("The log over {rows} rows"),
        method: "A database filled through the journal's own writer, evenly over thirty days, two thirds of it on 200 \
                 ports. Whole processes, taking turns, text output thrown away; medians."
            .to_owned(),
        figures: vec![["command", "lines", "wall median", "wall best", "CPU median"].map(str::to_owned).to_vec()],
        remarks: vec![format!(
            "The database was {}; filling it took {} ({} events a second).",
            megabytes(size),
            time(filling),
            rate(bench.scale.rows, filling)
        )],
        ..Section::default()
    };
    for (tool, judged, lines, costs) in &tools {
        let wall = costs.wall.median();
        if *judged {
            section.rows.push(Row::new(
                &format!("`{}`, {rows} rows", tool.name),
                "≤ 50 ms",
                time(wall),
                Verdict::of(wall <= BUDGET),
            ));
        }
        section.figures.push(vec![
            format!("`{}`", tool.name),
            lines.to_string(),
            time(wall),
            time(costs.wall.least()),
            time(costs.cpu.median()),
        ]);
    }
    Ok(section)
}
