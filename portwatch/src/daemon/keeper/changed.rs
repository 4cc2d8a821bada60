//! What the pipeline and others tell the keeper of.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use super::Checked;
use crate::model::{Port, Process, Protocol};

/// Changes that come close together are looked at once.
const LINGER: Duration = Duration::from_millis(25);

/// Who began to listen where, since the last look.
pub(super) type Came = HashMap<(Protocol, Port), Arc<Process>>;

/// Ports on which something changed since the keeper looked last.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Changed {
    ports: Mutex<Ports>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Ports {
    numbers: HashSet<Port>,
    /// Who began to listen there last; it may be gone again before anybody looks.
    came: Came,
    /// Everything is to be looked at.
    all: bool,
    /// Programs that were asked.
    checked: Vec<Checked>,
    /// Claims were made or given back.
    claims: bool,
    stop: bool,
}

/// What is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) ports: HashSet<Port>,
    pub(super) came: Came,
    pub(super) all: bool,
    pub(super) checked: Vec<Checked>,
}

impl Changed {
    fn with<T>(&self, work: impl FnOnce(&mut Ports) -> T) -> T {
        work(&mut self.ports.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells of a port, and of who has begun to listen there.
    pub(in crate::daemon) fn add(&self, port: Port, came: Option<(Protocol, Arc<Process>)>) {
        let first = self.with(|ports| {
            let first = ports.numbers.is_empty();
            ports.numbers.insert(port);
            if let Some((protocol, process)) = came {
                ports.came.insert((protocol, port), process);
            }
            first
        });
        if first {
            self.filled.notify_one();
        }
    }

    /// Tells that anything may have changed.
    pub(in crate::daemon) fn add_all(&self) {
        self.with(|ports| ports.all = true);
        self.filled.notify_one();
    }

    /// Tells that claims were made or given back.
    pub(in crate::daemon) fn note_claims(&self) {
        self.with(|ports| ports.claims = true);
        self.filled.notify_one();
    }

    /// Hands over what programs answered.
    pub(super) fn add_checked(&self, checked: impl Iterator<Item = Checked>) {
        self.with(|ports| ports.checked.extend(checked));
        self.filled.notify_one();
    }

    /// Ends the keeper.
    pub(in crate::daemon) fn stop(&self) {
        self.with(|ports| ports.stop = true);
        self.filled.notify_one();
    }

    /// Waits for changes or for the time to pass; `None` when it is to end.
    pub(super) fn take(&self, wait: Duration) -> Option<Taken> {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |ports: &mut Ports| {
            let nothing = ports.numbers.is_empty() && ports.checked.is_empty();
            nothing && !ports.all && !ports.claims && !ports.stop
        };
        let (ports, _) =
            self.filled.wait_timeout_while(ports, wait, idle).unwrap_or_else(PoisonError::into_inner);
        let something = !ports.numbers.is_empty() || ports.all || ports.claims;
        drop(ports);
        if something {
            std::thread::sleep(LINGER);
        }
        self.with(|ports| {
            ports.claims = false;
            (!ports.stop).then(|| Taken {
                ports: mem::take(&mut ports.numbers),
                came: mem::take(&mut ports.came),
                all: mem::take(&mut ports.all),
                checked: mem::take(&mut ports.checked),
            })
        })
    }
}
