//! Claims: how many a second, and whether two callers ever get one port, or one is forgotten.

use std::{collections::HashMap, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::{
    Bench,
    daemon::{Daemon, Place},
    report::{Row, Section, Verdict},
    stats::{rate, real, thousands, time},
    work::{ClaimsDone, Promised},
};

/// Clients that the budget speaks of.
const CLIENTS: usize = 8;
const A_SECOND: f64 = 2000.0;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let (_, daemon, alone) = storm(bench, CLIENTS, 0)?;
    daemon.stop()?;
    let speed = real(count(&alone.daemon)) / seconds(&alone);

    let (place, daemon, mixed) = storm(bench, CLIENTS, CLIENTS)?;
    // No word of farewell: what it has promised must be on the disk already.
    daemon.kill()?;
    let kept = kept(bench, &place.directory.join("state/portwatch.db"))?;
    let promised: Vec<&Promised> = mixed.daemon.iter().chain(&mixed.direct).collect();
    let mut owners: HashMap<u16, usize> = HashMap::new();
    let mut forgotten = 0_u64;
    for (name, port) in promised.iter().flat_map(|client| &client.claims) {
        *owners.entry(*port).or_default() += 1;
        forgotten += u64::from(kept.get(name) != Some(port));
    }
    let twice = owners.values().filter(|&&claims| claims > 1).count();
    let errors: Vec<&String> =
        alone.daemon.iter().chain(promised).flat_map(|client| &client.errors).collect();
    let longest = |clients: &[Promised]| {
        time(clients.iter().map(|client| real(client.longest) / 1e9).fold(f64::NAN, f64::max))
    };
    let figures = |what: &str, done: &ClaimsDone, clients: &[Promised]| {
        let claims = count(clients);
        vec![what.to_owned(), thousands(claims), rate(claims, seconds(done)), longest(clients)]
    };
    let all = thousands(count(&mixed.daemon) + count(&mixed.direct));
    Ok(Section {
        title: "Claims".to_owned(),
        method: format!(
            "{CLIENTS} clients of one daemon claim one new name after the other for {:?}, each on a connection of its \
             own, out of all unprivileged ports; then {CLIENTS} more do the same by `portwatch claim --no-daemon`, a \
             process a claim, on the same database, and the daemon is ended by SIGKILL. Every promise is compared \
             with the database.",
            bench.scale.claims
        ),
        rows: vec![
            Row::new(
                &format!("claims a second, {CLIENTS} clients"),
                "≥ 2,000",
                rate(count(&alone.daemon), seconds(&alone)),
                Verdict::of(speed >= A_SECOND),
            ),
            Row::new(
                &format!("{} clients, half without the daemon: ports given twice, errors", 2 * CLIENTS),
                "none",
                format!("{twice}, {}", errors.len()),
                Verdict::of(twice == 0 && errors.is_empty()),
            ),
            Row::new(
                "claims acknowledged and not there after SIGKILL",
                "none",
                format!("{forgotten} of {all}"),
                Verdict::of(forgotten == 0),
            ),
        ],
        figures: vec![
            ["who", "claims", "a second", "longest wait"].map(str::to_owned).to_vec(),
            figures("by the daemon, alone", &alone, &alone.daemon),
            figures("by the daemon, mixed", &mixed, &mixed.daemon),
            figures("without it, mixed", &mixed, &mixed.direct),
        ],
        remarks: errors.iter().take(3).map(|error| format!("An error: {error}")).collect(),
    })
}

/// A daemon with nothing claimed, and what its clients were promised.
fn storm(bench: &Bench, clients: usize, direct: usize) -> Result<(Place, Daemon, ClaimsDone)> {
    let place = bench.place()?;
    let daemon = place.start(&[])?;
    let (socket, program) = (place.socket(), place.binary.clone());
    let [clients, direct, milliseconds] =
        [clients.to_string(), direct.to_string(), bench.scale.claims.as_millis().to_string()];
    let arguments = [
        "claims",
        "--socket",
        socket.to_str().context("a path in UTF-8")?,
        "--program",
        program.to_str().context("a path in UTF-8")?,
        "--clients",
        &clients,
        "--direct",
        &direct,
        "--milliseconds",
        &milliseconds,
    ];
    let mut worker = bench.worker_with(&arguments, &place.variables())?;
    let done: ClaimsDone = worker.hear()?;
    worker.end()?;
    ensure!(count(&done.daemon) > 0, "no claim at all: {:?}", done.daemon.first().map(|c| &c.errors));
    Ok((place, daemon, done))
}

fn count(clients: &[Promised]) -> u64 {
    clients.iter().map(|client| client.claims.len() as u64).sum()
}

fn seconds(done: &ClaimsDone) -> f64 {
    real(done.wall) / 1e9
}

/// Name and port of every claim in the database.
fn kept(bench: &Bench, database: &Path) -> Result<HashMap<String, u16>> {
    let output = Command::new(&bench.journal_load).arg("claims").arg(database).output();
    let output = output.context("starting journal_load")?;
    ensure!(output.status.success(), "journal_load failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the claims that journal_load found")
}
