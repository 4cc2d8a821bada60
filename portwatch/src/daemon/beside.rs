//! When the pipeline is late: an answer that says so, and a look at the kernel beside it.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    attribute::{Attributor, Redaction, Roots},
    engine::Engines,
    journal::Pending,
    model::{
        Completeness, ConnectionScope, Evidence, Local, Observation, Port, Seen, Sharing, SocketKey,
        Timestamp,
    },
    query::{Around, Asked, Live, TargetAnswer},
    source::{
        SourceError,
        negotiate::{self, SourceChoice},
        scan::{self, HolderSearch},
    },
    state::Policy,
};

/// What became of a look at the kernel that an answer wanted.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// It did not come back in time: how old what is known is.
    pub(super) late: Option<String>,
    /// What was seen so far, on its way to the journal.
    pub(super) written: Option<Pending>,
}

/// The live table for one answer, which doubts it where the look was late. Nobody else's answer does.
pub(super) struct Doubted<'a> {
    live: MutexGuard<'a, Live>,
    before: Option<Completeness>,
}

impl<'a> Doubted<'a> {
    pub(super) fn new(mut live: MutexGuard<'a, Live>, late: Option<&str>) -> Self {
        let before = late.map(|why| {
            let before = live.completeness().clone();
            live.set_completeness(Completeness::Partial(why.to_owned()));
            before
        });
        Self { live, before }
    }
}

impl Deref for Doubted<'_> {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.live
    }
}

impl DerefMut for Doubted<'_> {
    fn deref_mut(&mut self) -> &mut Live {
        &mut self.live
    }
}

impl Drop for Doubted<'_> {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            self.live.set_completeness(before);
        }
    }
}

/// What is asked about.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    pub(super) ports: Vec<Port>,
    /// Addresses that a bind would be of.
    pub(super) addresses: Vec<Local>,
    /// Those of the ports that an interface was named with.
    pub(super) interfaces: Vec<Port>,
}

impl Places {
    pub(super) fn of(asked: &[Asked]) -> Self {
        let mut places = Self::default();
        for asked in asked {
            if let Asked::Port { port, .. } = asked {
                places.ports.push(*port);
                places.addresses.extend(asked.addresses());
                places.interfaces.extend(asked.with_interface());
            }
        }
        places
    }
}

type Looker = dyn Fn(&Places) -> Result<(Live, Around), SourceError> + Send + Sync;

/// Looks at the kernel in the thread of whoever asks, one at a time.
pub(super) struct Beside {
    look: Box<Looker>,
    one: Mutex<()>,
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beside").finish_non_exhaustive()
    }
}

impl Beside {
    pub(super) fn new(
        look: impl Fn(&Places) -> Result<(Live, Around), SourceError> + Send + Sync + 'static,
    ) -> Self {
        Self { look: Box::new(look), one: Mutex::new(()) }
    }

    /// The daemon's own network namespace, by a snapshot.
    pub(super) fn of_this_machine(redaction: Redaction, engines: Engines) -> Self {
        Self::new(move |places| {
            let mut look =
                negotiate::look(&SourceChoice::Auto, &scan::Roots::default()).map_err(|(_, error)| error)?;
            let tables = look.tables(&places.ports)?;
            let snapshot = look.with_holders(tables, HolderSearch::All, &|_| true)?;
            let attributor = Attributor::with_redaction(Roots::default(), redaction.clone());
            let mut live =
                Live::new(Policy::default(), attributor, look.netns()).with_engines(engines.clone());
            live.set_completeness(look.completeness());
            let seen = Seen::Snapshot(Box::new(snapshot));
            live.take(Observation::new(Timestamp::now(), Evidence::Scan, seen), &mut Vec::new());
            let scope = ConnectionScope::Ports {
                ports: places.ports.clone(),
                netns: None,
                holders: false,
                interfaces: places.interfaces.clone(),
            };
            let connections = look.connections(&scope)?;
            let rules = look.bind_rules(&places.addresses, None);
            Ok((
                live,
                Around {
                    netns: look.netns(),
                    connections,
                    of_processes: None,
                    rules,
                    sharing: Sharing::Unseen,
                },
            ))
        })
    }

    /// What is on these ports now, and what a bind of them meets besides.
    pub(super) fn look(&self, places: &Places) -> Result<(Live, Around), SourceError> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        (self.look)(places)
    }
}

/// What was known, where the look beside shows the same sockets: it knows more of them, but nothing of what else a bind meets. Else what
/// was looked at.
pub(super) fn best(known: Vec<TargetAnswer>, seen: Vec<TargetAnswer>) -> Vec<TargetAnswer> {
    let keys = |answer: &TargetAnswer| {
        let mut keys: Vec<SocketKey> = answer.sockets.iter().map(|s| s.socket.seen.key).collect();
        keys.sort_unstable();
        (keys, answer.left_out)
    };
    let same =
        |known: &TargetAnswer, seen: &TargetAnswer| !known.sockets.is_empty() && keys(known) == keys(seen);
    let both = |(known, seen): (TargetAnswer, TargetAnswer)| {
        if same(&known, &seen) {
            TargetAnswer { verdict: seen.verdict, traffic: seen.traffic, ..known }
        } else {
            seen
        }
    };
    known.into_iter().zip(seen).map(both).collect()
}
