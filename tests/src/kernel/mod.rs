//! Scenarios: what must hold on every kernel, whichever family of hooks serves. `cargo nextest` runs each as a
//! test on this machine's kernel, `cargo xtask vm` runs all of them in guests, with each family forced.
//!
//! A scenario asserts. What a kernel cannot do at all is [`Outcome::NotHere`], with the reason.

pub mod child;
mod compat;
pub mod cost;
mod io_uring;
mod scenarios;
mod sockets;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};

use portwatch::source::ebpf::{Family, HookChoice};

use self::watch::Watch;

/// What a scenario came to. One that does not hold panics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it must be.
    Held,
    /// This kernel has not what the scenario is about.
    NotHere(String),
}

/// How a scenario is run.
#[derive(Clone, Copy)]
enum Run {
    /// With a running source of kernel programs, which scenarios may share.
    Watching(fn(&mut Watch) -> Outcome),
    /// It starts what it needs.
    Alone(fn(HookChoice) -> Outcome),
}

/// Something that must hold.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, a sentence.
    pub name: &'static str,
    run: Run,
    /// Families that cannot see what it is about, as `docs/kernels.md` says, or have nothing to mix.
    blind: &'static [Family],
    /// It needs no kernel programs.
    scans: bool,
}

impl Scenario {
    const fn watching(name: &'static str, run: fn(&mut Watch) -> Outcome) -> Self {
        Self { name, run: Run::Watching(run), blind: &[], scans: false }
    }

    const fn alone(name: &'static str, run: fn(HookChoice) -> Outcome) -> Self {
        Self { name, run: Run::Alone(run), blind: &[], scans: false }
    }

    /// It is not about these families.
    const fn blind(self, blind: &'static [Family]) -> Self {
        Self { blind, ..self }
    }

    /// It holds without kernel programs too.
    const fn also_without_programs(self) -> Self {
        Self { scans: true, ..self }
    }

    /// Whether it is to hold with these hooks.
    pub fn applies(&self, hooks: HookChoice) -> bool {
        match hooks {
            HookChoice::Auto => true,
            HookChoice::Only(family) => !self.blind.contains(&family),
            HookChoice::None => self.scans,
        }
    }
}

/// Every scenario.
pub const SCENARIOS: &[Scenario] = scenarios::ALL;

/// The words of `--hooks` that a kernel is tested with.
pub const PLANS: &[&str] = &HookChoice::WORDS;

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// Runs scenarios one after the other and tells how each ended: an outcome, or why it did not hold. Those that
/// only watch share one source.
pub fn run(
    scenarios: &[&Scenario],
    hooks: HookChoice,
    mut tell: impl FnMut(&'static str, Result<Outcome, String>),
) {
    let mut shared = None;
    for scenario in scenarios {
        let outcome = caught(|| match scenario.run {
            Run::Watching(run) => {
                let watch = shared.get_or_insert_with(|| Watch::start(hooks));
                watch.begin();
                run(watch)
            }
            Run::Alone(run) => run(hooks),
        });
        if outcome.is_err() {
            // It may have been left in the middle of something.
            shared = None;
        }
        tell(scenario.name, outcome);
    }
}

/// A failed assertion as its message.
fn caught(work: impl FnOnce() -> Outcome) -> Result<Outcome, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}
