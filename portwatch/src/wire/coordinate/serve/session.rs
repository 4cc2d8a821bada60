//! Sessions, files and notes.

use std::time::Duration;

use super::{Serve, given, rows};
use crate::{
    coordinate as inner,
    journal::{Conflicts, FileConflict},
    model::Timestamp,
    query::{
        claims::OfficeError,
        coordinate::{Asker, Beginning, Bureau, Which},
    },
    wire::{
        SCHEMA,
        coordinate::{
            Conflict, EndRequest, FilesRequest, Note, NoteRequest, Noted, Notes, NotesQuery, Session,
            SessionState, Sessions, SessionsQuery, StartRequest,
        },
    },
};

/// How long an ended session is shown without being asked for.
const RECENT: Duration = Duration::from_hours(24);

pub(super) fn session(session: &inner::Session) -> Session {
    Session {
        id: session.id.clone(),
        purpose: session.purpose.clone(),
        state: session.state.as_str().to_owned(),
        uid: session.user.uid,
        user: session.user.name.clone(),
        agent: session.agent.clone(),
        pid: session.terminal.map(|process| process.pid),
        root: session.root.clone(),
        created: session.created,
        ended: session.ended,
        outcome: session.outcome.clone(),
        notes: session.notes,
        files: session.files.clone(),
    }
}

fn note(note: inner::Note) -> Note {
    Note {
        id: note.id,
        session: note.session,
        time: note.at,
        kind: note.kind,
        agent: note.agent,
        text: note.text,
    }
}

fn state(found: &inner::Session, conflicts: Conflicts) -> SessionState {
    let conflict = |c: FileConflict| Conflict {
        path: c.path,
        claimed: c.claimed,
        session: c.session,
        uid: c.user.uid,
        user: c.user.name,
    };
    SessionState {
        schema: SCHEMA,
        time: Timestamp::now(),
        session: session(found),
        conflicts: conflicts.listed.into_iter().map(conflict).collect(),
        more_conflicts: conflicts.more,
        not_claimed: Vec::new(),
    }
}

fn which(session: Option<&String>, agent: Option<&String>) -> Which {
    Which { session: given(session), agent: given(agent) }
}

impl Serve for SessionsQuery {
    fn serve(&self, bureau: &Bureau, _: &Asker) -> Result<Sessions, OfficeError> {
        let time = Timestamp::now();
        let since = if self.all { Timestamp::UNIX_EPOCH } else { time.checked_sub(RECENT).unwrap_or(time) };
        let (found, total) = bureau.sessions(since, rows(self.limit))?;
        let sessions: Vec<Session> = found.iter().map(session).collect();
        let truncated = u64::try_from(sessions.len()).is_ok_and(|shown| shown < total);
        Ok(Sessions { schema: SCHEMA, time, truncated, sessions, total })
    }
}

impl Serve for StartRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<SessionState, OfficeError> {
        let beginning = Beginning {
            purpose: self.purpose.clone(),
            agent: given(self.agent.as_ref()),
            root: given(self.root.as_ref()),
            files: self.files.clone(),
            force: self.force,
        };
        let (found, conflicts) = bureau.start_session(&beginning, asker)?;
        Ok(state(&found, conflicts))
    }
}

impl Serve for EndRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<SessionState, OfficeError> {
        let how = if self.abandon { inner::SessionState::Abandoned } else { inner::SessionState::Completed };
        let which = which(self.session.as_ref(), self.agent.as_ref());
        let outcome = given(self.outcome.as_ref());
        Ok(state(&bureau.end_session(&which, (how, outcome.as_deref()), asker)?, Conflicts::default()))
    }
}

impl Serve for FilesRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<SessionState, OfficeError> {
        let which = which(self.session.as_ref(), self.agent.as_ref());
        if self.files.is_empty() {
            return Err(OfficeError::Bad("no file was named".to_owned()));
        }
        if self.release {
            let (found, unknown) = bureau.release_files(&which, &self.files, asker)?;
            return Ok(SessionState { not_claimed: unknown, ..state(&found, Conflicts::default()) });
        }
        let (found, conflicts) = bureau.claim_files(&which, (&self.files, self.force), asker)?;
        Ok(state(&found, conflicts))
    }
}

impl Serve for NoteRequest {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Noted, OfficeError> {
        let which = which(self.session.as_ref(), self.agent.as_ref());
        let kind = self.kind.as_deref().unwrap_or_default();
        Ok(Noted { schema: SCHEMA, note: note(bureau.note(&which, (kind, &self.text), asker)?) })
    }
}

impl Serve for NotesQuery {
    fn serve(&self, bureau: &Bureau, asker: &Asker) -> Result<Notes, OfficeError> {
        let which = which(self.session.as_ref(), self.agent.as_ref());
        let most = rows(self.limit);
        let kind = given(self.kind.as_ref());
        let (found, notes, total) = bureau.notes(&which, (kind.as_deref(), most), asker)?;
        let shown = u64::try_from(notes.len()).unwrap_or(u64::MAX);
        Ok(Notes {
            schema: SCHEMA,
            time: Timestamp::now(),
            session: session(&found),
            notes: notes.into_iter().map(note).collect(),
            truncated: shown < total,
            total,
        })
    }
}
