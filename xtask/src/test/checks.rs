//! The steps.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    room,
    steps::{Outcome, cargo, run, run_expecting, run_within, works},
};
use crate::setup;

/// How long the decoder is fuzzed.
const FUZZ_SECONDS: u32 = 60;

/// The version that `deny.toml` was written for.
const CARGO_DENY: &str = "0.20.2";

pub(super) fn format(root: &Path) -> Result<Outcome> {
    run(cargo(root).args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::Done)
}

pub(super) fn tidy(root: &Path) -> Result<Outcome> {
    crate::tidy::run(root)?;
    Ok(Outcome::Done)
}

pub(super) fn lints(root: &Path) -> Result<Outcome> {
    run(cargo(root).args(["clippy", "--locked", "--all-targets", "--", "-D", "warnings"]))?;
    Ok(Outcome::Done)
}

pub(super) fn documentation(root: &Path) -> Result<Outcome> {
    run(cargo(root)
        .args(["doc", "--locked", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Done)
}

/// The code that is compiled for Windows and macOS alone.
pub(super) fn platforms(root: &Path) -> Result<Outcome> {
    crate::cross::check(root)?;
    Ok(Outcome::Done)
}

/// The Windows program, end to end.
pub(super) fn wine(root: &Path) -> Result<Outcome> {
    crate::cross::windows(root)?;
    Ok(Outcome::Done)
}

/// The committed kernel object is what its sources give, byte for byte.
pub(super) fn object(root: &Path) -> Result<Outcome> {
    let own = std::env::current_exe().context("where is this program?")?;
    let task = |arguments: &[&str]| run(Command::new(&own).current_dir(root).args(arguments));
    task(&["setup"])?;
    task(&["build-ebpf", "--verify"])?;
    Ok(Outcome::Done)
}

/// Licences, sources and duplicates of what is linked in.
pub(super) fn dependencies(root: &Path) -> Result<Outcome> {
    run(deny(root)?.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
    Ok(Outcome::Done)
}

/// Known vulnerabilities. The database is a repository on the network.
pub(super) fn advisories(root: &Path) -> Result<Outcome> {
    let mut fetch = deny(root)?;
    fetch.args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    if let Err(error) = run_within(&mut fetch, Duration::from_mins(1)) {
        return Ok(Outcome::Skipped(format!("the advisory database cannot be reached from here ({error})")));
    }
    run(deny(root)?.args(["check", "--disable-fetch", "advisories"]))?;
    Ok(Outcome::Done)
}

/// cargo-deny: the machine's own, else one built once. Without optimization that takes half the time.
fn deny(root: &Path) -> Result<Command> {
    if works(cargo(root).args(["deny", "--version"])) {
        let mut deny = cargo(root);
        deny.arg("deny");
        return Ok(deny);
    }
    let tools = setup::target_dir(root).join("tools");
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        let mut install = cargo(root);
        install.args(["install", "--debug"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
        setup::install(&mut install, &tools, "cargo-deny", CARGO_DENY)?;
    }
    let mut deny = Command::new(program);
    deny.current_dir(root);
    Ok(deny)
}

/// A bounded minute of the decoder's fuzz target. Stable Rust can instrument it (these are the options of
/// cargo-fuzz without a sanitizer, which the decoder, being safe code, does not need).
pub(super) fn fuzz(root: &Path) -> Result<Outcome> {
    const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";
    let package = root.join("portwatch-common/fuzz");
    let target = setup::target_dir(root).join("fuzz");
    let host = host()?;
    // Named although it is the host's: otherwise build scripts would be instrumented too.
    run(cargo(&package)
        .args(["build", "--release", "--bins", "--target", &host])
        .env("RUSTFLAGS", INSTRUMENTED)
        .env("CARGO_TARGET_DIR", &target))?;
    let programs = programs(&target.join(&host).join("release"))?;
    if programs.is_empty() {
        bail!("{} has no fuzz target", package.display());
    }
    for program in programs {
        let corpus = target.join("corpus").join(program.file_name().unwrap_or_default());
        fs::create_dir_all(&corpus)?;
        let mut fuzzer = Command::new(&program);
        fuzzer
            .current_dir(root)
            .arg(format!("-max_total_time={FUZZ_SECONDS}"))
            .args(["-rss_limit_mb=1024", "-timeout=5", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/", target.display()))
            .arg(corpus)
            .args(Some(seeds(root, &program)).filter(|seeds| seeds.is_dir()));
        run_expecting(&mut fuzzer, "stat::number_of_executed_units:")?;
    }
    Ok(Outcome::Done)
}

/// What a fuzz target begins with.
fn seeds(root: &Path, program: &Path) -> PathBuf {
    root.join(match program.file_name() {
        Some(name) if name == "tables" => "portwatch/src/source/fixtures",
        _ => "portwatch-common/fuzz/seeds",
    })
}

/// The programs in a directory of build output.
fn programs(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))? {
        let path = entry?.path();
        if path.is_file()
            && path.extension().is_none()
            && !path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."))
        {
            programs.push(path);
        }
    }
    programs.sort();
    Ok(programs)
}

/// The end-to-end scenarios on the oldest and the newest kernel and one in between.
#[cfg(target_os = "linux")]
pub(super) fn kernels(root: &Path) -> Result<Outcome> {
    Ok(crate::vm::fast(root)?.map_or(Outcome::Done, Outcome::Skipped))
}

/// What boots them.
#[cfg(target_os = "linux")]
pub(super) fn install_emulator(root: &Path) -> Result<()> {
    crate::vm::install_emulator(root)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn install_emulator(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn kernels(_: &Path) -> Result<Outcome> {
    Ok(Outcome::Skipped("it runs on Linux".to_owned()))
}

/// The platform this runs on, as rustc names it.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

pub(super) fn tests(root: &Path) -> Result<Outcome> {
    all_tests(root, &[], &[])
}

/// With every test that needs kernel programs: none may be skipped. And at full size, 5,000 listeners and 20,000 processes, where the machine
/// has room for so many.
pub(super) fn tests_with_kernel(root: &Path) -> Result<Outcome> {
    let mut environment = vec![("PORTWATCH_REQUIRE", "ebpf")];
    match room::missing() {
        None => environment.push(("PORTWATCH_TORTURE", "full")),
        Some(limit) => {
            crate::say(&format!("thousands of listeners and processes: a tenth of them ({limit})"));
        }
    }
    all_tests(root, &environment, &["--profile", "ci"])
}

fn all_tests(root: &Path, environment: &[(&str, &str)], nextest: &[&str]) -> Result<Outcome> {
    // The end-to-end tests start the binary, which is another package's and not built for them by itself. Named to
    // them: a test that builds it alone would do so with other features of the same crates, all of them anew.
    run(cargo(root).args(["build", "--locked", "--bins"]))?;
    let binary = std::path::absolute(setup::target_dir(root).join("debug/portwatch"))?;
    let environment = || {
        let named = ("PORTWATCH_BIN".as_ref(), binary.as_os_str());
        environment.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))).chain([named])
    };
    if works(cargo(root).args(["nextest", "--version"])) {
        // nextest leaves out the examples in the documentation.
        run(cargo(root).args(["test", "--quiet", "--locked", "--doc"]).envs(environment()))?;
        run(cargo(root).args(["nextest", "run", "--locked"]).args(nextest).envs(environment()))?;
    } else {
        // One at a time: tests that load kernel programs count what the machine does.
        let one = ["--", "--test-threads=1"];
        run(cargo(root).args(["test", "--locked", "--no-fail-fast"]).args(one).envs(environment()))?;
    }
    Ok(Outcome::Done)
}
