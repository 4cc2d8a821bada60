//! The one program of a guest, with the libraries that it needs there: the one that every build of the tests makes anyway, so that
//! a boot costs no compilation of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{initramfs::Archive, kernels::Kernel, output};
use crate::{
    cross,
    setup::{status, target_dir},
};

const PROGRAM: &str = "portwatch-guest";

/// A plan, and how many scenarios it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) word: String,
    pub(super) scenarios: usize,
}

/// What is booted besides the kernel.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// The program, without its symbols.
    program: PathBuf,
    /// Its loader and its libraries: where they are here, and where it looks for them.
    libraries: Vec<(PathBuf, String)>,
    pub(super) plans: Vec<Plan>,
    /// What it is to log, where its console is shown.
    pub(super) log: Option<String>,
    /// It measures instead of running plans.
    pub(super) measures: bool,
    /// It is put to sleep and woken up by the host's clock: a busy host may wake it before it sleeps, and then nothing does.
    /// Given when it is built and never set: what is made of it later, for other machines too, is put to sleep like it.
    sleeps: bool,
}

/// Folders of the guest.
const FOLDERS: [&str; 6] = ["bin", "dev", "modules", "proc", "sys", "tmp"];

/// Where the word of a plan would be: the guest is to measure.
const MEASURE: &str = "cost";

/// Builds the program, with the very words and for the very folder of the tests' own build: one of them finds what the other made. It
/// has all plans.
pub(super) fn build(root: &Path, place: &Path, log: Option<&str>, sleeps: bool) -> Result<Guest> {
    status(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(root)
            .args(["build", "--locked", "--bins"]),
    )?;
    let built = target_dir(root).join("debug").join(PROGRAM);
    fs::create_dir_all(place).with_context(|| format!("making {}", place.display()))?;
    let program = place.join(PROGRAM);
    // Half of it is symbols, and all of it is unpacked into the guest's memory. strip belongs to the linker's package.
    status(Command::new("strip").arg("--strip-all").arg("-o").arg(&program).arg(&built))?;
    let listed = output(Command::new(&program).arg("list")).context("the guest's list of scenarios")?;
    let plans = listed_plans(&listed)?;
    let libraries = needed(&output(Command::new("ldd").arg(&program))?)?
        .into_iter()
        .map(|path| {
            Ok((
                path.clone(),
                path.into_os_string().into_string().ok().context("a library's path is no text")?,
            ))
        })
        .collect::<Result<_>>()?;
    Ok(Guest { program, libraries, plans, log: log.map(str::to_owned), measures: false, sleeps })
}

/// Paths in the output of ldd. A line is `NAME => PATH (ADDRESS)`, for the loader `PATH (ADDRESS)`, and for what the kernel
/// brings `NAME (ADDRESS)`; a program without any says so in words.
fn needed(listed: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in listed.lines().map(str::trim) {
        let found = line.split_once(" => ").map_or(line, |(_, found)| found);
        if found.starts_with("not found") {
            bail!("the guest's program needs a library that is not there: {line}");
        }
        if let Some((path, _)) = found.split_once(" (").filter(|(path, _)| path.starts_with('/')) {
            paths.push(PathBuf::from(path));
        }
    }
    Ok(paths)
}

impl Guest {
    /// All that it runs besides the kernel.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let libraries = self.libraries.iter().map(|(from, _)| from);
        [&self.program].into_iter().chain(libraries).map(PathBuf::as_path)
    }

    /// It is put to sleep.
    pub(super) const fn sleeps(&self) -> bool {
        self.sleeps
    }

    /// For tests: a program, and what it lists.
    #[cfg(test)]
    pub(super) fn of(program: PathBuf, listed: &str) -> Self {
        let plans = listed_plans(listed).unwrap();
        Self { program, libraries: Vec::new(), plans, log: None, measures: false, sleeps: false }
    }

    /// The same with these plans alone; with all where none is named.
    pub(super) fn with_plans(&self, words: &[&str]) -> Result<Self> {
        Ok(Self { plans: chosen(&self.plans, words)?, ..self.clone() })
    }

    /// The same, to measure.
    pub(super) fn measuring(&self) -> Self {
        Self { plans: Vec::new(), measures: true, ..self.clone() }
    }

    /// The same for aarch64, by a cross compiler. Its plans are those of this machine's program, which is made of the same sources.
    pub(super) fn for_arm(&self, root: &Path, place: &Path) -> Result<Self> {
        let built = cross::aarch64(root, "portwatch-tests", PROGRAM)?;
        let program = place.join(format!("{PROGRAM}-arm64"));
        status(
            Command::new("aarch64-linux-gnu-strip").arg("--strip-all").arg("-o").arg(&program).arg(&built),
        )?;
        let mut libraries: Vec<(PathBuf, String)> = Vec::new();
        let mut open = vec![program.clone()];
        while let Some(file) = open.pop() {
            for name in named(&output(Command::new("aarch64-linux-gnu-objdump").arg("-p").arg(&file))?) {
                // The one folder that the loader looks into wherever it comes from, and the loader's own.
                let at = format!("/lib/{name}");
                if libraries.iter().any(|(_, known)| *known == at) {
                    continue;
                }
                let asked = format!("-print-file-name={name}");
                let found = output(Command::new(cross::AARCH64_COMPILER).arg(asked))?;
                let found = PathBuf::from(found.trim());
                if !found.is_absolute() {
                    bail!("the guest's program needs a library that is not there: {name}");
                }
                open.push(found.clone());
                libraries.push((found, at));
            }
        }
        Ok(Self { program, libraries, ..self.clone() })
    }

    /// What the guest is told to do.
    pub(super) fn words(&self) -> Vec<&str> {
        let plans = self.plans.iter().map(|plan| plan.word.as_str());
        plans.chain(self.measures.then_some(MEASURE)).collect()
    }

    /// Packs the program for a kernel.
    pub(super) fn pack(&self, kernel: &Kernel, place: &Path) -> Result<PathBuf> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let mut archive = Archive::new();
        archive.folders(&FOLDERS)?;
        archive.program("bin/guest", &read(&self.program)?)?;
        archive.link("init", "bin/guest")?;
        for (from, at) in &self.libraries {
            archive.program(at, &read(from)?)?;
        }
        // In the order in which they are to be loaded.
        for (number, (name, content)) in kernel.modules()?.iter().enumerate() {
            archive.file(&format!("modules/{number}-{name}"), content)?;
        }
        let packed = place.join(format!("initramfs-{}.cpio", kernel.series));
        fs::write(&packed, archive.finish()?).with_context(|| format!("writing {}", packed.display()))?;
        Ok(packed)
    }
}

/// Libraries in the output of `objdump -p`: lines `NEEDED NAME`.
fn named(dumped: &str) -> Vec<&str> {
    dumped.lines().filter_map(|line| Some(line.trim().strip_prefix("NEEDED")?.trim())).collect()
}

/// The lines `WORD COUNT` of the guest's own list.
fn listed_plans(listed: &str) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for line in listed.lines() {
        let (word, count) = line.split_once(' ').with_context(|| format!("a plan reads '{line}'"))?;
        let scenarios = count.parse().with_context(|| format!("a plan reads '{line}'"))?;
        plans.push(Plan { word: word.to_owned(), scenarios });
    }
    Ok(plans)
}

/// Those that are wanted.
fn chosen(plans: &[Plan], wanted: &[&str]) -> Result<Vec<Plan>> {
    if let Some(unknown) = wanted.iter().find(|word| !plans.iter().any(|plan| plan.word == **word)) {
        bail!("no plan '{unknown}'");
    }
    let of_them = |plan: &&Plan| wanted.is_empty() || wanted.contains(&plan.word.as_str());
    let plans: Vec<Plan> = plans.iter().filter(of_them).cloned().collect();
    if plans.iter().all(|plan| plan.scenarios == 0) {
        bail!("the guest has no scenarios");
    }
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of this program on Debian 12.
    const LISTED: &str = "\tlinux-vdso.so.1 (0x00007f17392f0000)
\tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f17392be000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f173681e000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f17392f2000)
";

    #[test]
    fn a_program_brings_its_loader_and_its_libraries_and_not_what_the_kernel_brings() {
        let found = needed(LISTED).unwrap();
        let expected = [
            "/lib/x86_64-linux-gnu/libgcc_s.so.1",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        assert!(needed("\tstatically linked\n").unwrap().is_empty());
        assert!(needed("\tlibz.so.1 => not found\n").is_err());
    }

    #[test]
    fn a_program_of_another_machine_names_its_libraries() {
        let dumped = "Dynamic Section:\n  NEEDED               libgcc_s.so.1\n  NEEDED               libc.so.6\n  INIT  0x7\n";
        assert_eq!(named(dumped), ["libgcc_s.so.1", "libc.so.6"]);
    }

    #[test]
    fn plans_are_those_asked_for_with_the_guests_own_counts() {
        let all = listed_plans("stable 15\nnone 1\n").unwrap();
        let plans = chosen(&all, &["none"]).unwrap();
        assert_eq!(plans, [Plan { word: "none".to_owned(), scenarios: 1 }]);
        assert_eq!(chosen(&all, &[]).unwrap(), all);
        assert!(chosen(&all, &["none", "all"]).is_err());
        assert!(listed_plans("stable\n").is_err());
        assert!(chosen(&listed_plans("stable 0\n").unwrap(), &[]).is_err());
    }
}
