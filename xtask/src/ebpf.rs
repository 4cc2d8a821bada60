//! The object of kernel programs: building it, the same bytes everywhere, and the lock that says from what.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    say,
    setup::{self, Tools, status},
};

/// The committed object.
const OBJECT: &str = "portwatch/prebuilt/portwatch.bpf.o";
/// What it was built from and with.
const LOCK: &str = "portwatch/prebuilt/portwatch.bpf.lock";
/// What the kernel side compiles.
const SOURCES: [&str; 4] = [
    "portwatch-ebpf/Cargo.toml",
    "portwatch-ebpf/src",
    "portwatch-common/Cargo.toml",
    "portwatch-common/src",
];
/// Left out of the kernel's build by `cfg(not(target_arch = "bpf"))`.
const USER_SIDE: [&str; 2] = ["portwatch-common/src/decode", "portwatch-common/src/encode"];

/// The lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lock {
    /// Hash of the kernel-side sources.
    sources: String,
    /// Hash of the object.
    object: String,
    rustc: String,
    llvm: String,
    bpf_linker: String,
    /// Versions of the crates in the object.
    crates: BTreeMap<String, String>,
}

/// Builds the object. With `verify` it is compared with the committed one, byte for byte, and nothing changes.
pub(crate) fn run(root: &Path, verify: bool) -> Result<()> {
    let tools = setup::run(root)?;
    let folder = setup::target_dir(root).join(if verify { "ebpf-verify" } else { "ebpf" });
    if verify && folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    status(&mut cargo(root, &tools, &folder, "clippy"))?;
    status(&mut cargo(root, &tools, &folder, "build"))?;
    let built = folder.join("bpfel-unknown-none/release/portwatch-ebpf");
    let linked = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let object = without_debug_sections(&linked)?;
    let lock = Lock {
        sources: sources_hash(root)?,
        object: hash(&object),
        rustc: tools.rustc,
        llvm: tools.llvm,
        bpf_linker: setup::LINKER_VERSION.to_owned(),
        crates: crates(root)?,
    };
    if verify {
        let committed = fs::read(root.join(OBJECT)).with_context(|| format!("cannot read {OBJECT}"))?;
        if committed != object {
            bail!(
                "{OBJECT} is not what its sources give ({} bytes rebuilt); run: cargo xtask build-ebpf",
                object.len()
            );
        }
        check(root)?;
        say(&format!("{OBJECT}: rebuilt, the same {} bytes", object.len()));
        return Ok(());
    }
    fs::write(root.join(OBJECT), &object).with_context(|| format!("cannot write {OBJECT}"))?;
    let text = format!(
        "# Written by `cargo xtask build-ebpf`; a test compares it with the sources.\n{}",
        toml::to_string(&lock)?
    );
    fs::write(root.join(LOCK), text).with_context(|| format!("cannot write {LOCK}"))?;
    say(&format!("{OBJECT}: {} bytes", object.len()));
    Ok(())
}

/// Fails when sources, lock and object disagree. Needs no tools.
pub(crate) fn check(root: &Path) -> Result<()> {
    let text = fs::read_to_string(root.join(LOCK)).with_context(|| format!("cannot read {LOCK}"))?;
    let lock: Lock = toml::from_str(&text).with_context(|| format!("{LOCK} is not a lock"))?;
    let object = fs::read(root.join(OBJECT)).with_context(|| format!("cannot read {OBJECT}"))?;
    if lock.object != hash(&object) {
        bail!("{OBJECT} is not the object that {LOCK} describes; run: cargo xtask build-ebpf");
    }
    if lock.sources != sources_hash(root)? || lock.crates != crates(root)? {
        bail!("the kernel-side sources have changed since {OBJECT} was built; run: cargo xtask build-ebpf");
    }
    Ok(())
}

/// cargo for the kernel side, with everything set that would make its bytes depend on this machine.
fn cargo(root: &Path, tools: &Tools, folder: &Path, verb: &str) -> Command {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let mut flags = vec!["-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    // The last one that fits wins, and each of these may lie below one before it.
    let places =
        [(root, "/portwatch"), (&home, "/cargo"), (&tools.sysroot, "/rust"), (&tools.library, "/rust-src")];
    for (from, to) in places {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    let mut command = Command::new("cargo");
    command
        .args([verb, "--locked", "--quiet", "--release", "--package", "portwatch-ebpf"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(folder)
        .current_dir(root)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env_remove("RUSTFLAGS");
    // By the search path and not by a flag: cargo mixes flags into the names of symbols, and a path of this
    // machine must not be in them. Remapped prefixes it leaves out.
    let mut path = vec![tools.linker.parent().map(Path::to_owned).unwrap_or_default()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    if let Ok(path) = std::env::join_paths(path) {
        command.env("PATH", path);
    }
    if tools.library_elsewhere {
        // cargo's own override of the place of the standard library's source.
        command.env("__CARGO_TESTS_ONLY_SRC_ROOT", &tools.library);
    }
    if verb == "clippy" {
        command.args(["--", "-D", "warnings"]);
    }
    command
}

/// Drops DWARF, which only a debugger wants, and keeps BTF, which the kernel wants.
fn without_debug_sections(linked: &[u8]) -> Result<Vec<u8>> {
    let mut elf = object::build::elf::Builder::read(linked).context("the linker's output is no ELF file")?;
    for section in &mut elf.sections {
        if section.name.starts_with(b".debug_") || section.name.starts_with(b".rel.debug_") {
            section.delete = true;
        }
    }
    elf.delete_orphans();
    for symbol in &mut elf.symbols {
        symbol.name = without_disambiguator(&symbol.name).into();
    }
    // LLVM keeps the names of sections among those of symbols; the writer wants them in a table of their own.
    let names = elf.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = object::build::elf::SectionData::SectionString;
    let mut out = Vec::new();
    elf.write(&mut out).context("cannot write the object without DWARF")?;
    Ok(out)
}

/// Takes the crate's disambiguator out of a mangled name (`Cs` base62 `_`): cargo derives it from flags that
/// name folders of this machine. Names only serve readers here; relocations go by index.
fn without_disambiguator(name: &[u8]) -> Vec<u8> {
    let mut out = name.to_vec();
    if name.starts_with(b"_R")
        && let Some(from) = name.windows(2).position(|pair| pair == b"Cs")
        && let Some(length) = name.iter().skip(from).position(|&byte| byte == b'_')
    {
        out.drain(from + 1..=from + length);
    }
    out
}

/// Versions of the crates whose code is in the object.
fn crates(root: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct CargoLock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        #[serde(default)]
        dependencies: Vec<String>,
    }
    let text = fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let lock: CargoLock = toml::from_str(&text).context("Cargo.lock is not one")?;
    let (mut found, mut open, mut done) =
        (BTreeMap::new(), vec!["portwatch-ebpf".to_owned()], BTreeSet::new());
    while let Some(wanted) = open.pop() {
        if !done.insert(wanted.clone()) {
            continue;
        }
        // A dependency is "name", or "name version" where there are several.
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        for package in
            lock.package.iter().filter(|p| p.name == name && version.is_none_or(|v| v == p.version))
        {
            // The macros' own dependencies (syn and its like) leave no code behind.
            if name.starts_with("aya") {
                found.insert(package.name.clone(), package.version.clone());
            }
            open.extend(package.dependencies.iter().cloned());
        }
    }
    Ok(found)
}

fn sources_hash(root: &Path) -> Result<String> {
    let mut files = BTreeSet::new();
    for source in SOURCES {
        collect(root, &root.join(source), &mut files)?;
    }
    let mut all = Sha256::new();
    for file in files {
        let text = fs::read(root.join(&file)).with_context(|| format!("cannot read {file}"))?;
        all.update(format!("{file} {} {}\n", text.len(), hash(&text)));
    }
    Ok(hex(&all.finalize()))
}

fn collect(root: &Path, path: &Path, files: &mut BTreeSet<String>) -> Result<()> {
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    if USER_SIDE.iter().any(|side| name.starts_with(side)) {
        return Ok(());
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("cannot read {name}"))? {
            collect(root, &entry?.path(), files)?;
        }
    } else if path.extension().is_some_and(|e| e == "rs" || e == "toml") {
        files.insert(name);
    }
    Ok(())
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }

    #[test]
    fn the_committed_object_is_built_from_these_sources() {
        check(&root()).unwrap();
    }

    /// A copy of what the check reads.
    fn copy() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut files = BTreeSet::new();
        for source in SOURCES {
            collect(&root(), &root().join(source), &mut files).unwrap();
        }
        files.extend([OBJECT.to_owned(), LOCK.to_owned(), "Cargo.lock".to_owned()]);
        for file in files {
            let to = folder.path().join(&file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(root().join(&file), to).unwrap();
        }
        folder
    }

    fn append(folder: &tempfile::TempDir, file: &str, text: &str) {
        let path = folder.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(text.as_bytes());
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_symbol_is_named_alike_wherever_it_was_compiled() {
        let name = b"_RNvNtCskmxNxhFFVW8_14portwatch_ebpf4task8announce";
        assert_eq!(without_disambiguator(name), b"_RNvNtC14portwatch_ebpf4task8announce");
        assert_eq!(without_disambiguator(b"post_bind4"), b"post_bind4");
        assert_eq!(without_disambiguator(b"_RCs"), b"_RCs");
    }

    #[test]
    fn a_changed_source_makes_the_object_stale() {
        let folder = copy();
        check(folder.path()).unwrap();
        append(&folder, "portwatch-ebpf/src/main.rs", "// changed\n");
        assert!(check(folder.path()).unwrap_err().to_string().contains("sources have changed"));
    }

    #[test]
    fn a_changed_object_is_not_the_locked_one() {
        let folder = copy();
        append(&folder, OBJECT, "x");
        assert!(check(folder.path()).unwrap_err().to_string().contains("is not the object"));
    }

    #[test]
    fn a_change_of_the_decoder_leaves_the_object_fresh() {
        let folder = copy();
        let decoder = folder.path().join("portwatch-common/src/decode");
        fs::create_dir_all(&decoder).unwrap();
        fs::write(decoder.join("more.rs"), "// user side\n").unwrap();
        check(folder.path()).unwrap();
    }
}
