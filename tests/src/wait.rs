//! Waiting for conditions.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for something that should come at once, on a machine that is busy.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Asks until there is an answer. After `deadline` it fails with `what`.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = condition() {
            return Ok(answer);
        }
        anyhow::ensure!(Instant::now() < end, "waited {deadline:?} in vain for {what}");
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
