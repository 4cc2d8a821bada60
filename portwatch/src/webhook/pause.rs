//! How long a webhook rests after a failure.

use std::time::Duration;

/// An event is tried so often unless somebody says otherwise.
pub const USUAL_TRIES: u32 = 8;
/// And at most so often.
pub const MOST_TRIES: u32 = 20;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// At most.
const LONGEST: Duration = Duration::from_mins(5);

/// The pause after so many failures in a row: doubled each time, up to five minutes, and a fifth more or less by `random`, so that
/// those who failed together do not come back together. Until the longest is reached each is longer than the one before.
pub fn pause(failures: u32, random: u64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    let permille = 800 + u32::try_from(random % 401).unwrap_or(200);
    doubled * permille / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_whatever_chance_says_until_they_are_long_enough() {
        for failures in 1..=9 {
            let (longest, next_shortest) = (pause(failures, 400), pause(failures + 1, 0));
            assert!(pause(failures, 0) < longest);
            if failures < 9 {
                assert!(longest < next_shortest, "{failures}: {longest:?} {next_shortest:?}");
            }
        }
        assert_eq!(pause(1, 200), Duration::from_secs(1));
        assert_eq!(pause(3, 200), Duration::from_secs(4));
        assert_eq!(pause(10, 200), Duration::from_mins(5));
        assert_eq!(pause(u32::MAX, 400), Duration::from_mins(6));
        assert_eq!(pause(0, 200), Duration::from_secs(1));
    }
}
