//! The same answers in this process, when no daemon runs: a snapshot taken now, and the journal of the daemons
//! that ran before.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Access, AccessError, AccessOptions, Coordination,
    note::{self, Absence, Unanswered},
    remedy::LIMITS,
};
use crate::{
    attribute::{Attributor, Redaction, Roots as AttributeRoots},
    engine::Engines,
    journal::{JournalError, Reader, boot_id},
    model::{
        ConnectionScope, Degradation, EventFilter, Evidence, Netns, Observation, Port, Seen, Sharing,
        Snapshot, Timestamp,
    },
    platform::user::ROOT,
    query::{
        self, About, Around, Asked, Check, CheckResult, ListAnswer, ListFilter, Live, LogAnswer,
        MetricsAnswer, QueryError, Space, SummaryAnswer, Viewer, WhoAnswer,
        claims::{Known, OfficeError, add_claims, annotate, expand},
        coordinate::{Asker, Bureau},
    },
    source::{
        Progress, Source, SourceKind, Wake,
        ebpf::{EbpfSource, HookChoice, LoadOptions},
        negotiate::{self, SourceChoice},
        scan::{HolderSearch, Look, Roots},
        sockstat,
    },
    state::Policy,
    webhook,
    wire::{
        self, Doctor, Event, List, ListQuery, Log, LogQuery, LogSummary, SCHEMA, SourceInfo, Status, Who,
        WhoQuery, claims, convert,
        coordinate::{self, FollowQuery, Followed, Place},
        metrics::Metrics,
    },
};

/// How long an answer waits for a container engine.
const ENGINE_WAIT: Duration = Duration::from_millis(500);

/// How often somebody who follows messages looks whether the database was written.
const MESSAGE_LOOK: Duration = Duration::from_millis(50);

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

    fn attributor(&self) -> Attributor {
        Attributor::with_redaction(AttributeRoots::default(), self.redaction.clone())
    }

    /// What takes the snapshots.
    fn looker(&self) -> Result<Box<dyn Look>, AccessError> {
        let choice: SourceChoice = self.source.parse().map_err(|e| AccessError::Usage(format!("{e}")))?;
        negotiate::look(&choice, &Roots::default()).map_err(|(_, error)| error.into())
    }

    fn about(&self, scanner: &dyn Look) -> About {
        About {
            source: scanner.kind(),
            daemon: false,
            note: Some(self.absence.snapshot()),
            coverage: Vec::new(),
            degradations: {
                let silent = self.unanswered().map(Unanswered::degradation);
                silent.into_iter().chain(scanner.degradations().iter().cloned()).collect()
            },
        }
    }

    /// Knowledge from one look: at `ports` only, when they are given.
    pub(super) fn look(&self, ports: &[Port], search: HolderSearch) -> Result<(Live, About), AccessError> {
        self.look_with(&mut *self.looker()?, ports, search)
    }

    fn look_with(
        &self,
        scanner: &mut dyn Look,
        ports: &[Port],
        search: HolderSearch,
    ) -> Result<(Live, About), AccessError> {
        if self.source.starts_with("replay:") {
            return Err(AccessError::Usage(format!(
                "a recording tells a story and has no present; play it: portwatch watch --source {}",
                self.source
            )));
        }
        let snapshot = scanner.snapshot_everywhere(ports, search)?;
        let attributor = self.attributor();
        let mut live =
            Live::new(Policy::default(), attributor, scanner.netns()).with_engines(self.engines.clone());
        live.set_completeness(scanner.completeness());
        take(&mut live, snapshot);
        Ok((live, self.about(scanner)))
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

    /// Whether a source can be looked with, by looking.
    fn source_check(choice: &SourceChoice, degradations: &mut Vec<Degradation>) -> Check {
        let outcome = negotiate::look(choice, &Roots::default()).and_then(|mut look| {
            let name = look.kind().as_str();
            look.tables(&[]).map(|tables| (look, tables.sockets.len())).map_err(|error| (name, error))
        });
        match outcome {
            Ok((look, count)) => {
                degradations.extend(look.degradations().iter().cloned());
                let found = format!("shows {count} sockets");
                check(look.kind().as_str(), CheckResult::Ok, &found, None)
            }
            // The tools are fallbacks: nothing is lost where they are not installed.
            Err((name @ ("lsof" | "netstat"), error)) => {
                check(name, CheckResult::Degraded, &error.to_string(), Some("needed only for --source"))
            }
            Err((name, error)) => check(name, CheckResult::Failed, &error.to_string(), None),
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
    Asker::of(crate::platform::user::own_uid(), Some(std::process::id()))
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
        let bureau = self.bureau()?;
        let mut follower = bureau.follow(&query.channel, query.after, &asker())?;
        loop {
            let version = bureau.version()?;
            loop {
                let heard = follower.hear(bureau)?;
                if heard.is_empty() {
                    break;
                }
                if !heard.into_iter().all(|heard| each(heard.into())) {
                    return Ok(());
                }
            }
            // The number stays while nobody else writes: looking at it reads no table.
            while bureau.version()? == version {
                std::thread::sleep(MESSAGE_LOOK);
            }
        }
    }
}

/// What `ls` is asked by this process itself.
fn list_filter(query: &ListQuery) -> Result<ListFilter, AccessError> {
    convert::list_filter(query, Viewer::Unrestricted).map_err(|error| AccessError::Usage(error.to_string()))
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

impl Access for Embedded {
    fn who(&self, query: &WhoQuery) -> Result<Who, AccessError> {
        let asked = query.targets.iter().map(convert::asked).collect::<Result<Vec<_>, _>>();
        let asked = asked.map_err(|error| AccessError::Usage(error.to_string()))?;
        let space = convert::space(query.netns, query.all_namespaces);
        let (known, unreadable) = match self.known() {
            Ok(known) => (known, None),
            Err(error) => (Known::default(), Some(error.to_string())),
        };
        let asked = expand(&known, &asked);
        let ports: Vec<Port> = asked
            .iter()
            .filter_map(|a| match a {
                Asked::Port { port, .. } => Some(*port),
                Asked::Pid(_) | Asked::Claim(_) => None,
            })
            .collect();
        let pids = asked.iter().any(|a| matches!(a, Asked::Pid(_)));
        let mut scanner = self.looker()?;
        let own = scanner.netns();
        let (within, search) =
            if pids { (&[][..], HolderSearch::All) } else { (ports.as_slice(), HolderSearch::First) };
        let (mut live, mut about) = self.look_with(&mut *scanner, within, search)?;
        let around =
            if ports.is_empty() { Around::default() } else { around(&mut *scanner, &live, &asked, space)? };
        entered(space, own, &about)?;
        if live.wants_engines(&asked, space) {
            about.unnamed(&self.engines.ask(Duration::ZERO, ENGINE_WAIT).problems);
            let inner = live.inner_ports(&asked);
            if !pids && !inner.is_empty() {
                take(&mut live, scanner.snapshot_everywhere(&inner, HolderSearch::First)?);
                if live.has_doubtful(&inner) {
                    self.engines.ask(Duration::ZERO, ENGINE_WAIT);
                }
            }
        }
        let mut targets = live.who(&asked, space, &around);
        if let Some(why) = unreadable {
            self.lacks(&mut about, why);
        }
        add_claims(&mut live, &known, &mut targets);
        // What cannot be read of the past does not keep the present back.
        let journal = match self.journal() {
            Ok(journal) => journal,
            Err(error) => {
                // Not said twice.
                if !about.note.as_ref().is_some_and(|note| note.contains(&error.to_string())) {
                    self.lacks(&mut about, error.to_string());
                }
                None
            }
        };
        for target in &mut targets {
            if let (Some(reader), Asked::Port { port, protocol, .. }) = (&journal, &target.asked) {
                match query::of_port(reader, *port, *protocol, space.only(own)) {
                    Ok(history) => target.remember(history, space, own),
                    Err(error) => self.lacks(&mut about, error.to_string()),
                }
            }
        }
        let answer = WhoAnswer { time: Timestamp::now(), about, netns: space.one(own), targets };
        Ok(convert::who(&answer, Viewer::Unrestricted))
    }

    fn list(&self, query: &ListQuery) -> Result<List, AccessError> {
        let filter = list_filter(query)?;
        let empty = |about| ListAnswer {
            time: Timestamp::now(),
            about,
            sockets: Vec::new(),
            hidden: 0,
            netns: None,
            elsewhere: 0,
            missing: None,
            time_wait: None,
        };
        let mut answer;
        if filter.time_wait {
            let mut scanner = self.looker()?;
            let netns = filter.space().other(scanner.netns());
            let connections =
                scanner.connections(&ConnectionScope::TimeWait { netns })?.ok_or_else(|| {
                    if let Some(netns) = netns {
                        return AccessError::NotSeen {
                            what: format!("network namespace {netns} could not be looked into"),
                            remedy: format!("ask as {ROOT}, or from there"),
                        };
                    }
                    let source = scanner.kind().as_str();
                    AccessError::NotSeen {
                        what: format!("source '{source}' does not tell connections in TIME_WAIT"),
                        remedy: if cfg!(target_os = "linux") {
                            "use --source auto"
                        } else {
                            "only Linux tells of them here"
                        }
                        .to_owned(),
                    }
                })?;
            answer = empty(self.about(&*scanner));
            let mut live =
                Live::new(Policy::default(), Attributor::new(AttributeRoots::default()), scanner.netns());
            (answer.time_wait, answer.missing) = live.time_wait(&connections, &filter);
        } else {
            let (mut live, about) = self.look(&[], HolderSearch::All)?;
            entered(filter.space(), live.own(), &about)?;
            answer = empty(about);
            answer.netns = filter.space().one(live.own());
            if live.has_unnamed() {
                answer.about.unnamed(&self.engines.ask(Duration::ZERO, ENGINE_WAIT).problems);
            }
            answer.holds(live.list(&filter));
            match self.known() {
                Ok(known) => annotate(&known, &mut answer.sockets, live.own()),
                // The list stands; what explains its rows is not known.
                Err(error) => self.lacks(&mut answer.about, error.to_string()),
            }
        }
        Ok(convert::list(&answer, Viewer::Unrestricted))
    }

    fn log(&self, query: &LogQuery) -> Result<Log, AccessError> {
        let filter = event_filter(query)?;
        let (events, truncated) = query::log(&self.required_journal()?, &filter)?;
        Ok(convert::log(&LogAnswer { about: self.log_about(), events, truncated }, Viewer::Unrestricted))
    }

    fn summary(&self, query: &LogQuery) -> Result<LogSummary, AccessError> {
        let filter = event_filter(query)?;
        let summary = query::summary(&self.required_journal()?, &filter)?;
        Ok(convert::summary(&SummaryAnswer { about: self.log_about(), summary }))
    }

    fn follow(
        &self,
        query: &LogQuery,
        backlog: bool,
        about: Option<&mut dyn FnMut(SourceInfo)>,
        each: &mut dyn FnMut(Event) -> bool,
    ) -> Result<(), AccessError> {
        let filter = event_filter(query)?;
        let choice: SourceChoice = self.source.parse().map_err(|e| AccessError::Usage(format!("{e}")))?;
        let hooks = HookChoice::from_word(&self.hooks).ok_or_else(|| {
            AccessError::Usage(format!(
                "hooks '{}' are not part of this build; say one of {}",
                self.hooks,
                HookChoice::WORDS.join(", ")
            ))
        })?;
        let wake = Wake::new().map_err(|error| no_wake(&error))?;
        let options = LoadOptions { hooks, ..LoadOptions::default() };
        let mut source =
            negotiate::start(&choice, &options, None, wake).map_err(|error| AccessError::NoDaemon {
                what: error.to_string(),
                remedy: "portwatch doctor says what works here".to_owned(),
            })?;
        if let Some(about) = about {
            let mut found = convert::source(&About {
                source: source.kind(),
                daemon: false,
                note: None,
                coverage: Vec::new(),
                degradations: source.degradations(),
            });
            note::follow(&mut found, Some(&self.absence));
            about(found);
        }
        if backlog && let Some(reader) = self.journal()? {
            let (records, _) = query::log(
                &reader,
                &EventFilter { order: crate::model::Order::OldestFirst, ..filter.clone() },
            )?;
            if !records.iter().all(|record| each(convert::event(record, Viewer::Unrestricted))) {
                return Ok(());
            }
        }
        let mut live = Live::new(Policy::default(), self.attributor(), None);
        let (mut seen, mut records) = (Vec::new(), Vec::new());
        loop {
            let due = live.next_tick().map(|due| due.duration_since(Timestamp::now()));
            let wait = due.map_or(Duration::from_hours(1), |due| {
                Duration::try_from(due).unwrap_or_default() + Duration::from_millis(1)
            });
            let progress = source.poll(wait, &mut seen)?;
            for observation in seen.drain(..) {
                live.take(observation, &mut records);
            }
            live.tick(Timestamp::now(), &mut records);
            for record in records.drain(..).filter(|record| query::matches(record, &filter)) {
                if !each(convert::event(&record, Viewer::Unrestricted)) {
                    return Ok(());
                }
            }
            if progress == Progress::Ended {
                return Ok(());
            }
        }
    }

    fn status(&self) -> Result<Status, AccessError> {
        let mut about = match self.looker() {
            Ok(scanner) => self.about(&*scanner),
            Err(error) => About { note: Some(error.to_string()), ..self.log_about() },
        };
        let (events, journal_error) = match self.journal() {
            Ok(None) => (None, None),
            Ok(Some(reader)) => match reader.count() {
                Ok(count) => (Some(count), None),
                Err(error) => (None, Some(error.to_string())),
            },
            Err(error) => (None, Some(error.to_string())),
        };
        let silent = self.unanswered();
        if silent.is_some_and(|silent| about.note.is_some() && silent.is_own) {
            // It is what is answered.
            about.note = None;
        }
        let there = std::fs::metadata(&self.database).ok().filter(|_| self.is_readable().is_ok());
        Ok(Status {
            schema: SCHEMA,
            running: silent.is_some(),
            hangs: silent.map(|silent| silent.silence.to_string()),
            pid: silent.and_then(|silent| silent.silence.pid),
            started: None,
            version: None,
            socket: silent.map(|silent| silent.silence.path.display().to_string()),
            database: there.as_ref().map(|_| self.database.display().to_string()),
            database_bytes: there.as_ref().map(std::fs::Metadata::len),
            events,
            journal_error,
            source: convert::source(&about),
            coverage: convert::coverage(&about.coverage),
            listening: None,
            bound: None,
            claims: self.states().ok().map(|states| claims::convert::counts(&states)),
            // A database is not made to say that there is nothing in it.
            coordination: there.and_then(|_| self.bureau().ok()?.counts().ok()).map(Into::into),
            received: None,
            lost: None,
            memory_bytes: None,
        })
    }

    fn metrics(&self) -> Result<Metrics, AccessError> {
        let look = self.look(&[], HolderSearch::All);
        let (sockets, about) = match look {
            Ok((live, about)) => (Some(live.sizes()), about),
            Err(error) => (None, About { note: Some(error.to_string()), ..self.log_about() }),
        };
        let reader = self.journal().ok().flatten();
        Ok(wire::metrics::metrics(&MetricsAnswer {
            about,
            time: Timestamp::now(),
            running: None,
            sockets,
            time_wait: sockstat::time_wait(Path::new("/proc")),
            claims: reader.as_ref().and_then(|_| self.states().ok()),
            // Nothing is made only to be counted.
            coordination: reader.as_ref().and_then(|_| self.bureau().ok()?.counts().ok()),
            webhooks: reader.as_ref().and_then(|_| self.bureau().ok()?.webhook_counts().ok()),
            events: reader.and_then(|reader| reader.count().ok()),
            database_bytes: std::fs::metadata(&self.database).ok().map(|found| found.len()),
        }))
    }

    fn doctor(&self) -> Result<Doctor, AccessError> {
        let mut checks = vec![match self.unanswered() {
            None => check("daemon", CheckResult::Degraded, "no daemon runs", Some("portwatch start")),
            Some(Unanswered { silence, remedy, .. }) => {
                check("daemon", CheckResult::Failed, &silence.to_string(), Some(remedy))
            }
        }];
        let mut degradations = Vec::new();
        for choice in [SourceChoice::Scan, SourceChoice::Lsof, SourceChoice::Netstat] {
            checks.push(Self::source_check(&choice, &mut degradations));
        }
        match self.journal() {
            Ok(Some(_)) => {
                checks.push(check("journal", CheckResult::Ok, &self.database.display().to_string(), None));
            }
            Ok(None) => checks.push(check(
                "journal",
                CheckResult::Degraded,
                "there is none yet",
                Some("portwatch start"),
            )),
            Err(error) => checks.push(check("journal", CheckResult::Failed, &error.to_string(), None)),
        }
        let wake = Wake::new().map_err(|error| no_wake(&error))?;
        let mut coverage = Vec::new();
        // Only really loading and attaching tells.
        match EbpfSource::start(&LoadOptions::default(), wake) {
            Ok(source) => {
                checks.push(check("ebpf", CheckResult::Ok, "kernel programs load and attach", None));
                coverage = source.coverage();
                degradations.extend(source.degradations());
            }
            Err(why) => checks.push(check("ebpf", CheckResult::Degraded, &why.what, Some(&why.remedy))),
        }
        Ok(convert::doctor(&query::doctor(checks, coverage, degradations)))
    }
}

/// What a bind of the ports asked about meets besides sockets.
fn around(scanner: &mut dyn Look, live: &Live, asked: &[Asked], space: Space) -> Result<Around, AccessError> {
    let netns = space.other(live.own());
    let (mut ports, mut addresses) = (Vec::new(), Vec::new());
    for asked in asked {
        if let Asked::Port { port, address, .. } = asked {
            ports.push(*port);
            addresses.extend(*address);
        }
    }
    let interfaces = asked.iter().filter_map(Asked::with_interface).collect();
    let scope = ConnectionScope::Ports { ports, netns, holders: false, interfaces };
    let connections = scanner.connections(&scope)?;
    let unexplained = connections.as_ref().map(|found| live.unexplained(found)).unwrap_or_default();
    let rules = scanner.bind_rules(&addresses, netns);
    // A look without kernel programs knows of no option.
    let mut around = Around { netns: space.one(live.own()), connections, rules, sharing: Sharing::AsBound };
    if !unexplained.is_empty() {
        let scope = ConnectionScope::Ports {
            ports: unexplained.clone(),
            netns,
            holders: true,
            interfaces: Vec::new(),
        };
        around.name(&unexplained, scanner.connections(&scope)?.unwrap_or_default());
    }
    Ok(around)
}

fn take(live: &mut Live, snapshot: Snapshot) {
    let seen = Seen::Snapshot(Box::new(snapshot));
    live.take(Observation::new(Timestamp::now(), Evidence::Scan, seen), &mut Vec::new());
}

/// Who asks for another namespace, and may not enter any, gets no answer rather than an empty one.
fn entered(space: Space, own: Option<Netns>, about: &About) -> Result<(), AccessError> {
    about.reaches(space, own)?;
    match about.degradations.iter().find(|d| d.name == "netns-not-entered") {
        Some(refused) if space.is_beyond(own) => {
            Err(AccessError::NotSeen { what: refused.what.clone(), remedy: refused.remedy.clone() })
        }
        _ => Ok(()),
    }
}

fn check(name: &'static str, result: CheckResult, found: &str, remedy: Option<&str>) -> Check {
    Check { name, result, found: found.to_owned(), remedy: remedy.map(str::to_owned) }
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
