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

/// As many as the registry must bear at once, with and without the daemon.
const MANY: usize = 16;

/// Who claims.
#[derive(Clone, Copy, Default)]
struct Crowd {
    /// Clients of the daemon that keep their connection.
    clients: usize,
    /// Those that run the program, which asks the daemon.
    programs: usize,
    /// Those that run the program without it.
    direct: usize,
}

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let alone = |crowd| -> Result<ClaimsDone> {
        let (_, daemon, done) = storm(bench, crowd)?;
        daemon.stop()?;
        Ok(done)
    };
    let few = alone(Crowd { clients: CLIENTS, ..Crowd::default() })?;
    let many = alone(Crowd { clients: MANY, ..Crowd::default() })?;
    let typed = alone(Crowd { programs: MANY, ..Crowd::default() })?;
    let speed = |done: &ClaimsDone| real(count(&done.daemon)) / seconds(done);

    let (place, daemon, mixed) = storm(bench, Crowd { clients: CLIENTS, direct: CLIENTS, programs: 0 })?;
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
    let others = few.daemon.iter().chain(&many.daemon).chain(&typed.programs);
    let errors: Vec<&String> = others.chain(promised).flat_map(|client| &client.errors).collect();
    let longest = |clients: &[Promised]| {
        time(clients.iter().map(|client| real(client.longest) / 1e9).fold(f64::NAN, f64::max))
    };
    let figures = |what: &str, done: &ClaimsDone, clients: &[Promised]| {
        let claims = count(clients);
        vec![what.to_owned(), thousands(claims), rate(claims, seconds(done)), longest(clients)]
    };
    let all = thousands(count(&mixed.daemon) + count(&mixed.direct));
    let fast = |what: &str, done: &ClaimsDone| {
        let measured = rate(count(&done.daemon), seconds(done));
        Row::new(what, "≥ 2,000", measured, Verdict::of(speed(done) >= A_SECOND))
    };
    Ok(Section {
        title: "Claims".to_owned(),
        method: format!(
            "{CLIENTS} clients of one daemon, then {MANY}, claim one new name after the other for {:?}, each on a \
             connection that it keeps, out of all unprivileged ports. {MANY} more do it by `portwatch claim`, a process a \
             claim: that is bound by how fast the machine starts processes. Then {CLIENTS} clients claim while {CLIENTS} \
             others do by `portwatch claim --no-daemon`, on the same database, and the daemon is ended by SIGKILL. Every \
             promise is compared with the database.",
            bench.scale.claims
        ),
        rows: vec![
            fast(&format!("claims a second, {CLIENTS} clients"), &few),
            fast(&format!("claims a second, {MANY} clients"), &many),
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
            figures(&format!("{CLIENTS} clients of the daemon"), &few, &few.daemon),
            figures(&format!("{MANY} clients of the daemon"), &many, &many.daemon),
            figures(&format!("{MANY} times `portwatch claim`, a process a claim"), &typed, &typed.programs),
            figures(&format!("{CLIENTS} clients of the daemon, mixed"), &mixed, &mixed.daemon),
            figures(&format!("{CLIENTS} times `portwatch claim --no-daemon`, mixed"), &mixed, &mixed.direct),
        ],
        remarks: errors.iter().take(3).map(|error| format!("An error: {error}")).collect(),
    })
}

/// A daemon with nothing claimed, and what its clients were promised.
fn storm(bench: &Bench, crowd: Crowd) -> Result<(Place, Daemon, ClaimsDone)> {
    let place = bench.place()?;
    let daemon = place.start(&[])?;
    let (socket, program) = (place.socket(), place.binary.clone());
    let number = |number: usize| number.to_string();
    let (clients, programs, direct) = (number(crowd.clients), number(crowd.programs), number(crowd.direct));
    let milliseconds = bench.scale.claims.as_millis().to_string();
    let arguments = [
        "claims",
        "--socket",
        socket.to_str().context("a path in UTF-8")?,
        "--program",
        program.to_str().context("a path in UTF-8")?,
        "--clients",
        &clients,
        "--programs",
        &programs,
        "--direct",
        &direct,
        "--milliseconds",
        &milliseconds,
    ];
    let mut worker = bench.worker_with(&arguments, &place.variables())?;
    let done: ClaimsDone = worker.hear()?;
    worker.end()?;
    let all = [&done.daemon, &done.programs, &done.direct];
    let first = || all.into_iter().flatten().find_map(|client| client.errors.first());
    ensure!(all.into_iter().any(|clients| count(clients) > 0), "no claim at all: {:?}", first());
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
