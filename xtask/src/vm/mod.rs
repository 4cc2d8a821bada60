//! `cargo xtask vm`: the same scenarios on other kernels. Boots Debian's kernels under software emulation with one
//! static program in them, which runs the scenarios with each family of hooks forced. Nothing but an explicit last
//! line and the expected number of results counts as success.

mod apt;
mod boot;
mod console;
mod guest;
mod initramfs;
mod kernels;
mod qemu;
mod report;

use std::{
    collections::VecDeque,
    fmt,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::{boot::Boot, guest::Guest, kernels::Kernel};
use crate::{say, setup::target_dir};

/// The document with the table.
const DOCUMENT: &str = "docs/kernels.md";

/// Series that are tested; `7` means the newest 7.x there is.
const SERIES: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7"];

/// Those that CI tests: the oldest, the newest, and one in between.
pub(crate) const FAST: [&str; 3] = ["5.10", "6.12", "7"];

/// What to boot.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Arguments {
    /// Series of kernels, separated by commas [default: 5.10,6.1,6.12,6.18,7]
    #[arg(long, value_delimiter = ',')]
    kernels: Vec<String>,
    /// Families of hooks, separated by commas [default: all, and what `auto` makes of them]
    #[arg(long, value_delimiter = ',')]
    plans: Vec<String>,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Write the table to docs/kernels.md
    #[arg(long)]
    write: bool,
    /// Fail where kernels or the emulator cannot be had, instead of saying SKIPPED
    #[arg(long)]
    require: bool,
    /// Show the guests' consoles, with what portwatch logs there: a filter as RUST_LOG takes it. `debug` has the
    /// verifier's complaints
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Install the emulator's packages on this machine and do nothing else; needs root
    #[arg(long)]
    install: bool,
}

/// What it came to.
#[derive(Debug)]
pub(crate) enum Matrix {
    /// Every boot ended with its success line.
    Held(Vec<Boot>),
    /// It could not run here, and why.
    Skipped(String),
}

/// The task.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if arguments.install {
        return qemu::install(&target_dir(root).join("vm"));
    }
    let series: Vec<&str> = if arguments.kernels.is_empty() {
        SERIES.to_vec()
    } else {
        arguments.kernels.iter().map(String::as_str).collect()
    };
    match matrix(root, &series, &arguments.plans, arguments.log.as_deref())? {
        Matrix::Skipped(why) if arguments.require => bail!("the kernel matrix is required, but {why}"),
        Matrix::Skipped(why) => {
            say(&format!("SKIPPED: the kernel matrix did not run: {why}"));
            Ok(())
        }
        Matrix::Held(boots) => {
            report::print(&boots, arguments.json)?;
            if arguments.write {
                report::write(&root.join(DOCUMENT), &boots)?;
            }
            verdict(&boots)
        }
    }
}

/// As a step of the tests: the fast part of the matrix.
pub(crate) fn fast(root: &Path) -> Result<Option<String>> {
    match matrix(root, &FAST, &[], None)? {
        Matrix::Skipped(why) => Ok(Some(why)),
        Matrix::Held(boots) => {
            say(&report::text(&boots));
            verdict(&boots).map(|()| None)
        }
    }
}

fn verdict(boots: &[Boot]) -> Result<()> {
    let bad: Vec<&str> = boots.iter().filter(|b| !b.good()).map(|b| b.series.as_str()).collect();
    if bad.is_empty() {
        return Ok(());
    }
    bail!("not good on {}", bad.join(", "))
}

fn matrix(root: &Path, series: &[&str], plans: &[String], log: Option<&str>) -> Result<Matrix> {
    if std::env::consts::ARCH != "x86_64" {
        return Ok(Matrix::Skipped("it boots kernels for x86_64".to_owned()));
    }
    let Some(emulator) = qemu::find() else {
        return Ok(Matrix::Skipped(
            "qemu-system-x86_64 is not there; `cargo xtask vm --install` installs it".to_owned(),
        ));
    };
    let place = target_dir(root).join("vm");
    // Downloads wait for the network, the build for the processor.
    let (kernels, guest) = thread::scope(|scope| {
        let kernels = scope.spawn(|| kernels::fetch(&place, series));
        let guest = guest::build(root, &place, plans, log);
        let kernels = kernels.join().unwrap_or_else(|_| bail!("fetching kernels panicked"));
        (kernels, guest)
    });
    let kernels = match kernels {
        Ok(kernels) => kernels,
        Err(error) => return Ok(Matrix::Skipped(format!("kernels cannot be fetched: {error:#}"))),
    };
    boot_all(&emulator, &kernels, &guest?, &place).map(Matrix::Held)
}

/// As many at a time as there are processors: emulation uses one each.
fn boot_all(emulator: &Path, kernels: &[Kernel], guest: &Guest, place: &Path) -> Result<Vec<Boot>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let open: Mutex<VecDeque<(usize, &Kernel)>> = Mutex::new(kernels.iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..processors.min(kernels.len()) {
            scope.spawn(|| {
                loop {
                    let next = open.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((number, kernel)) = next else { break };
                    let boot = boot_one(emulator, kernel, guest, place);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((number, boot));
                }
            });
        }
    });
    let mut boots = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    boots.sort_by_key(|(number, _)| *number);
    boots.into_iter().map(|(_, boot)| boot).collect()
}

/// One kernel. A machine that died without a word is started once more, and that is told.
fn boot_one(emulator: &Path, kernel: &Kernel, guest: &Guest, place: &Path) -> Result<Boot> {
    let begun = Instant::now();
    let mut boot = boot::boot(emulator, kernel, guest, place)?;
    if boot.died() {
        say(&format!("{}: the machine ended without its last line; once more", kernel.series));
        let first = boot.trouble.take().unwrap_or_default();
        boot = boot::boot(emulator, kernel, guest, place)?;
        boot.repeated = Some(first);
    }
    say(&format!("{}: {} in {} s", kernel.package, boot.summary(), begun.elapsed().as_secs()));
    Ok(boot)
}

/// Appends formatted text.
fn put(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = fmt::Write::write_fmt(out, text);
}

/// Runs a program to its end and gives what it printed.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let program = command.get_program().to_string_lossy();
        bail!("{program} failed: {}", complaint.lines().last().unwrap_or_default().trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
