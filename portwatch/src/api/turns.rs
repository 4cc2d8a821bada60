//! Turns of one user: so many of its questions are worked on at once, and the others of its own wait behind them. What is behind a
//! question, a database and a table, serves everybody; who asks a lot waits for itself.

use std::{future::Future, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ApiError, Crowd};

/// So many questions of one user other than root are worked on at once.
pub(super) const AT_ONCE: usize = 8;

/// What one user has at the daemon.
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    /// Its turns; `None` for whoever waits for nobody.
    turns: Option<Arc<Semaphore>>,
    /// Why this connection is for what is answered at once, where it is.
    brief: Option<Crowd>,
}

impl Own {
    /// The turns of a user.
    pub(super) fn of(uid: u32) -> Self {
        // Root is never kept waiting: who keeps the machine must be able to ask.
        Self { turns: (uid != 0).then(|| Arc::new(Semaphore::new(AT_ONCE))), brief: None }
    }

    /// Nothing of it is being worked on. What was asked goes on when its connection is gone.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.as_ref().is_none_or(|turns| turns.available_permits() == AT_ONCE)
    }

    /// The same on a connection that is, or is not, for what is answered at once.
    pub(super) fn briefly(&self, brief: Option<Crowd>) -> Self {
        Self { brief, ..self.clone() }
    }
}

tokio::task_local! {
    static OWN: Own;
}

/// What is asked within takes the turns of this user.
pub(super) async fn within<T>(own: Own, asked: impl Future<Output = T>) -> T {
    OWN.scope(own, asked).await
}

/// Whose turns are taken here.
pub(super) fn own() -> Own {
    OWN.try_with(Clone::clone).unwrap_or_default()
}

/// Waits for a turn. It is over when what is given is dropped.
pub(super) async fn take() -> Option<OwnedSemaphorePermit> {
    own().turns?.acquire_owned().await.ok()
}

/// Whether a connection may be kept for what is not answered at once: a stream, or a wait.
pub(super) fn may_stay() -> Result<(), ApiError> {
    own().brief.map_or(Ok(()), |crowd| Err(ApiError::TooMany(crowd)))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::api::router::blocking;

    #[test]
    fn who_asks_a_lot_waits_for_itself_and_keeps_nobody_else_waiting() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (many, one) = (Own::of(1000), Own::of(1001));
            let (tell, mut told) = unbounded_channel();
            let mut ends = Vec::new();
            let mut asked = tokio::task::JoinSet::new();
            for _ in 0..3 * AT_ONCE {
                let (end, wait) = mpsc::channel::<()>();
                ends.push(end);
                let tell = tell.clone();
                let work = move || {
                    let _ = tell.send(());
                    // Until its sender is dropped.
                    let _ = wait.recv();
                    Ok(())
                };
                asked.spawn(within(many.clone(), blocking(work)));
            }
            let mut begin = async |count: usize| {
                for _ in 0..count {
                    tokio::time::timeout(Duration::from_secs(20), told.recv()).await.unwrap().unwrap();
                }
                told.len()
            };
            begin(AT_ONCE).await;
            within(one, blocking(|| Ok(()))).await.unwrap();
            within(Own::of(0), blocking(|| Ok(()))).await.unwrap();
            assert_eq!(begin(0).await, 0, "the others wait");
            assert!(!many.is_idle());
            ends.clear();
            begin(2 * AT_ONCE).await;
            while let Some(done) = asked.join_next().await {
                done.unwrap().unwrap();
            }
            assert!(many.is_idle());
        });
    }
}
