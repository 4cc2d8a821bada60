//! Answers of a daemon, over its socket.

mod failure;
mod portions;
mod request;

use std::{cell::RefCell, path::Path, rc::Rc, time::Duration};

use serde::de::DeserializeOwned;

use super::{
    Access, AccessError, AccessOptions, Coordination, Registry,
    embedded::Embedded,
    note,
    silent::{StandIn, without_it},
};
use crate::{
    api::{Client, ClientError, Silence},
    registry::{Pattern, PatternError},
    wire::{
        Doctor, Event, List, ListQuery, Log, LogQuery, LogSummary, SourceInfo, Status, Who, WhoQuery,
        claims::{
            AllowList, AllowRequest, ClaimRequest, Claimed, Claims, CleanupRequest, Drift, HealthReport,
            ReleaseRequest, Released, Rogue, RogueQuery,
        },
        coordinate::{FOLLOW, FollowQuery, Followed, Method, Place},
        metrics::Metrics,
    },
};
use request::{escape, path};

/// A daemon.
#[derive(Debug)]
pub(super) struct Remote {
    client: Client,
    options: AccessOptions,
    /// Who answers in its place, where it does not.
    stand_in: RefCell<Option<Rc<StandIn>>>,
}

impl Remote {
    pub(super) fn new(client: Client, options: AccessOptions) -> Self {
        Self { client, options, stand_in: RefCell::default() }
    }

    /// Who answers in its place, for a while.
    fn standing_in(&self) -> Option<Rc<StandIn>> {
        self.stand_in.borrow().clone().filter(|stand_in| stand_in.is_fresh())
    }

    /// An answer of the daemon, or where it is silent that of its stand-in.
    fn read<T>(
        &self,
        ask: impl FnOnce() -> Result<T, AccessError>,
        alone: impl FnOnce(&Embedded) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        self.read_and(true, ask, alone)
    }

    /// The same, where it is told or not what is done.
    fn read_and<T>(
        &self,
        is_told: bool,
        ask: impl FnOnce() -> Result<T, AccessError>,
        alone: impl FnOnce(&Embedded) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        let stand_in = match self.standing_in() {
            Some(stand_in) => stand_in,
            None => match ask() {
                Err(AccessError::Silent { silence, .. }) => {
                    let stand_in = self.replace(*silence);
                    if is_told {
                        (self.options.tell.silent)(&stand_in.words());
                    }
                    stand_in
                }
                answered => return answered,
            },
        };
        alone(stand_in.access())
    }

    /// From now on somebody else answers.
    fn replace(&self, silence: Silence) -> Rc<StandIn> {
        let stand_in = Rc::new(StandIn::new(silence, &self.options, &self.client));
        Rc::clone(self.stand_in.borrow_mut().insert(stand_in))
    }

    /// An answer of the daemon itself.
    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AccessError> {
        Ok(self.client.get(path)?)
    }

    /// Orders it of the daemon. Nobody carries out an order in its place: it may have it, and go on.
    fn order<T>(&self, order: impl FnOnce() -> Result<T, ClientError>) -> Result<T, AccessError> {
        let done = match self.standing_in() {
            Some(stand_in) => Err(stand_in.refusal()),
            None => order().map_err(AccessError::from),
        };
        done.map_err(|error| {
            if let AccessError::Silent { silence, .. } = &error
                && self.standing_in().is_none()
            {
                self.replace((**silence).clone());
            }
            without_it(error, self.options.is_database_of(self.client.socket()))
        })
    }

    /// What comes at `path`, as it comes.
    fn stream<T: DeserializeOwned>(
        &self,
        path: &str,
        each: &mut dyn FnMut(T) -> bool,
    ) -> Result<(), AccessError> {
        let mut end = Ok(());
        self.client.stream(path, |data| match serde_json::from_str(data) {
            Ok(event) => each(event),
            Err(error) => {
                end = Err(match serde_json::from_str(data) {
                    // Why no more comes.
                    Ok(document) => ClientError::Refused { status: 200, document: Box::new(document) }.into(),
                    Err(_) => AccessError::NotSeen {
                        what: format!(
                            "the daemon sent an event that this portwatch does not understand ({error})"
                        ),
                        remedy: "use the same version of both: portwatch restart".to_owned(),
                    },
                });
                false
            }
        })?;
        end
    }
}

impl Access for Remote {
    fn who(&self, query: &WhoQuery) -> Result<Who, AccessError> {
        self.read(|| self.ask_who(query), |alone| alone.who(query))
    }

    fn list(&self, query: &ListQuery) -> Result<List, AccessError> {
        self.read(|| self.get(&path("/v1/ls", query)?), |alone| alone.list(query))
    }

    fn log(&self, query: &LogQuery) -> Result<Log, AccessError> {
        self.read(|| self.ask_log(query), |alone| alone.log(query))
    }

    fn summary(&self, query: &LogQuery) -> Result<LogSummary, AccessError> {
        self.read(|| self.get(&path("/v1/summary", query)?), |alone| alone.summary(query))
    }

    fn follow(
        &self,
        query: &LogQuery,
        backlog: bool,
        about: Option<&mut dyn FnMut(SourceInfo)>,
        each: &mut dyn FnMut(Event) -> bool,
    ) -> Result<(), AccessError> {
        if let Some(about) = about {
            // Where it is silent from the beginning, this process looks by itself, and the note says so.
            let ask = || self.get::<Status>("/v1/status").map(Some);
            match self.read_and(false, ask, |_| Ok(None))? {
                Some(status) => {
                    let mut source = status.source;
                    note::follow(&mut source, None);
                    about(source);
                }
                None => {
                    if let Some(stand_in) = self.standing_in() {
                        return stand_in.access().follow(query, backlog, Some(about), each);
                    }
                }
            }
        }
        let mut path = path("/v1/watch", query)?;
        path.push_str(if path.contains('?') { "&" } else { "?" });
        path.push_str(if backlog { "backlog=true" } else { "backlog=false" });
        self.stream(&path, each)
    }

    fn drift(&self, project: Option<&str>) -> Result<Drift, AccessError> {
        let query = project.map_or_else(String::new, |project| format!("?project={}", escape(project)));
        self.read(|| self.get(&format!("/v1/drift{query}")), |alone| alone.drift(project))
    }

    fn is_daemon(&self) -> bool {
        self.standing_in().is_none()
    }

    fn socket(&self) -> Option<&Path> {
        Some(self.client.socket())
    }

    fn status(&self) -> Result<Status, AccessError> {
        // That it hangs is the answer.
        self.read_and(false, || self.get("/v1/status"), Access::status)
    }

    fn metrics(&self) -> Result<Metrics, AccessError> {
        self.read(|| self.get("/v1/metrics?format=json"), Access::metrics)
    }

    fn doctor(&self) -> Result<Doctor, AccessError> {
        self.read_and(false, || self.get("/v1/doctor"), Access::doctor)
    }
}

impl Coordination for Remote {
    fn coordinate(&self, place: &Place, order: &serde_json::Value) -> Result<serde_json::Value, AccessError> {
        match place.method {
            Method::Get => {
                self.read(|| self.get(&path(place.path, order)?), |alone| alone.coordinate(place, order))
            }
            Method::Post => self.order(|| self.client.post(place.path, order)),
        }
    }

    fn coordinate_within(
        &self,
        place: &Place,
        order: &serde_json::Value,
        within: Duration,
    ) -> Result<serde_json::Value, AccessError> {
        Ok(match place.method {
            Method::Get => self.client.get_within(&path(place.path, order)?, within)?,
            Method::Post => self.client.post_within(place.path, order, within)?,
        })
    }

    fn follow_messages(
        &self,
        query: &FollowQuery,
        each: &mut dyn FnMut(Followed) -> bool,
    ) -> Result<(), AccessError> {
        match self.standing_in() {
            Some(stand_in) => stand_in.access().follow_messages(query, each),
            None => self.stream(&path(FOLLOW, query)?, each),
        }
    }
}

impl Registry for Remote {
    fn claims(&self, patterns: &[String]) -> Result<Claims, AccessError> {
        // What is too long for a name may be too long for a request, too.
        for pattern in patterns {
            if let Err(error @ PatternError::Long(_)) = pattern.parse::<Pattern>() {
                return Err(AccessError::Usage(error.to_string()));
            }
        }
        let words: Vec<_> = patterns.iter().map(|p| format!("pattern={}", escape(p))).collect();
        let path = format!("/v1/claims?{}", words.join("&"));
        self.read(|| self.get(&path), |alone| alone.claims(patterns))
    }

    fn claim(&self, request: &ClaimRequest) -> Result<Claimed, AccessError> {
        self.order(|| self.client.post("/v1/claims", request))
    }

    fn release(&self, request: &ReleaseRequest) -> Result<Released, AccessError> {
        self.order(|| self.client.post("/v1/claims/release", request))
    }

    fn cleanup(&self, request: &CleanupRequest) -> Result<Released, AccessError> {
        self.order(|| self.client.post("/v1/claims/cleanup", request))
    }

    fn rogue(&self, query: &RogueQuery) -> Result<Rogue, AccessError> {
        self.read(|| self.get(&path("/v1/rogue", query)?), |alone| alone.rogue(query))
    }

    fn allowed(&self) -> Result<AllowList, AccessError> {
        self.read(|| self.get("/v1/rogue/allowed"), Registry::allowed)
    }

    fn allow(&self, request: &AllowRequest) -> Result<AllowList, AccessError> {
        self.order(|| self.client.post("/v1/rogue/allowed", request))
    }

    fn report_health(&self, report: &HealthReport) -> Result<(), AccessError> {
        self.order(|| self.client.post::<serde_json::Value>("/v1/claims/health", report)).map(drop)
    }
}
