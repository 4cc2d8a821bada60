//! How many tests ran, by what Rust's test programs say at their end.

use anyhow::{Result, bail};

use super::run::NOT_UNDER_WINE;

/// What the programs of one run came to, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    programs: usize,
    passed: usize,
    ignored: usize,
    left_out: usize,
}

impl Tally {
    /// Takes a line of the output in: `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; …`.
    pub(super) fn take(&mut self, line: &str) {
        let Some(rest) = line.trim_end().strip_prefix("test result: ") else { return };
        self.programs += 1;
        for part in rest.split([';', '.']) {
            if let Some((Ok(count), what)) =
                part.trim().split_once(' ').map(|(n, what)| (n.parse::<usize>(), what))
            {
                match what {
                    "passed" => self.passed += count,
                    "ignored" => self.ignored += count,
                    "filtered out" => self.left_out += count,
                    _ => {}
                }
            }
        }
    }

    /// Whether all end-to-end tests ran.
    pub(super) fn of_all(self) -> Result<()> {
        match self {
            Self { programs: 1, passed: 1.., ignored: 0, left_out: 0 } => Ok(()),
            _ => bail!("not every end-to-end test ran: {self:?}"),
        }
    }

    /// Whether the unit tests ran but for those that are left out here by name. Some are ignored on the platform.
    pub(super) fn of_unit_tests(self) -> Result<()> {
        let named = NOT_UNDER_WINE.len();
        match self {
            Self { programs: 1, passed: 1.., left_out, .. } if left_out == named => Ok(()),
            _ => bail!("the unit tests were to run but for {named}: {self:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.take(line);
        }
        tally
    }

    const NONE: &str =
        "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";

    #[test]
    fn what_a_test_program_says_at_its_end_is_counted() {
        let told = "test result: ok. 17 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out; finished in 1.25s\r";
        let found = tally(&["running 22 tests", "test result of mine", told]);
        assert_eq!(found, Tally { programs: 1, passed: 17, ignored: 2, left_out: 3 });
    }

    #[test]
    fn no_test_is_no_success_nor_is_one_that_was_left_out() {
        assert!(tally(&[]).of_all().is_err());
        assert!(tally(&[NONE]).of_all().is_err() && tally(&[NONE]).of_unit_tests().is_err());
        let some = "test result: ok. 17 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert!(tally(&[some]).of_all().is_ok());
        for less in [some.replace("0 ignored", "1 ignored"), some.replace("0 filtered", "4 filtered")] {
            assert!(tally(&[&less]).of_all().is_err(), "{less}");
        }
        assert!(tally(&[some]).of_unit_tests().is_err(), "a name that is left out is none any more");
        let named = some.replace("0 filtered", &format!("{} filtered", NOT_UNDER_WINE.len()));
        assert!(tally(&[&named]).of_unit_tests().is_ok());
    }
}
