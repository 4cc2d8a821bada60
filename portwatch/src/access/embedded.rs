//! The same answers in this process, when no daemon runs: a snapshot taken now, and the journal of the daemons
//! that ran before.

mod answers;
mod doctor;
mod follow;
mod look;

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use super::{
    AccessError, AccessOptions, Coordination,
    note::{Absence, Unanswered},
    remedy::LIMITS,
};
use crate::{
    attribute::Redaction,
    engine::Engines,
    journal::{JournalError, Reader, boot_id},
    model::EventFilter,
    platform::user,
    query::{
        About, ListFilter, QueryError, Viewer,
        claims::OfficeError,
        coordinate::{Asker, Bureau},
    },
    source::SourceKind,
    webhook,
    wire::{
        ListQuery, LogQuery, convert,
        coordinate::{self, FollowQuery, Followed, Place},
    },
};

/// No daemon.
#[derive(Debug)]
pub(super) struct Embedded {
    database: PathBuf,
    hooks: String,
    redaction: Redaction,
    engines: Engines,
    source: String,
    rules: Vec<String>,
    /// So many ports a user other than root may have claimed.
    pub(super) limit: Option<u32>,
    webhooks: webhook::Policy,
    absence: Absence,
    bureau: OnceCell<Bureau>,
}

impl Embedded {
    pub(super) fn new(options: &AccessOptions, absence: Absence) -> Self {
        Self {
            database: options.places.database(),
            hooks: options.hooks.clone(),
            redaction: options.redaction.clone(),
            engines: options.engines.clone(),
            source: options.source.clone(),
            rules: options.rules.clone(),
            limit: options.ports_per_user,
            webhooks: options.webhooks.clone(),
            absence,
            bureau: OnceCell::new(),
        }
    }

    /// The bureau, opened at first use.
    fn bureau(&self) -> Result<&Bureau, AccessError> {
        if let Some(bureau) = self.bureau.get() {
            return Ok(bureau);
        }
        self.is_readable()?;
        let boot = boot_id(Path::new("/proc")).unwrap_or_else(|| "unknown".to_owned());
        let bureau = Bureau::open(&self.database, &boot, |_| {}, || {})
            .map_err(|error| AccessError::from(OfficeError::from(error)))?;
        Ok(self.bureau.get_or_init(|| bureau.alone().with_webhooks(self.webhooks.clone())))
    }

    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// What is not rogue, by the caller's configuration file.
    pub(super) fn rules(&self) -> &[String] {
        &self.rules
    }

    /// The journal; `None` when there is none or it may not be read.
    pub(super) fn journal(&self) -> Result<Option<Reader>, AccessError> {
        self.is_readable()?;
        match Reader::open(&self.database) {
            Ok(reader) => Ok(Some(reader)),
            Err(JournalError::Missing { .. }) => Ok(None),
            Err(error) => Err(QueryError::from(error).into()),
        }
    }

    fn required_journal(&self) -> Result<Reader, AccessError> {
        self.journal()?.ok_or_else(|| AccessError::NoDaemon {
            what: format!("nothing was recorded yet: there is no journal at {}", self.database.display()),
            remedy: "start a daemon: portwatch start".to_owned(),
        })
    }

    pub(super) fn log_about(&self) -> About {
        About {
            source: SourceKind::Scan,
            daemon: false,
            note: Some(self.absence.recorded()),
            coverage: Vec::new(),
            degradations: self.unanswered().map(Unanswered::degradation).into_iter().collect(),
        }
    }

    /// The daemon that is there and does not answer.
    pub(super) const fn unanswered(&self) -> Option<&Unanswered> {
        self.absence.unanswered()
    }

    /// What a daemon keeps that does not answer is not told from another database as if it were that.
    fn is_readable(&self) -> Result<(), AccessError> {
        match self.unanswered() {
            Some(Unanswered { silence, remedy, is_own: false }) => Err(AccessError::NotSeen {
                what: format!(
                    "what {} has recorded, and what is claimed and locked with it, is not to be seen beside it",
                    silence.daemon()
                ),
                remedy: remedy.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Why something of the past or of claims is missing, beside why there is no daemon's answer.
    fn lacks(&self, about: &mut About, why: String) {
        about.note = Some(match about.note.take().filter(|_| self.unanswered().is_some()) {
            Some(note) => format!("{note}; {why}"),
            None => why,
        });
    }
}

fn asker() -> Asker {
    Asker::of(user::own_uid(), Some(std::process::id()))
}

impl Coordination for Embedded {
    fn coordinate(&self, place: &Place, order: &serde_json::Value) -> Result<serde_json::Value, AccessError> {
        match coordinate::dispatch(self.bureau()?, &asker(), place, order.clone()) {
            Some(answer) => Ok(answer?),
            None => Err(AccessError::Internal(format!("nothing serves {}", place.path))),
        }
    }

    fn follow_messages(
        &self,
        query: &FollowQuery,
        each: &mut dyn FnMut(Followed) -> bool,
    ) -> Result<(), AccessError> {
        follow::messages(self, query, each)
    }
}

/// What `ls` is asked by this process itself.
fn list_filter(query: &ListQuery) -> Result<ListFilter, AccessError> {
    let uid = query.user.as_deref().and_then(user::uid_of);
    convert::list_filter(query, uid, Viewer::Unrestricted)
        .map_err(|error| AccessError::Usage(error.to_string()))
}

/// What `log` is asked by this process itself.
fn event_filter(query: &LogQuery) -> Result<EventFilter, AccessError> {
    convert::event_filter(query, Viewer::Unrestricted).map_err(|error| AccessError::Usage(error.to_string()))
}

fn no_wake(error: &std::io::Error) -> AccessError {
    AccessError::NotSeen {
        what: format!("nothing can be waited for (eventfd: {error})"),
        remedy: LIMITS.to_owned(),
    }
}

impl From<QueryError> for AccessError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::NotSeen { what, remedy } => Self::NotSeen { what, remedy },
            QueryError::Stopping => {
                Self::NoDaemon { what: error.to_string(), remedy: "portwatch start".to_owned() }
            }
            QueryError::Journal(what) => {
                Self::NotSeen { what, remedy: "portwatch status shows which database it is".to_owned() }
            }
        }
    }
}
