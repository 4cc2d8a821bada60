//! Who has a port: portwatch against ss, lsof and fuser, on the machine as it is and among many processes.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{
    Bench,
    command::Tool,
    daemon::{Daemon, Place},
    interrupt,
    report::{Row, Section, Verdict},
    stats::{Cost, Costs, digits, time},
    work::{HerdReady, ListenersReady},
};

const WITH_DAEMON: &str = "portwatch who P";
const WITHOUT: &str = "portwatch who P --no-daemon";
const SS: &str = "ss -Htlnp 'sport = :P'";
const LSOF: &str = "lsof -nP -iTCP:P -sTCP:LISTEN";
const FUSER: &str = "fuser P/tcp";

pub(super) fn measure(bench: &Bench) -> Result<Vec<Section>> {
    let place = bench.place()?;
    let daemon = place.start(&[])?;
    let idle = field(bench, &place, &daemon, bench.scale.idle_rounds).context("on the machine as it is")?;

    let processes = bench.scale.processes.to_string();
    let mut herd = bench.worker(&["herd", "--processes", &processes])?;
    let ready: HerdReady = herd.hear()?;
    let busy = field(bench, &place, &daemon, bench.scale.busy_rounds).context("among many processes")?;
    herd.end()?;
    daemon.stop()?;

    let crowd = format!("{} processes × {} descriptors", ready.processes, ready.descriptors);
    let mut among_many = Section {
        title: format!("Who has a port, among {crowd}"),
        method: format!(
            "As above, with {} more processes asleep, each with {} open descriptors (pipes, socket pairs, \
             eventfds, files), {} of them with a listener.",
            ready.processes, ready.descriptors, ready.listening
        ),
        rows: Vec::new(),
        figures: figures(&busy),
        remarks: Vec::new(),
    };
    let factor = ratio(&busy, SS, WITH_DAEMON);
    among_many.rows.push(Row::new(
        &format!("`{WITH_DAEMON}`, {crowd}"),
        "≥ 50 × faster than `ss -p`",
        format!("{} ×", digits(factor.0)),
        Verdict::of(factor.0 >= 50.0),
    ));
    let share = ratio(&busy, WITHOUT, SS);
    among_many.rows.push(Row::new(
        &format!("`{WITHOUT}`, root, {crowd}"),
        "≤ 1/3 of `ss -p`",
        format!("{} of it", digits(share.0)),
        Verdict::of(share.0 <= 1.0 / 3.0),
    ));
    for other in [LSOF, FUSER] {
        among_many.remarks.push(format!(
            "`{WITH_DAEMON}` takes 1/{} of the time of `{other}`, `{WITHOUT}` 1/{}.",
            digits(ratio(&busy, other, WITH_DAEMON).0),
            digits(ratio(&busy, other, WITHOUT).0)
        ));
    }
    for (what, (wall, cpu)) in [("with the daemon", factor), ("without", (1.0 / share.0, 1.0 / share.1))] {
        among_many.remarks.push(format!(
            "Against `ss -p`, {what}: {} × by the wall clock, {} × by processor time.",
            digits(wall),
            digits(cpu)
        ));
    }

    let share = ratio(&idle, WITH_DAEMON, SS);
    let alone = Section {
        title: "Who has a port".to_owned(),
        method: "Whole processes from start to end, output thrown away, taking turns; medians. The port belongs to \
                 a process that was started last. Each tool's answer was checked to name its pid. Processor time is \
                 user and system time, the daemon's share included."
            .to_owned(),
        rows: vec![Row::new(
            &format!("`{WITH_DAEMON}`, machine as it is"),
            "faster than `ss -p`",
            format!("{} of it", digits(share.0)),
            Verdict::of(share.0 < 1.0),
        )],
        figures: figures(&idle),
        remarks: Vec::new(),
    };
    Ok(vec![alone, among_many])
}

/// Every tool in turn, over and over.
fn field(bench: &Bench, place: &Place, daemon: &Daemon, rounds: usize) -> Result<Vec<(String, Costs)>> {
    let mut owner = bench.worker(&["listeners"])?;
    let ready: ListenersReady = owner.hear()?;
    let port = ready.ports.first().context("a listener has a port")?.to_string();
    let tools = [
        place.cli(WITH_DAEMON, &["who", &port]),
        place.cli(WITHOUT, &["who", &port, "--no-daemon"]),
        Tool::new(SS, "ss", &["-Htlnp", &format!("sport = :{port}")]),
        Tool::new(LSOF, "lsof", &["-nP", &format!("-iTCP:{port}"), "-sTCP:LISTEN"]),
        Tool::new(FUSER, "fuser", &[&format!("{port}/tcp")]),
    ];
    for tool in &tools {
        tool.must_say(&owner.pid().to_string())?;
    }
    let mut costs: Vec<(String, Costs)> =
        tools.iter().map(|tool| (tool.name.clone(), Costs::default())).collect();
    for _ in 0..rounds {
        for (tool, (name, costs)) in tools.iter().zip(&mut costs) {
            interrupt::check()?;
            let before = daemon.usage()?.cpu;
            let cost = tool.cost()?;
            let share = daemon.usage()?.cpu.saturating_sub(before);
            let answered = name == WITH_DAEMON;
            costs.push(Cost { cpu: cost.cpu + if answered { share } else { Duration::ZERO }, ..cost });
        }
    }
    owner.end()?;
    Ok(costs)
}

/// Medians of one tool over those of another: wall clock, processor time.
fn ratio(costs: &[(String, Costs)], above: &str, below: &str) -> (f64, f64) {
    let find = |name: &str| costs.iter().find(|(found, _)| found == name).map(|(_, costs)| costs);
    match (find(above), find(below)) {
        (Some(a), Some(b)) => (a.wall.median() / b.wall.median(), a.cpu.median() / b.cpu.median()),
        _ => (f64::NAN, f64::NAN),
    }
}

fn figures(costs: &[(String, Costs)]) -> Vec<Vec<String>> {
    let mut table =
        vec![["command", "wall median", "wall best", "CPU median", "rounds"].map(str::to_owned).to_vec()];
    table.extend(costs.iter().map(|(name, costs)| {
        vec![
            format!("`{name}`"),
            time(costs.wall.median()),
            time(costs.wall.least()),
            time(costs.cpu.median()),
            costs.wall.len().to_string(),
        ]
    }));
    table
}
