//! `cargo xtask bench`: the budgets, measured. Every ratio comes from one run in which the two sides took turns, so
//! that what else the machine does falls on both.

mod api;
mod burst;
mod claims;
mod command;
mod daemon;
mod idle;
mod interrupt;
mod log;
mod loops;
mod machine;
mod programs;
mod report;
mod run;
mod stats;
mod visible;
mod who;
pub(crate) mod work;
mod worker;

use std::{
    cell::Cell,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use nix::unistd::geteuid;
use tempfile::TempDir;

use self::{daemon::Place, report::Section, worker::Worker};

/// The document that a full run writes.
const DOCUMENT: &str = "docs/benchmarks.md";

/// How to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A reduced run: fewer processes, rounds and rows; writes no document
    #[arg(long)]
    quick: bool,
    /// Only these, separated by commas; writes no document
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Write the document even after a reduced run
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Who has a port: against ss, lsof and fuser
    Who,
    /// Tight loops with the kernel programs attached and without
    Loops,
    /// Cost of each kernel program
    Programs,
    /// Binds as fast as they go, each journalled or accounted for
    Burst,
    /// From listen() to the answer
    Visible,
    /// Memory and idle cost
    Idle,
    /// Claims of many clients at once
    Claims,
    /// What `run` adds to the start of a program
    Run,
    /// The log over millions of rows
    Log,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// Sleeping processes.
    processes: usize,
    idle_rounds: usize,
    busy_rounds: usize,
    loop_rounds: usize,
    chunks: usize,
    /// bind/listen/close per chunk.
    bind_turns: u32,
    /// Connections per chunk.
    connect_turns: u32,
    /// bind/listen/close of each of four processes.
    burst: u64,
    samples: usize,
    listeners: usize,
    idle: Duration,
    claims: Duration,
    rows: u64,
    log_rounds: usize,
}

const FULL: Scale = Scale {
    processes: 2000,
    idle_rounds: 31,
    busy_rounds: 11,
    loop_rounds: 8,
    chunks: 50,
    bind_turns: 1000,
    connect_turns: 250,
    burst: 50_000,
    samples: 500,
    listeners: 1000,
    idle: Duration::from_secs(30),
    claims: Duration::from_secs(10),
    rows: 5_000_000,
    log_rounds: 15,
};

const QUICK: Scale = Scale {
    processes: 200,
    idle_rounds: 7,
    busy_rounds: 3,
    loop_rounds: 2,
    chunks: 10,
    bind_turns: 1000,
    connect_turns: 250,
    burst: 5_000,
    samples: 50,
    listeners: 100,
    idle: Duration::from_secs(3),
    claims: Duration::from_secs(2),
    rows: 200_000,
    log_rounds: 5,
};

/// What every measurement needs.
struct Bench {
    scale: Scale,
    /// The programs under measurement, built for release.
    portwatch: PathBuf,
    helper: PathBuf,
    journal_load: PathBuf,
    directory: TempDir,
    places: Cell<usize>,
}

impl Bench {
    /// A place for a daemon, with nothing in it.
    fn place(&self) -> Result<Place> {
        let number = self.places.replace(self.places.get() + 1);
        let directory = self.directory.path().join(number.to_string());
        std::fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
        Ok(Place { binary: self.portwatch.clone(), helper: self.helper.clone(), directory })
    }

    /// Starts a worker.
    fn worker(&self, arguments: &[&str]) -> Result<Worker> {
        self.worker_with(arguments, &[])
    }

    /// Starts a worker with these variables in its environment.
    fn worker_with(&self, arguments: &[&str], variables: &[(String, String)]) -> Result<Worker> {
        interrupt::check()?;
        Worker::start(&self.helper, arguments, variables)
    }
}

/// Measures, prints, writes.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    command::require_comparators()?;
    ensure!(geteuid().is_root(), "the budgets are those of a daemon with kernel programs: run this as root");
    interrupt::install()?;
    // Before anything is built.
    let mut machine = machine::describe(Path::new("/proc"))?;
    let release = build(root)?;
    let bench = Bench {
        scale: if arguments.quick { QUICK } else { FULL },
        portwatch: release.join("portwatch"),
        helper: release.join("xtask"),
        journal_load: release.join("examples/journal_load"),
        directory: tempfile::Builder::new().prefix("portwatch-bench-").tempdir().context("a directory")?,
        places: Cell::new(0),
    };
    machine.push(("kernel programs".to_owned(), serving(&bench)?));

    let wanted = |part: &Part| arguments.only.is_empty() || arguments.only.contains(part);
    let mut sections = Vec::new();
    for part in Part::value_variants().iter().filter(|part| wanted(part)) {
        crate::say(&format!("measuring: {part:?}"));
        interrupt::check()?;
        sections.extend(measure(&bench, *part)?);
    }
    print(&report::text(&sections))?;
    let whole = !arguments.quick && arguments.only.is_empty();
    if whole || arguments.write {
        let command = if arguments.quick { "cargo xtask bench --quick" } else { "cargo xtask bench" };
        report::write(&root.join(DOCUMENT), &report::markdown(&sections, &machine, command))?;
    }
    match report::missed(&sections) {
        0 => Ok(()),
        missed => bail!("{missed} budgets missed"),
    }
}

fn measure(bench: &Bench, part: Part) -> Result<Vec<Section>> {
    let section = match part {
        Part::Who => return who::measure(bench),
        Part::Loops => loops::measure(bench),
        Part::Programs => programs::measure(bench),
        Part::Burst => burst::measure(bench),
        Part::Visible => visible::measure(bench),
        Part::Idle => idle::measure(bench),
        Part::Claims => claims::measure(bench),
        Part::Run => run::measure(bench),
        Part::Log => log::measure(bench),
    };
    Ok(vec![section.with_context(|| format!("measuring {part:?}"))?])
}

/// Builds what is measured. Gives the directory of the programs.
fn build(root: &Path) -> Result<PathBuf> {
    crate::say("building for release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--package", "portwatch", "--package", "xtask"])
        .args(["--bins", "--example", "journal_load"])
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "the release build failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release"))
}

/// Which source serves here. A run on the wrong one measures something else, and says so.
fn serving(bench: &Bench) -> Result<String> {
    let daemon = bench.place()?.start(&[])?;
    let status = daemon.status()?;
    let word =
        |at: &str| status.pointer(at).and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned();
    let answer = match word("/source/source").as_str() {
        "ebpf" => "eBPF".to_owned(),
        other => format!("none: the source is {other} ({})", word("/source/note")),
    };
    daemon.stop()?;
    Ok(answer)
}

fn print(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).context("writing the table")
}
