//! The daemon's answers: live knowledge checked against the kernel at the time of asking, and the journal.

mod answers;
mod look;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::SignedDuration;

use super::{beside::Beside, courier::Posted, handle::Handle};
use crate::{
    journal::{Claims, Reader, WriterStatus},
    model::Timestamp,
    platform::vitals::clocks,
    query::{About, QueryError, claims::Known, coordinate::Bureau},
};

/// Where questions are answered.
#[derive(Debug)]
pub struct Desk {
    pub(super) pipeline: Handle,
    about: About,
    database: Option<PathBuf>,
    /// The registry's tables; `None` where there is no database.
    pub(super) claims: Option<Mutex<Claims>>,
    /// Coordination; `None` where there is no database.
    bureau: Option<Arc<Bureau>>,
    /// What was sent to webhooks.
    posted: Arc<Posted>,
    /// Claimed ports are kept back in the kernel.
    pub(super) reserve: bool,
    /// So many ports a user other than root may have claimed.
    pub(super) limit: Option<u32>,
    socket: Option<PathBuf>,
    started: Timestamp,
    /// How far the wall clock was ahead of the boot clock then, ns.
    started_by: Option<i64>,
    readers: Mutex<Vec<Reader>>,
    /// How to look without the pipeline, where that is of this machine.
    beside: Option<Beside>,
}

/// A clock that was set by less was not.
const SET: SignedDuration = SignedDuration::from_millis(100);

/// How far the wall clock is ahead of the boot clock, ns.
fn ahead() -> Option<i64> {
    clocks().map(|(_, ahead)| ahead)
}

/// Readers kept open between questions.
const READERS: usize = 2;

impl Desk {
    /// A desk over a running pipeline.
    pub fn new(
        pipeline: Handle,
        about: About,
        database: Option<PathBuf>,
        socket: Option<PathBuf>,
        started: Timestamp,
    ) -> Self {
        Self {
            pipeline,
            about,
            database,
            claims: None,
            bureau: None,
            posted: Arc::default(),
            reserve: false,
            limit: None,
            socket,
            started,
            started_by: ahead(),
            readers: Mutex::default(),
            beside: None,
        }
    }

    /// The same with a way to look at the kernel when the pipeline is late.
    #[must_use]
    pub(super) fn with_beside(self, beside: Option<Beside>) -> Self {
        Self { beside, ..self }
    }

    /// The same with a registry. `reserve`: whoever claims or gives back is told to the keeper, who keeps ports back in the
    /// kernel. `limit`: so many ports a user other than root may have claimed.
    #[must_use]
    pub fn with_claims(self, claims: Claims, reserve: bool, limit: Option<u32>) -> Self {
        Self { claims: Some(Mutex::new(claims)), reserve, limit, ..self }
    }

    /// The same with coordination.
    #[must_use]
    pub fn with_bureau(self, bureau: Arc<Bureau>) -> Self {
        Self { bureau: Some(bureau), ..self }
    }

    /// The same with what counts webhooks.
    #[must_use]
    pub(super) fn with_posted(self, posted: Arc<Posted>) -> Self {
        Self { posted, ..self }
    }

    /// Claims and allow-list; where they cannot be read, none, and a note that says so.
    fn known_or(&self, about: &mut About) -> Known {
        self.known().unwrap_or_else(|error| {
            tracing::warn!(%error, "the claims could not be read");
            about.note.get_or_insert_with(|| "the claims could not be read".to_owned());
            Known::default()
        })
    }

    /// When the daemon started, by the clock as it is.
    fn started(&self) -> Timestamp {
        let by = self.started_by.zip(ahead()).map(|(then, now)| now.saturating_sub(then));
        let by = SignedDuration::from_nanos(by.unwrap_or(0));
        // Where it was not set, the two readings differ by what they took.
        if by.abs() < SET { self.started } else { self.started.saturating_add(by).unwrap_or(self.started) }
    }

    /// How the journal is: its events are counted now, those too that the claims office and its like have written.
    fn journal(&self) -> Option<WriterStatus> {
        let status = self.pipeline.journal()?;
        let counted = self.database.as_ref().and_then(|_| self.read(|reader| Ok(reader.count()?)).ok());
        Some(WriterStatus { events: counted.unwrap_or(status.events), ..status })
    }

    pub(super) fn about(&self) -> About {
        let mut about = self.about.clone();
        let journal = self.pipeline.journal().and_then(|journal| journal.error);
        if let Some(problem) = self.pipeline.report().failure.clone().or(journal) {
            about.note = Some(problem);
        }
        about
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match (kept, &self.database) {
            (Some(reader), _) => reader,
            (None, Some(path)) => Reader::open(path)?,
            (None, None) => {
                return Err(QueryError::NotSeen {
                    what: "this daemon keeps no journal".to_owned(),
                    remedy: "start it with a state directory (--state)".to_owned(),
                });
            }
        };
        let answer = work(&reader)?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS {
            readers.push(reader);
        }
        Ok(answer)
    }
}
