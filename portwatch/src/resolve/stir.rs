//! Events of the daemon as a wake-up: what waits need not sleep.

use std::{io, sync::mpsc, time::Duration};

use crate::{
    model::{Port, Timestamp},
    source::Wake,
};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StirKind {
    /// A bind was refused with this errno.
    Refused(i32),
    /// A socket began to listen.
    Listen,
    /// Anything else.
    Other,
}

/// Something that happened on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stir {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: StirKind,
    /// The port concerned.
    pub port: Option<Port>,
    /// Who did it, and their ancestors, parent first.
    pub pids: Vec<u32>,
    /// The other party in words: for a refused bind, who had the port.
    pub other: Option<String>,
}

/// The end that is told, from any thread.
#[derive(Debug, Clone)]
pub struct Teller {
    sender: mpsc::Sender<Stir>,
    wake: Wake,
}

/// The end that waits.
#[derive(Debug)]
pub struct Stirs {
    receiver: mpsc::Receiver<Stir>,
    wake: Wake,
}

/// Both ends.
pub fn stirs() -> io::Result<(Teller, Stirs)> {
    let (sender, receiver) = mpsc::channel();
    let wake = Wake::new()?;
    Ok((Teller { sender, wake: wake.clone() }, Stirs { receiver, wake }))
}

impl Teller {
    /// Tells it. `false` when nobody waits any more.
    pub fn tell(&self, stir: Stir) -> bool {
        let told = self.sender.send(stir).is_ok();
        self.wake.wake();
        told
    }
}

impl Stirs {
    /// Waits until something happens, at most so long; takes all that happened.
    pub fn wait(&self, timeout: Duration) -> io::Result<Vec<Stir>> {
        self.wake.wait(timeout)?;
        self.wake.clear();
        Ok(self.receiver.try_iter().collect())
    }

    /// Readable when something happened.
    pub const fn wake(&self) -> &Wake {
        &self.wake
    }

    /// What happened so far.
    pub fn take(&self) -> Vec<Stir> {
        self.wake.clear();
        self.receiver.try_iter().collect()
    }
}
