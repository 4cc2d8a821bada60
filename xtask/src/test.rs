//! The test command: for a person the tests, for CI everything.

mod checks;
mod disk;
mod packages;
mod room;
mod steps;

use std::{path::Path, time::Instant};

use anyhow::{Result, bail};

use self::steps::Outcome;

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Everything that CI runs: formatting, lints, tidy, documentation, licences, the kernel object, fuzzing, three other kernels,
    /// and the tests with PORTWATCH_REQUIRE=ebpf: none may be skipped for want of kernel programs.
    #[arg(long)]
    strict: bool,
    /// Leave the machine as it is: without this, root on Debian installs the programs that tests start.
    #[arg(long)]
    no_install: bool,
    /// Only these steps; --only help lists them.
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// These steps may not be skipped.
    #[arg(long, value_name = "STEP")]
    require: Vec<String>,
}

/// A step has a name and comes to an outcome.
type Step = (&'static str, fn(&Path) -> Result<Outcome>);

/// The steps of --strict, cheap ones first and the tests last: their summary closes the output.
const STRICT: [Step; 12] = [
    ("format", checks::format),
    ("tidy", checks::tidy),
    ("lints", checks::lints),
    ("documentation", checks::documentation),
    ("platforms", checks::platforms),
    ("object", checks::object),
    ("dependencies", checks::dependencies),
    ("advisories", checks::advisories),
    ("fuzz", checks::fuzz),
    ("kernels", checks::kernels),
    ("wine", checks::wine),
    ("tests", checks::tests_with_kernel),
];

/// Steps that run only where --only or --require names them: everything is compiled again for another system, which takes
/// minutes.
const ON_DEMAND: [&str; 1] = ["wine"];

const PLAIN: [Step; 1] = [("tests", checks::tests)];

/// How the builds of a strict run differ from a developer's, unless the environment says how: a whole run takes a third of the room.
/// What incremental builds keep is for the next one, and lines are for debuggers; a panic tells its own line without. `.ci/run` has the
/// same, for it compiles this program.
const FRUGAL: [(&str, &str); 2] = [("CARGO_INCREMENTAL", "0"), ("CARGO_PROFILE_DEV_STRIP", "debuginfo")];

fn be_frugal() {
    for (name, value) in FRUGAL.iter().filter(|(name, _)| std::env::var_os(name).is_none()) {
        // SAFETY: this process has one thread: only steps start others.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Runs the steps. A failing step does not keep the others from running; the failure is told at the end.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let all: &[Step] = if arguments.strict { &STRICT } else { &PLAIN };
    let names = || all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if let Some(unknown) =
        arguments.only.iter().chain(&arguments.require).find(|only| !all.iter().any(|(name, _)| name == only))
    {
        bail!("no step '{unknown}'; there are: {}", names());
    }
    let holds = |list: &[String], name: &str| list.iter().any(|word| word == name);
    let wanted = |name: &str| {
        if arguments.only.is_empty() {
            !ON_DEMAND.contains(&name) || holds(&arguments.require, name)
        } else {
            holds(&arguments.only, name)
        }
    };
    let target = crate::setup::target_dir(root);
    if arguments.strict {
        be_frugal();
    }
    // Of single steps nobody has measured what they need.
    let whole = arguments.only.is_empty();
    if whole {
        disk::look(&target, arguments.strict)?;
    }
    packages::install(!arguments.no_install, arguments.strict, arguments.strict && wanted("wine"))?;
    packages::install_for_node(&target, !arguments.no_install, arguments.strict)?;
    if arguments.strict && !arguments.no_install && wanted("kernels") {
        // Where it cannot be had, the step says so.
        if let Err(error) = checks::install_emulator(root) {
            crate::say(&format!("the emulator of the kernel matrix was not installed: {error:#}"));
        }
    }
    let mut leftovers = disk::Leftovers::default();
    if whole {
        // Again: on a new machine the packages took a gigabyte.
        let (found, words) = disk::look(&target, arguments.strict)?;
        leftovers = found;
        if let Some(words) = words {
            crate::say(&words);
        }
    }
    let mut failed = Vec::new();
    let mut skipped = Vec::new();
    for (name, step) in all.iter().filter(|(name, _)| wanted(name)) {
        if *name == "tests" && !skipped.is_empty() {
            // Once more where people look: far down, and above the tests' own summary.
            crate::say(&format!("== NOT EVERYTHING RAN: {}", skipped.join("; ")));
        }
        crate::say(&format!("== {name}"));
        let begun = Instant::now();
        // Of a step that failed it stays: what made a fuzz target fail is there.
        let outcome = step(root).and_then(|outcome| leftovers.remove(&target, name).map(|()| outcome));
        let seconds = begun.elapsed().as_secs();
        // The tests close with their runner's own summary.
        match outcome {
            Ok(Outcome::Done) if *name == "tests" => {}
            Ok(Outcome::Done) => crate::say(&format!("== {name}: good, {seconds} s")),
            Ok(Outcome::Skipped(why)) if arguments.require.iter().any(|required| required == name) => {
                crate::say(&format!("== {name}: FAILED, it is required but was skipped: {why}"));
                failed.push(*name);
            }
            Ok(Outcome::Skipped(why)) => {
                crate::say(&format!("== {name}: SKIPPED, {why}"));
                skipped.push(format!("{name}: SKIPPED, {why}"));
            }
            Err(error) => {
                let full = disk::full(&target).map(|full| format!("; {full}")).unwrap_or_default();
                crate::say(&format!("== {name}: FAILED after {seconds} s: {error:#}{full}"));
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
