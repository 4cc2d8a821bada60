//! Reading a guest's console. The exit status of an emulator says nothing: a guest that panics ends well too.

use super::{
    boot::{Boot, PlanResult},
    guest::Plan,
    kernels::Kernel,
};

/// Begins each line that counts, as `tests/src/guest.rs` writes it.
const MARK: &str = "@portwatch ";

/// Last lines of the console that are shown when a machine ends without its own last line.
const LAST: usize = 12;

/// What a console said so far.
pub(super) struct Console {
    plans: Vec<PlanResult>,
    /// Plan whose scenario's complaint is being told.
    complaining: Option<usize>,
    release: Option<String>,
    trouble: Option<String>,
    last: Vec<String>,
    costs: Vec<String>,
}

impl Console {
    pub(super) fn new(plans: &[Plan]) -> Self {
        let plans = plans
            .iter()
            .map(|plan| PlanResult {
                plan: plan.word.clone(),
                expected: plan.scenarios,
                ..PlanResult::default()
            })
            .collect();
        Self { plans, complaining: None, release: None, trouble: None, last: Vec::new(), costs: Vec::new() }
    }

    /// Takes a line in.
    pub(super) fn take(&mut self, line: &str) {
        // Firmware and kernel write on the same console, sometimes without an end of line.
        let Some((_, said)) = line.split_once(MARK) else {
            self.last.push(line.to_owned());
            if self.last.len() > LAST {
                self.last.remove(0);
            }
            return;
        };
        let mut words = said.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("held"), Some(plan), Some(_), _) => {
                if let Some(plan) = self.plan(plan) {
                    plan.held += 1;
                }
            }
            (Some("not-here"), Some(plan), Some(name), why) => {
                let entry = (name.to_owned(), why.unwrap_or_default().to_owned());
                if let Some(plan) = self.plan(plan) {
                    plan.not_here.push(entry);
                }
            }
            (Some("failed"), Some(plan), Some(name), _) => {
                self.complaining = self.plans.iter().position(|p| p.plan == plan);
                if let Some(plan) = self.plan(plan) {
                    plan.failed.push((name.to_owned(), String::new()));
                }
            }
            (Some("cost"), ..) => self.costs.push(said.to_owned()),
            (Some("|"), ..) => self.complain(said.strip_prefix("| ").unwrap_or_default()),
            (Some("done"), Some(release), None, None) => self.release = Some(release.to_owned()),
            (Some("trouble"), ..) => self.trouble = Some(said.to_owned()),
            _ => self.trouble = Some(format!("not understood: {said}")),
        }
    }

    fn plan(&mut self, word: &str) -> Option<&mut PlanResult> {
        self.plans.iter_mut().find(|plan| plan.plan == word)
    }

    fn complain(&mut self, text: &str) {
        let plan = self.complaining.and_then(|index| self.plans.get_mut(index));
        if let Some((_, complaint)) = plan.and_then(|plan| plan.failed.last_mut()) {
            complaint.push_str(text);
            complaint.push('\n');
        }
    }

    /// The machine has ended; `why` where it did not by itself.
    pub(super) fn finish(self, kernel: &Kernel, seconds: u64, why: Option<String>) -> Boot {
        let silent = || format!("no last line; the console ended with: {}", self.last.join(" | "));
        let trouble = self.trouble.or(why).or_else(|| self.release.is_none().then(silent));
        Boot {
            series: kernel.series.clone(),
            package: kernel.package.clone(),
            release: self.release,
            plans: self.plans,
            seconds,
            trouble,
            repeated: None,
            costs: self.costs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(lines: &[&str]) -> Boot {
        let plans = [("stable", 2), ("none", 1)];
        let plans = plans.map(|(word, scenarios)| Plan { word: word.to_owned(), scenarios });
        let mut console = Console::new(&plans);
        for line in lines {
            console.take(line);
        }
        let kernel =
            Kernel { series: "7".to_owned(), package: "linux".to_owned(), folder: "/dev/null".into() };
        console.finish(&kernel, 9, None)
    }

    const GOOD: [&str; 4] = [
        "SeaBIOS\u{1b}[2J@portwatch held stable a 10",
        "@portwatch not-here stable b no MPTCP: Protocol not available",
        "@portwatch held none c 5",
        "@portwatch done 6.12.118+deb13-cloud-amd64",
    ];

    #[test]
    fn a_boot_with_all_its_results_and_the_last_line_is_good() {
        let boot = boot(&GOOD);
        assert!(boot.good(), "{boot:?}");
        assert_eq!(boot.release.as_deref(), Some("6.12.118+deb13-cloud-amd64"));
        assert_eq!(boot.plans[0].not_here[0].1, "no MPTCP: Protocol not available");
    }

    #[test]
    fn a_missing_result_a_missing_last_line_or_a_failure_is_not_good() {
        assert!(!boot(&GOOD[1..]).good());
        assert!(!boot(&GOOD[..3]).good());
        assert!(boot(&GOOD[..3]).died());
        let mut failing = GOOD.to_vec();
        failing[2] = "@portwatch failed none c";
        failing.insert(3, "@portwatch | left: 1");
        let failed = boot(&failing);
        assert!(!failed.good());
        assert_eq!(failed.plans[1].failed, [("c".to_owned(), "left: 1\n".to_owned())]);
    }

    #[test]
    fn a_panic_is_trouble_with_the_last_lines_of_the_console() {
        let boot = boot(&["Kernel panic - not syncing: No working init found."]);
        assert!(boot.trouble.unwrap().contains("No working init"));
    }

    #[test]
    fn only_results_of_what_the_kernel_has_not_are_no_success() {
        let mut lines = GOOD.to_vec();
        lines[2] = "@portwatch not-here none c nothing";
        assert!(!boot(&lines).good());
    }
}
