//! The answers to questions, each from a look of now and the journal.

use std::{path::Path, time::Duration};

use super::{
    Embedded, doctor, event_filter, follow, list_filter,
    look::{around, entered, take},
};
use crate::{
    access::{Access, AccessError},
    attribute::{Attributor, Roots as AttributeRoots},
    model::{ConnectionScope, Port, Timestamp},
    platform::user::ROOT,
    query::{
        self, About, Around, Asked, ListAnswer, Live, LogAnswer, MetricsAnswer, SummaryAnswer, Viewer,
        WhoAnswer,
        claims::{Known, add_claims, annotate, expand},
    },
    source::{scan::HolderSearch, sockstat},
    state::Policy,
    wire::{
        self, Doctor, Event, List, ListQuery, Log, LogQuery, LogSummary, SCHEMA, SourceInfo, Status, Who,
        WhoQuery, claims, convert, metrics::Metrics,
    },
};

/// How long an answer waits for a container engine.
const ENGINE_WAIT: Duration = Duration::from_millis(500);

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
        let mut around =
            if ports.is_empty() { Around::default() } else { around(&mut *scanner, &live, &asked, space)? };
        if pids {
            around.of_processes =
                scanner.connections(&ConnectionScope::Processes { pids: Asked::pids(&asked) })?;
        }
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
        let mut targets = live.who(&asked, space, &around, Duration::MAX);
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
        about.leaves_out(targets.iter().map(|target| target.left_out).sum());
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
            let left_out;
            (answer.time_wait, answer.missing, left_out) = live.time_wait(&connections, &filter);
            answer.about.leaves_out_rows(left_out, "connection");
        } else {
            let (mut live, about) = self.look(&[], HolderSearch::All)?;
            entered(filter.space(), live.own(), &about)?;
            answer = empty(about);
            answer.netns = filter.space().one(live.own());
            if live.has_unnamed() {
                answer.about.unnamed(&self.engines.ask(Duration::ZERO, ENGINE_WAIT).problems);
            }
            answer.holds(live.list(&filter, &mut |_| true));
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
        follow::events(self, query, backlog, about, each)
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
        doctor::doctor(self)
    }
}
