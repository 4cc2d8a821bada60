//! The one program of a guest: built statically, so that it needs nothing else there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{initramfs, kernels::Kernel, output};
use crate::setup::status;

const PACKAGE: &str = "portwatch-tests";
const PROGRAM: &str = "portwatch-guest";
/// Named although it is the host's: otherwise build scripts and macros would be built statically too.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A plan, and how many scenarios it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) word: String,
    pub(super) scenarios: usize,
}

/// What is booted besides the kernel.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// The static program.
    pub(super) program: PathBuf,
    pub(super) plans: Vec<Plan>,
    /// What it is to log, where its console is shown.
    pub(super) log: Option<String>,
    /// It measures instead of running plans.
    pub(super) measures: bool,
}

/// Where the word of a plan would be: the guest is to measure.
const MEASURE: &str = "cost";

/// Builds the program. It has all plans.
pub(super) fn build(root: &Path, place: &Path, log: Option<&str>) -> Result<Guest> {
    let build = place.join("build");
    status(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(root)
            .args(["build", "--quiet", "--locked", "--profile", "guest", "--target", TARGET])
            .args(["--package", PACKAGE, "--bin", PROGRAM])
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env("CARGO_TARGET_DIR", &build),
    )?;
    let program = build.join(TARGET).join("guest").join(PROGRAM);
    let listed = output(Command::new(&program).arg("list")).context("the guest's list of scenarios")?;
    let plans = listed_plans(&listed)?;
    Ok(Guest { program, plans, log: log.map(str::to_owned), measures: false })
}

impl Guest {
    /// The same with these plans alone; with all where none is named.
    pub(super) fn with_plans(&self, words: &[&str]) -> Result<Self> {
        Ok(Self { plans: chosen(&self.plans, words)?, ..self.clone() })
    }

    /// The same, to measure.
    pub(super) fn measuring(&self) -> Self {
        Self { plans: Vec::new(), measures: true, ..self.clone() }
    }

    /// What the guest is told to do.
    pub(super) fn words(&self) -> Vec<&str> {
        let plans = self.plans.iter().map(|plan| plan.word.as_str());
        plans.chain(self.measures.then_some(MEASURE)).collect()
    }

    /// Packs the program for a kernel.
    pub(super) fn pack(&self, kernel: &Kernel, place: &Path) -> Result<PathBuf> {
        let bytes = fs::read(&self.program).with_context(|| format!("reading {}", self.program.display()))?;
        let packed = place.join(format!("initramfs-{}.cpio", kernel.series));
        fs::write(&packed, initramfs::archive(&bytes, &kernel.modules()?)?)
            .with_context(|| format!("writing {}", packed.display()))?;
        Ok(packed)
    }
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
