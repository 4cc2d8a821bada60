//! portwatch for other platforms: built as far as this machine can, run where something here can run it.
//!
//! rustup is not asked for targets: the standard library is built from the compiler's own source, which `setup` finds.
//! Everything lies in a target folder of its own, since what makes that possible is part of every fingerprint.
//!
//! The check of the code needs no compiler for C: nothing is linked by it.

mod run;
mod stub;
mod tally;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{say, setup};

/// Arguments of `cargo xtask cross`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only these targets.
    #[arg(long, value_name = "TARGET")]
    only: Vec<String>,
    /// Check the code and build nothing.
    #[arg(long)]
    check: bool,
    /// Of Windows' program, run the unit tests and the end-to-end test under Wine, too.
    #[arg(long)]
    test: bool,
}

/// How far a target can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compiler {
    /// A cross compiler of the machine; its program.
    Gcc(&'static str),
    /// Zig, which brings libraries and headers of its own.
    Zig,
}

/// What runs a program of a target here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    Native,
    Wine,
    Qemu,
    Nothing,
}

/// A target: its name, what links it, what runs it here.
struct Target {
    name: &'static str,
    compiler: Compiler,
    runner: Runner,
}

impl Target {
    /// Its name, as it stands in names of variables.
    fn variable(&self) -> String {
        self.name.to_uppercase().replace('-', "_")
    }
}

/// The cross compiler for aarch64; it names libraries too.
pub(crate) const AARCH64_COMPILER: &str = "aarch64-linux-gnu-gcc";

/// Its target.
const AARCH64: &str = "aarch64-unknown-linux-gnu";

const TARGETS: [Target; 5] = [
    Target {
        name: "x86_64-pc-windows-gnu",
        compiler: Compiler::Gcc("x86_64-w64-mingw32-gcc"),
        runner: Runner::Wine,
    },
    Target { name: AARCH64, compiler: Compiler::Gcc(AARCH64_COMPILER), runner: Runner::Qemu },
    Target { name: "x86_64-unknown-linux-musl", compiler: Compiler::Zig, runner: Runner::Native },
    Target { name: "aarch64-apple-darwin", compiler: Compiler::Zig, runner: Runner::Nothing },
    Target { name: "x86_64-apple-darwin", compiler: Compiler::Zig, runner: Runner::Nothing },
];

/// What became of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Tested,
    Ran,
    Built,
    /// Only the code, and why no more.
    Checked(String),
}

/// Takes every target as far as it goes, and says how far that was.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if let Some(unknown) = arguments.only.iter().find(|only| TARGETS.iter().all(|t| t.name != **only)) {
        bail!("no target '{unknown}'; there are: {}", TARGETS.map(|t| t.name).join(", "));
    }
    let library = setup::library_elsewhere(root)?;
    let mut outcomes = Vec::new();
    let wanted = |t: &&Target| arguments.only.is_empty() || arguments.only.iter().any(|only| only == t.name);
    for target in TARGETS.iter().filter(wanted) {
        say(&format!("== {}", target.name));
        let outcome =
            take(root, library.as_deref(), target, arguments).with_context(|| target.name.to_owned())?;
        outcomes.push((target.name, outcome));
    }
    for (name, outcome) in outcomes {
        let words = match outcome {
            Outcome::Tested => "linted, built, run, and tested: unit tests and end to end".to_owned(),
            Outcome::Ran => "linted, built and run".to_owned(),
            Outcome::Built => "linted and built; nothing here runs it".to_owned(),
            Outcome::Checked(why) => format!("linted (type-checked) only: {why}"),
        };
        say(&format!("{name:<28} {words}"));
    }
    Ok(())
}

/// The code of the targets that no test of this machine compiles, checked: what a change to the code of all breaks there.
pub(crate) fn check(root: &Path) -> Result<()> {
    let only =
        ["x86_64-pc-windows-gnu", "aarch64-apple-darwin", "x86_64-apple-darwin"].map(str::to_owned).to_vec();
    run(root, &Arguments { only, check: true, test: false })
}

/// The Windows program: built, run and tested.
pub(crate) fn windows(root: &Path) -> Result<()> {
    run(root, &Arguments { only: vec!["x86_64-pc-windows-gnu".to_owned()], check: false, test: true })
}

/// Builds a program of a package for aarch64; gives its path.
pub(crate) fn aarch64(root: &Path, package: &str, program: &str) -> Result<PathBuf> {
    let library = setup::library_elsewhere(root)?;
    let target = TARGETS.iter().find(|target| target.name == AARCH64).context("aarch64 is no target")?;
    let what = ["--bin", program];
    setup::status(&mut cargo_of(root, library.as_deref(), target, package, "build", &what)?)?;
    Ok(folder(root).join(AARCH64).join("debug").join(program))
}

fn take(root: &Path, library: Option<&Path>, target: &Target, arguments: &Arguments) -> Result<Outcome> {
    let zig = setup::target_dir(root).join("tools/zig/bin");
    let compiler = match target.compiler {
        Compiler::Gcc(program) => program,
        Compiler::Zig => "cargo-zigbuild",
    };
    // With its tests, also where nothing runs them: nobody else compiles those of another system.
    let tests = matches!(target.runner, Runner::Wine | Runner::Nothing).then_some("--all-targets");
    let words: Vec<&str> = tests.into_iter().chain(["--", "-D", "warnings"]).collect();
    setup::status(&mut cargo(root, library, target, "clippy", &words)?)?;
    if arguments.check {
        return Ok(Outcome::Checked("nothing else was asked for".to_owned()));
    }
    if !found(compiler) && !zig.join(compiler).is_file() {
        return Ok(Outcome::Checked(format!("{compiler} is not installed")));
    }
    let build = if target.compiler == Compiler::Zig { "zigbuild" } else { "build" };
    setup::status(&mut cargo(root, library, target, build, &["--bin", "portwatch"])?)?;
    let programs = folder(root).join(target.name).join("debug");
    let program =
        [programs.join("portwatch.exe"), programs.join("portwatch")].into_iter().find(|p| p.is_file());
    let program = program.with_context(|| format!("{} has no program", programs.display()))?;
    let outcome = run::smoke(&program, target.runner, root)?;
    if arguments.test && target.runner == Runner::Wine && outcome == Outcome::Ran {
        let mut tests = cargo(root, library, target, "test", &["--lib", "--"])?;
        for (name, why) in run::NOT_UNDER_WINE {
            say(&format!("left out: {name}, {why}"));
            tests.args(["--skip", name]);
        }
        let wine = run::wine(&folder(root))?;
        let runner = format!("CARGO_TARGET_{}_RUNNER", target.variable());
        // What is compared with snapshots is looked for by the names of files, which are not Windows' own here.
        tests.env(runner, wine.get_program()).env("INSTA_WORKSPACE_ROOT", root);
        if std::env::var_os("INSTA_UPDATE").is_none() {
            tests.env("INSTA_UPDATE", "no");
        }
        let tally = run::counted(run::given_to(&wine, &mut tests))?;
        tally.of_unit_tests()?;
        run::test(&program, root)?;
        return Ok(Outcome::Tested);
    }
    Ok(outcome)
}

/// Where all of this is built.
fn folder(root: &Path) -> PathBuf {
    setup::target_dir(root).join("cross")
}

/// A command of cargo for portwatch on a target.
fn cargo(
    root: &Path,
    library: Option<&Path>,
    target: &Target,
    verb: &str,
    arguments: &[&str],
) -> Result<Command> {
    cargo_of(root, library, target, "portwatch", verb, arguments)
}

/// A command of cargo for a package on a target.
fn cargo_of(
    root: &Path,
    library: Option<&Path>,
    target: &Target,
    package: &str,
    verb: &str,
    arguments: &[&str],
) -> Result<Command> {
    let zig = setup::target_dir(root).join("tools/zig/bin");
    let mut folders = vec![zig];
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(folders)?;
    let program = if verb == "zigbuild" { "cargo-zigbuild" } else { "cargo" };
    let upper = target.variable();
    let mut command = Command::new(program);
    // A folder of its own: what a check has made must not be taken for what a build needs.
    let built = if verb == "clippy" { folder(root).join("check") } else { folder(root) };
    if verb == "clippy" {
        stub::instead_of_compilers(&mut command, &built, &target.name.replace('-', "_"))?;
    }
    command
        .current_dir(root)
        .arg(verb)
        .args(["--quiet", "--locked", "--package", package, "--target", target.name])
        .args(["-Z", "build-std=std,panic_abort"])
        .args(arguments)
        .env("PATH", path)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &built)
        .env("MACOSX_DEPLOYMENT_TARGET", "11.0");
    match target.compiler {
        Compiler::Gcc(linker) => {
            command.env(format!("CARGO_TARGET_{upper}_LINKER"), linker);
        }
        // The standard library built here has no start files of its own.
        Compiler::Zig if target.name.ends_with("musl") => {
            command.env(format!("CARGO_TARGET_{upper}_RUSTFLAGS"), "-Clink-self-contained=no");
        }
        Compiler::Zig => {}
    }
    if let Some(library) = library {
        command.env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
    }
    Ok(command)
}

/// Whether a program is on the PATH.
pub(crate) fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
