//! What systemd is told, where it manages this process. Elsewhere nobody asks.

use std::time::Duration;

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

/// Feeds systemd's watchdog, where one is set, while the pipeline's lock can be had: a pipeline that hangs with it
/// lets the watchdog bite.
pub(super) async fn watchdog(handle: Handle) {
    let Some(within) = watchdog_within() else { return };
    let mut every = tokio::time::interval(within / 2);
    loop {
        every.tick().await;
        let handle = handle.clone();
        let alive = tokio::task::spawn_blocking(move || drop(handle::lock(&handle.live))).await;
        if alive.is_ok() {
            notify(Told::Alive);
        }
    }
}
