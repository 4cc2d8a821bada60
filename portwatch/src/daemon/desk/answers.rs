//! The answers to questions, each from live knowledge, claims and the journal.

use std::path::Path;

use super::{
    Desk,
    look::{LOOK, behind},
};
use crate::{
    daemon::{
        beside::{Places, Verified},
        handle::{Command, lock},
    },
    model::{ConnectionScope, EventFilter, Order, Timestamp},
    platform::vitals::{cpu_time, resident_bytes},
    query::{
        self, Answers, Asked, Check, CheckResult, DoctorAnswer, LONGEST, ListAnswer, ListFilter, Live,
        LogAnswer, MetricsAnswer, QueryError, Running, Space, StatusAnswer, Subscription, SummaryAnswer,
        WhoAnswer,
        claims::{OfficeError, add_claims, annotate, expand, view},
        coordinate::Bureau,
    },
    registry::State,
    source::{Refresh, sockstat},
};

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
        let mut around = around.unwrap_or_default();
        let pids = Asked::pids(asked);
        if !pids.is_empty() && verified.late.is_none() {
            let scope = ConnectionScope::Processes { pids };
            let found = self.ask(|reply| Command::Around(scope, Vec::new(), reply))?;
            around.of_processes = found.and_then(|found| found.connections);
        }
        let time = Timestamp::now();
        about.unnamed(&problems);
        let mut targets = {
            let mut live = self.live(&verified);
            let mut targets = live.who(asked, space, &around, LONGEST);
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
        about.leaves_out(targets.iter().map(|target| target.left_out).sum());
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
            let left_out;
            (answer.time_wait, answer.missing, left_out) =
                lock(&self.pipeline.live).time_wait(&connections, filter);
            answer.about.leaves_out_rows(left_out, "connection");
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
            answer.holds(live.list(filter, &mut |_| true));
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
        let claims = self.states();
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
        let claims = self.states();
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
            None => Check::new("journal", CheckResult::Degraded, "this daemon keeps no journal", None),
            Some(status) => match &status.error {
                Some(error) => Check::new("journal", CheckResult::Failed, error, None),
                None => Check::new("journal", CheckResult::Ok, &format!("{} events", status.events), None),
            },
        };
        let report = self.pipeline.report();
        let source = match &report.failure {
            Some(failure) => Check::new("source", CheckResult::Failed, failure, None),
            None => Check::new("source", CheckResult::Ok, self.about.source.as_str(), None),
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

impl Desk {
    /// What each claim is worth; `None` where the claims cannot be read.
    fn states(&self) -> Option<Vec<State>> {
        let known = self.known().ok()?;
        let mut live = lock(&self.pipeline.live);
        Some(known.claims().iter().map(|claim| view(&mut live, claim.clone()).state).collect())
    }
}
