//! Room on the file system of the target folder: whether a run has enough, and what it removes where it has little. A disk that is
//! full makes each step fail in a way of its own, and none says why.

use std::{collections::HashSet, fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context, Result, bail};
use nix::sys::statvfs::statvfs;

use crate::setup;

/// A folder that a run fills.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Below the target folder.
    folder: &'static str,
    /// What a run from nothing puts into it.
    megabytes: u64,
    /// The step that does, where no later one reads it.
    step: Option<&'static str>,
}

const fn kept(folder: &'static str, megabytes: u64) -> Part {
    Part { folder, megabytes, step: None }
}

const fn of_step(step: &'static str, folder: &'static str, megabytes: u64) -> Part {
    Part { folder, megabytes, step: Some(step) }
}

/// Of a strict run. Measured by `du` after each step in November 2026 (x86_64, Rust 1.95), and rounded up.
const STRICT: [Part; 11] = [
    kept(DEBUG, BEFORE_TESTS),
    kept("tools/bin", 80),
    kept("tools/node", 30),
    kept("tools/rust-src", 70),
    of_step("documentation", "doc", 120),
    of_step("platforms", "cross/check", 950),
    of_step("object", "ebpf-verify", 280),
    of_step("dependencies", "tools/build", 370),
    of_step("fuzz", "fuzz", 50),
    kept("vm", 240),
    of_step("tests", DEBUG, 860),
];

/// Of the tests alone, built as a developer builds: incrementally, and with lines for backtraces.
const PLAIN: [Part; 2] = [kept(DEBUG, 6000), kept("tools/node", 30)];

/// Where cargo builds, and what lies there when the tests' turn comes.
const DEBUG: &str = "debug";
const BEFORE_TESTS: u64 = 1000;

/// What goes elsewhere, mostly to the same file system: crates on a new machine (370 MB), and what tests write for a while.
const BESIDE: u64 = 770;

/// Where cargo keeps what incremental builds need.
const INCREMENTAL: &str = "debug/incremental";

/// What a strict run may leave there: xtask itself was compiled before it could say how.
const OF_XTASK: u64 = 200;

/// How much room is so little that a failure may come of it.
const FULL: u64 = 100;

/// Whether there is room, in MB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Enough,
    /// If what a step made goes before the next begins.
    Tight,
    /// So much would be needed, even so.
    TooLittle(u64),
}

/// The parts with what lies in them.
fn judge(free: u64, parts: &[(Part, u64)]) -> Verdict {
    let missing = |(part, there): &(Part, u64)| part.megabytes.saturating_sub(*there);
    let of_steps = || parts.iter().filter(|(part, _)| part.step.is_some()).map(missing);
    let whole: u64 = BESIDE + parts.iter().map(missing).sum::<u64>();
    // One of them at a time.
    let least = whole - of_steps().sum::<u64>() + of_steps().max().unwrap_or(0);
    if free >= whole {
        Verdict::Enough
    } else if free >= least {
        Verdict::Tight
    } else {
        Verdict::TooLittle(least)
    }
}

/// What is to go when a step is over: folders that were not there before the run.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Vec<Part>);

impl Leftovers {
    /// Removes what a step made that nothing reads any more.
    pub(super) fn remove(&self, target: &Path, step: &str) -> Result<()> {
        let mut parts = self.0.iter().filter(|part| part.step == Some(step));
        parts.try_for_each(|part| setup::remove(&target.join(part.folder)))
    }
}

/// Looks whether there is room for all steps. Where there is not, a strict run is over. Otherwise gives what is to go on the way, and what
/// there is to say.
pub(super) fn look(target: &Path, strict: bool) -> Result<(Leftovers, Option<String>)> {
    let free = free(target)?;
    let parts: &[Part] = if strict { &STRICT } else { &PLAIN };
    let incremental = size(&target.join(INCREMENTAL));
    let there = |part: &Part| saved(part, size(&target.join(part.folder)), incremental, strict);
    let parts: Vec<_> = parts.iter().map(|part| (*part, there(part))).collect();
    let place = target.display();
    match judge(free, &parts) {
        Verdict::Enough => Ok((Leftovers::default(), None)),
        Verdict::Tight => {
            let new = |part: &Part| part.folder != DEBUG && !target.join(part.folder).exists();
            let new = parts.into_iter().map(|(part, _)| part).filter(new).collect();
            let words = format!(
                "{free} MB are free for {place}: what a step has made goes when nothing reads it any more"
            );
            Ok((Leftovers(new), Some(words)))
        }
        Verdict::TooLittle(needed) => {
            let words = format!(
                "{free} MB are free on the file system of {place}, and this run needs {needed} MB: make room there, or clone to where \
                 there is more"
            );
            if strict {
                bail!("{words}; single steps (--only) run without asking");
            }
            Ok((Leftovers::default(), Some(format!("little room: {words}"))))
        }
    }
}

/// What of a part need not be made, where its folder takes so much and what incremental builds need so much.
fn saved(part: &Part, size: u64, incremental: u64, strict: bool) -> u64 {
    match (part.folder, part.step) {
        // Cargo takes builds of one kind for none of the other: what a developer has built saves a strict run nothing.
        (DEBUG, _) if strict && incremental > OF_XTASK => 0,
        (DEBUG, Some(_)) => size.saturating_sub(BEFORE_TESTS),
        _ => size,
    }
}

/// What may be behind a failure.
pub(super) fn full(target: &Path) -> Option<String> {
    let free = free(target).ok().filter(|free| *free < FULL)?;
    Some(format!("the file system of {} is full: {free} MB are free", target.display()))
}

/// MB that are free for a folder, which need not be there yet.
fn free(folder: &Path) -> Result<u64> {
    let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let system = statvfs(there).with_context(|| format!("how much room {} has", there.display()))?;
    Ok((system.blocks_available() * system.fragment_size()) >> 20)
}

/// MB of disk that a folder takes. What cannot be read counts nothing: it is a question of room, not of rights.
fn size(folder: &Path) -> u64 {
    let mut open = vec![folder.to_owned()];
    // Cargo gives programs a second name.
    let mut linked = HashSet::new();
    let mut blocks = 0;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                open.push(entry.path());
            } else if meta.nlink() == 1 || linked.insert(meta.ino()) {
                blocks += meta.blocks();
            }
        }
    }
    (blocks * 512) >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: [Part; 3] = [kept("a", 1000), of_step("one", "b", 300), of_step("two", "c", 200)];

    fn judged(free: u64, there: [u64; 3]) -> Verdict {
        judge(BESIDE + free, &PARTS.into_iter().zip(there).collect::<Vec<_>>())
    }

    #[test]
    fn room_for_all_keeps_all_and_less_is_enough_for_one_step_at_a_time() {
        assert_eq!(judged(1500, [0; 3]), Verdict::Enough);
        assert_eq!(judged(1499, [0; 3]), Verdict::Tight);
        assert_eq!(judged(1300, [0; 3]), Verdict::Tight);
        assert_eq!(judged(1299, [0; 3]), Verdict::TooLittle(BESIDE + 1300));
    }

    #[test]
    fn what_is_there_needs_no_room_again() {
        assert_eq!(judged(0, [1000, 300, 5000]), Verdict::Enough);
        assert_eq!(judged(99, [900, 300, 200]), Verdict::TooLittle(BESIDE + 100));
        assert_eq!(judged(100, [900, 300, 200]), Verdict::Enough);
    }

    #[test]
    fn a_developers_builds_save_a_strict_run_nothing_and_those_of_a_strict_run_both_its_parts() {
        let (early, late, other) = (kept(DEBUG, BEFORE_TESTS), of_step("tests", DEBUG, 500), kept("vm", 240));
        let of_strict = |part| saved(part, BEFORE_TESTS + 500, 5, true);
        assert_eq!([&early, &late, &other].map(of_strict), [BEFORE_TESTS + 500, 500, BEFORE_TESTS + 500]);
        assert_eq!([&early, &late, &other].map(|part| saved(part, 8000, 2000, true)), [0, 0, 8000]);
        assert_eq!(saved(&early, 8000, 2000, false), 8000);
    }

    #[test]
    fn folders_of_steps_go_after_their_step_and_no_others() {
        let target = tempfile::tempdir().unwrap();
        for folder in ["a", "b", "c"] {
            fs::create_dir(target.path().join(folder)).unwrap();
        }
        let leftovers = Leftovers(PARTS.to_vec());
        for (step, there) in
            [("zero", [true, true, true]), ("one", [true, false, true]), ("one", [true, false, true])]
        {
            leftovers.remove(target.path(), step).unwrap();
            assert_eq!(["a", "b", "c"].map(|folder| target.path().join(folder).exists()), there, "{step}");
        }
    }

    #[test]
    fn a_file_with_two_names_is_counted_once_and_a_folder_that_is_not_there_has_its_parents_room() {
        let target = tempfile::tempdir().unwrap();
        let place = target.path().join("deps");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("program"), vec![1; 3 << 20]).unwrap();
        fs::hard_link(place.join("program"), target.path().join("program")).unwrap();
        assert_eq!(size(target.path()), 3);
        assert_eq!(size(&target.path().join("absent")), 0);
        let (below, above) = (free(&place.join("absent/too")).unwrap(), free(target.path()).unwrap());
        assert!(below.abs_diff(above) < 1000, "{below} {above}");
    }

    /// Each folder belongs to a step that there is.
    #[test]
    fn steps_are_named_as_they_are() {
        for step in STRICT.iter().filter_map(|part| part.step) {
            assert!(super::super::STRICT.iter().any(|(name, _)| *name == step), "{step}");
        }
    }
}
