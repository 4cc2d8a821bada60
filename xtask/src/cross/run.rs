//! Running what was built for another platform.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{Outcome, Runner, folder, found, tally::Tally};
use crate::{say, setup};

/// Runs the program where something can.
pub(super) fn smoke(program: &Path, runner: Runner, root: &Path) -> Result<Outcome> {
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

/// Unit tests that say nothing under Wine 8, and why.
pub(super) const NOT_UNDER_WINE: [(&str, &str); 2] = [
    (
        "platform::local::tests::a_place_where_nobody_listens_and_one_that_is_taken_are_told_apart",
        "Wine lets a second server have a pipe's name",
    ),
    (
        "state::tests::account::six_hundred_thousand_observations_pass_in_little_time_and_leave_nothing",
        "its bound of time is none of Wine's",
    ),
];

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
pub(super) fn wine(folder: &Path) -> Result<Command> {
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

/// The end-to-end test of the Windows program, with a listener that is a Windows program, too.
pub(super) fn test(program: &Path, root: &Path) -> Result<()> {
    let wine = wine(&folder(root))?;
    let mut test = Command::new("cargo");
    test.current_dir(root)
        .args([
            "test",
            "--quiet",
            "--locked",
            "--package",
            "portwatch-tests",
            "--test",
            "wine",
            "--",
            "--nocapture",
            // Each is ignored where no Windows program was built, so that none is counted that did not run.
            "--include-ignored",
        ])
        .env("PORTWATCH_EXE", program);
    counted(given_to(&wine, &mut test))?.of_all()
}

/// Runs tests, shows what they say, and counts them: an exit code says nothing of how many there were.
pub(super) fn counted(command: &mut Command) -> Result<Tally> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut tally = Tally::default();
    let output = child.stdout.take().context("its output is not ours")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        say(&line);
        tally.take(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(tally)
}

/// A command with the environment that Wine needs, for what starts Wine in its turn.
pub(super) fn given_to<'a>(wine: &Command, command: &'a mut Command) -> &'a mut Command {
    for (name, value) in wine.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}
