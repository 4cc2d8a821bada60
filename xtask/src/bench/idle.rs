//! What the daemon costs when nothing happens.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{
    Bench,
    daemon::Daemon,
    interrupt,
    report::{Row, Section, Verdict},
    stats::{digits, megabytes, real, thousands},
    work::ListenersReady,
};

/// Listeners a process has; more processes are what a machine has.
const EACH: usize = 10;

/// How long the daemon has for what the listeners make it write and claim, before it is called idle.
const SETTLING: Duration = Duration::from_secs(30);

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let daemon = bench.place()?.start(&[])?;
    let empty = daemon.memory("VmRSS")?;
    let mut workers = Vec::new();
    let mut ports = 0;
    while ports < bench.scale.listeners {
        let mut worker = bench.worker(&["listeners", "--count", &EACH.to_string()])?;
        ports += worker.hear::<ListenersReady>()?.ports.len();
        workers.push(worker);
    }
    wait_until_listed(&daemon, ports)?;
    let full = daemon.memory("VmRSS")?;

    rest(SETTLING)?;
    let before = (daemon.usage()?, received(&daemon)?);
    let begin = Instant::now();
    rest(bench.scale.idle)?;
    // All is read before the daemon is asked anything, for which it needs time, and code that nothing else runs.
    let (usage, seconds) = (daemon.usage()?, begin.elapsed().as_secs_f64());
    let (settled, anonymous, file, peak) = (
        daemon.memory("VmRSS")?,
        daemon.memory("RssAnon")?,
        daemon.memory("RssFile")?,
        daemon.memory("VmHWM")?,
    );
    let records = received(&daemon)?.saturating_sub(before.1);
    for worker in workers {
        worker.end()?;
    }
    daemon.stop()?;

    let share = (usage.cpu.saturating_sub(before.0.cpu)).as_secs_f64() / seconds * 100.0;
    let woken = real(usage.switches.saturating_sub(before.0.switches)) / seconds;
    let listeners = thousands(u64::try_from(ports)?);
    Ok(Section {
        title: "Memory and idle cost".to_owned(),
        method: format!(
            "{listeners} listeners of {} processes are opened while the daemon runs. Nothing is done for \
             {} s, in which it writes down and claims what there is to be, and for {seconds:.0} s more, which are measured.",
            ports / EACH,
            SETTLING.as_secs()
        ),
        rows: vec![
            Row::new(
                &format!("daemon, resident memory at {listeners} listeners"),
                "≤ 20 MB",
                megabytes(settled),
                Verdict::of(settled <= 20_000_000),
            ),
            Row::new(
                "daemon, idle, share of one core",
                "< 0.1 %",
                format!("{} %", digits(share)),
                Verdict::of(share < 0.1),
            ),
        ],
        figures: vec![
            [
                "RSS, just started",
                "all listeners just seen",
                "at the end",
                "of it anonymous",
                "of it files",
                "peak",
            ]
            .map(str::to_owned)
            .to_vec(),
            [empty, full, settled, anonymous, file, peak].map(megabytes).to_vec(),
        ],
        remarks: vec![format!(
            "Woken {} times a second; {records} kernel records came from other programs meanwhile.",
            digits(woken)
        )],
    })
}

fn rest(time: Duration) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        interrupt::check()?;
        thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

fn received(daemon: &Daemon) -> Result<u64> {
    Ok(daemon.status()?.get("received").and_then(Value::as_u64).unwrap_or(0))
}

fn wait_until_listed(daemon: &Daemon, ports: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let listening = daemon.status()?.get("listening").and_then(Value::as_u64).unwrap_or(0);
        if listening >= u64::try_from(ports)? {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{listening} of {ports} listeners are in the live table after 20 s");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
