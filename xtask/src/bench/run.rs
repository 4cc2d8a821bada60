//! What `portwatch run` adds to the start of a program.

use anyhow::Result;

use super::{
    Bench,
    command::Tool,
    interrupt,
    report::{Row, Section, Verdict},
    stats::{Costs, time},
};

const BUDGET: f64 = 0.010;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let place = bench.place()?;
    let daemon = place.start(&[])?;
    let plain = "true";
    let name = "portwatch run bench:run -- true";
    let fresh = "the same, --no-daemon";
    let tools = [
        Tool::new(plain, "true", &[]),
        place.cli(name, &["run", "bench:run", "--", "true"]),
        place.cli(fresh, &["run", "bench:run", "--no-daemon", "--", "true"]),
    ];
    let mut costs: Vec<Costs> = tools.iter().map(|_| Costs::default()).collect();
    for _ in 0..bench.scale.idle_rounds {
        for (tool, costs) in tools.iter().zip(&mut costs) {
            interrupt::check()?;
            costs.push(tool.cost()?);
        }
    }
    daemon.stop()?;
    let added = match costs.as_slice() {
        [plain, run, ..] => run.wall.median() - plain.wall.median(),
        _ => f64::NAN,
    };
    let mut figures = vec![["command", "wall median", "wall best", "CPU median"].map(str::to_owned).to_vec()];
    figures.extend(tools.iter().zip(&costs).map(|(tool, costs)| {
        let wall = &costs.wall;
        vec![format!("`{}`", tool.name), time(wall.median()), time(wall.least()), time(costs.cpu.median())]
    }));
    Ok(Section {
        title: "A program started by portwatch".to_owned(),
        method: "Whole processes from start to end, taking turns; medians. The claim is made or renewed, the program \
                 started, waited for and its exit code passed on: all of it counts."
            .to_owned(),
        rows: vec![Row::new(
            "`portwatch run` adds, whole process",
            "≤ 10 ms",
            time(added),
            Verdict::of(added <= BUDGET),
        )],
        figures,
        remarks: Vec::new(),
    })
}
