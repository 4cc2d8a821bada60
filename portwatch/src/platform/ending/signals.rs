//! Being asked by signals.

use std::{io, process::Command};

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};

/// What this process is asked to end by: SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Asked {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Asked {
    /// From now on they are heard. To be called in a runtime.
    ///
    /// Whoever started us may have blocked signals, and a blocked one stays so over exec (signal(7)): a process that
    /// cannot be asked to end would be killed in the end.
    pub fn hear() -> io::Result<Self> {
        let heard = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
        if let Err(error) = heard.thread_unblock() {
            tracing::warn!(%error, "SIGTERM and SIGINT may be blocked");
        }
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Leaves the caller's session.
pub fn detach() {
    // Fails only for a process that leads its group already: then it has a session or a shell that means it.
    let _ = nix::unistd::setsid();
}

/// A command that will call [`detach`] itself.
pub fn detached(command: &mut Command) -> &mut Command {
    command
}
