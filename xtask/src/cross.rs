//! portwatch for other platforms: built as far as this machine can, run where something here can run it.
//!
//! rustup is not asked for targets: the standard library is built from the compiler's own source, which `setup` has.
//! Everything lies in a target folder of its own, since what makes that possible is part of every fingerprint.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    say,
    setup::{self, Tools},
};

/// Arguments of `cargo xtask cross`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only these targets.
    #[arg(long, value_name = "TARGET")]
    only: Vec<String>,
    /// Check the code and build nothing.
    #[arg(long)]
    check: bool,
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

const TARGETS: [Target; 5] = [
    Target {
        name: "x86_64-pc-windows-gnu",
        compiler: Compiler::Gcc("x86_64-w64-mingw32-gcc"),
        runner: Runner::Wine,
    },
    Target {
        name: "aarch64-unknown-linux-gnu",
        compiler: Compiler::Gcc("aarch64-linux-gnu-gcc"),
        runner: Runner::Qemu,
    },
    Target { name: "x86_64-unknown-linux-musl", compiler: Compiler::Zig, runner: Runner::Native },
    Target { name: "aarch64-apple-darwin", compiler: Compiler::Zig, runner: Runner::Nothing },
    Target { name: "x86_64-apple-darwin", compiler: Compiler::Zig, runner: Runner::Nothing },
];

/// What became of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Ran,
    Built,
    Checked,
    Skipped(String),
}

/// Takes every target as far as it goes, and says how far that was.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if let Some(unknown) = arguments.only.iter().find(|only| TARGETS.iter().all(|t| t.name != **only)) {
        bail!("no target '{unknown}'; there are: {}", TARGETS.map(|t| t.name).join(", "));
    }
    let tools = setup::run(root)?;
    let mut outcomes = Vec::new();
    let wanted = |t: &&Target| arguments.only.is_empty() || arguments.only.iter().any(|only| only == t.name);
    for target in TARGETS.iter().filter(wanted) {
        say(&format!("== {}", target.name));
        let outcome = take(root, &tools, target, arguments.check).with_context(|| target.name.to_owned())?;
        outcomes.push((target.name, outcome));
    }
    for (name, outcome) in outcomes {
        let words = match outcome {
            Outcome::Ran => "linted, built and run".to_owned(),
            Outcome::Built => "linted and built; nothing here runs it".to_owned(),
            Outcome::Checked => "linted (type-checked) only".to_owned(),
            Outcome::Skipped(why) => format!("SKIPPED: {why}"),
        };
        say(&format!("{name:<28} {words}"));
    }
    Ok(())
}

fn take(root: &Path, tools: &Tools, target: &Target, only_check: bool) -> Result<Outcome> {
    let zig = setup::target_dir(root).join("tools/zig/bin");
    let compiler = match target.compiler {
        Compiler::Gcc(program) => program,
        Compiler::Zig => "cargo-zigbuild",
    };
    if !found(compiler) && !zig.join(compiler).is_file() {
        return Ok(Outcome::Skipped(format!("{compiler} is not installed")));
    }
    cargo(root, tools, target, "clippy", &["--", "-D", "warnings"])?;
    if only_check {
        return Ok(Outcome::Checked);
    }
    let build = if target.compiler == Compiler::Zig { "zigbuild" } else { "build" };
    cargo(root, tools, target, build, &["--bin", "portwatch"])?;
    let folder = folder(root).join(target.name).join("debug");
    let program = [folder.join("portwatch.exe"), folder.join("portwatch")].into_iter().find(|p| p.is_file());
    let program = program.with_context(|| format!("{} has no program", folder.display()))?;
    smoke(&program, target.runner, root)
}

/// Where all of this is built.
fn folder(root: &Path) -> PathBuf {
    setup::target_dir(root).join("cross")
}

fn cargo(root: &Path, tools: &Tools, target: &Target, verb: &str, arguments: &[&str]) -> Result<()> {
    let zig = setup::target_dir(root).join("tools/zig/bin");
    let mut folders = vec![zig];
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(folders)?;
    // zig's own front end also serves clippy, whose build scripts compile C.
    let program = if target.compiler == Compiler::Zig { "cargo-zigbuild" } else { "cargo" };
    let upper = target.name.to_uppercase().replace('-', "_");
    let mut command = Command::new(program);
    command
        .current_dir(root)
        .arg(verb)
        .args(["--quiet", "--locked", "--package", "portwatch", "--target", target.name])
        .args(["-Z", "build-std=std,panic_abort"])
        .args(arguments)
        .env("PATH", path)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", folder(root))
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
    if tools.library_elsewhere {
        command.env("__CARGO_TESTS_ONLY_SRC_ROOT", &tools.library);
    }
    setup::status(&mut command)
}

/// Runs the program where something can.
fn smoke(program: &Path, runner: Runner, root: &Path) -> Result<Outcome> {
    let command = match runner {
        Runner::Nothing => return Ok(Outcome::Built),
        // `env PROGRAM` is PROGRAM.
        Runner::Native => Ok(Command::new("env")),
        Runner::Wine => wine(&folder(root)),
        Runner::Qemu => qemu(),
    };
    let mut command = match command {
        Ok(command) => command,
        Err(why) => {
            say(&format!("not run: {why:#}"));
            return Ok(Outcome::Built);
        }
    };
    let output = command.arg(program).arg("version").output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || !text.starts_with("portwatch ") {
        bail!("{command:?} ended with {}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    say(text.trim_end());
    Ok(Outcome::Ran)
}

fn qemu() -> Result<Command> {
    if !found("qemu-aarch64-static") {
        bail!("qemu-aarch64-static is not installed (Debian: qemu-user-static)");
    }
    let mut command = Command::new("qemu-aarch64-static");
    command.args(["-L", "/usr/aarch64-linux-gnu"]);
    Ok(command)
}

/// Wine with a prefix of our own. Debian's has no `bcryptprimitives.dll`, from which Rust takes random numbers: the one
/// function of it is given by a library of ten lines.
fn wine(folder: &Path) -> Result<Command> {
    const LOADER: &str = "/usr/lib/wine/wine64";
    const SHIM: &str = "#include <windows.h>\n#include <ntsecapi.h>\n\
        __declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length)\n\
        { return RtlGenRandom(buffer, (ULONG)length); }\n";
    if !Path::new(LOADER).is_file() {
        bail!("{LOADER} is not there (Debian: wine64)");
    }
    let prefix = folder.join("wine");
    let library = prefix.join("drive_c/windows/system32/bcryptprimitives.dll");
    let command = || {
        let mut command = Command::new(LOADER);
        command.env("WINEPREFIX", &prefix).env("WINEDEBUG", "-all").env_remove("DISPLAY");
        command
    };
    if !library.is_file() {
        fs::create_dir_all(&prefix)?;
        setup::status(command().args(["wineboot", "-i"]))?;
        let source = folder.join("bcryptprimitives.c");
        fs::write(&source, SHIM)?;
        let mut compile = Command::new("x86_64-w64-mingw32-gcc");
        setup::status(compile.args(["-O2", "-shared", "-o"]).arg(&library).arg(&source).arg("-ladvapi32"))?;
    }
    Ok(command())
}

/// Whether a program is on the PATH.
fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
