//! Results of boots that ended well, so that a run that was broken off need not begin anew.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::{boot::Boot, guest::Guest, kernels::Kernel};

/// Below the matrix's folder.
const FOLDER: &str = "results";

/// Where the result of exactly this boot lies: its name is made of all that the guest runs.
pub(super) fn path(place: &Path, kernel: &Kernel, guest: &Guest) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    for file in guest.files() {
        hash.update(fs::read(file).with_context(|| format!("reading {}", file.display()))?);
    }
    hash.update(fs::read(kernel.image()).with_context(|| format!("reading {}", kernel.image().display()))?);
    // What was expected of it.
    hash.update(format!("{} {:?} {}", kernel.package, guest.plans, guest.sleeps()));
    let mut name = format!("{}-", kernel.series);
    for byte in hash.finalize().iter().take(12) {
        super::put(&mut name, format_args!("{byte:02x}"));
    }
    Ok(place.join(FOLDER).join(name + ".json"))
}

/// What came of it before, where it was good; what cannot be read was not.
pub(super) fn find(path: &Path) -> Option<Boot> {
    let boot: Boot = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    boot.good().then_some(boot)
}

/// Keeps a good result. Others are found out anew.
pub(super) fn keep(path: &Path, boot: &Boot) -> Result<()> {
    if !boot.good() {
        return Ok(());
    }
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        // Whoever is broken off while writing leaves nothing that looks like a result.
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_string_pretty(boot)?)?;
        fs::rename(new, path)
    };
    write().with_context(|| format!("keeping {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{super::boot::PlanResult, *};

    fn boot(held: usize) -> Boot {
        let plan = PlanResult { plan: "none".to_owned(), expected: 1, held, ..PlanResult::default() };
        Boot {
            series: "7".to_owned(),
            package: "linux".to_owned(),
            release: Some("7.3".to_owned()),
            plans: vec![plan],
            seconds: 9,
            trouble: None,
            repeated: None,
            costs: Vec::new(),
        }
    }

    #[test]
    fn a_good_result_is_found_again_and_no_other() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("results/7-0.json");
        assert_eq!(find(&file), None);
        keep(&file, &boot(0)).unwrap();
        assert_eq!(find(&file), None, "a bad one is not kept");
        keep(&file, &boot(1)).unwrap();
        assert_eq!(find(&file), Some(boot(1)));
        fs::write(&file, serde_json::to_string(&boot(0)).unwrap()).unwrap();
        assert_eq!(find(&file), None, "and not believed where it lies there all the same");
        fs::write(&file, "{").unwrap();
        assert_eq!(find(&file), None);
    }

    #[test]
    fn another_program_another_kernel_and_other_plans_are_another_result() {
        let place = tempfile::tempdir().unwrap();
        let (program, folder) = (place.path().join("guest"), place.path().to_owned());
        fs::write(&program, "a").unwrap();
        fs::write(folder.join("vmlinuz"), "k").unwrap();
        let kernel = Kernel { series: "7".to_owned(), package: "linux".to_owned(), folder };
        let guest = Guest::of(program.clone(), "stable 2\nnone 1\n");
        let first = path(place.path(), &kernel, &guest).unwrap();
        assert_eq!(first, path(place.path(), &kernel, &guest).unwrap());
        let some = guest.with_plans(&["none"]).unwrap();
        assert_ne!(first, path(place.path(), &kernel, &some).unwrap());
        fs::write(&program, "b").unwrap();
        let second = path(place.path(), &kernel, &guest).unwrap();
        assert_ne!(first, second);
        fs::write(kernel.image(), "l").unwrap();
        assert_ne!(second, path(place.path(), &kernel, &guest).unwrap());
    }
}
