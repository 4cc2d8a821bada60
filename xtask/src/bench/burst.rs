//! Binds as fast as they go: each is in the journal, or a gap says that it is not; and afterwards the live table is
//! right again.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    Bench,
    command::Tool,
    daemon::Daemon,
    report::{Row, Section, Verdict},
    stats::{digits, megabytes, rate, real, thousands, time},
    work::{BurstDone, burst_address},
};

const PROCESSES: u8 = 4;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    // Before the daemon runs: finding a free port is a bind, too.
    let places = (1..=PROCESSES).map(free_place).collect::<Result<Vec<_>>>()?;
    let place = bench.place()?;
    let daemon = place.start(&[])?;
    ensure!(daemon.sees_the_kernel()?, "the daemon runs without kernel programs");
    let turns = bench.scale.burst.to_string();
    let mut workers = Vec::new();
    for (number, place) in (1..=PROCESSES).zip(&places) {
        let (number, port) = (number.to_string(), place.port().to_string());
        let mut worker = bench.worker(&["burst", "--turns", &turns, "--number", &number, "--port", &port])?;
        worker.hear::<BurstDone>()?;
        workers.push(worker);
    }
    let (settled, _) = wait_until_settled(&daemon)?;
    let before = daemon.usage()?;
    let begin = Instant::now();
    for worker in &mut workers {
        worker.go()?;
    }
    let mut met = 0;
    for worker in &mut workers {
        met += worker.hear::<BurstDone>()?.met;
    }
    let took = begin.elapsed();
    let (status, received) = wait_until_settled(&daemon)?;
    for worker in workers {
        worker.end()?;
    }
    let difference = wait_until_right(&daemon)?;
    let cpu = daemon.usage()?.cpu.saturating_sub(before.cpu).as_secs_f64();
    let (resident, peak) = (daemon.memory("VmRSS")?, daemon.memory("VmHWM")?);
    daemon.stop()?;

    let made = bench.scale.burst * u64::from(PROCESSES);
    let counted = count(bench, &place.directory.join("state/portwatch.db"), &places)?;
    let mut section = section(made, &counted);
    section.rows.push(Row::new(
        "live table = sock_diag after the burst",
        "equal",
        if difference.is_empty() {
            "equal".to_owned()
        } else {
            format!("differs: {}", difference.join(", "))
        },
        Verdict::of(difference.is_empty()),
    ));
    let lost = |status: &Value| status.get("lost").and_then(Value::as_u64).unwrap_or(0);
    let lost = lost(&status).saturating_sub(lost(&settled));
    section.remarks = vec![
        format!(
            "The burst took {} ({} turns a second); all of it was received and written at most {} after its end.",
            time(took.as_secs_f64()),
            rate(made, took.as_secs_f64()),
            time(received.saturating_duration_since(begin + took).as_secs_f64()),
        ),
        format!(
            "The daemon used {} of processor time, {} a turn; resident afterwards {}, at most {}.",
            time(cpu),
            time(cpu / real(made)),
            megabytes(resident),
            megabytes(peak),
        ),
        format!(
            "Lost, by its status: {} records, {} % of the three that each turn makes.",
            thousands(lost),
            digits(real(lost) / real(3 * made) * 100.0)
        ),
        format!(
            "Binds that met the socket that the turn before had closed, and were made again: {}.",
            thousands(met)
        ),
    ];
    Ok(section)
}

/// Free a moment ago, on an address that nothing else uses.
fn free_place(number: u8) -> Result<SocketAddr> {
    let listener = TcpListener::bind((burst_address(number), 0)).context("a free port")?;
    listener.local_addr().context("getsockname")
}

/// What the journal says, as `journal_load` counts it.
fn count(bench: &Bench, database: &Path, places: &[SocketAddr]) -> Result<Value> {
    let places = places.iter().map(SocketAddr::to_string);
    let output = Command::new(&bench.journal_load).arg("count").arg(database).args(places).output();
    let output = output.context("starting journal_load")?;
    ensure!(output.status.success(), "journal_load failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("what journal_load counted")
}

/// Seen, lost and made side by side.
fn section(made: u64, counted: &Value) -> Section {
    let mut section = Section {
        title: "A burst of binds".to_owned(),
        method: format!(
            "{PROCESSES} processes do socket, bind, listen, close {} times each. Then the journal's rows with \
             evidence `kernel` on their addresses and ports, and the losses that its gaps name, are added up.",
            thousands(made / u64::from(PROCESSES))
        ),
        figures: vec![
            ["event", "in the journal", "lost, by the gaps", "sum", "made"].map(str::to_owned).to_vec(),
        ],
        ..Section::default()
    };
    let number = |at: &str| counted.pointer(at).and_then(Value::as_u64).unwrap_or(0);
    for kind in ["bind", "listen", "close"] {
        let (seen, lost) = (number(&format!("/seen/{kind}")), number(&format!("/lost/{kind}")));
        let figures = [seen, lost, seen + lost, made].map(thousands);
        section.figures.push([kind.to_owned()].into_iter().chain(figures).collect());
        section.rows.push(Row::new(
            &format!("{} × {kind}: journalled + lost", thousands(made)),
            "= made, exactly",
            format!("{} + {}", thousands(seen), thousands(lost)),
            Verdict::of(seen + lost == made && number("/uncounted_gaps") == 0),
        ));
    }
    section
}

/// Waits until the daemon receives and writes nothing more, and since when it does not.
fn wait_until_settled(daemon: &Daemon) -> Result<(Value, Instant)> {
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut last = None;
    let mut since = Instant::now();
    loop {
        let status = daemon.status()?;
        let now = ["received", "lost", "events"].map(|name| status.get(name).and_then(Value::as_u64));
        // Twice the journal's 100 ms: what was received is written.
        if last == Some(now) || Instant::now() > deadline {
            return Ok((status, since));
        }
        (last, since) = (Some(now), Instant::now());
        thread::sleep(Duration::from_millis(250));
    }
}

/// TCP listeners that only one of the two shows. Waits until there are none, as far as the other programs of this
/// machine let it: what comes and goes between the two looks is no difference.
fn wait_until_right(daemon: &Daemon) -> Result<Vec<String>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut lasting: Option<BTreeSet<String>> = None;
    loop {
        let (kernel, table) = (sock_diag()?, live_table(daemon)?);
        let differ: BTreeSet<String> = kernel
            .difference(&table)
            .map(|(address, port)| format!("{address}:{port} is missing"))
            .chain(table.difference(&kernel).map(|(address, port)| format!("{address}:{port} is gone")))
            .collect();
        let lasts = match lasting {
            None => differ,
            Some(before) => before.intersection(&differ).cloned().collect(),
        };
        if lasts.is_empty() || Instant::now() > deadline {
            return Ok(lasts.into_iter().collect());
        }
        lasting = Some(lasts);
        thread::sleep(Duration::from_millis(20));
    }
}

type Listener = (IpAddr, u16);

/// The kernel's table, as ss shows it.
fn sock_diag() -> Result<BTreeSet<Listener>> {
    let output = Tool::new("ss", "ss", &["-Htln"]).output()?;
    ensure!(output.status.success(), "ss failed: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(ss_line).collect()
}

fn ss_line(line: &str) -> Result<Listener> {
    let local = line.split_whitespace().nth(3);
    let parsed = local.and_then(|local| {
        let (host, port) = local.rsplit_once(':')?;
        // `127.0.0.53%lo` is bound to a device; `*` is `::` that takes IPv4 too.
        let host = host.trim_matches(['[', ']']).split('%').next()?.trim_matches(['[', ']']);
        let host = if host == "*" { Ipv6Addr::UNSPECIFIED.into() } else { host.parse().ok()? };
        Some((host, port.parse().ok()?))
    });
    parsed.with_context(|| format!("a line of ss: {line}"))
}

/// The daemon's table: TCP listeners of this network namespace.
fn live_table(daemon: &Daemon) -> Result<BTreeSet<Listener>> {
    let own = own_namespace()?;
    let list = daemon.api().get("/v1/ls?all=true&protocol=tcp")?;
    let sockets = list.get("sockets").and_then(Value::as_array).context("a list of sockets")?;
    let mut table = BTreeSet::new();
    for socket in sockets {
        let word = |name: &str| socket.get(name).and_then(Value::as_str).unwrap_or_default();
        let netns = socket.get("netns").and_then(Value::as_u64);
        if word("state") != "listening" || netns.is_some_and(|netns| netns != own) {
            continue;
        }
        let address = word("address").parse().with_context(|| format!("an address: {socket}"))?;
        let port = socket.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        table.insert((address, port.with_context(|| format!("a port: {socket}"))?));
    }
    Ok(table)
}

fn own_namespace() -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata("/proc/self/ns/net").context("the network namespace")?.ino())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::json;

    use super::*;

    #[test]
    fn one_row_too_few_is_a_miss() {
        let counted = |bind: u64, lost: u64, uncounted: u64| {
            let seen = json!({ "bind": bind, "listen": 8, "close": 8 });
            let counted = json!({ "seen": seen, "lost": { "bind": lost }, "uncounted_gaps": uncounted });
            section(8, &counted).rows.first().map(|row| row.verdict.clone())
        };
        assert_eq!(counted(8, 0, 0), Some(Verdict::Held));
        assert_eq!(counted(5, 3, 0), Some(Verdict::Held));
        assert_eq!(counted(7, 0, 0), Some(Verdict::Missed));
        assert_eq!(counted(8, 1, 0), Some(Verdict::Missed));
        assert_eq!(counted(8, 0, 1), Some(Verdict::Missed));
    }

    #[test]
    fn lines_of_ss_are_read() {
        // Written by ss of iproute2 6.1.
        let line = |local: &str| ss_line(&format!("LISTEN 0      4096   {local}      0.0.0.0:*   "));
        assert_eq!(line("127.0.0.1:3100").unwrap(), (Ipv4Addr::LOCALHOST.into(), 3100));
        assert_eq!(line("*:22").unwrap(), (Ipv6Addr::UNSPECIFIED.into(), 22));
        assert_eq!(line("[::1]:631").unwrap(), (Ipv6Addr::LOCALHOST.into(), 631));
        assert_eq!(line("127.0.0.53%lo:53").unwrap(), (Ipv4Addr::new(127, 0, 0, 53).into(), 53));
        assert_eq!(line("[fe80::1]%eth0:80").unwrap(), ("fe80::1".parse().unwrap(), 80));
        assert!(ss_line("LISTEN 0").is_err());
    }
}
