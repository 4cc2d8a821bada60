//! The bureau of coordination: the one that answers, with a daemon and without one.

mod agent;
mod asker;
mod channel;
mod counts;
mod lock;
mod session;
mod webhook;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

pub use agent::{Introduction, Remains};
pub use asker::{Asker, Named, alive, living};
pub use channel::{ChannelView, Follower, Heard, MessageFilter, Saying};
pub use counts::Counts;
pub use lock::{Bind, LockOrder, Whose};
pub use session::{Beginning, Which};
use tokio::sync::watch;
pub use webhook::WantedWebhook;

use super::{QueryError, claims::OfficeError};
use crate::{
    coordinate::{Denial, DenialKind},
    journal::{CoordinateError, Coordination, Ends, JournalError, Told, gone},
    model::{ProcessId, Timestamp},
};

type Announce = dyn Fn(Told) + Send + Sync;
type Stirred = dyn Fn() + Send + Sync;
/// How a process ended, where that can be known at all: it may take until then.
type Ending = dyn Fn(ProcessId, Instant) -> Option<String> + Send + Sync;

/// The parent of a process that has ended may take so long to reap it, before nobody knows how it ended.
const REAPED: Duration = Duration::from_millis(30);

/// Where orders are carried out.
pub struct Bureau {
    store: Mutex<Coordination>,
    announce: Box<Announce>,
    stirred: Box<Stirred>,
    ending: Box<Ending>,
    news: watch::Sender<u64>,
    hooks: webhook::Hooks,
    sayings: watch::Sender<u64>,
    followers: Arc<channel::Followers>,
    /// All who are served by the daemon are served here.
    is_daemons: bool,
    /// The name of the database, once it was asked for.
    database: OnceLock<String>,
}

impl fmt::Debug for Bureau {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bureau").finish_non_exhaustive()
    }
}

impl Bureau {
    /// A bureau over the database at `path`; `announce` is given the rows of the log that were written,
    /// `stirred` is called after every change.
    pub fn open(
        path: &Path,
        boot_id: &str,
        announce: impl Fn(Told) + Send + Sync + 'static,
        stirred: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, JournalError> {
        let store = Mutex::new(Coordination::open(path, boot_id)?);
        let (announce, stirred) = (Box::new(announce), Box::new(stirred));
        Ok(Self {
            store,
            announce,
            stirred,
            ending: Box::new(|_, _| None),
            news: watch::Sender::new(0),
            hooks: webhook::Hooks::new(path, boot_id),
            sayings: watch::Sender::new(0),
            followers: Arc::default(),
            is_daemons: true,
            database: OnceLock::new(),
        })
    }

    /// The same beside a journal's writer, which folds the write-ahead log.
    pub fn folded_elsewhere(self) -> Result<Self, JournalError> {
        let store = self.store.into_inner().unwrap_or_else(PoisonError::into_inner).folded_elsewhere()?;
        Ok(Self { store: Mutex::new(store), ..self })
    }

    /// The same where somebody keeps what tells how processes end. Whoever finds one dead asks it, so that the log says how it
    /// ended whoever comes first.
    #[must_use]
    pub fn with_ending(
        self,
        ending: impl Fn(ProcessId, Instant) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { ending: Box::new(ending), ..self }
    }

    /// The same for one process alone, without a daemon.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { is_daemons: false, ..self }
    }

    /// The name of the database that everything is kept in.
    pub fn database(&self) -> Result<String, OfficeError> {
        if let Some(name) = self.database.get() {
            return Ok(name.clone());
        }
        let name = self.store().identity()?;
        Ok(self.database.get_or_init(|| name).clone())
    }

    /// Changes whenever something may have become free, or said.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Tells those who wait that something changed.
    pub fn stir(&self) {
        self.news.send_modify(|count| *count += 1);
        (self.stirred)();
    }

    /// Another process changed the database: something may be free, or said.
    pub fn changed_elsewhere(&self) {
        self.sayings.send_modify(|count| *count += 1);
        self.stir();
    }

    /// A statement that failed left the tables as they were, so a panic elsewhere does not spoil them.
    fn store(&self) -> MutexGuard<'_, Coordination> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces what was written, and wakes those who wait.
    fn tell(&self, told: Told) {
        if !told.is_empty() {
            (self.announce)(told);
            self.stir();
        }
    }

    /// Another number whenever another process has changed the database.
    pub fn version(&self) -> Result<i64, OfficeError> {
        Ok(self.store().version().map_err(CoordinateError::from)?)
    }

    /// Processes on which something depends.
    pub fn processes(&self) -> Result<Vec<ProcessId>, OfficeError> {
        Ok(self.store().processes()?)
    }

    /// Processes have ended, and how.
    pub fn ended(&self, ends: &Ends) -> Result<(), OfficeError> {
        let told = self.store().ended(ends, Timestamp::now())?;
        self.tell(told);
        Ok(())
    }

    /// How a process ended that lives no more, as far as it is known until `deadline`.
    fn ending(&self, process: ProcessId, deadline: Instant) -> String {
        (self.ending)(process, deadline).unwrap_or_else(|| gone(process))
    }

    /// Processes were found dead: what they had is ended.
    pub fn lost(&self, found: impl IntoIterator<Item = ProcessId>) -> Result<(), OfficeError> {
        // One for all of them: who ends many at once does not keep the others waiting.
        let deadline = Instant::now() + REAPED;
        self.ended(&found.into_iter().map(|process| (process, self.ending(process, deadline))).collect())
    }

    /// Forgets what ended before `cutoff`.
    pub fn forget(&self, cutoff: Timestamp) -> Result<usize, OfficeError> {
        Ok(self.store().forget(cutoff, Timestamp::now())?)
    }

    /// How long until an agent is silent for so long that it is told of, unless something happens before.
    pub fn next_silence(&self, now: Timestamp) -> Result<Option<Duration>, OfficeError> {
        let due = self.store().next_silence(now)?;
        Ok(due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default()))
    }

    /// Counts nobody as waiting for a lock who is gone.
    pub fn leave_lines(&self) -> Result<(), OfficeError> {
        Ok(self.store().leave_lines(&living(), Timestamp::now())?)
    }

    /// Ends what belonged to processes that live no more, and tells of agents that fell silent.
    pub fn sweep(&self) -> Result<(), OfficeError> {
        let lost = self.store().lost(&living())?;
        self.lost(lost)?;
        let told = self.store().tell_of_silence(Timestamp::now())?;
        self.tell(told);
        Ok(())
    }
}

impl From<Denial> for OfficeError {
    fn from(denial: Denial) -> Self {
        let (what, remedy) = (denial.to_string(), denial.remedy());
        match denial.kind() {
            DenialKind::Bad => Self::Bad(format!("{what}; {remedy}")),
            DenialKind::NotPermitted => Self::NotPermitted { what, remedy },
            DenialKind::Refused => Self::Refused { what, remedy },
            DenialKind::Nothing => Self::Absent { what, remedy },
            DenialKind::Ambiguous => Self::Ambiguous { what, remedy },
        }
    }
}

impl From<CoordinateError> for OfficeError {
    fn from(error: CoordinateError) -> Self {
        match error {
            CoordinateError::Denied(denial) => denial.into(),
            CoordinateError::Journal(error) => Self::Query(QueryError::NotSeen {
                what: error.to_string(),
                remedy: "nothing was changed".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
