//! What the kernel programs cost those who bind and connect: tight loops with the daemon and without, taking turns.

use anyhow::{Context, Result, ensure};

use super::{
    Bench,
    daemon::Daemon,
    interrupt,
    report::{Row, Section, Verdict},
    stats::{Samples, digits, real, time},
    work::Turned,
};

/// One kind of loop.
struct Kind {
    worker: &'static str,
    what: &'static str,
    turns: u32,
    /// `None` where there is no budget.
    limit: Option<f64>,
    budget: &'static str,
}

/// System calls in a chunk: milliseconds, as those of the other loops.
const CALLS: u32 = 50_000;

/// What the rounds of one kind came to.
#[derive(Default)]
struct Outcome {
    /// Median time of a turn in each round, seconds: without the daemon, with it.
    cpu: [Vec<f64>; 2],
    wall: [Vec<f64>; 2],
    /// Turns made with the daemon.
    turns: u64,
    /// Context switches and processor time of the daemon meanwhile.
    switches: u64,
    daemon_cpu: f64,
    /// Binds that met the loop's own last socket, and the longest until it was gone, ns: without the daemon, with it.
    met: [(u64, u64); 2],
    own_namespace: bool,
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let kinds = [
        Kind {
            worker: "bind-loop",
            what: "socket, bind, listen, close",
            turns: bench.scale.bind_turns,
            limit: Some(1.25),
            budget: "≤ 1.25 × (aim 1.15)",
        },
        Kind {
            worker: "connect-loop",
            what: "connect, accept, close, close",
            turns: bench.scale.connect_turns,
            limit: Some(1.03),
            budget: "≤ 1.03 ×",
        },
        // A tracepoint at the end of one system call makes the kernel take the longer way out of every one.
        Kind {
            worker: "call-loop",
            what: "a system call that does nothing",
            turns: CALLS,
            limit: None,
            budget: "",
        },
    ];
    let mut outcomes: Vec<Outcome> = kinds.iter().map(|_| Outcome::default()).collect();
    let place = bench.place()?;
    for round in 0..bench.scale.loop_rounds {
        // The order turns round, so that a machine that gets busier favours neither side.
        for attached in if round % 2 == 0 { [false, true] } else { [true, false] } {
            let daemon = attached.then(|| place.start(&[])).transpose()?;
            if let Some(daemon) = &daemon {
                ensure!(daemon.sees_the_kernel()?, "the daemon runs without kernel programs");
            }
            for (kind, outcome) in kinds.iter().zip(&mut outcomes) {
                interrupt::check()?;
                turn(bench, kind, daemon.as_ref(), outcome).with_context(|| kind.what.to_owned())?;
            }
            daemon.map_or(Ok(()), Daemon::stop)?;
        }
    }
    Ok(section(&kinds, &outcomes))
}

fn turn(bench: &Bench, kind: &Kind, daemon: Option<&Daemon>, outcome: &mut Outcome) -> Result<()> {
    let before = daemon.map(Daemon::usage).transpose()?;
    let (chunks, turns) = (bench.scale.chunks.to_string(), kind.turns.to_string());
    let mut worker = bench.worker(&[kind.worker, "--chunks", &chunks, "--turns", &turns])?;
    let turned: Turned = worker.hear()?;
    if let (Some(daemon), Some(before)) = (daemon, before) {
        let after = daemon.usage()?;
        outcome.switches += after.switches.saturating_sub(before.switches);
        outcome.daemon_cpu += after.cpu.saturating_sub(before.cpu).as_secs_f64();
        // The warming chunk too.
        outcome.turns += u64::try_from((turned.wall.len() + 1) * turned.turns)?;
    }
    worker.end()?;
    let side = usize::from(daemon.is_some());
    for (times, chunks) in [(&mut outcome.cpu, &turned.cpu), (&mut outcome.wall, &turned.wall)] {
        let chunks: Samples = chunks.iter().map(|&ns| std::time::Duration::from_nanos(ns)).collect();
        if let Some(times) = times.get_mut(side) {
            times.push(chunks.median() / f64::from(kind.turns));
        }
    }
    if let Some((times, longest)) = outcome.met.get_mut(side) {
        *times += turned.met.0;
        *longest = turned.met.1.max(*longest);
    }
    outcome.own_namespace = turned.own_namespace;
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    values.iter().map(|&seconds| std::time::Duration::from_secs_f64(seconds)).collect::<Samples>().median()
}

/// The ratio of each round, then their median and span.
fn ratios([without, with]: &[Vec<f64>; 2]) -> (f64, f64, f64) {
    let each: Vec<f64> = with.iter().zip(without).map(|(with, without)| with / without).collect();
    let ends = |pick: fn(f64, f64) -> f64| each.iter().copied().fold(f64::NAN, pick);
    (median(&each), ends(f64::min), ends(f64::max))
}

fn section(kinds: &[Kind], outcomes: &[Outcome]) -> Section {
    let mut section = Section {
        title: "Tight loops, daemon attached and not".to_owned(),
        method: format!(
            "One process on one processor turns the loop in chunks of {} (connections: {}, system calls: {CALLS}); the median chunk of a \
             round counts. Rounds with and without the daemon alternate; the ratio is taken round by round, and \
             the median of {} rounds is judged, by the processor time of the looping thread: the hooks run in it, \
             and it does not contain what other processes took.",
            kinds.first().map_or(0, |kind| kind.turns),
            kinds.get(1).map_or(0, |kind| kind.turns),
            outcomes.first().map_or(0, |outcome| outcome.cpu[0].len()),
        ),
        figures: vec![
            ["loop", "CPU a turn without", "with", "ratio", "least, most", "wall ratio"]
                .map(str::to_owned)
                .to_vec(),
        ],
        ..Section::default()
    };
    for (kind, outcome) in kinds.iter().zip(outcomes) {
        let (ratio, least, most) = ratios(&outcome.cpu);
        let [without, with] = &outcome.cpu;
        section.figures.push(vec![
            kind.what.to_owned(),
            time(median(without)),
            time(median(with)),
            digits(ratio),
            format!("{}, {}", digits(least), digits(most)),
            digits(ratios(&outcome.wall).0),
        ]);
        section.rows.push(Row::new(
            &format!("{}, attached / not", kind.what),
            kind.budget,
            format!("{} ×", digits(ratio)),
            kind.limit.map_or(Verdict::Information, |limit| Verdict::of(ratio <= limit)),
        ));
        let each = |amount: f64| amount / real(outcome.turns.max(1));
        section.remarks.push(format!(
            "{}: the daemon was woken {} times a turn and used {} of processor time a turn.{}",
            kind.what,
            digits(each(real(outcome.switches))),
            time(each(outcome.daemon_cpu)),
            if outcome.own_namespace { "" } else { " It ran in the machine's own network namespace." }
        ));
        if kind.worker == "bind-loop" {
            let [(without, _), (with, longest)] = outcome.met;
            section.remarks.push(format!(
                "Binds that met the socket that the turn before had closed: {without} without the daemon, {with} of {} with it, for at most {}.",
                outcome.turns,
                time(std::time::Duration::from_nanos(longest).as_secs_f64()),
            ));
        }
        if kind.worker == "connect-loop" {
            let woken = each(real(outcome.switches));
            section.rows.push(Row::new(
                "wake-ups of the daemon per connection",
                "none (≤ 0.01)",
                digits(woken),
                Verdict::of(woken <= 0.01),
            ));
        }
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // The machine was twice as slow in the second round: that is not the hooks' doing.
        let (ratio, least, most) = ratios(&[vec![1.0, 2.0, 1.0], vec![1.1, 2.2, 1.2]]);
        assert!((ratio - 1.1).abs() < 1e-6 && (least - 1.1).abs() < 1e-6 && (most - 1.2).abs() < 1e-6);
    }
}
