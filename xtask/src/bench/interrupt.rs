//! Ctrl-C ends a run in order: the measurement under way fails, and what it started and changed is undone.

use std::{
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Takes over SIGINT, SIGTERM and SIGHUP. To be called before any other thread is made, which inherits the mask.
/// Programs that are started inherit it too: the daemon unblocks what it wants to hear, workers end with their input.
pub(super) fn install() -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().context("blocking signals")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while signals.wait().is_ok() {
                if ASKED.swap(true, Ordering::Relaxed) {
                    // Asked again: workers and daemons end because this process does.
                    process::exit(130);
                }
            }
        })
        .context("a thread for signals")?;
    Ok(())
}

/// Fails once somebody asked for the end.
pub(super) fn check() -> Result<()> {
    if ASKED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
