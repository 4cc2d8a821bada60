//! The daemon's answers: live knowledge checked against the kernel at the time of asking, and the journal.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use jiff::SignedDuration;

use super::{
    beside::{Beside, Doubted, Places, Verified, best},
    courier::Posted,
    handle::{Command, Handle, lock},
};
use crate::{
    engine::Problem,
    journal::{Claims, Pending, Reader, WriterStatus},
    model::{ConnectionScope, EventFilter, Netns, Order, Timestamp},
    platform::vitals::{clocks, cpu_time, resident_bytes},
    query::{
        self, About, Answers, Around, Asked, Check, CheckResult, DoctorAnswer, ListAnswer, ListFilter, Live,
        LogAnswer, MetricsAnswer, QueryError, Running, Space, StatusAnswer, Subscription, SummaryAnswer,
        TargetAnswer, WhoAnswer,
        claims::{Known, OfficeError, add_claims, annotate, expand, view},
        coordinate::Bureau,
    },
    source::{Refresh, sockstat},
};

/// How long the pipeline may take to look at the kernel, and the journal to be written, before an answer does without.
const LOOK: Duration = Duration::from_secs(2);

/// What an engine said so long ago still answers.
const ENGINE_AGE: Duration = Duration::from_millis(100);
/// How long an answer waits for an engine.
const ENGINE_WAIT: Duration = Duration::from_millis(300);

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

    /// Runs a command that replies.
    pub(super) fn ask<T>(
        &self,
        command: impl FnOnce(mpsc::SyncSender<T>) -> Command,
    ) -> Result<Option<T>, QueryError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        if !self.pipeline.send(command(sender)) {
            return Err(QueryError::Stopping);
        }
        match receiver.recv_timeout(LOOK) {
            Ok(reply) => Ok(Some(reply)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(QueryError::Stopping),
        }
    }

    /// Looks at the kernel again. One that does not come back in time makes emptiness unknown, for this answer.
    pub(super) fn verify(&self, scope: Refresh) -> Result<Verified, QueryError> {
        Ok(match self.ask(|reply| Command::Verify(scope, reply))? {
            Some(written) => Verified { late: None, written },
            None => Verified { late: Some(self.late()), written: None },
        })
    }

    /// The sentence for an answer that rests on what was known before.
    fn late(&self) -> String {
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
    pub(super) fn live(&self, verified: &Verified) -> Doubted<'_> {
        Doubted::new(lock(&self.pipeline.live), verified.late.as_deref())
    }

    /// Waits until everything seen so far is in the journal; where that takes too long, the answer says so.
    pub(super) fn settle(&self) -> Result<About, QueryError> {
        let written = self.ask(Command::Settle)?;
        let written = written.is_some_and(|pending| Self::is_written(pending.as_ref()));
        let mut about = self.about();
        if !written {
            about.note.get_or_insert_with(behind);
        }
        Ok(about)
    }

    /// Waits for the disk, not for ever.
    fn is_written(pending: Option<&Pending>) -> bool {
        pending.is_none_or(|pending| pending.wait(LOOK))
    }

    /// Answers of `who` when the pipeline was late: by a look beside it, where one is possible.
    fn beside(
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
                let mut seen = live.who(asked, space, &around);
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
    fn around(&self, places: &Places, netns: Option<Netns>) -> Result<Option<Around>, QueryError> {
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

    /// Claims and allow-list; where they cannot be read, none, and a note that says so.
    fn known_or(&self, about: &mut About) -> Known {
        self.known().unwrap_or_else(|error| {
            tracing::warn!(%error, "the claims could not be read");
            about.note.get_or_insert_with(|| "the claims could not be read".to_owned());
            Known::default()
        })
    }

    /// Asks the container engines where the answer would be better for it, and waits for them a short while. What they
    /// did not tell.
    fn ask_engines(&self, wanted: impl FnOnce(&mut Live) -> bool) -> Vec<Problem> {
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

impl Answers for Desk {
    fn who(&self, asked: &[Asked], space: Space) -> Result<WhoAnswer, QueryError> {
        let mut about = self.about();
        let known = self.known_or(&mut about);
        let asked = &*expand(&known, asked);
        let places = Places::of(asked);
        let ports = &places.ports;
        let everything = asked.iter().any(|asked| matches!(asked, Asked::Pid(_)));
        let own = lock(&self.pipeline.live).own();
        about.reaches(space, own)?;
        let mut verified = if everything {
            self.verify(Refresh::All)?
        } else if space.is_beyond(own) && !ports.is_empty() {
            self.verify(Refresh::PortsEverywhere(ports.clone()))?
        } else if !ports.is_empty() {
            self.verify(Refresh::Asked(ports.clone()))?
        } else {
            Verified::default()
        };
        let problems = self.ask_engines(|live| live.wants_engines(asked, space));
        // A pipeline that was late once is not waited for again.
        let looks = !ports.is_empty() && verified.late.is_none();
        let around = if looks { self.around(&places, space.other(own))? } else { None };
        if looks && around.is_none() {
            verified.late = Some(self.late());
        }
        let around = around.unwrap_or_default();
        let time = Timestamp::now();
        about.unnamed(&problems);
        let mut targets = {
            let mut live = self.live(&verified);
            let mut targets = live.who(asked, space, &around);
            add_claims(&mut live, &known, &mut targets);
            targets
        };
        if let Some(late) = &verified.late {
            about.note.get_or_insert_with(|| late.clone());
            targets = self.beside((asked, &places), space, targets, &known, &mut about);
        }
        // The history below is to have what was seen so far.
        if verified.late.is_none() && !Self::is_written(verified.written.as_ref()) {
            about.note.get_or_insert_with(behind);
        }
        for target in &mut targets {
            if let Asked::Port { port, protocol, .. } = target.asked
                && self.database.is_some()
            {
                match self.read(|reader| query::of_port(reader, port, protocol, space.only(own))) {
                    Ok(history) => target.remember(history, space, own),
                    Err(error) => {
                        tracing::warn!(%error, "the history of a port could not be read");
                        about.note.get_or_insert_with(|| "the journal could not be read".to_owned());
                    }
                }
            }
        }
        Ok(WhoAnswer { time, about, netns: space.one(own), targets })
    }

    fn list(&self, filter: &ListFilter) -> Result<ListAnswer, QueryError> {
        let own = lock(&self.pipeline.live).own();
        let space = filter.space();
        let mut answer = ListAnswer {
            time: Timestamp::now(),
            about: self.about(),
            sockets: Vec::new(),
            hidden: 0,
            netns: space.one(own),
            elsewhere: 0,
            missing: None,
            time_wait: None,
        };
        answer.about.reaches(space, own)?;
        if filter.time_wait {
            let scope = ConnectionScope::TimeWait { netns: space.other(own) };
            let around = self.ask(|reply| Command::Around(scope, Vec::new(), reply))?;
            let Some(connections) = around.and_then(|around| around.connections) else {
                return Err(QueryError::NotSeen {
                    what: "connections in TIME_WAIT could not be looked at".to_owned(),
                    remedy: if cfg!(target_os = "linux") {
                        "ask with --no-daemon for a look at them from here".to_owned()
                    } else {
                        "only Linux tells of them here".to_owned()
                    },
                });
            };
            (answer.time_wait, answer.missing) = lock(&self.pipeline.live).time_wait(&connections, filter);
        } else {
            let beyond = space.is_beyond(own);
            let verified = if beyond { self.verify(Refresh::All)? } else { Verified::default() };
            if !beyond && self.ask(Command::Attach)?.is_none() {
                answer.about.note.get_or_insert(self.late());
            }
            if let Some(late) = verified.late {
                answer.about.note.get_or_insert(late);
            }
            answer.about.unnamed(&self.ask_engines(Live::has_unnamed));
            let known = self.known_or(&mut answer.about);
            let mut live = lock(&self.pipeline.live);
            answer.holds(live.list(filter));
            annotate(&known, &mut answer.sockets, live.own());
        }
        Ok(answer)
    }

    fn log(&self, filter: &EventFilter) -> Result<LogAnswer, QueryError> {
        let about = self.settle()?;
        let (events, truncated) = self.read(|reader| query::log(reader, filter))?;
        Ok(LogAnswer { about, events, truncated })
    }

    fn summary(&self, filter: &EventFilter) -> Result<SummaryAnswer, QueryError> {
        let about = self.settle()?;
        let summary = self.read(|reader| query::summary(reader, filter))?;
        Ok(SummaryAnswer { about, summary })
    }

    fn status(&self) -> Result<StatusAnswer, QueryError> {
        let claims = self.known().ok().map(|known| {
            let mut live = lock(&self.pipeline.live);
            known.claims().iter().map(|claim| view(&mut live, claim.clone()).state).collect()
        });
        let coordination = self.bureau.as_ref().and_then(|bureau| bureau.counts().ok());
        let (listening, bound) = lock(&self.pipeline.live).counts();
        let about = self.about();
        let report = self.pipeline.report();
        Ok(StatusAnswer {
            about,
            pid: std::process::id(),
            started: self.started(),
            socket: self.socket.clone(),
            database: self.database.clone(),
            journal: self.journal(),
            listening: u64::try_from(listening).unwrap_or(u64::MAX),
            bound: u64::try_from(bound).unwrap_or(u64::MAX),
            claims,
            coordination,
            counters: report.counters,
            memory_bytes: resident_bytes(),
        })
    }

    fn metrics(&self) -> Result<MetricsAnswer, QueryError> {
        let claims = self.known().ok().map(|known| {
            let mut live = lock(&self.pipeline.live);
            known.claims().iter().map(|claim| view(&mut live, claim.clone()).state).collect()
        });
        let sockets = Some(lock(&self.pipeline.live).sizes());
        let coordination = self.bureau.as_ref().and_then(|bureau| bureau.counts().ok());
        let about = self.about();
        let (counters, journal) = (self.pipeline.report().counters, self.journal());
        Ok(MetricsAnswer {
            about,
            time: Timestamp::now(),
            sockets,
            time_wait: sockstat::time_wait(Path::new("/proc")),
            claims,
            coordination,
            webhooks: self.bureau.as_ref().and_then(|bureau| bureau.webhook_counts().ok()),
            events: journal.as_ref().map(|status| status.events),
            database_bytes: journal.as_ref().map(|status| status.bytes),
            running: Some(Running {
                started: self.started(),
                memory_bytes: resident_bytes(),
                cpu: cpu_time(),
                counters,
                tallied: self.pipeline.tally.read(),
                posted: self.posted.read(),
                journal,
                commits: self.pipeline.commits(),
            }),
        })
    }

    fn doctor(&self) -> Result<DoctorAnswer, QueryError> {
        let journal = match self.journal() {
            None => check("journal", CheckResult::Degraded, "this daemon keeps no journal", None),
            Some(status) => match &status.error {
                Some(error) => check("journal", CheckResult::Failed, error, None),
                None => check("journal", CheckResult::Ok, &format!("{} events", status.events), None),
            },
        };
        let report = self.pipeline.report();
        let source = match &report.failure {
            Some(failure) => check("source", CheckResult::Failed, failure, None),
            None => check("source", CheckResult::Ok, self.about.source.as_str(), None),
        };
        drop(report);
        Ok(query::doctor(vec![source, journal], self.about.coverage.clone(), self.about.degradations.clone()))
    }

    fn bureau(&self) -> Result<&Bureau, OfficeError> {
        self.bureau.as_deref().ok_or_else(|| {
            OfficeError::Query(QueryError::NotSeen {
                what: "this daemon keeps no locks, agents or sessions".to_owned(),
                remedy: "start it with a state directory (--state)".to_owned(),
            })
        })
    }

    fn subscribe(&self, backlog: Option<&EventFilter>) -> Result<Subscription, QueryError> {
        let Some((live, newest)) = self.ask(Command::Subscribe)? else {
            return Err(QueryError::NotSeen {
                what: format!("the observer did not answer within {} s", LOOK.as_secs()),
                remedy: "try again; portwatch status shows how it is".to_owned(),
            });
        };
        let (mut records, mut cut) = (Vec::new(), false);
        if let Some(filter) = backlog {
            let filter = EventFilter { order: Order::OldestFirst, ..filter.clone() };
            (records, cut) = self.read(|reader| query::log(reader, &filter))?;
            cut &= u64::try_from(records.len())
                .is_ok_and(|count| filter.limit.is_none_or(|limit| count < limit));
            // What was written since is in the live stream.
            records.retain(|record| record.id.is_some_and(|id| id <= newest));
        }
        Ok(Subscription { backlog: records, cut, live })
    }
}

fn behind() -> String {
    format!(
        "the journal is behind by more than {} s: the newest events are not in this answer",
        LOOK.as_secs()
    )
}

fn check(name: &'static str, result: CheckResult, found: &str, remedy: Option<&str>) -> Check {
    Check { name, result, found: found.to_owned(), remedy: remedy.map(str::to_owned) }
}
