//! The emulator: finding it, and installing it on a Debian machine.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{apt::Apt, machine::Machine, output};
use crate::{cross, say, setup::status};

/// Where the emulator is.
pub(super) fn find(machine: Machine) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut programs = std::env::split_paths(&path).map(|folder| folder.join(machine.emulator()));
    programs.find(|program| program.is_file())
}

/// `apt-get install`, or what it would do.
fn apt_get(what: &[String], dry: bool) -> Command {
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
}

/// Installs what compiles the guest's program for such a machine.
pub(super) fn install_compiler(machine: Machine) -> Result<()> {
    let packages: Vec<String> = machine.compiler().iter().map(|package| (*package).to_owned()).collect();
    if packages.is_empty() || cross::found(cross::AARCH64_COMPILER) {
        return Ok(());
    }
    status(&mut apt_get(&packages, false))
}

/// Installs the emulator. A machine with qemu-utils from the backports would lose them to the release's own
/// version, which they break; then the whole set comes from the backports.
pub(super) fn install(place: &Path, machine: Machine) -> Result<()> {
    if find(machine).is_some() {
        return Ok(());
    }
    let package = machine.packages().first().context("an emulator without a package")?;
    let plain = [(*package).to_owned()];
    let removes = |simulation: &str| simulation.lines().any(|line| line.starts_with("Remv "));
    let simulated = output(&mut apt_get(&plain, true));
    if simulated.as_ref().is_ok_and(|simulation| !removes(simulation)) {
        return status(&mut apt_get(&plain, false));
    }
    let release = output(Command::new("sh").args(["-c", ". /etc/os-release && echo $VERSION_CODENAME"]))?;
    let backports = format!("{}-backports", release.trim());
    say(&format!(
        "taking {package} from {backports}: {}",
        match simulated {
            Ok(_) => "the release's own would remove other packages".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    ));
    let apt = Apt::new(&place.join("apt-qemu"), &[&backports], Machine::X86.debian())?;
    let mut files = Vec::new();
    for package in machine.packages() {
        let file = apt.download(package, &place.join("qemu").join(package))?;
        files.push(file.to_str().context("a path that is no text")?.to_owned());
    }
    let simulation = output(&mut apt_get(&files, true))?;
    if removes(&simulation) {
        bail!("installing {package} from {backports} would remove other packages");
    }
    status(&mut apt_get(&files, false))
}
