//! Running what was built for another platform.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::{Outcome, Runner, folder, found};
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

/// The end-to-end test of the Windows program, with a listener that is a Windows program, too.
pub(super) fn test(program: &Path, root: &Path) -> Result<()> {
    // Makes the prefix, where there is none yet.
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
        ])
        .env("PORTWATCH_EXE", program)
        .env("PORTWATCH_REQUIRE", "wine")
        .envs(wine.get_envs().filter_map(|(name, value)| Some((name, value?))));
    setup::status(&mut test)
}
