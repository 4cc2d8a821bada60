//! What a rebuild of the kernel programs needs besides the project's own toolchain: the linker, and the
//! source of `core` in exactly the compiler's version. Neither the toolchain nor the machine's package
//! sources are changed; everything goes below `target/tools`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::say;

/// The last linker that works with the LLVM inside rustc (22) and needs none of the system's.
pub(crate) const LINKER_VERSION: &str = "0.10.4";

/// Names another linker, for people who have one already.
const LINKER_VARIABLE: &str = "PORTWATCH_BPF_LINKER";

/// What a rebuild uses.
pub(crate) struct Tools {
    pub(crate) linker: PathBuf,
    /// The `library` folder of the compiler's source.
    pub(crate) library: PathBuf,
    /// It is not where the compiler would look for it.
    pub(crate) library_elsewhere: bool,
    pub(crate) sysroot: PathBuf,
    /// First line of `rustc --version`.
    pub(crate) rustc: String,
    pub(crate) llvm: String,
}

/// Finds or installs everything.
pub(crate) fn run(root: &Path) -> Result<Tools> {
    let target = target_dir(root);
    let verbose = output(Command::new("rustc").arg("-vV").current_dir(root))?;
    let line = |key: &str| {
        verbose
            .lines()
            .find_map(|l| l.strip_prefix(key))
            .map(|l| l.trim().to_owned())
            .with_context(|| format!("rustc -vV names no {key}"))
    };
    let release = release(&verbose)?;
    let sysroot = sysroot(root)?;
    let linker = linker(&target)?;
    let (library, library_elsewhere) = library(root, &target, &sysroot, &release)?;
    Ok(Tools {
        linker,
        library,
        library_elsewhere,
        sysroot,
        rustc: verbose.lines().next().unwrap_or_default().to_owned(),
        llvm: line("LLVM version:")?,
    })
}

/// What a build for another target uses: the source of the standard library in the compiler's version, or nothing
/// where the compiler has it in its own place.
pub(crate) fn library_elsewhere(root: &Path) -> Result<Option<PathBuf>> {
    let release = release(&output(Command::new("rustc").arg("-vV").current_dir(root))?)?;
    let (library, elsewhere) = library(root, &target_dir(root), &sysroot(root)?, &release)?;
    Ok(elsewhere.then_some(library))
}

fn release(verbose: &str) -> Result<String> {
    let line = verbose.lines().find_map(|l| l.strip_prefix("release:"));
    line.map(|l| l.trim().to_owned()).context("rustc -vV names no release")
}

fn sysroot(root: &Path) -> Result<PathBuf> {
    let printed = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(root))?;
    Ok(PathBuf::from(printed.trim()))
}

/// The `library` folder of the compiler's source, and whether it is not where the compiler would look for it.
fn library(root: &Path, target: &Path, sysroot: &Path, release: &str) -> Result<(PathBuf, bool)> {
    let own = sysroot.join("lib/rustlib/src/rust/library");
    if own.join("core/Cargo.toml").exists() {
        return Ok((own, false));
    }
    match debian_source(target, release) {
        Ok(library) => Ok((library, true)),
        Err(cause) => {
            say(&format!("rust-src {release} from Debian: {cause:#}; trying rustup"));
            status(Command::new("rustup").args(["component", "add", "rust-src"]).current_dir(root))
                .context("rust-src: neither Debian's package nor rustup could give it")?;
            Ok((own, false))
        }
    }
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

fn linker(target: &Path) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(LINKER_VARIABLE) {
        let named = PathBuf::from(named);
        let version = linker_version(&named)?;
        if version != LINKER_VERSION {
            bail!("{LINKER_VARIABLE} names version {version}; the object is built with {LINKER_VERSION}");
        }
        return Ok(named);
    }
    let root = target.join("tools");
    let linker = root.join("bin/bpf-linker");
    if linker.exists() && linker_version(&linker)? == LINKER_VERSION {
        return Ok(linker);
    }
    say(&format!("installing bpf-linker {LINKER_VERSION} into {}", root.display()));
    install(Command::new("cargo").args(["install", "--force"]), &root, "bpf-linker", LINKER_VERSION)?;
    Ok(linker)
}

/// Installs a program of the registry below `tools`, by a command that begins with `cargo install`. It is built there too, not in the
/// system's temporary folder, which may be small, or memory; what the build leaves is hundreds of megabytes that nothing uses again.
pub(crate) fn install(command: &mut Command, tools: &Path, package: &str, version: &str) -> Result<()> {
    let build = tools.join("build");
    command.args(["--locked", "--quiet", "--version", version, "--root"]).arg(tools).arg(package);
    status(command.env("CARGO_TARGET_DIR", &build))?;
    remove(&build)
}

/// Removes a folder where there is one.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn linker_version(linker: &Path) -> Result<String> {
    let text = output(Command::new(linker).arg("--version"))?;
    text.split_whitespace().last().map(str::to_owned).context("bpf-linker --version says nothing")
}

/// Debian's rust-src of this version, unpacked below the target folder. It comes by a package state of its
/// own from the mirror that the machine uses already, verified by Debian's key.
fn debian_source(target: &Path, release: &str) -> Result<PathBuf> {
    let state = target.join("tools/rust-src");
    let library = state.join(format!("usr/src/rustc-{release}/library"));
    if library.join("core/Cargo.toml").exists() {
        return Ok(library);
    }
    let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
    if !keyring.exists() {
        bail!("{} is not there", keyring.display());
    }
    let mirror = mirror()?;
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(state.join(folder))?;
    }
    let list = state.join("sources.list");
    fs::write(&list, format!("deb [signed-by={}] {mirror} trixie-backports main\n", keyring.display()))?;
    let apt = |program: &str| {
        let mut command = Command::new(program);
        for (key, value) in [
            ("Dir::Etc::sourcelist", list.as_path()),
            ("Dir::Etc::sourceparts", Path::new("/dev/null")),
            ("Dir::State::lists", &state.join("lists")),
            ("Dir::Cache", &state.join("cache")),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        // Downloads go into the project's folder, which apt's own user may not enter.
        command.args(["-o", "APT::Sandbox::User=root"]).current_dir(&state);
        command
    };
    status(apt("apt-get").args(["update", "-qq"]))?;
    let versions = output(apt("apt-cache").args(["madison", "rust-src"]))?;
    let version = versions
        .lines()
        .filter_map(|line| line.split('|').nth(1).map(str::trim))
        .find(|version| version.starts_with(&format!("{release}+")))
        .with_context(|| format!("trixie-backports has no rust-src {release} (any more)"))?;
    say(&format!("fetching rust-src {version}"));
    status(apt("apt-get").args(["download", "-qq"]).arg(format!("rust-src={version}")))?;
    let package = fs::read_dir(&state)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .context("apt-get download left no package")?;
    unpack(&package, &state, &format!("./usr/src/rustc-{release}/library"))?;
    fs::remove_file(&package)?;
    Ok(library)
}

/// Unpacks one folder of a package. Of rust-src it is a sixth: the rest is the compiler's source and its tests.
fn unpack(package: &Path, place: &Path, folder: &str) -> Result<()> {
    let mut files = Command::new("dpkg-deb");
    let mut files = files.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let archive = files.stdout.take().context("its output is not ours")?;
    let unpacked = status(Command::new("tar").args(["-xf", "-", "-C"]).arg(place).arg(folder).stdin(archive));
    let given = files.wait()?;
    // Where tar failed, dpkg-deb could not go on writing: the first failure is tar's.
    unpacked?;
    if !given.success() {
        bail!("dpkg-deb --fsys-tarfile {} failed: {given}", package.display());
    }
    Ok(())
}

/// The Debian mirror of this machine, from its own package sources.
fn mirror() -> Result<String> {
    let format = "$(ORIGIN) $(RELEASE) $(REPO_URI)";
    let targets =
        output(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    targets
        .lines()
        .find_map(|line| {
            let mut words = line.split_whitespace();
            let (origin, release, uri) = (words.next()?, words.next()?, words.next()?);
            (origin == "Debian" && !release.ends_with("-security")).then(|| uri.to_owned())
        })
        .context("the package sources name no Debian mirror")
}

/// Runs a command; its failure is an error with its name.
pub(crate) fn status(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
