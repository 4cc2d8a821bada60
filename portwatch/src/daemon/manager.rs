//! What systemd is told, where it manages this process. Elsewhere nobody asks.

use std::{sync::mpsc, thread, time::Duration};

use super::{Handle, handle};

/// Questions are answered.
pub(super) fn ready() {
    notify(Told::Ready);
}

/// It takes longer, and is not given up for so long (`EXTEND_TIMEOUT_USEC` in sd_notify(3)).
pub(super) fn starting(within: Duration) {
    notify(Told::Starting(within));
}

/// The end has begun.
pub(super) fn stopping() {
    notify(Told::Stopping);
}

#[derive(Debug, Clone, Copy)]
enum Told {
    Ready,
    Starting(Duration),
    Stopping,
    Alive,
}

#[cfg(target_os = "linux")]
fn notify(told: Told) {
    let state = match told {
        Told::Ready => sd_notify::NotifyState::Ready,
        Told::Starting(within) => {
            sd_notify::NotifyState::ExtendTimeoutUsec(u32::try_from(within.as_micros()).unwrap_or(u32::MAX))
        }
        Told::Stopping => sd_notify::NotifyState::Stopping,
        Told::Alive => sd_notify::NotifyState::Watchdog,
    };
    // Not under systemd, there is nobody to tell.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

#[cfg(not(target_os = "linux"))]
fn notify(told: Told) {
    let within = match told {
        Told::Starting(within) => Some(within),
        Told::Ready | Told::Stopping | Told::Alive => None,
    };
    tracing::debug!(?told, ?within, "there is no service manager to tell");
}

#[cfg(target_os = "linux")]
fn watchdog_within() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(target_os = "linux"))]
fn watchdog_within() -> Option<Duration> {
    None
}

/// Feeds systemd's watchdog, where one is set, while the runtime goes on and the pipeline's lock can be had: a runtime or a
/// pipeline that hangs lets the watchdog bite.
pub(super) async fn watchdog(handle: Handle) {
    let Some(within) = watchdog_within() else { return };
    let feed = move || {
        drop(handle::lock(&handle.live));
        notify(Told::Alive);
    };
    fed(within / 2, feed).await;
}

/// Feeds it so often, from a thread of its own: those that answer questions may all be kept by who asks. The thread ends with
/// this future.
async fn fed(every: Duration, feed: impl Fn() + Send + 'static) {
    let (tell, told) = mpsc::sync_channel(1);
    let feeding = move || told.iter().for_each(|()| feed());
    if let Err(error) = thread::Builder::new().name("watchdog".to_owned()).spawn(feeding) {
        tracing::warn!(%error, "systemd's watchdog is not fed: no thread could be started");
        return;
    }
    let mut every = tokio::time::interval(every);
    loop {
        every.tick().await;
        // One that waits for the lock is told no second time.
        if let Err(mpsc::TrySendError::Disconnected(())) = tell.try_send(()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_while_all_threads_for_questions_are_taken_and_no_longer_than_it_is_asked_for() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (end, wait) = mpsc::channel::<()>();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        runtime.block_on(async {
            let asked = tokio::task::spawn_blocking(move || wait.recv());
            let watchdog = tokio::spawn(fed(Duration::from_millis(1), move || {
                let _ = tell.send(());
            }));
            let mut fed = async || tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
            for _ in 0..3 {
                let fed = fed().await;
                assert_eq!(fed, Ok(Some(())), "it waits for who asks");
            }
            watchdog.abort();
            while fed().await.unwrap().is_some() {}
            drop(end);
            asked.await.unwrap().unwrap_err();
        });
    }
}
