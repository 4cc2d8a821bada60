//! The emulator: finding it, and installing it on a Debian machine.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{apt::Apt, output};
use crate::{say, setup::status};

const PROGRAM: &str = "qemu-system-x86_64";

/// What it comes in.
const PACKAGE: &str = "qemu-system-x86";

/// What that needs in the same version, and its firmware.
const SET: [&str; 4] = [PACKAGE, "qemu-system-common", "qemu-system-data", "seabios"];

/// Where the emulator is.
pub(super) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(PROGRAM)).find(|program| program.is_file())
}

/// Installs the emulator. A machine with qemu-utils from the backports would lose them to the release's own
/// version, which they break; then the whole set comes from the backports.
pub(super) fn install(place: &Path) -> Result<()> {
    if find().is_some() {
        return Ok(());
    }
    let install = |what: &[String], dry: bool| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        // Another installation's lock is waited for.
        command
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(what);
        if dry {
            command.arg("--simulate");
        }
        command
    };
    let plain = [PACKAGE.to_owned()];
    let removes = |simulation: &str| simulation.lines().any(|line| line.starts_with("Remv "));
    let simulated = output(&mut install(&plain, true));
    if simulated.as_ref().is_ok_and(|simulation| !removes(simulation)) {
        return status(&mut install(&plain, false));
    }
    let release = output(Command::new("sh").args(["-c", ". /etc/os-release && echo $VERSION_CODENAME"]))?;
    let backports = format!("{}-backports", release.trim());
    say(&format!(
        "taking {PACKAGE} from {backports}: {}",
        match simulated {
            Ok(_) => "the release's own would remove other packages".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    ));
    let apt = Apt::new(&place.join("apt-qemu"), &[&backports])?;
    let mut files = Vec::new();
    for package in SET {
        let file = apt.download(package, &place.join("qemu").join(package))?;
        files.push(file.to_str().context("a path that is no text")?.to_owned());
    }
    let simulation = output(&mut install(&files, true))?;
    if removes(&simulation) {
        bail!("installing {PACKAGE} from {backports} would remove other packages");
    }
    status(&mut install(&files, false))
}
