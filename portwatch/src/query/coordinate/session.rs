//! Sessions, their files and notes.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use super::{Asker, Bureau, OfficeError, agent::LONGEST_PURPOSE};
use crate::{
    coordinate::{
        Denial, NOTE_KINDS, Note, Session, SessionState, fit, label, may_act, mine, path as plain_path, text,
    },
    journal::{Conflicts, OfSession, StartSession},
    model::Timestamp,
};

/// Longest note, bytes.
const LONGEST_NOTE: usize = 4096;
/// One order names at most so many files.
const MOST_FILES: usize = 2000;

/// Which session is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Which {
    /// By id.
    pub session: Option<String>,
    /// Else the active one of this agent; without an agent that of the asker's terminal.
    pub agent: Option<String>,
}

/// What a session is begun with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beginning {
    /// What for.
    pub purpose: String,
    /// The agent that works on it.
    pub agent: Option<String>,
    /// Directory that its files are named from.
    pub root: Option<String>,
    /// Files it claims.
    pub files: Vec<String>,
    /// Claim them even where others have.
    pub force: bool,
}

fn paths(files: &[String]) -> Result<Vec<String>, OfficeError> {
    if files.len() > MOST_FILES {
        return Err(OfficeError::Bad(format!("one order names {MOST_FILES} files at most")));
    }
    fit(files)?;
    Ok(files.iter().map(|file| plain_path(file)).collect::<Result<_, _>>()?)
}

/// Ids to choose from: short ones, and longer ones for when all of those are taken.
fn ids() -> Vec<String> {
    let random = || RandomState::new().build_hasher().finish();
    let short = (0..16).map(|_| format!("session-{:04x}", random() & 0xffff));
    let long = (0..4).map(|_| format!("session-{:012x}", random() & 0xffff_ffff_ffff));
    short.chain(long).collect()
}

impl Bureau {
    /// A session of the asker's user, by id.
    pub(super) fn own_session(&self, id: &str, asker: &Asker) -> Result<(), OfficeError> {
        match self.store().own_session(id, &asker.user)? {
            Some(_) => Ok(()),
            None => Err(nothing(id).into()),
        }
    }

    /// The session that is meant: the one that is named, else the asker's own; never the newest of anyone.
    fn which(&self, which: &Which, asker: &Asker) -> Result<Session, OfficeError> {
        let agent = which.agent.as_deref().map(|name| label(name, "an agent")).transpose()?;
        if let Some(id) = &which.session {
            let id = label(id, "a session")?;
            return Ok(self.store().session(&id)?.ok_or_else(|| nothing(&id))?);
        }
        let own = self.store().active_sessions(asker.user.uid)?;
        Ok(mine(&own, agent.as_deref(), asker.terminal())?.clone())
    }

    /// The active sessions and those that ended since, newest first, at most so many; and how many there are. What ended with a
    /// terminal was ended just before.
    pub fn sessions(&self, since: Timestamp, most: u32) -> Result<(Vec<Session>, u64), OfficeError> {
        self.sweep()?;
        Ok(self.store().sessions(since, most)?)
    }

    /// Begins a session.
    pub fn start_session(
        &self,
        beginning: &Beginning,
        asker: &Asker,
    ) -> Result<(Session, Conflicts), OfficeError> {
        let purpose = text(&beginning.purpose, "a purpose", LONGEST_PURPOSE)?;
        let root = beginning.root.as_deref().map(plain_path).transpose()?;
        let files = paths(&beginning.files)?;
        let agent = beginning.agent.as_deref().map(|name| label(name, "an agent")).transpose()?;
        self.sweep()?;
        let start = StartSession {
            purpose: &purpose,
            agent: agent.as_deref(),
            terminal: asker.terminal(),
            root: root.as_deref(),
            files: &files,
            force: beginning.force,
        };
        let (started, told) = self.store().start_session(&start, &asker.user, &ids(), Timestamp::now())?;
        self.tell(told);
        Ok(started)
    }

    /// Ends one.
    pub fn end_session(
        &self,
        which: &Which,
        (state, outcome): (SessionState, Option<&str>),
        asker: &Asker,
    ) -> Result<Session, OfficeError> {
        let outcome = outcome.map(|words| text(words, "an outcome", LONGEST_NOTE)).transpose()?;
        let found = self.which(which, asker)?;
        let how = (state, outcome.as_deref());
        let (session, told) = self.store().end_session(&of(&found, which, asker), how, Timestamp::now())?;
        self.tell(told);
        Ok(session)
    }

    /// Claims files for one: all, or none where another session has one and `force` is not set.
    pub fn claim_files(
        &self,
        which: &Which,
        (files, force): (&[String], bool),
        asker: &Asker,
    ) -> Result<(Session, Conflicts), OfficeError> {
        let files = paths(files)?;
        self.sweep()?;
        let found = self.which(which, asker)?;
        let (claimed, told) =
            self.store().claim_files(&of(&found, which, asker), (&files, force), Timestamp::now())?;
        self.tell(told);
        Ok(claimed)
    }

    /// Gives files of one back; second, those that it did not claim.
    pub fn release_files(
        &self,
        which: &Which,
        files: &[String],
        asker: &Asker,
    ) -> Result<(Session, Vec<String>), OfficeError> {
        let files = paths(files)?;
        let found = self.which(which, asker)?;
        let (released, told) =
            self.store().release_files(&of(&found, which, asker), &files, Timestamp::now())?;
        self.tell(told);
        Ok(released)
    }

    /// Writes a note into one.
    pub fn note(
        &self,
        which: &Which,
        (kind, words): (&str, &str),
        asker: &Asker,
    ) -> Result<Note, OfficeError> {
        let kind = if kind.is_empty() { NOTE_KINDS[0] } else { kind };
        if !NOTE_KINDS.contains(&kind) {
            return Err(OfficeError::Bad(format!(
                "'{kind}' is no type of note; say one of {}",
                NOTE_KINDS.join(", ")
            )));
        }
        let words = text(words, "a note", LONGEST_NOTE)?;
        let found = self.which(which, asker)?;
        let (note, told) =
            self.store().add_note(&of(&found, which, asker), (kind, &words), Timestamp::now())?;
        self.tell(told);
        Ok(note)
    }

    /// Notes of a session of the asker's user, also of one that has ended; the newest `most`, and how many there are.
    pub fn notes(
        &self,
        which: &Which,
        (kind, most): (Option<&str>, u32),
        asker: &Asker,
    ) -> Result<(Session, Vec<Note>, u64), OfficeError> {
        let found = self.which(which, asker)?;
        if !may_act(found.user.uid, asker.user.uid) {
            return Err(Denial::Unread { session: found.id, user: found.user }.into());
        }
        let (notes, count) = self.store().notes(&found.id, kind, most)?;
        if let Some(agent) = &which.agent {
            self.present(agent, asker)?;
        }
        Ok((found, notes, count))
    }
}

/// An order about the session that was found.
fn of<'a>(found: &'a Session, which: &'a Which, asker: &'a Asker) -> OfSession<'a> {
    OfSession { id: &found.id, agent: which.agent.as_deref(), user: &asker.user }
}

fn nothing(id: &str) -> Denial {
    Denial::Nothing {
        what: "session",
        name: id.to_owned(),
        remedy: "portwatch sessions --all shows those that are kept",
    }
}
