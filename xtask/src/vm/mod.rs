//! `cargo xtask vm`: the same scenarios on other kernels. Boots Debian's kernels under software emulation with one
//! program in them, which runs the scenarios with each family of hooks forced. Nothing but an explicit last
//! line and the expected number of results counts as success.

mod apt;
mod boot;
mod console;
mod cost;
mod guest;
mod initramfs;
mod kept;
mod kernels;
mod machine;
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

use self::{boot::Boot, guest::Guest, kernels::Kernel, machine::Machine};
use crate::{cross, say, setup::target_dir};

/// The document with the table.
const DOCUMENT: &str = "docs/kernels.md";

/// Series that are tested; `7` means the newest 7.x there is.
const SERIES: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7"];

/// Those that CI tests, and with which plans: the oldest and the newest with each family, and one in between with the mix
/// that people run.
const FAST: [(&str, &[&str]); 3] = [
    ("5.10", &["fentry", "kprobe", "stable"]),
    ("6.12", &["auto", "none"]),
    ("7", &["fentry", "kprobe", "stable"]),
];

/// What to boot.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Arguments {
    /// Series of kernels, separated by commas [default: 5.10,6.1,6.12,6.18,7]; `arm64-6.12` is one for aarch64
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
    /// Go on with a run that was broken off: take results of boots of the same program on the same kernel that ended well, and boot
    /// the others
    #[arg(long)]
    resume: bool,
    /// Fail where kernels or the emulator cannot be had, instead of saying SKIPPED
    #[arg(long)]
    require: bool,
    /// Show the guests' consoles, with what portwatch logs there: a filter as RUST_LOG takes it. `debug` has the
    /// verifier's complaints
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Measure what the kernel programs of each family cost, in instructions, instead of running scenarios
    #[arg(long, conflicts_with_all = ["plans", "json", "write", "resume"])]
    cost: bool,
    /// Install the emulators, and the compiler for aarch64, on this machine and do nothing else; needs root
    #[arg(long)]
    install: bool,
}

/// A series, and the plans to run on it; none are all.
type Wanted<'a> = (&'a str, &'a [&'a str]);

/// How they are booted.
#[derive(Debug, Default)]
struct Manner<'a> {
    /// Shows the consoles, with this filter of what is logged there.
    log: Option<&'a str>,
    /// Measures instead of running scenarios.
    cost: bool,
    /// Takes what a run before came to.
    resume: bool,
    /// Puts the machines to sleep, too.
    sleeps: bool,
}

impl Arguments {
    fn manner(&self) -> Manner<'_> {
        Manner { log: self.log.as_deref(), cost: self.cost, resume: self.resume, sleeps: !self.cost }
    }
}

/// What it came to.
#[derive(Debug, Default)]
struct Matrix {
    boots: Vec<Boot>,
    /// What was not booted, and why.
    skipped: Vec<String>,
}

/// The task.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if arguments.install {
        let place = target_dir(root).join("vm");
        return Machine::ALL.into_iter().try_for_each(|machine| {
            qemu::install(&place, machine)?;
            qemu::install_compiler(machine)
        });
    }
    let plans: Vec<&str> = arguments.plans.iter().map(String::as_str).collect();
    let series: Vec<&str> = if arguments.kernels.is_empty() {
        SERIES.to_vec()
    } else {
        arguments.kernels.iter().map(String::as_str).collect()
    };
    let wanted: Vec<Wanted<'_>> = series.into_iter().map(|series| (series, plans.as_slice())).collect();
    let whole = arguments.kernels.is_empty() && plans.is_empty();
    if arguments.write && !whole {
        bail!("the table is of the whole matrix: --write goes without --kernels and --plans");
    }
    let Matrix { boots, skipped } = matrix(root, &wanted, &arguments.manner())?;
    if arguments.cost {
        report::print_costs(&boots)?;
    } else if !boots.is_empty() {
        report::print(&boots, arguments.json)?;
    }
    for what in &skipped {
        say(&format!("SKIPPED: {what}"));
    }
    if arguments.write && skipped.is_empty() {
        report::write(&root.join(DOCUMENT), &boots)?;
    }
    verdict(&boots)?;
    if !skipped.is_empty() && (arguments.require || arguments.write) {
        bail!("all of it is required, but it did not all run: {}", skipped.join("; "));
    }
    Ok(())
}

/// Installs the emulator of the fast part where it is not there; needs root.
pub(crate) fn install_emulator(root: &Path) -> Result<()> {
    qemu::install(&target_dir(root).join("vm"), Machine::X86)
}

/// As a step of the tests: the fast part of the matrix. Gives what of it did not run.
pub(crate) fn fast(root: &Path) -> Result<Option<String>> {
    let Matrix { boots, skipped } = matrix(root, &FAST, &Manner::default())?;
    if !boots.is_empty() {
        say(&report::text(&boots));
    }
    verdict(&boots)?;
    Ok((!skipped.is_empty()).then(|| skipped.join("; ")))
}

fn verdict(boots: &[Boot]) -> Result<()> {
    let bad: Vec<&str> = boots.iter().filter(|b| !b.good()).map(|b| b.series.as_str()).collect();
    if bad.is_empty() {
        return Ok(());
    }
    bail!("not good on {}", bad.join(", "))
}

fn matrix(root: &Path, wanted: &[Wanted<'_>], manner: &Manner<'_>) -> Result<Matrix> {
    let none =
        |why: &str| Ok(Matrix { skipped: vec![format!("no kernel was booted: {why}")], ..Matrix::default() });
    if std::env::consts::ARCH != "x86_64" {
        return none("it boots kernels for x86_64");
    }
    let (mut here, mut lacks) = (Vec::new(), Vec::new());
    for (series, plans) in wanted {
        match lacking(Machine::of(series).0) {
            None => here.push((*series, *plans)),
            Some(why) => lacks.push((*series, why)),
        }
    }
    if let (true, Some((_, why))) = (here.is_empty(), lacks.first()) {
        return none(why);
    }
    let place = target_dir(root).join("vm");
    let series: Vec<&str> = here.iter().map(|(series, _)| *series).collect();
    let arm = series.iter().any(|series| Machine::of(series).0 == Machine::Arm);
    // Downloads wait for the network, the build for the processor.
    let (fetched, guests) = thread::scope(|scope| {
        let fetched = scope.spawn(|| kernels::fetch(&place, &series));
        let guests = guest::build(root, &place, manner.log, manner.sleeps).and_then(|guest| {
            let other = if arm { Some(guest.for_arm(root, &place)?) } else { None };
            Ok((guest, other))
        });
        let fetched = fetched.join().unwrap_or_else(|_| bail!("fetching kernels panicked"));
        (fetched, guests)
    });
    let (guest, other) = guests?;
    let mut boots = Vec::new();
    for (fetched, (series, plans)) in fetched?.into_iter().zip(&here) {
        let guest = match (Machine::of(series).0, &other) {
            (Machine::Arm, Some(other)) => other,
            _ => &guest,
        };
        match fetched {
            Ok(kernel) if manner.cost => boots.push((kernel, guest.measuring())),
            Ok(kernel) => boots.push((kernel, guest.with_plans(plans)?)),
            Err(why) => lacks.push((series, why)),
        }
    }
    let skipped = lacks.into_iter().map(|(series, why)| format!("{series} was not booted: {why}")).collect();
    Ok(Matrix { boots: boot_all(&boots, &place, manner.resume)?, skipped })
}

/// What is missing here to boot kernels for such a machine.
fn lacking(machine: Machine) -> Option<String> {
    let emulator = machine.emulator();
    if qemu::find(machine).is_none() {
        return Some(format!("{emulator} is not there; `cargo xtask vm --install` installs it"));
    }
    let compiler = cross::AARCH64_COMPILER;
    (machine == Machine::Arm && !cross::found(compiler))
        .then(|| format!("{compiler} is not there; `cargo xtask vm --install` installs it"))
}

/// As many at a time as there are processors: emulation uses one each.
fn boot_all(boots: &[(Kernel, Guest)], place: &Path, resume: bool) -> Result<Vec<Boot>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let open: Mutex<VecDeque<_>> = Mutex::new(boots.iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..processors.min(boots.len()) {
            scope.spawn(|| {
                loop {
                    let next = open.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((number, (kernel, guest))) = next else { break };
                    let boot = boot_one(kernel, guest, place, resume);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((number, boot));
                }
            });
        }
    });
    let mut boots = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    boots.sort_by_key(|(number, _)| *number);
    boots.into_iter().map(|(_, boot)| boot).collect()
}

/// One kernel. A machine that died without a word is started once more, and that is told. A good result is kept as soon as it is
/// there.
fn boot_one(kernel: &Kernel, guest: &Guest, place: &Path, resume: bool) -> Result<Boot> {
    let begun = Instant::now();
    let emulator = &qemu::find(kernel.machine()).context("the emulator is gone")?;
    let kept = if guest.measures { None } else { Some(kept::path(place, kernel, guest)?) };
    if let Some(before) = kept.as_deref().filter(|_| resume).and_then(kept::find) {
        say(&format!("{}: {} in a run before", kernel.package, before.summary()));
        return Ok(before);
    }
    let mut boot = boot::boot(emulator, kernel, guest, place)?;
    if boot.died() {
        say(&format!("{}: the machine ended without its last line; once more", kernel.series));
        let first = boot.trouble.take().unwrap_or_default();
        boot = boot::boot(emulator, kernel, guest, place)?;
        boot.repeated = Some(first);
    }
    say(&format!("{}: {} in {} s", kernel.package, boot.summary(), begun.elapsed().as_secs()));
    if let Some(path) = kept {
        kept::keep(&path, &boot)?;
    }
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
