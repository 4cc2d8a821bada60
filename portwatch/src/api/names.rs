//! Names of users that questions have in them. The machine's user database may be a directory service, which takes its time or does
//! not answer: one name is looked up at a time, and who waits for that keeps no thread that others' answers need.

use tokio::sync::Semaphore;

use super::{ApiError, router, turns};
use crate::platform::user;

/// Who has it looks a name up.
static ASKING: Semaphore = Semaphore::const_new(1);

/// The uid of this name; `None` when the database has none, or nothing was asked.
pub(super) async fn uid_of(name: Option<&str>) -> Result<Option<u32>, ApiError> {
    let Some(name) = name.map(str::to_owned) else { return Ok(None) };
    looked_up(move || user::uid_of(&name)).await
}

async fn looked_up<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    // The turn comes first: who asks a lot is not all that others wait for.
    let turn = turns::take().await;
    let one = ASKING.acquire().await.map_err(|error| ApiError::Internal(error.to_string()))?;
    let work = move |_: &mut turns::Turn| {
        // Its end is that of the look-up: what has begun goes on when who asked has gone.
        let _one = one;
        Ok(look())
    };
    router::in_this_turn(turn, work).await.map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn look_ups_that_take_long_keep_one_thread_and_no_other_answer() {
        let threads = 2;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(threads)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (begun, mut beginnings) = tokio::sync::mpsc::unbounded_channel();
            let mut ends = Vec::new();
            let mut asked = Vec::new();
            for _ in 0..2 * threads {
                let (end, wait) = mpsc::channel::<()>();
                ends.push(end);
                let begun = begun.clone();
                asked.push(tokio::spawn(looked_up(move || {
                    let _ = begun.send(());
                    // Until its sender is dropped.
                    let _ = wait.recv();
                    7
                })));
            }
            let within = Duration::from_secs(20);
            tokio::time::timeout(within, beginnings.recv()).await.unwrap().unwrap();
            let other = tokio::time::timeout(within, router::blocking(|| Ok(()))).await;
            assert!(other.is_ok_and(|answer| answer.is_ok()), "an answer waits for names");
            assert!(beginnings.is_empty(), "one at a time");
            // Who asked for the first has gone, and it is being looked up still.
            asked.remove(0).abort();
            tokio::time::timeout(within, router::blocking(|| Ok(()))).await.unwrap().unwrap();
            assert!(beginnings.is_empty(), "one at a time");
            ends.clear();
            for asked in asked {
                assert_eq!(asked.await.unwrap().unwrap(), 7);
            }
        });
    }
}
