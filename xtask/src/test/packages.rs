//! Programs that tests start or compare with, and the Debian packages they come from.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::steps::{run, works};

/// A program, its package, and what needs it.
const NEEDED: &[(&str, &str, &str)] = &[
    ("ss", "iproute2", "what the live table is compared with"),
    ("ip", "iproute2", "network namespaces"),
    ("lsof", "lsof", "comparisons, and a source"),
    ("netstat", "net-tools", "a source"),
    ("fuser", "psmisc", "comparisons"),
    ("bpftool", "bpftool", "what is left in the kernel"),
    ("tmux", "tmux", "a terminal to look at"),
    ("dockerd", "docker.io", "containers with published ports"),
    ("podman", "podman", "containers of another engine"),
    (CNI, "containernetworking-plugins", "what connects its containers"),
    ("runc", "runc", "what runs its containers"),
    ("busybox", "busybox-static", "what runs in them"),
    ("systemd-socket-activate", "systemd", "socket activation"),
    ("unshare", "util-linux", "processes in other namespaces"),
    ("python3", "python3", "programs that bind ports"),
    (PROMETHEUS, "python3-prometheus-client", "what reads metrics"),
    ("nginx", "nginx-light", "a server to ask about"),
    ("gunicorn", "gunicorn", "a server to ask about"),
    ("uvicorn", "uvicorn", "a server to ask about"),
    ("redis-server", "redis-server", "a server to ask about"),
    ("psql", "postgresql", "a server to ask about"),
    ("socat", "socat", "a server to ask about"),
    ("node", "nodejs", "a cluster to ask about"),
    ("sshd", "openssh-server", "a forwarded port"),
    ("ssh", "openssh-client", "a forwarded port"),
    ("git", "git", "worktrees"),
    ("cc", "gcc", "SQLite"),
    ("g++", "g++", "libFuzzer"),
    ("x86_64-w64-mingw32-dlltool", "binutils-mingw-w64-x86-64", "Rust's library for Windows, to lint for it"),
    ("xz", "xz-utils", "modules of the kernels that are booted"),
];

/// The same for the step `wine` alone: they are large.
const FOR_WINE: &[(&str, &str, &str)] = &[
    ("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-win32", "the Windows program"),
    ("/usr/lib/wine/wine64", "wine64", "what runs it"),
];

/// Programs for node from the npm registry, and everything they need, in the versions and with the checksums of a lock file:
/// supervisors, to be recognised as they really are. Only run by tests, no part of portwatch.
const NODE: [(&str, &str); 2] = [
    ("package.json", include_str!("node/package.json")),
    ("package-lock.json", include_str!("node/package-lock.json")),
];

/// The network stack that Debian's podman takes where it is alone; not on the PATH.
const CNI: &str = "/usr/lib/cni/bridge";

/// A module and no program: found by its file.
const PROMETHEUS: &str = "/usr/lib/python3/dist-packages/prometheus_client/parser.py";

/// Where Debian keeps programs for root; not on everybody's PATH.
const FOR_ROOT: [&str; 2] = ["/usr/sbin", "/sbin"];

/// PATH with the folders of root's programs.
pub(super) fn path() -> OsString {
    let mut folders: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    for folder in FOR_ROOT.map(PathBuf::from) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    env::join_paths(folders).unwrap_or_default()
}

/// Installs what is missing, where that can be done: as root, with apt-get. Elsewhere says what is missing, or
/// fails if nothing may be.
pub(super) fn install(allowed: bool, all_required: bool, wine: bool) -> Result<()> {
    let needed = NEEDED.iter().chain(FOR_WINE.iter().filter(|_| wine));
    let missing: Vec<_> = needed.filter(|(program, ..)| !found(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    if allowed && nix::unistd::geteuid().is_root() && works(Command::new("apt-get").arg("--version")) {
        crate::say(&format!("installing from Debian: {}", packages.join(" ")));
        run(apt().args(["update", "-qq"]))?;
        run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages))?;
        return Ok(());
    }
    for (program, package, what) in &missing {
        crate::say(&format!("missing: {program} ({what}); Debian has it in {package}"));
    }
    if all_required {
        bail!("install what is missing, e.g. by: apt-get install {}", packages.join(" "));
    }
    Ok(())
}

/// Installs [`NODE`] below the target folder, without running any script of theirs. Where npm is missing, Debian's is installed
/// first: a node from elsewhere comes with its own.
pub(super) fn install_for_node(target: &Path, allowed: bool, all_required: bool) -> Result<()> {
    let folder = target.join("tools/node");
    let done = folder.join("installed");
    let [_, (_, lock)] = NODE;
    if fs::read_to_string(&done).is_ok_and(|there| there == lock) {
        return Ok(());
    }
    let outcome = if allowed {
        from_npm(&folder).and_then(|()| Ok(fs::write(&done, lock)?))
    } else {
        Err(anyhow::anyhow!("not installed"))
    };
    match outcome {
        Err(error) if all_required => Err(error.context("nodemon and pm2, from the npm registry")),
        Err(error) => {
            crate::say(&format!("missing: nodemon and pm2, from the npm registry: {error:#}"));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn from_npm(folder: &Path) -> Result<()> {
    if !found("npm") {
        if !(nix::unistd::geteuid().is_root() && works(Command::new("apt-get").arg("--version"))) {
            bail!("npm is not installed; Debian has it in npm");
        }
        crate::say("installing from Debian: npm");
        run(apt().args(["update", "-qq"]))?;
        run(apt().args(["install", "-y", "-qq", "--no-install-recommends", "npm"]))?;
    }
    crate::say(&format!("installing nodemon and pm2 with npm into {}", folder.display()));
    fs::create_dir_all(folder)?;
    for (name, text) in NODE {
        fs::write(folder.join(name), text)?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--loglevel", "error", "--no-audit", "--no-fund", "--ignore-scripts"]);
    // A registry that is away is told of within a minute.
    npm.args([
        "--fetch-retries",
        "4",
        "--fetch-retry-mintimeout",
        "2000",
        "--fetch-retry-maxtimeout",
        "20000",
    ]);
    npm.stdout(std::process::Stdio::null());
    run(npm.current_dir(folder).env("PATH", path()))
}

/// A new machine may be installing its own updates at that moment: its lock is waited for.
fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["-o", "DPkg::Lock::Timeout=300"]);
    apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null());
    apt
}

/// On the PATH, or where its path says.
fn found(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).is_file();
    }
    env::split_paths(&path()).any(|folder| is_program(&folder.join(program)))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_root_keeps_them() {
        assert!(found("sh"));
        assert!(!found("no-such-program-here"));
        let folders: Vec<_> = env::split_paths(&path()).collect();
        assert!(FOR_ROOT.iter().all(|folder| folders.contains(&PathBuf::from(folder))));
    }

    #[test]
    fn every_program_is_named_once() {
        let mut programs: Vec<_> = NEEDED.iter().map(|(program, ..)| program).collect();
        programs.sort_unstable();
        programs.dedup();
        assert_eq!(programs.len(), NEEDED.len());
    }
}
