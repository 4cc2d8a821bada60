//! Looking again for an answer: at the kernel by the pipeline, or beside it where that is late, at container engines, and
//! at how far the journal is. None of it is waited for without end; what an answer then does without, it says.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::Desk;
use crate::{
    daemon::{
        beside::{Doubted, Places, Verified, best},
        handle::{Command, Reply, lock},
    },
    engine::Problem,
    journal::Pending,
    model::{ConnectionScope, Netns, Timestamp},
    query::{
        About, Around, Asked, Live, QueryError, Space, TargetAnswer,
        claims::{Known, add_claims},
    },
    source::Refresh,
};

/// How long the pipeline may take to look at the kernel, and the journal to be written, before an answer does without.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// What an engine said so long ago still answers.
const ENGINE_AGE: Duration = Duration::from_millis(100);
/// How long an answer waits for an engine.
const ENGINE_WAIT: Duration = Duration::from_millis(300);

impl Desk {
    /// Runs a command that replies.
    pub(in crate::daemon) fn ask<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<Option<T>, QueryError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let until = Instant::now() + LOOK;
        if !self.pipeline.send(command(Reply::new(sender, until))) {
            return Err(QueryError::Stopping);
        }
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(reply) => Ok(Some(reply)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            // Dropped because it was too late.
            Err(mpsc::RecvTimeoutError::Disconnected) if Instant::now() >= until => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(QueryError::Stopping),
        }
    }

    /// Looks at the kernel again. One that does not come back in time makes emptiness unknown, for this answer.
    pub(in crate::daemon) fn verify(&self, scope: Refresh) -> Result<Verified, QueryError> {
        Ok(match self.ask(|reply| Command::Verify(scope, reply))? {
            Some(written) => Verified { late: None, written },
            None => Verified { late: Some(self.late()), written: None },
        })
    }

    /// The sentence for an answer that rests on what was known before.
    pub(super) fn late(&self) -> String {
        let heard = self.pipeline.report().heard;
        let age = heard.map(|at| Timestamp::now().duration_since(at).as_secs().max(0));
        let age = match age {
            None => "from the beginning".to_owned(),
            Some(0) => "less than a second old".to_owned(),
            Some(seconds) => format!("{seconds} s old"),
        };
        format!(
            "the kernel's tables could not be read again within {} s; what is known is {age}",
            LOOK.as_secs()
        )
    }

    /// The live table, for an answer whose look may have been late.
    pub(in crate::daemon) fn live(&self, verified: &Verified) -> Doubted<'_> {
        Doubted::new(lock(&self.pipeline.live), verified.late.as_deref())
    }

    /// Waits until everything seen so far is in the journal; where that takes too long, the answer says so.
    pub(in crate::daemon) fn settle(&self) -> Result<About, QueryError> {
        let written = self.ask(Command::Settle)?;
        let written = written.is_some_and(|pending| Self::is_written(pending.as_ref()));
        let mut about = self.about();
        if !written {
            about.note.get_or_insert_with(behind);
        }
        Ok(about)
    }

    /// Waits for the disk, not for ever.
    pub(super) fn is_written(pending: Option<&Pending>) -> bool {
        pending.is_none_or(|pending| pending.wait(LOOK))
    }

    /// Answers of `who` when the pipeline was late: by a look beside it, where one is possible.
    pub(super) fn beside(
        &self,
        (asked, places): (&[Asked], &Places),
        space: Space,
        known: Vec<TargetAnswer>,
        claims: &Known,
        about: &mut About,
    ) -> Vec<TargetAnswer> {
        let own = lock(&self.pipeline.live).own();
        let within = !places.ports.is_empty()
            && !space.is_beyond(own)
            && asked.iter().all(|a| !matches!(a, Asked::Pid(_)));
        let Some(beside) = self.beside.as_ref().filter(|_| within) else { return known };
        match beside.look(places) {
            Ok((mut live, around)) => {
                let mut seen = live.who(asked, space, &around, Duration::MAX);
                add_claims(&mut live, claims, &mut seen);
                about.note = Some(format!(
                    "the recorder is behind, its last look took more than {} s; sockets and processes are from a look of \
                     now, beside it",
                    LOOK.as_secs()
                ));
                best(known, seen)
            }
            Err(error) => {
                tracing::warn!(%error, "a look beside the pipeline failed");
                known
            }
        }
    }

    /// What a bind of one of `places` meets besides sockets, in another network namespace where one is meant. `None` where the
    /// pipeline does not come back in time.
    pub(super) fn around(&self, places: &Places, netns: Option<Netns>) -> Result<Option<Around>, QueryError> {
        let look = |ports, holders, places: Places| {
            let scope = ConnectionScope::Ports { ports, netns, holders, interfaces: places.interfaces };
            self.ask(|reply| Command::Around(scope, places.addresses, reply))
        };
        let Some(mut around) = look(places.ports.clone(), false, places.clone())? else { return Ok(None) };
        let unexplained = match &around.connections {
            Some(connections) => lock(&self.pipeline.live).unexplained(connections),
            None => Vec::new(),
        };
        if !unexplained.is_empty() {
            let closer = look(unexplained.clone(), true, Places::default())?.unwrap_or_default();
            if let Some(connections) = closer.connections {
                around.name(&unexplained, connections);
                around.sharing.add(closer.sharing);
            }
        }
        Ok(Some(around))
    }

    /// Asks the container engines where the answer would be better for it, and waits for them a short while. What they
    /// did not tell.
    pub(super) fn ask_engines(&self, wanted: impl FnOnce(&mut Live) -> bool) -> Vec<Problem> {
        let engines = {
            let mut live = lock(&self.pipeline.live);
            if !wanted(&mut live) {
                return Vec::new();
            }
            live.engines().clone()
        };
        // The live table is not held meanwhile.
        engines.ask(ENGINE_AGE, ENGINE_WAIT).problems.clone()
    }
}

pub(super) fn behind() -> String {
    format!(
        "the journal is behind by more than {} s: the newest events are not in this answer",
        LOOK.as_secs()
    )
}
