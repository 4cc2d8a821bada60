//! Answers of a daemon, over its socket.

use std::{cell::RefCell, path::Path, rc::Rc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Access, AccessError, AccessOptions, Coordination, Registry,
    embedded::Embedded,
    note,
    remedy::LIMITS,
    silent::{StandIn, without_it},
};
use crate::{
    api::{Client, ClientError, MAX_HEAD, MAX_TARGETS, Silence},
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

/// Events asked for at once.
const PAGE: u64 = 10_000;
/// Events when no limit is given, as the daemon counts.
const DEFAULT_LIMIT: u64 = 1000;
/// Bytes of targets of `who` that are asked for at once. The rest is for what else is in a head.
const BYTES: usize = MAX_HEAD - 4 * 1024;

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

    /// Events page by page from the newest: no answer has to fit the daemon's memory, which gives as many as it has room for.
    fn pages(&self, query: &LogQuery, wanted: u64) -> Result<Log, AccessError> {
        let mut page = LogQuery { newest_first: true, ..query.clone() };
        let mut all: Option<Log> = None;
        loop {
            let have = all.as_ref().map_or(0, |log| log.events.len() as u64);
            page.limit = Some((wanted - have).min(PAGE));
            let mut log: Log = self.client.get(&path("/v1/log", &page)?)?;
            let more = log.truncated && !log.events.is_empty();
            let all = match &mut all {
                None => all.insert(log),
                Some(all) => {
                    all.events.append(&mut log.events);
                    all.truncated = log.truncated;
                    all
                }
            };
            let Some(oldest) = all.events.last().filter(|_| more && (all.events.len() as u64) < wanted)
            else {
                break;
            };
            // What comes next is older, or as old and before it.
            page.until = oldest.time.checked_add(Duration::from_nanos(1)).ok();
            page.before_id = oldest.id;
        }
        let mut log = all.ok_or_else(|| AccessError::Internal("no page of the log came".to_owned()))?;
        if !query.newest_first {
            log.events.reverse();
        }
        Ok(log)
    }
}

/// Questions to the daemon itself.
impl Remote {
    fn ask_who(&self, query: &WhoQuery) -> Result<Who, AccessError> {
        let mut rest = query.netns.map(|inode| format!("&netns={inode}")).unwrap_or_default();
        if query.all_namespaces {
            rest.push_str("&all_namespaces=true");
        }
        let words = query.targets.iter().map(|t| format!("target={}", escape(&t.to_string())));
        let mut whole: Option<Who> = None;
        for portion in portions(words) {
            let who: Who = self.client.get(&format!("/v1/who?{portion}{rest}"))?;
            match &mut whole {
                None => whole = Some(who),
                Some(whole) => join(whole, who),
            }
        }
        whole.ok_or_else(|| AccessError::Usage("nothing was asked".to_owned()))
    }

    fn ask_log(&self, query: &LogQuery) -> Result<Log, AccessError> {
        let wanted = match query.limit {
            None => DEFAULT_LIMIT,
            Some(0) => u64::MAX,
            Some(limit) => limit,
        };
        self.pages(query, wanted)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AccessError> {
        Ok(self.client.get(path)?)
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

/// Words joined to as few queries as a daemon takes them in: each of so many targets and so many bytes.
fn portions(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut portions: Vec<(usize, String)> = Vec::new();
    for word in words {
        match portions.last_mut() {
            Some((count, portion)) if *count < MAX_TARGETS && portion.len() + word.len() < BYTES => {
                *count += 1;
                portion.push('&');
                portion.push_str(&word);
            }
            _ => portions.push((1, word)),
        }
    }
    portions.into_iter().map(|(_, portion)| portion).collect()
}

/// Adds a later portion of the same answer. Each tells what could not be seen for itself.
fn join(whole: &mut Who, later: Who) {
    whole.targets.extend(later.targets);
    let (known, new) = (&mut whole.source, later.source);
    if let Some(note) = new.note {
        known.note = Some(match known.note.take() {
            Some(before) if !before.contains(&note) => format!("{before}; {note}"),
            Some(before) => before,
            None => note,
        });
    }
    let degradations = new.degradations.into_iter().filter(|one| !known.degradations.contains(one));
    let degradations: Vec<_> = degradations.collect();
    known.degradations.extend(degradations);
}

/// `at` with the fields of `query` that are set.
fn path(at: &str, query: &impl Serialize) -> Result<String, AccessError> {
    let value = serde_json::to_value(query).map_err(|error| AccessError::Internal(error.to_string()))?;
    let mut pairs = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        pairs.push(format!("{name}={}", escape(&text)));
    }
    Ok(if pairs.is_empty() { at.to_owned() } else { format!("{at}?{}", pairs.join("&")) })
}

/// Every byte that is not unreserved (RFC 3986) as `%XX`.
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

impl From<ClientError> for AccessError {
    fn from(error: ClientError) -> Self {
        let what = error.to_string();
        match error {
            ClientError::Refused { status: 400, document } => Self::Usage(document.error.message),
            ClientError::Refused { document, .. }
                if matches!(document.error.code.as_str(), "refused" | "no-such-claim" | "no-such-thing") =>
            {
                let remedy = document.error.remedy.unwrap_or_default();
                Self::Refused { what: document.error.message, remedy }
            }
            ClientError::Refused { document, .. } if document.error.code == "ambiguous" => Self::Ambiguous {
                what: document.error.message,
                remedy: document.error.remedy.unwrap_or_default(),
            },
            ClientError::Refused { document, .. } => Self::NotSeen {
                what: document.error.message,
                remedy: document
                    .error
                    .remedy
                    .unwrap_or_else(|| "portwatch status shows how it is".to_owned()),
            },
            ClientError::Absent(_) | ClientError::Stale(_) => {
                Self::NoDaemon { what, remedy: "start one: portwatch start".to_owned() }
            }
            ClientError::NoSocket(_) => Self::Usage(format!("{what}; --socket takes that of a daemon")),
            ClientError::TooLong { .. } => Self::Usage(format!("{what}; choose a shorter one with --socket")),
            ClientError::NotPermitted { .. } => {
                Self::NotSeen { what, remedy: "ask as a user who may, or use --no-daemon".to_owned() }
            }
            ClientError::Foreign { .. } => Self::NoDaemon {
                what,
                remedy: "its answers are not trusted; choose another with --socket, or use --no-daemon"
                    .to_owned(),
            },
            ClientError::Silent(silence) => (*silence).into(),
            ClientError::Broken { .. } => Self::NotSeen {
                what,
                remedy: "see the daemon's log, portwatch restart it, or use --no-daemon".to_owned(),
            },
            ClientError::Alien { .. } => {
                Self::NotSeen { what, remedy: "use the same version of both: portwatch restart".to_owned() }
            }
            ClientError::Start(_) => Self::NotSeen { what, remedy: LIMITS.to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Degradation;

    #[test]
    fn many_targets_are_asked_for_in_portions_that_a_daemon_takes() {
        for (length, all) in [(8, 5000), (200, 100), (20_000, 2), (8, 256), (8, 257)] {
            let words: Vec<_> = (0..all).map(|n| format!("{n:0length$}")).collect();
            let portions = portions(words.iter().cloned());
            assert_eq!(portions.join("&"), words.join("&"), "none is lost, and the order stays");
            for portion in &portions {
                let count = portion.split('&').count();
                assert!(count == 1 || (count <= MAX_TARGETS && portion.len() <= BYTES), "{count}, {length}");
            }
            assert!(portions.len() <= all / MAX_TARGETS + 2, "{}", portions.len());
        }
    }

    #[test]
    fn what_a_later_portion_says_of_itself_is_not_lost() {
        let part = |note: Option<&str>, missing: &[&str]| Who {
            schema: 1,
            time: jiff::Timestamp::UNIX_EPOCH,
            source: SourceInfo {
                source: "scan".to_owned(),
                daemon: true,
                note: note.map(str::to_owned),
                degradations: missing
                    .iter()
                    .map(|name| Degradation {
                        name: (*name).to_owned(),
                        what: String::new(),
                        remedy: String::new(),
                    })
                    .collect(),
            },
            netns: None,
            targets: Vec::new(),
        };
        for (notes, together) in [
            ([None, Some("late")], Some("late")),
            ([Some("late"), None], Some("late")),
            ([Some("late"), Some("late")], Some("late")),
            ([Some("scan"), Some("late")], Some("scan; late")),
            ([None, None], None),
        ] {
            let mut whole = part(notes[0], &["a", "b"]);
            join(&mut whole, part(notes[1], &["b", "c"]));
            assert_eq!(whole.source.note.as_deref(), together, "{notes:?}");
            let names: Vec<_> = whole.source.degradations.iter().map(|d| d.name.as_str()).collect();
            assert_eq!(names, ["a", "b", "c"]);
        }
    }

    #[test]
    fn a_limit_of_open_files_is_no_defect() {
        let error = AccessError::from(ClientError::Start(std::io::Error::from_raw_os_error(24)));
        assert!(matches!(&error, AccessError::NotSeen { .. }), "{error}");
        assert!(error.to_string().contains("limits on open files and memory"), "{error}");
    }

    #[test]
    fn a_query_becomes_escaped_pairs_of_what_is_set() {
        let query = LogQuery { filter: Some("a b&c=*".to_owned()), limit: Some(0), ..LogQuery::default() };
        let path = path("/v1/log", &query).unwrap();
        assert_eq!(path, "/v1/log?all=false&filter=a%20b%26c%3D%2A&limit=0&newest_first=false");
    }
}
